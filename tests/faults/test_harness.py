"""The harness sees what is lost, doubled and disordered."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from tests.faults.__main__ import failures
from tests.faults.case import Case, sum_up
from tests.faults.cases import CASES
from tests.faults.launchdarkly import (
    CUT_AFTER,
    CUT_BEFORE,
    Arrival,
    FaultyLaunchDarkly,
    Reply,
    refuse_larger,
)
from tests.faults.loads import RUN_EVENTS, Target
from tests.faults.progress import ProgressFile
from tests.faults.scene import Outcome, Scene, WorkerFailedError
from tests.support.fork_server import ForkServer

LOSING = ["burst", "not-json", "forks", "exit-without-close", "exit-after-flush", "terminated"]


@pytest.fixture
def scene(forks: ForkServer, tmp_path: Path) -> Iterator[Scene]:
    """A scene whose workers have none of the package's delivery."""
    with Scene(forks, tmp_path / "scene", is_durable=False, is_full=False) as scene:
        yield scene


def say_done(scene: Scene, lane: str, number: int) -> None:
    """Note that a lane has sent so many numbers."""
    ProgressFile(scene.target.folder, lane, number).note(number)


def batch(*marks: str) -> bytes:
    """Return a request's body with an event for each mark."""
    return json.dumps([{"kind": "custom", "key": "load", "data": {"mark": mark}} for mark in marks]).encode()


@pytest.mark.parametrize("name", LOSING)
def test_without_durable_delivery_events_are_lost(name: str, forks: ForkServer, tmp_path: Path) -> None:
    """The SDK's own event processor loses events in these cases."""
    (case,) = [case for case in CASES if case.name == name]

    outcome = case.run(forks, tmp_path, is_durable=False, is_full=False)

    assert outcome.lost > 0


def test_a_run_has_each_of_its_six_events(forks: ForkServer, tmp_path: Path) -> None:
    """Nothing is lost of runs where nothing fails, and each counts six times."""
    with Scene(forks, tmp_path / "scene", is_durable=False, is_full=False) as scene:
        scene.change_target(flush_interval=60.0)  # in one batch: the SDK keeps no order among several
        scene.finish(scene.start(lane="runs", count=5))

        assert scene.outcome() == Outcome(events=5 * len(RUN_EVENTS), lost=0, doubled=0)


def test_what_did_not_arrive_is_lost(scene: Scene) -> None:
    """An event is lost if its call returned and no batch brought it."""
    say_done(scene, "a", 3)

    scene.launchdarkly.receive("id-1", batch("a:0", "a:2", "a:3"))

    assert scene.outcome() == Outcome(events=3, lost=1, doubled=0)


def test_an_event_under_two_payload_ids_is_doubled(scene: Scene) -> None:
    """A batch that comes again under its payload id counts once, under another one twice."""
    say_done(scene, "a", 2)

    for payload_id in ("id-1", "id-1", "id-2"):
        scene.launchdarkly.receive(payload_id, batch("a:0", "a:1"))

    assert scene.outcome() == Outcome(events=2, lost=0, doubled=2)


def test_an_event_behind_a_later_one_is_disordered(scene: Scene) -> None:
    """Order is kept within a lane; lanes do not matter to each other."""
    say_done(scene, "a", 3)
    say_done(scene, "b", 1)

    scene.launchdarkly.receive("id-1", batch("a:1", "b:0", "a:0", "a:2"))

    assert scene.outcome() == Outcome(events=4, lost=0, doubled=0, disordered=1)


def test_an_event_in_the_dead_letter_file_is_dead_and_not_lost(scene: Scene) -> None:
    """It can still be looked at; one that arrived all the same is not dead."""
    say_done(scene, "a", 2)
    (event, other) = json.loads(batch("a:0", "a:1"))
    lines = [json.dumps({"status": 400, "event": dead}) for dead in (event, other)]
    (scene.folder / "dead.jsonl").write_text("\n".join(lines))

    scene.launchdarkly.receive("id-1", batch("a:1"))

    assert scene.outcome() == Outcome(events=2, lost=0, doubled=0, dead=1)


def post(launchdarkly: FaultyLaunchDarkly, payload_id: str, body: bytes) -> tuple[int, str | None]:
    """Send a batch, and return the status and the Retry-After of the answer."""
    headers = {"X-LaunchDarkly-Payload-ID": payload_id}
    answered = urllib3.request("POST", f"{launchdarkly.url}/bulk", headers=headers, body=body, retries=False)
    return answered.status, answered.headers.get("Retry-After")


def test_a_fault_is_answered_as_told_and_the_next_batch_received(scene: Scene) -> None:
    """What is refused did not arrive."""
    launchdarkly = scene.launchdarkly
    launchdarkly.reply_once(Reply(503, retry_after="1"))

    with launchdarkly.failing(refuse_larger(64)):
        answers = [post(launchdarkly, f"id-{number}", batch(f"a:{number}")) for number in (0, 10, 1_000_000)]

    assert answers == [(503, "1"), (202, None), (413, None)]
    assert launchdarkly.arrivals == [("a", 10, "load")]


@pytest.mark.parametrize(("reply", "arrivals"), [(CUT_BEFORE, []), (CUT_AFTER, [("a", 0, "load")])])
def test_a_connection_is_cut_before_or_after_the_batch_is_received(
    scene: Scene, reply: Reply, arrivals: list[Arrival]
) -> None:
    """The sender cannot tell one from the other."""
    scene.launchdarkly.reply_once(reply)

    with pytest.raises(urllib3.exceptions.ProtocolError):
        post(scene.launchdarkly, "id-1", batch("a:0"))

    assert scene.launchdarkly.arrivals == arrivals


def test_while_it_is_away_connections_are_refused(scene: Scene) -> None:
    """It comes back at the same address."""
    with scene.launchdarkly.away(), pytest.raises(urllib3.exceptions.NewConnectionError):
        post(scene.launchdarkly, "id-1", batch("a:0"))

    assert post(scene.launchdarkly, "id-1", batch("a:0")) == (202, None)


def fail(target: Target) -> None:
    """Fail."""
    raise RuntimeError("the worker's own error")


def test_an_error_in_a_worker_ends_the_case(scene: Scene) -> None:
    """The error says what the worker wrote."""
    with pytest.raises(WorkerFailedError, match="the worker's own error"):
        scene.finish(scene.start(fail))


def test_outcomes_add_up() -> None:
    """Of the growth of memory, the largest counts."""
    total = sum_up([Outcome(1, 2, 3, 4, 5, 6), Outcome(10, 20, 30, 40, 50, 1)])

    assert total == Outcome(11, 22, 33, 44, 55, 6)


def lose(scene: Scene) -> None:
    """Say that an event was sent, and send none."""
    say_done(scene, "a", 1)


def lose_without(scene: Scene) -> None:
    """Lose an event without durable delivery alone."""
    say_done(scene, "a", 1)
    if scene.is_durable:
        scene.launchdarkly.receive("id-1", batch("a:0"))


def break_down(scene: Scene) -> None:
    """Have a worker that fails."""
    scene.finish(scene.start(fail))


@pytest.mark.usefixtures("forks")
def test_the_table_names_what_is_not_perfect(capsys: pytest.CaptureFixture[str]) -> None:
    """A case fails if a worker does, or its side with durable delivery; the other side is shown."""
    cases = [Case("breaks", break_down), Case("loses always", lose), Case("loses without", lose_without)]

    failed = failures(cases, is_full=False)

    assert failed == ["break-down", "lose"]
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows[0] == "breaks: a worker failed:"
    assert [row.split()[:8] for row in rows[-2:]] == [
        ["loses", "always", "1", "100%", "/", "1", "0", "/"],
        ["loses", "without", "1", "100%", "/", "0", "0", "/"],
    ]

"""How a batch comes to LaunchDarkly."""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest

from langchain_ldai.delivery import _courier, _dead_letters
from langchain_ldai.delivery._courier import DOUBT_SECONDS, Courier
from langchain_ldai.delivery._dead_letters import DeadLetters
from langchain_ldai.delivery._http import Answer
from langchain_ldai.delivery._journal_file import Batch, Record
from langchain_ldai.delivery._owners import locks
from langchain_ldai.delivery._sender import BatchOutcome

ID = UUID(int=1)


def answer(status: int, retry_after: float | None = None, date: float | None = None) -> Answer:
    """Return the service's answer."""
    return Answer(status, retry_after, date, f"HTTP {status}")


class ScriptedService:
    """Answers with what comes next in a script, else 202; and with 400 where an event is bad.

    Attributes:
        posts: The payload id and the events of each batch that was posted.
    """

    def __init__(self, *script: Answer, bad: Callable[[list[dict]], int | None] = lambda events: None) -> None:
        self.script = list(script)
        self.bad = bad
        self.posts: list[tuple[str, list[dict]]] = []
        self.accepted: list[dict] = []

    def post(self, payload_id: str, records: Sequence[bytes]) -> Answer:
        """See `EventsEndpoint.post`."""
        events = json.loads(b"[%b]" % b",".join(records))
        self.posts.append((payload_id, events))
        found = self.script.pop(0) if self.script else answer(self.bad(events) or 202)
        if found.status == 202:
            self.accepted += events
        return found


class Clock:
    """A sender whose time passes only while it waits."""

    def __init__(self, seconds: float = math.inf) -> None:
        self.left = seconds
        self.pauses: list[tuple[float, float]] = []

    def keep_up_during(self, call: Callable[[], Answer]) -> Answer:
        """See `Sender.keep_up_during`."""
        return call()

    def may_wait(self, seconds: float) -> bool:
        """See `Sender.may_wait`."""
        return seconds < self.left

    def pause(self, seconds: float, at_least: float) -> None:
        """See `Sender.pause`."""
        self.pauses.append((seconds, at_least))
        self.left -= max(seconds, 0.01)


class Desk:
    """A courier with all that it needs."""

    def __init__(self, directory: Path, service: ScriptedService, seconds: float = math.inf) -> None:
        self.service = service
        self.clock = Clock(seconds)
        self.dead_letters = DeadLetters(directory)
        self.kept: list[tuple[bytes, int]] = []
        self.courier = Courier(service, self.dead_letters, self.clock, lambda *kept: self.kept.append(kept))


def batch(*bodies: str, age: float = 0) -> Batch:
    """Return a batch of records; each is text of one or more events."""
    records = [Record(body.encode(), len(json.loads(f"[{body}]")), int(time.time() - age)) for body in bodies]
    return Batch(ID, records, 0)


def dead(directory: Path) -> list[dict]:
    """Return the dead letters."""
    path = directory / "dead.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_bad(events: list[dict]) -> int | None:
    """Refuse a batch that holds the event 3."""
    return 400 if any(event["n"] == 3 for event in events) else None


def test_a_batch_that_is_accepted_is_settled(tmp_path: Path) -> None:
    """It goes out once, under its id, and its events are counted."""
    desk = Desk(tmp_path, ScriptedService(answer(202, date=12.0)))

    assert desk.courier.deliver(batch('{"n":1},{"n":2}', '{"n":3}')) is BatchOutcome.SETTLED
    assert desk.service.posts == [(str(ID), [{"n": 1}, {"n": 2}, {"n": 3}])]
    assert (desk.courier.delivered, desk.courier.retried) == (3, 0)
    assert desk.courier.last_date == 12.0


@pytest.mark.parametrize("status", [0, 300, 401, 403, 404, 408, 429, 500, 502, 503, 599])
def test_a_batch_is_tried_until_it_is_accepted(tmp_path: Path, status: int) -> None:
    """Each time under the same id."""
    desk = Desk(tmp_path, ScriptedService(*[answer(status)] * 5))

    assert desk.courier.deliver(batch('{"n":1}', '{"n":2}')) is BatchOutcome.SETTLED
    assert len({str(post) for post in desk.service.posts}) == 1
    assert len(desk.service.posts) == 6
    assert desk.courier.retried == 5
    assert desk.courier.delivered == 2


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        pytest.param(answer(503, 7.0), (7.0, 7.0), id="the service says how long"),
        pytest.param(answer(429, 1e9), (300.0, 300.0), id="but not for ever"),
        pytest.param(answer(401), (30.0, 0.5), id="the key is refused"),
        pytest.param(answer(403), (30.0, 0.5), id="it has no right"),
    ],
)
def test_the_service_says_how_long_to_wait(tmp_path: Path, failure: Answer, expected: tuple[float, float]) -> None:
    """Nobody's hurry goes before that."""
    desk = Desk(tmp_path, ScriptedService(failure))
    desk.courier.deliver(batch('{"n":1}'))

    assert desk.clock.pauses == [pytest.approx(expected)]


def test_the_waits_grow_and_have_a_limit(tmp_path: Path) -> None:
    """They are drawn, so that not all processes come at once."""
    desk = Desk(tmp_path, ScriptedService(*[answer(500)] * 60))
    desk.courier.deliver(batch('{"n":1}'))
    seconds = [pause for pause, _ in desk.clock.pauses]

    assert max(seconds) <= 10
    assert max(seconds[:2]) <= 1
    assert max(seconds[6:]) > 1
    assert len(set(seconds)) > 50
    assert all(at_least == min(pause, 0.5) for pause, at_least in desk.clock.pauses)


@pytest.mark.parametrize("status", [401, 429, 503])
def test_a_service_that_asks_for_no_wait_gets_one_all_the_same(tmp_path: Path, status: int) -> None:
    """Else an outage would have us ask without a pause: a date that has gone by asks for none too."""
    desk = Desk(tmp_path, ScriptedService(*[answer(status, 0.0)] * 9))
    desk.courier.deliver(batch('{"n":1}'))

    assert max(seconds for seconds, _ in desk.clock.pauses) > 0.1
    assert max(at_least for _, at_least in desk.clock.pauses) > 0.1


@pytest.mark.parametrize(
    ("failure", "seconds", "posts"),
    [
        pytest.param(answer(503), 0.0, 1, id="no time"),
        pytest.param(answer(503, 9.0), 5.0, 1, id="the service wants more time than there is"),
        pytest.param(answer(401), 5.0, 1, id="the key is refused"),
        pytest.param(answer(400), 0.0, 2, id="everything is refused"),
    ],
)
def test_a_batch_is_kept_when_time_is_up(tmp_path: Path, failure: Answer, seconds: float, posts: int) -> None:
    """The next process sends it."""
    desk = Desk(tmp_path, ScriptedService(*[failure] * 9), seconds)

    assert desk.courier.deliver(batch('{"n":1}')) is BatchOutcome.KEPT
    assert len(desk.service.posts) == posts
    assert desk.courier.delivered == 0
    assert not dead(tmp_path)


@pytest.mark.parametrize("status", [400, 413])
def test_a_batch_of_several_records_is_refused_as_a_whole(tmp_path: Path, status: int) -> None:
    """Which of them is bad, or whether they are too many, its halves will show."""
    desk = Desk(tmp_path, ScriptedService(answer(status)))

    assert desk.courier.deliver(batch('{"n":1}', '{"n":2}')) is BatchOutcome.REFUSED
    assert len(desk.service.posts) == 1
    assert desk.courier.delivered == 0


def test_an_event_that_is_refused_by_itself_is_dead(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is kept with the reason, and the log says where, but not what it holds."""
    desk = Desk(tmp_path, ScriptedService(bad=is_bad))

    assert desk.courier.deliver(batch('{"n":3,"data":"secret"}')) is BatchOutcome.SETTLED
    [letter] = dead(tmp_path)
    assert letter["event"] == {"n": 3, "data": "secret"}
    assert letter["reason"] == "HTTP 400"
    assert abs(letter["at"] - time.time()) < 60
    assert desk.dead_letters.count == 1
    assert "dead.jsonl" in caplog.text
    assert "secret" not in caplog.text


def test_the_bad_event_of_a_record_is_found(tmp_path: Path) -> None:
    """The others are accepted, in order, and under ids that a repetition would use again."""
    record = ",".join(f'{{"n":{n}}}' for n in range(6))
    desks = [Desk(tmp_path / name, ScriptedService(bad=is_bad)) for name in ("a", "b")]
    for desk in desks:
        desk.dead_letters.directory.mkdir()
        assert desk.courier.deliver(batch(record)) is BatchOutcome.SETTLED

    assert [event["n"] for event in desks[0].service.accepted] == [0, 1, 2, 4, 5]
    assert [letter["event"]["n"] for letter in dead(tmp_path / "a")] == [3]
    assert desks[0].courier.delivered == 5
    assert desks[0].service.posts == desks[1].service.posts
    ids = [payload_id for payload_id, events in desks[0].service.posts if events]
    assert len(set(ids)) == len(ids) - 1  # the whole record was tried twice


def test_the_rest_of_a_record_is_kept_when_time_is_up(tmp_path: Path) -> None:
    """What was accepted of it is not sent again."""
    record = ",".join(f'{{"n":{n}}}' for n in range(4))
    script = [answer(400), answer(202), answer(400), answer(202), answer(503)]
    desk = Desk(tmp_path, ScriptedService(*script), 0.0)

    assert desk.courier.deliver(batch(record)) is BatchOutcome.SETTLED
    assert desk.service.accepted == [{"n": 0}, {"n": 1}]
    assert desk.kept == [(b'{"n":2},{"n":3}', 2)]
    assert desk.courier.delivered == 2


@pytest.mark.parametrize("status", [400, 413])
def test_where_everything_is_refused_no_event_is_taken_for_bad(tmp_path: Path, status: int) -> None:
    """A batch of no events shows it. The event waits until the service takes events again."""
    desk = Desk(tmp_path, ScriptedService(*[answer(status)] * 7))

    assert desk.courier.deliver(batch('{"n":1}')) is BatchOutcome.SETTLED
    assert desk.service.accepted == [{"n": 1}]
    assert desk.courier.retried == 3
    assert not dead(tmp_path)


def test_an_event_that_was_refused_for_long_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where everything is refused: it must not hold up all others for ever."""
    minutes = count(step=60)
    monkeypatch.setattr(_courier, "time", SimpleNamespace(monotonic=lambda: next(minutes)))
    desk = Desk(tmp_path, ScriptedService(*[answer(400)] * 23))

    assert desk.courier.deliver(batch('{"n":1}')) is BatchOutcome.SETTLED
    assert [letter["event"] for letter in dead(tmp_path)] == [{"n": 1}]
    assert 1 < desk.courier.retried <= DOUBT_SECONDS // 60


def test_an_event_that_has_waited_for_long_is_not_taken_for_bad(tmp_path: Path) -> None:
    """At the end of an outage of hours a proxy may refuse everything for a moment."""
    desk = Desk(tmp_path, ScriptedService(*[answer(400)] * 6))

    assert desk.courier.deliver(batch('{"n":1}', age=9_000)) is BatchOutcome.SETTLED
    assert desk.service.accepted == [{"n": 1}]
    assert not dead(tmp_path)


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return levels and messages."""
    return [(record.levelname, record.message) for record in caplog.records]


def test_the_log_says_once_that_delivery_stops_and_that_it_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One failure by itself is no matter."""
    caplog.set_level(logging.INFO)
    desk = Desk(tmp_path, ScriptedService(*[answer(503)] * 5, answer(202), answer(503), answer(202)))
    desk.courier.deliver(batch('{"n":1}'))
    desk.courier.deliver(batch('{"n":2}'))

    assert logged(caplog) == [
        ("WARNING", f"LaunchDarkly takes no events at the moment (HTTP 503): events wait in {tmp_path}"),
        ("INFO", "LaunchDarkly takes events again"),
    ]


def test_a_key_that_is_refused_is_an_error_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, however often it is tried."""
    desk = Desk(tmp_path, ScriptedService(*[answer(401)] * 5))
    desk.courier.deliver(batch('{"n":1}'))

    assert logged(caplog) == [("ERROR", f"LaunchDarkly refuses the SDK key (HTTP 401): events wait in {tmp_path}")]


def test_dead_letters_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the older ones, a second file is kept."""
    monkeypatch.setattr(_dead_letters, "MAX_BYTES", 200)
    letters = DeadLetters(tmp_path)
    for n in range(20):
        letters.add(f'{{"n":{n}}}', "HTTP 400")

    assert letters.count == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dead.jsonl", "dead.lock", "dead.older.jsonl"]
    assert dead(tmp_path)[-1]["event"] == {"n": 19}
    assert all(path.stat().st_size < 300 for path in tmp_path.iterdir())
    assert (tmp_path / "dead.jsonl").stat().st_mode & 0o777 == 0o600


def test_processes_make_a_full_file_the_older_one_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was overtaken by another does not put the new file in the place of the older one."""
    monkeypatch.setattr(_dead_letters, "MAX_BYTES", 100)
    letters, other = DeadLetters(tmp_path), DeadLetters(tmp_path)
    letters.add(f'{{"filling":"{"x" * 100}"}}', "HTTP 400")

    with monkeypatch.context() as overtaken:
        overtaken.setattr(_dead_letters, "locks", Overtaken(other, overtaken))
        letters.add('{"n":2}', "HTTP 400")

    assert [letter["event"] for letter in dead(tmp_path)] == [{"n": 1}, {"n": 2}]
    assert "filling" in (tmp_path / "dead.older.jsonl").read_text()


class Overtaken:
    """Locks of which the first is taken only after another process has made the file the older one."""

    def __init__(self, other: DeadLetters, overtaken: pytest.MonkeyPatch) -> None:
        self._other, self._overtaken = other, overtaken

    def take(self, path: Path) -> int | None:
        """Let the other process go first."""
        self._overtaken.undo()
        self._other.add('{"n":1}', "HTTP 400")
        return locks.take(path)


def test_nobody_waits_for_who_makes_a_full_file_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the full file grows a little."""
    monkeypatch.setattr(_dead_letters, "MAX_BYTES", 0)
    letters = DeadLetters(tmp_path)
    letters.add('{"n":1}', "HTTP 400")
    lock = locks.take(tmp_path / "dead.lock")
    assert lock is not None

    letters.add('{"n":2}', "HTTP 400")
    locks.release(lock)

    assert [letter["event"]["n"] for letter in dead(tmp_path)] == [1, 2]
    assert not (tmp_path / "dead.older.jsonl").exists()


def test_a_dead_letter_that_cannot_be_written_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted all the same."""
    letters = DeadLetters(tmp_path / "gone")
    letters.add('{"n":1}', "HTTP 400")

    assert letters.count == 1
    assert "no file can be written (No such file or directory)" in caplog.text


def test_a_dead_letter_that_is_cut_off_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that becomes full may take a part of a line."""
    letters = DeadLetters(tmp_path)
    letters.add('{"n":1}', "HTTP 400")
    original = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: original(descriptor, data[:9]))
        DeadLetters(tmp_path).add('{"n":2}', "HTTP 400")
    letters.add('{"n":3}', "HTTP 400")

    assert [letter["event"]["n"] for letter in dead(tmp_path)] == [1, 3]
    assert "kept in nowhere, as no file can be written (No space left on device)" in caplog.text


def test_a_cut_off_letter_takes_none_with_it_that_came_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may find room again before the part of a line is taken back: then the part stays."""
    original = os.write

    def write_a_part(descriptor: int, data: bytes) -> int:
        full.undo()
        written = original(descriptor, data[:9])
        DeadLetters(tmp_path).add('{"n":2}', "HTTP 400")
        return written

    with monkeypatch.context() as full:
        full.setattr(os, "write", write_a_part)
        DeadLetters(tmp_path).add('{"n":1}', "HTTP 400")

    kept = (tmp_path / "dead.jsonl").read_text()
    assert kept.endswith('"event":{"n":2}}\n')
    assert '{"n":1}' not in kept

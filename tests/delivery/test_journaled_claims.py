"""A metric that needs a claim never parts from it."""

import os
import signal
import threading
import time
from collections.abc import Collection
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from ldclient import Context
from ldclient.config import Config

from langchain_ldai.delivery import DurableEvents, _claims, _courier, _sender
from langchain_ldai.delivery._claims import Claimants, ClaimingCourier, ClaimKey
from langchain_ldai.delivery._event_queue import EventQueue
from langchain_ldai.delivery._journal_file import Batch, Record
from langchain_ldai.delivery._owners import Owner
from langchain_ldai.delivery._pipeline import Options
from langchain_ldai.delivery._sender import BatchOutcome
from langchain_ldai.errors import LedgerUnavailableError
from langchain_ldai.ledgers import Ledger, MemoryLedger, SqliteLedger
from langchain_ldai.ledgers._protocol import Claim
from tests.delivery.clients import arrived, make_client
from tests.delivery.journals import files_in, run_child
from tests.delivery.loopback_events import EventsServer, Reply
from tests.ledgers.fakes import Unreliable
from tests.support.cost import peak_bytes

USER = Context.create("user-1")


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a service that does not answer."""
    monkeypatch.setattr(_courier, "MAX_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr(_claims, "RETRY_SECONDS", 0.01)


class Noting(MemoryLedger):
    """Notes how it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, list[str], str]] = []

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        self.calls.append((run, list(slots), claimant))
        return super().claim(run, slots, claimant)


def make_claim(number: int, run: str = "run-1", slot: str = "success", value: object = 1) -> Claim:
    """Return a claim whose event tells its number."""
    return Claim(run, slot, USER, [("counted", {"n": number}, value)], Future())


def submit(events: DurableEvents, ledger: Ledger, *claims: Claim) -> None:
    """Submit claims to a ledger."""
    claiming = events.claims_with(ledger)
    for claim in claims:
        claiming.submit(claim)


def test_a_client_for_each_request_takes_no_memory(tmp_path: Path) -> None:
    """`ai.with_ledger(ledger)` may be called for each request: one ledger's claims are taken in one place."""
    ledger = MemoryLedger()
    first, second, other = map(DurableEvents(tmp_path).claims_with, (ledger, ledger, MemoryLedger()))

    assert first is second
    assert other is not first


def test_a_metric_whose_claim_is_granted_is_sent_once(tmp_path: Path, server: EventsServer) -> None:
    """A second one for the same slot is not, though the same process asks."""
    events, ledger = DurableEvents(tmp_path), MemoryLedger()
    claims = [make_claim(1), make_claim(2), make_claim(3, slot="tokens")]
    with make_client(server, events):
        submit(events, ledger, *claims)
        assert events.flush(10)

    assert arrived(server) == [1, 3]
    assert [claim.answer.result(10) for claim in claims if claim.answer] == [True, False, True]


def test_claims_are_made_at_once_and_events_sent_at_the_flush(tmp_path: Path, server: EventsServer) -> None:
    """Who waits for the answer does not wait for LaunchDarkly."""
    events, claim = DurableEvents(tmp_path), make_claim(1)
    with make_client(server, events):
        claiming = events.claims_with(MemoryLedger())
        claiming.submit(claim)
        assert claiming.wait(10)
        assert claim.answer.result(10)
        assert arrived(server) == []

    assert arrived(server) == [1]


def test_the_claims_of_a_run_go_to_the_ledger_together(tmp_path: Path, server: EventsServer) -> None:
    """One call for all its slots; each run by itself, and a slot that is claimed again by itself."""
    ledger = Noting()
    events = DurableEvents(tmp_path)
    was_asked, gate = threading.Event(), threading.Event()
    original = ledger.claim

    def claim_later(run: str, slots: Collection[str], claimant: str) -> set[str]:
        was_asked.set()
        assert gate.wait(60)
        return original(run, slots, claimant)

    ledger.claim = claim_later
    with make_client(server, events):
        submit(events, ledger, make_claim(1, run="first"))
        assert was_asked.wait(60)
        others = [("a", "tokens"), ("b", "tokens"), ("a", "success"), ("a", "tokens")]
        for number, (run, slot) in enumerate(others):
            submit(events, ledger, make_claim(number, run=run, slot=slot))
        gate.set()
        assert events.claims_with(ledger).wait(10)

    assert [(run, slots) for run, slots, _ in ledger.calls if run != "first"] == [
        ("a", ["tokens", "success"]),
        ("b", ["tokens"]),
        ("a", ["tokens"]),
    ]
    assert len({claimant for _, _, claimant in ledger.calls}) == 4


class Killing(SqliteLedger):
    """Kills its process before or after it has made a claim."""

    def __init__(self, path: str, moment: str) -> None:
        super().__init__(path)
        self._moment = moment

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        if self._moment == "after":
            super().claim(run, slots, claimant)
        os.kill(os.getpid(), signal.SIGKILL)
        return set()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_after_a_crash_the_claim_is_made_again_in_the_same_name(
    tmp_path: Path, server: EventsServer, moment: str
) -> None:
    """What was granted before is granted again, and sent. In another name it would be lost for good."""
    code = (
        "from types import SimpleNamespace\n"
        "from tests.delivery.test_journaled_claims import *\n"
        "url, directory, moment = sys.argv[1:]\n"
        "events = DurableEvents(directory)\n"
        "client = make_client(SimpleNamespace(url=url), events)\n"
        "submit(events, Killing(directory + '.db', moment), make_claim(1))\n"
        "signal.pause()"
    )
    run_child(code, server.url, tmp_path / "events", moment)
    (tmp_path / "events" / "claims-Killing").rename(tmp_path / "events" / "claims-SqliteLedger")
    events = DurableEvents(tmp_path / "events")
    with closing(SqliteLedger(tmp_path / "events.db")) as ledger:
        with make_client(server, events):
            events.claims_with(ledger)
        with make_client(server, events):
            submit(events, ledger, make_claim(2))

    assert arrived(server) == [1]


def test_a_crash_between_claim_and_delivery_loses_nothing(tmp_path: Path, server: EventsServer) -> None:
    """The ledger has answered, and LaunchDarkly has not."""
    code = (
        "from types import SimpleNamespace\n"
        "from tests.delivery.test_journaled_claims import *\n"
        "url, directory = sys.argv[1:]\n"
        "events = DurableEvents(directory)\n"
        "client = make_client(SimpleNamespace(url=url), events)\n"
        "claim = make_claim(1)\n"
        "submit(events, SqliteLedger(directory + '.db'), claim)\n"
        "claim.answer.result(60)\n"
        "os._exit(0)"
    )
    run_child(code, server.url, tmp_path / "events")
    assert arrived(server) == []
    events = DurableEvents(tmp_path / "events")
    with closing(SqliteLedger(tmp_path / "events.db")) as ledger, make_client(server, events):
        submit(events, ledger, make_claim(2))

    assert arrived(server) == [1]


@pytest.mark.usefixtures("impatient")
def test_a_ledger_that_is_down_keeps_metrics_waiting(
    tmp_path: Path, server: EventsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """However long that takes. They are claimed once it is back, also by the next process."""
    ledger = Unreliable()
    claims = [make_claim(1), make_claim(2, run="run-2")]
    events = DurableEvents(tmp_path)
    with make_client(server, events):
        submit(events, ledger, *claims)
        assert not events.claims_with(ledger).wait(0.05)
        assert not events.flush(0.1)
    assert arrived(server) == []
    assert "The ledger has not answered; metrics wait for it" in caplog.text

    ledger.up.set()
    next_events = DurableEvents(tmp_path)
    with make_client(server, next_events):
        submit(next_events, ledger, make_claim(3, run="run-3"))
        assert next_events.flush(10)

    assert arrived(server) == [1, 2, 3]


def test_a_ledger_that_comes_back_is_asked_again(tmp_path: Path, server: EventsServer) -> None:
    """In the same process, and in order."""
    ledger = Unreliable()
    events = DurableEvents(tmp_path)
    claims = [make_claim(1), make_claim(2, run="run-2")]
    with make_client(server, events):
        claiming = events.claims_with(ledger)
        for claim in claims:
            claiming.submit(claim)
        assert not claiming.wait(0.05)
        ledger.up.set()
        assert claiming.wait(10)
        assert events.flush(10)

    assert arrived(server) == [1, 2]


def test_a_batch_that_is_refused_is_searched_for_the_bad_metric(tmp_path: Path, server: EventsServer) -> None:
    """Those whose claim was not granted are passed over."""
    server.refuse = lambda event: event.get("data") == {"n": 3}
    events, ledger = DurableEvents(tmp_path), MemoryLedger()
    claims = [make_claim(number, run=f"run-{number // 2}") for number in range(10)]
    with make_client(server, events):
        submit(events, ledger, *claims)
        submit(events, ledger, make_claim(3, run="run-9"))
        assert events.flush(10)

    assert arrived(server) == [0, 2, 4, 6, 8]
    assert events.stats().dead == 1


@pytest.mark.usefixtures("impatient")
def test_the_rest_of_a_metric_that_is_claimed_already_needs_no_claim(tmp_path: Path, server: EventsServer) -> None:
    """Time is up while its events are sent one by one: those that are left go on without it."""
    numbers = [("counted", {"n": n}, 1) for n in range(2)]
    server.status_of = lambda seen: {(0, 1): 400, (1,): 503}.get(tuple(seen), 0)
    events = DurableEvents(tmp_path)
    with make_client(server, events):
        submit(events, MemoryLedger(), Claim("run-1", "tokens", USER, numbers))
    assert arrived(server) == [0]
    server.status_of = lambda seen: 0
    with make_client(server, DurableEvents(tmp_path)):
        pass

    assert arrived(server) == [0, 1]


def make_queue(server: EventsServer, directory: Path) -> EventQueue:
    """Return what keeps and sends the events of a client."""
    config = Config("sdk-key", events_uri=server.url, flush_interval=1000)
    return EventQueue(config, Options(directory, max_bytes=1 << 20, sync=None, send=True))


def test_ledgers_do_not_add_to_the_time_that_a_close_takes(
    tmp_path: Path, server: EventsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is accepted, all that waits has one time together."""
    passed, clock = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + sum(passed))
    monkeypatch.setattr(_sender, "CLOSE_SECONDS", 200.0)
    server.status_of = lambda numbers: passed.append(10.0) or 503
    queue = make_queue(server, tmp_path)
    queue.append_all(USER, [("counted", {}, 1)])
    for number in range(3):
        queue.append_claim(make_claim(number, run=f"run-{number}"), MemoryLedger())
    began = time.monotonic()

    assert not queue.stop()
    assert time.monotonic() - began < 400


def test_a_slow_service_that_accepts_everything_gets_all_at_a_close(
    tmp_path: Path, server: EventsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time counts from the last batch that was accepted, also for metrics that need a claim."""
    passed, join = [0.0], threading.Thread.join
    monkeypatch.setattr(time, "monotonic", lambda: sum(passed))
    monkeypatch.setattr(_sender, "CLOSE_SECONDS", 1.0)
    monkeypatch.setattr(_sender, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(_sender, "MAX_BATCH_BYTES", 1)
    server.status_of = lambda numbers: passed.append(0.3) or 0
    queue = make_queue(server, tmp_path)
    for number in range(4):
        queue.append_all(USER, [("counted", {"n": number}, 1)])
    queue.append_claim(make_claim(4), MemoryLedger())

    with monkeypatch.context() as patch:  # so that `stop` looks often at a clock that the service alone moves
        patch.setattr(threading.Thread, "join", lambda thread, seconds: join(thread, min(seconds, 0.001)))
        assert queue.stop()

    assert arrived(server) == [0, 1, 2, 3, 4]


def test_a_metric_that_is_not_json_is_not_claimed(tmp_path: Path, server: EventsServer) -> None:
    """It is refused, and whoever waits for an answer hears that it was dropped."""
    events, ledger, claim = DurableEvents(tmp_path), Noting(), make_claim(1, value=float("nan"))
    with make_client(server, events):
        submit(events, ledger, claim)

    assert isinstance(claim.answer.exception(60), LedgerUnavailableError)
    assert ledger.calls == []
    assert events.stats().dead == 1


@pytest.mark.usefixtures("impatient")
def test_a_metric_without_room_is_not_claimed(tmp_path: Path, server: EventsServer) -> None:
    """It would be claimed and lost."""
    ledger, server.always = Noting(), Reply(503)
    events = DurableEvents(tmp_path, max_bytes=64 << 10)
    claims = [Claim(f"run-{n}", "success", USER, [("a", {"filling": "x" * 1000}, 1)], Future()) for n in range(90)]
    with make_client(server, events):
        submit(events, ledger, *claims)
        stats = events.stats()
        assert events.claims_with(ledger).wait(60)

    assert stats.dropped > 0
    assert len({run for run, _, _ in ledger.calls}) == 90 - stats.dropped  # one may be asked for twice
    assert isinstance(claims[-1].answer.exception(60), LedgerUnavailableError)


class Taking:
    """A courier that notes the bodies it is given."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def deliver(self, batch: Batch) -> BatchOutcome:
        """Take them."""
        self.taken += [record.body for record in batch.records]
        return BatchOutcome.SETTLED


def test_of_many_claims_only_those_are_made_early_that_somebody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a ledger is down for long, the others wait in the journal alone; they are made at the delivery."""
    monkeypatch.setattr(_claims, "MAX_EXPECTED", 1)
    ledger, courier, answer = Noting(), Taking(), Future()
    claiming = ClaimingCourier(ledger, courier, sender=None)
    keys = [ClaimKey(f"run-{n}", "success", "me") for n in range(4)]
    for key, waiting in zip(keys, [None, None, None, answer], strict=True):
        claiming.expect(key, waiting)

    claiming.keep_up()
    early = [run for run, _, _ in ledger.calls]
    bodies = [b"0", b"1", b"2", b"3"]
    records = [Record(_claims._as_body(key, body), 1, 0) for key, body in zip(keys, bodies, strict=True)]
    claiming.deliver(Batch(UUID(int=1), records, 0))

    assert answer.result(0)
    assert early == ["run-0", "run-3"]
    assert [run for run, _, _ in ledger.calls] == ["run-0", "run-3", "run-1", "run-2"]
    assert courier.taken == bodies
    assert claiming.wait(0)


def test_a_claim_that_waits_is_small() -> None:
    """Its events are in the journal, and not in memory, too."""
    claiming = ClaimingCourier(Unreliable(), Taking(), sender=None)

    def expect(count: int) -> None:
        for n in range(count):
            claiming.expect(ClaimKey(f"{n:036}/support-bot", "success", "me"), None)

    assert peak_bytes(lambda: expect(1_000)) / 1_000 < 400


def test_a_caller_who_gave_up_waiting_harms_nobody(tmp_path: Path, server: EventsServer) -> None:
    """Its answer cannot be passed on, and the others can."""
    events, given_up, waiting = DurableEvents(tmp_path), make_claim(1), make_claim(2, run="run-2")
    given_up.answer.cancel()
    with make_client(server, events):
        submit(events, MemoryLedger(), given_up, waiting)
        assert waiting.answer.result(10)


def test_a_client_that_sends_no_events_claims_nothing(tmp_path: Path, server: EventsServer) -> None:
    """Whoever waits for an answer hears so at once, and not that the metric was recorded before."""
    events, ledger, claim = DurableEvents(tmp_path), Noting(), make_claim(1)
    claiming = events.claims_with(ledger)
    with make_client(server, events, offline=True):
        claiming.submit(claim)
        assert claiming.wait()

    assert isinstance(claim.answer.exception(60), LedgerUnavailableError)
    assert claiming.ledger is ledger
    assert ledger.calls == []


def test_each_kind_of_ledger_has_files_of_its_own(tmp_path: Path, server: EventsServer) -> None:
    """They are made with the client, so that no caller waits for them."""
    events = DurableEvents(tmp_path)
    events.claims_with(MemoryLedger())
    with make_client(server, events):
        events.claims_with(Noting())
        assert files_in(tmp_path / "claims-MemoryLedger", ".events")
        assert files_in(tmp_path / "claims-Noting", ".events")


def test_a_fork_leaves_no_lock_behind_for_claims(
    tmp_path: Path, server: EventsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread of the parent was just making the files of its claims."""
    queue = make_queue(server, tmp_path)
    has_begun, is_over = threading.Event(), threading.Event()
    create = Owner.create

    def wait(directory: Path, key_hash: str) -> Owner:
        has_begun.set()
        assert is_over.wait(20)
        return create(directory, key_hash)

    with monkeypatch.context() as patch:
        patch.setattr(Owner, "create", wait)
        maker = threading.Thread(target=queue.claims_in, args=[MemoryLedger()])
        maker.start()
        assert has_begun.wait(10)
    queue.reset_after_fork()
    in_child = threading.Thread(target=queue.claims_in, args=[MemoryLedger()])
    in_child.start()
    in_child.join(10)
    is_held_up = in_child.is_alive()
    is_over.set()
    for thread in (maker, in_child):
        thread.join(10)
    queue.stop()

    assert not is_held_up


def test_what_is_remembered_has_a_limit(
    tmp_path: Path, server: EventsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger is asked again for answers that were forgotten, and gives them again."""
    monkeypatch.setattr(_claims, "MAX_REMEMBERED", 2)
    ledger, events = Noting(), DurableEvents(tmp_path)
    with make_client(server, events):
        claiming = events.claims_with(ledger)
        for number in range(5):
            claiming.submit(make_claim(number, run=f"run-{number}"))
        assert claiming.wait(10)
        assert events.flush(10)

    assert arrived(server) == [0, 1, 2, 3, 4]
    assert len(ledger.calls) == 8


def test_the_answer_for_a_metric_that_was_delivered_is_forgotten() -> None:
    """It would take the place of one that is needed; nobody asks for it again but a batch that comes once more."""
    ledger = Noting()
    claiming = ClaimingCourier(ledger, Taking(), sender=None)
    key = ClaimKey("run-1", "success", "me")
    claiming.expect(key, None)
    claiming.keep_up()
    batch = Batch(UUID(int=1), [Record(_claims._as_body(key, b"1"), 1, 0)], 0)

    assert [claiming.deliver(batch), claiming.deliver(batch)] == [BatchOutcome.SETTLED] * 2
    assert ledger.calls == [("run-1", ["success"], "me")] * 2


def test_the_names_of_old_runs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run has one name while it is remembered, and another for a slot that it claims again."""
    monkeypatch.setattr(_claims, "MAX_RUNS", 2)
    names = Claimants()
    first = [names.name_for("a", slot) for slot in ("success", "tokens", "success")]
    names.name_for("b", "success")
    names.name_for("c", "success")

    assert first[0] == first[1] != first[2]
    assert names.name_for("a", "duration") not in first


@pytest.mark.parametrize("timeout", [10, None])
def test_a_flush_sends_what_was_claimed(tmp_path: Path, server: EventsServer, timeout: float | None) -> None:
    """With the client's other events."""
    events = DurableEvents(tmp_path)
    with make_client(server, events) as client:
        client.track("counted", USER, {"n": 0}, 1)
        submit(events, MemoryLedger(), make_claim(1))
        assert events.flush(timeout)
        assert sorted(arrived(server)) == [0, 1]
        assert events.stats().delivered == 3
        client.flush()

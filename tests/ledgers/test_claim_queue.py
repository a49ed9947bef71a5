"""What the queue of claims survives: a ledger that fails for one run, raises anything, or never answers."""

import asyncio
import time
from collections.abc import Callable, Collection
from types import SimpleNamespace

import pytest
from ldclient import Context

from langchain_ldai import Feedback, LdAiClient
from langchain_ldai.errors import LedgerUnavailableError
from langchain_ldai.ledgers import MemoryLedger, _given_up
from langchain_ldai.ledgers import _claim_queue as claim_queue
from langchain_ldai.testing import RecordingClient
from tests.ledgers.fakes import Hangs, Unreliable
from tests.support.chains import DURATION, POSITIVE, SUCCESS
from tests.support.threads import join_threads


class FailsForSome(MemoryLedger):
    """Raises for the runs whose id begins with "bad-"; no UUID does. `calls` are what it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        self.calls.append(run)
        if run.startswith("bad-"):
            raise ValueError(run)
        return super().claim(run, slots, claimant)


@pytest.fixture
def go_forward(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Give what lets so many seconds pass for the queue of claims."""
    passed: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(passed), sleep=time.sleep)
    for module in (claim_queue, _given_up):
        monkeypatch.setattr(module, "time", clock)
    return passed.append


@pytest.mark.parametrize("bad", [1, 5])
def test_a_run_that_cannot_be_claimed_holds_no_other_up(
    bad: int, client: RecordingClient, context: Context, go_forward: Callable[[float], None]
) -> None:
    """The others are claimed while the bad ones wait for their next attempt; the bad ones are given up alone."""
    ai = LdAiClient(client, ledger=FailsForSome(), ledger_timeout=3600.0)
    config = ai.completion_config("support-bot", context)
    bad_ones = [config.create_tracker(run_id=f"bad-{number}").record_feedback("positive") for number in range(bad)]

    good = [config.create_tracker().record_feedback("positive") for _ in range(50)]

    assert [recorded.result(30) for recorded in good] == [True] * 50
    assert not any(recorded.done() for recorded in bad_ones)
    go_forward(3600.0)
    assert ai.close(30)
    assert all(isinstance(recorded.exception(), LedgerUnavailableError) for recorded in bad_ones)


class RaisesOnce(MemoryLedger):
    """Raises at the first call."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error: BaseException | None = error

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        error, self.error = self.error, None
        if error is not None:
            raise error
        return super().claim(run, slots, claimant)


class Stop(BaseException):
    """A host's own signal, such as the time-out of an event library."""


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(), Stop()], ids=repr)
def test_whatever_a_ledger_raises_the_claim_is_made_again(
    error: BaseException, client: RecordingClient, context: Context
) -> None:
    """Also what is no `Exception` costs neither the thread nor the claim."""
    ai = LdAiClient(client, ledger=RaisesOnce(error))
    tracker = ai.completion_config("support-bot", context).create_tracker()

    tracker.track_success()

    assert ai.close(10)
    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}


def test_a_call_that_never_returns_is_left_behind(
    client: RecordingClient,
    context: Context,
    hangs: Callable[[int], Hangs],
    go_forward: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its metric is given up after `ledger_timeout`, told once, and a new thread claims the others."""
    ledger = hangs(1)
    ai = LdAiClient(client, ledger=ledger, ledger_timeout=3600.0)
    config = ai.completion_config("support-bot", context)
    left = config.create_tracker().record_feedback(Feedback.POSITIVE)
    assert ledger.was_asked.wait(60)
    other = config.create_tracker()
    other.track_success()

    go_forward(3600.0)

    assert ai.close(60)
    assert isinstance(left.exception(0), LedgerUnavailableError)
    assert client.metrics(other.run_id) == {SUCCESS: [1]}
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "1 metric dropped: the ledger did not answer in time" in caplog.text


def test_one_thread_is_left_behind_and_no_second(
    client: RecordingClient, context: Context, hangs: Callable[[int], Hangs], go_forward: Callable[[float], None]
) -> None:
    """Where the new thread hangs as well, claims are given up at once, until a call returns."""
    ledger = hangs(2)
    ai = LdAiClient(client, ledger=ledger, ledger_timeout=3600.0)
    config = ai.completion_config("support-bot", context)
    for seconds in (3600.0, 3600.0, 0.0, 0.0):
        recorded = config.create_tracker().record_feedback(Feedback.POSITIVE)
        assert not seconds or ledger.was_asked.wait(60)
        ledger.was_asked.clear()
        go_forward(seconds)
        with pytest.raises(LedgerUnavailableError):
            recorded.result(60)
    assert len(ledger.threads) == 2

    ledger.let_go.set()
    for thread in ledger.threads:
        thread.join(60)
    tracker = config.create_tracker()
    tracker.track_success()

    assert ai.close(60)
    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}


def test_a_ledger_that_hangs_costs_another_ledger_nothing(
    client: RecordingClient, context: Context, hangs: Callable[[int], Hangs]
) -> None:
    """How many threads are left behind is counted for each ledger."""
    hanging = LdAiClient(client, ledger=hangs(2), ledger_timeout=0.2)
    for _ in range(2):
        hanging.completion_config("support-bot", context).create_tracker().track_success()
        assert hanging.close(10)
    ai = LdAiClient(client, ledger=MemoryLedger())
    tracker = ai.completion_config("support-bot", context).create_tracker()

    tracker.track_success()

    assert ai.close(10)
    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}


def test_a_client_that_waits_for_less_long_gives_up_its_own_claims_alone(
    client: RecordingClient, context: Context
) -> None:
    """As a feedback route does: the run's own metrics wait for as long as their client says."""
    ledger = Unreliable()
    ai = LdAiClient(client, ledger=ledger)
    tracker = ai.completion_config("support-bot", context).create_tracker()
    impatient = ai.with_ledger(ledger, timeout=0.2).create_tracker(tracker.resumption_token, context)
    tracker.track_duration(5)
    tracker.track_success()

    recorded = impatient.record_feedback(Feedback.POSITIVE)

    assert isinstance(recorded.exception(10), LedgerUnavailableError)
    ledger.up.set()
    assert ai.close(10)
    assert client.metrics(tracker.run_id) == {DURATION: [5], SUCCESS: [1]}


@pytest.mark.usefixtures("answered")
@pytest.mark.parametrize("answer", ["success", b"success", {"another"}, None, 5], ids=repr)
def test_a_ledger_that_answers_nonsense_is_told(
    answer: object, client: RecordingClient, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is granted by it, and the metrics that this costs are not lost in silence."""

    class Wrong:
        def claim(self, run: str, slots: Collection[str], claimant: str) -> object:
            return answer

    ai = LdAiClient(client, ledger=Wrong(), ledger_timeout=1e-9)
    tracker = ai.completion_config("support-bot", context).create_tracker()

    tracker.track_success()

    assert ai.close(10)
    assert client.metrics(tracker.run_id) == {}
    assert "1 metric dropped: the ledger failed: " in caplog.text


def test_a_ledger_may_name_slots_that_it_granted_before(client: RecordingClient, context: Context) -> None:
    """Only those that were asked for are sent."""

    class Generous:
        def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
            return {*slots, "another"}

    ai = LdAiClient(client, ledger=Generous())
    tracker = ai.completion_config("support-bot", context).create_tracker()

    tracker.track_success()

    assert ai.close(10)
    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}


def test_what_a_call_that_was_left_behind_returns_is_ignored(
    client: RecordingClient, context: Context, hangs: Callable[[int], Hangs]
) -> None:
    """Its metric was told to be dropped, and stays so."""
    ledger = hangs(1)
    ai = LdAiClient(client, ledger=ledger, ledger_timeout=0.2)
    tracker = ai.completion_config("support-bot", context).create_tracker()
    tracker.track_success()
    assert ai.close(10)

    ledger.let_go.set()
    ledger.threads[0].join(10)

    assert client.metrics(tracker.run_id) == {}


class NotesOverlap(MemoryLedger):
    """Notes how many calls there are at once."""

    inside = most = 0

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        time.sleep(0.01)
        self.inside -= 1
        return super().claim(run, slots, claimant)


def test_clients_over_one_ledger_call_it_one_at_a_time(client: RecordingClient, context: Context) -> None:
    """They share its queue, whatever their options; closing one waits for its copies too."""
    ledger = NotesOverlap()
    ai = LdAiClient(client, ledger=ledger)
    copy, other = ai.with_ledger(ledger, timeout=10.0), LdAiClient(client, ledger=ledger, on_ledger_error="send")

    trackers = [each.completion_config("support-bot", context).create_tracker() for each in (ai, copy, other) * 10]
    for tracker in trackers:
        tracker.track_success()

    assert ai.close(30)
    assert [client.metrics(tracker.run_id) for tracker in trackers] == [{SUCCESS: [1]}] * 30
    assert ledger.most == 1


def test_closing_a_client_waits_for_a_copy_over_another_ledger(client: RecordingClient, context: Context) -> None:
    """A feedback route has a ledger of its own, whose claims are the client's, also once the route is gone."""
    ai = LdAiClient(client)
    run = ai.completion_config("support-bot", context).create_tracker()
    ledger = NotesOverlap()

    recorded = ai.with_ledger(ledger).create_tracker(run.resumption_token, context).record_feedback("positive")

    assert ai.close(10)
    assert recorded.done()
    assert client.metrics(run.run_id) == {POSITIVE: [1]}


def test_what_was_sent_without_a_claim_is_not_sent_again(client: RecordingClient, context: Context) -> None:
    """`on_ledger_error="send"` sends a slot once a process, also after the ledger is up again."""
    ledger = Unreliable()
    ai = LdAiClient(client, ledger=ledger, on_ledger_error="send", ledger_timeout=0.1)
    tracker = ai.completion_config("support-bot", context).create_tracker()
    resumed = [ai.create_tracker(tracker.resumption_token, context) for _ in range(3)]

    answers = [each.record_feedback(Feedback.POSITIVE) for each in resumed]
    assert ai.close(10)
    ledger.up.set()
    late = tracker.record_feedback(Feedback.NEGATIVE)
    tracker.track_success()

    assert ai.close(10)
    assert sorted(answer.result(0) for answer in answers) == [False, False, True]
    assert late.result(0) is False
    assert client.metrics(tracker.run_id) == {POSITIVE: [1], SUCCESS: [1]}


def test_slots_that_were_sent_without_a_claim_are_remembered_in_bounds(
    client: RecordingClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slots that were sent first are forgotten first."""
    monkeypatch.setattr(_given_up, "MAX_SENT_UNCLAIMED", 2)
    ai = LdAiClient(client, ledger=Unreliable(), on_ledger_error="send", ledger_timeout=1e-9)
    first = ai.completion_config("support-bot", context).create_tracker()
    for tracker in (first, *(ai.completion_config("support-bot", context).create_tracker() for _ in range(3))):
        tracker.track_success()
        assert ai.close(10)

    ai.create_tracker(first.resumption_token, context).track_success()
    ai.create_tracker(tracker.resumption_token, context).track_success()

    assert ai.close(10)
    assert client.metrics(first.run_id) == {SUCCESS: [1, 1]}
    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}


def test_claims_that_are_given_up_are_told_once_a_minute(
    client: RecordingClient,
    context: Context,
    go_forward: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log names the first at once, and counts the others with the first after a minute."""
    ai = LdAiClient(client, ledger=Unreliable(), ledger_timeout=1e-9)
    config = ai.completion_config("support-bot", context)

    for seconds in (0.0, 0.0, 0.0, 60.0):
        go_forward(seconds)
        recorded = config.create_tracker().record_feedback(Feedback.POSITIVE)
        assert isinstance(recorded.exception(10), LedgerUnavailableError)
        join_threads("claims", "ledger")

    told = [message.partition(":")[0] for message in caplog.messages]
    assert told == ["1 metric dropped", "3 metrics dropped"]


def test_too_many_claims_for_a_queue_are_given_up_where_they_are_made(
    client: RecordingClient, context: Context, hangs: Callable[[int], Hangs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the ledger does not answer, no more claims wait than the queue holds."""
    monkeypatch.setattr(claim_queue, "MAX_PENDING_RUNS", 2)
    ledger = hangs(1)
    ai = LdAiClient(client, ledger=ledger)
    config = ai.completion_config("support-bot", context)
    config.create_tracker().track_success()
    assert ledger.was_asked.wait(10)

    recorded = [config.create_tracker().record_feedback(Feedback.POSITIVE) for _ in range(12)]

    assert [each.done() for each in recorded] == [False] * 10 + [True] * 2
    ledger.let_go.set()
    assert ai.close(10)


@pytest.mark.usefixtures("answered")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError(), "cannot be reached"),
        (TimeoutError(), "cannot be reached"),
        (type("OutOfMemoryError", (Exception,), {})(), "is full"),
        (type("ReadOnlyError", (Exception,), {})(), "takes no writes"),
        (ValueError("with a secret"), "failed: ValueError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_give_up_says_what_is_wrong_with_the_ledger(
    error: Exception, said: str, client: RecordingClient, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """Locked, full, read-only or out of reach; never what the error itself says."""

    class Raises(MemoryLedger):
        def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
            raise error

    ai = LdAiClient(client, ledger=Raises(), ledger_timeout=1e-9)
    ai.completion_config("support-bot", context).create_tracker().track_duration(3)

    assert ai.close(10)
    assert f"1 metric dropped: the ledger {said}" in caplog.text
    assert "secret" not in caplog.text
    assert DURATION not in [event.name for event in client.events]

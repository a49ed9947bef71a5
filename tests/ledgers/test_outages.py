"""What a client does while its ledger, or its LaunchDarkly client, fails, and when the process ends."""

import threading
import time
from pathlib import Path

import pytest
from ldclient import Context

from langchain_ldai import Feedback, LdAiClient
from langchain_ldai.errors import LedgerUnavailableError
from langchain_ldai.ledgers import MemoryLedger, SqliteLedger
from langchain_ldai.ledgers import _claim_queue as claim_queue
from langchain_ldai.ledgers import _protocol as claims
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG
from tests.ledgers.fakes import LosesItsAnswer, Unreliable
from tests.support.chains import DURATION, SUCCESS
from tests.support.programs import run_program
from tests.support.threads import start_no_thread


def test_claims_wait_while_the_ledger_is_down(
    client: RecordingClient, context: Context, unreliable: Unreliable, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent and nothing is lost meanwhile; the same claim, by the same claimant, is made again."""
    ai = LdAiClient(client, ledger=unreliable)
    tracker = ai.completion_config("support-bot", context).create_tracker()

    tracker.track_success()
    assert unreliable.was_asked.wait(10)
    assert client.metrics(tracker.run_id) == {}
    unreliable.up.set()

    assert ai.close()
    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}
    assert len(unreliable.calls) > 1
    assert len(set(unreliable.calls)) == 1
    assert caplog.records == []


def test_a_claim_whose_answer_was_lost_is_still_granted(client: RecordingClient, context: Context) -> None:
    """Where the ledger made the claim but its answer did not arrive, the metric is not lost."""
    ai = LdAiClient(client, ledger=LosesItsAnswer())
    tracker = ai.completion_config("support-bot", context).create_tracker()

    tracker.track_success()

    assert ai.close()
    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}


def test_the_log_says_that_a_ledger_was_closed_too_early(
    client: RecordingClient, context: Context, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is recorded after that cannot be claimed; the order is the program's to mend."""
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ai = LdAiClient(client, ledger=ledger, ledger_timeout=0.01)
    ledger.close()

    ai.completion_config("support-bot", context).create_tracker().track_success()

    assert ai.close()
    assert "1 metric dropped: the ledger was closed before: close it after ai.close()" in caplog.text


@pytest.mark.parametrize(("on_error", "sent"), [("drop", {}), ("send", {SUCCESS: [1], DURATION: [5]})])
def test_a_ledger_that_stays_down(
    on_error: claims.OnLedgerError,
    sent: dict[str, list[float]],
    client: RecordingClient,
    context: Context,
    unreliable: Unreliable,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After its time a claim is given up with one error that names the run: dropped, or sent as one chose."""
    ai = LdAiClient(client, ledger=unreliable, on_ledger_error=on_error, ledger_timeout=1e-9)
    tracker = ai.completion_config("support-bot", context).create_tracker()

    tracker.track_success()
    assert ai.close()
    tracker.track_duration(5)
    assert ai.close()

    assert client.metrics(tracker.run_id) == sent
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert all(tracker.run_id in message and "quotes" not in message for message in caplog.messages)


def test_feedback_tells_that_it_was_dropped(
    client: RecordingClient, context: Context, unreliable: Unreliable
) -> None:
    """Who has to answer for feedback learns that the ledger was not there."""
    ai = LdAiClient(client, ledger=unreliable, ledger_timeout=1e-9)
    recorded = ai.completion_config("support-bot", context).create_tracker().record_feedback(Feedback.POSITIVE)

    with pytest.raises(LedgerUnavailableError, match="feedback could not be claimed"):
        recorded.result(10)


def test_claims_that_wait_are_bounded(
    client: RecordingClient,
    context: Context,
    unreliable: Unreliable,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Claims of so many runs wait for a ledger that is down; those of later runs are given up, told once."""
    monkeypatch.setattr(claim_queue, "MAX_PENDING_RUNS", 10)
    ai = LdAiClient(client, ledger=unreliable)
    config = ai.completion_config("support-bot", context)
    trackers = [config.create_tracker() for _ in range(100)]

    for tracker in trackers:
        tracker.track_success()
    while not caplog.records:
        time.sleep(0.01)
    unreliable.up.set()
    assert ai.close()

    sent = [client.metrics(tracker.run_id) for tracker in trackers]
    assert sent[:5] == [{SUCCESS: [1]}] * 5
    assert 10 <= sum(map(bool, sent)) <= 60
    assert all("too many claims wait" in message for message in caplog.messages)
    assert len(caplog.records) <= 2  # the first at once, the others when the client is closed


class Raises(RecordingClient):
    """A client whose delivery fails for one event."""

    def track(self, event_name, context, data=None, metric_value=None) -> None:
        """Fail for durations."""
        if event_name == DURATION:
            raise RuntimeError
        super().track(event_name, context, data, metric_value)


def test_a_delivery_that_fails_keeps_no_other_back(context: Context, caplog: pytest.LogCaptureFixture) -> None:
    """What the LaunchDarkly client raises is logged once, and the thread goes on."""
    client = Raises({"support-bot": FLAG})
    ai = LdAiClient(client, ledger=MemoryLedger())
    tracker = ai.completion_config("support-bot", context).create_tracker()

    tracker.track_duration(5)
    tracker.track_success()

    assert ai.close()
    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}
    assert [record.name for record in caplog.records] == ["langchain_ldai._base.guard"]


AT_EXIT = """
import atexit, sys, threading
from ldclient import Context
from langchain_ldai import LdAiClient
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.testing import RecordingClient

class Down(MemoryLedger):
    up, failed = threading.Event(), threading.Event()
    def claim(self, run, slots, claimant):
        if not self.up.is_set():
            self.failed.set()
            raise ConnectionError
        return super().claim(run, slots, claimant)

def come_up():
    threading.main_thread().join()
    ledger.up.set()

ledger, client = Down(), RecordingClient({"support-bot": {"_ldMeta": {"enabled": True}}})
ai = LdAiClient(client, ledger=ledger)
atexit.register(lambda: print(*sorted(client.metrics(tracker.run_id))))
user = Context.create("user-1")
tracker = ai.completion_config("support-bot", user).create_tracker()
if sys.argv[1] == "at-exit":
    ledger.up.set()
    atexit.register(tracker.track_success)
else:
    tracker.track_success()
    ledger.failed.wait()
    threading.Thread(target=come_up, daemon=True).start() if sys.argv[1] == "before" else None
"""


@pytest.mark.parametrize(
    ("when", "seconds", "sent", "said"),
    [
        ("before", 60, SUCCESS, ""),
        ("at-exit", 60, SUCCESS, ""),
        ("never-up", 0.2, "", "1 metric dropped: the ledger cannot be reached: ConnectionError at"),
    ],
)
def test_a_process_that_ends_loses_no_claim(when: str, seconds: float, sent: str, said: str) -> None:
    """Python waits for claims under way and for those made at exit, and not for ever where none is granted."""
    program = f"from langchain_ldai.ledgers import _claim_queue; _claim_queue.EXIT_SECONDS = {seconds}\n{AT_EXIT}"

    ended = run_program(program, when)

    assert ended.returncode == 0
    assert ended.stdout.strip() == sent
    assert said in ended.stderr
    assert bool(ended.stderr) == bool(said)


def test_the_end_of_a_process_is_held_up_once_for_all_runs() -> None:
    """A ledger that is down costs the seconds that one run would have, however many wait."""
    program = f"from langchain_ldai.ledgers import _claim_queue; _claim_queue.EXIT_SECONDS = 0.5\n{AT_EXIT}"
    more = "for _ in range(100):\n    ai.completion_config('bot', user).create_tracker().track_success()"

    ended = run_program(f"{program}\n{more}", "never-up")

    assert ended.returncode == 0
    assert ended.stderr.count("dropped:") == 1
    assert "101 metrics dropped: the ledger cannot be reached" in ended.stderr


def test_a_ledger_that_is_down_is_asked_about_few_runs(
    client: RecordingClient, context: Context, unreliable: Unreliable
) -> None:
    """A claim's time runs from when it was made; most runs are given up without an attempt of their own."""
    ai = LdAiClient(client, ledger=unreliable, ledger_timeout=0.5)
    config = ai.completion_config("support-bot", context)
    recorded = [config.create_tracker().record_feedback(Feedback.POSITIVE) for _ in range(50)]

    assert ai.close()

    assert all(isinstance(each.exception(0), LedgerUnavailableError) for each in recorded)
    assert len({run for run, _, _ in unreliable.calls}) < 25


def test_closing_waits_no_longer_than_it_is_told(
    client: RecordingClient, context: Context, unreliable: Unreliable
) -> None:
    """It says that claims are left, and waits for them when it is called again."""
    ai = LdAiClient(client, ledger=unreliable)
    tracker = ai.completion_config("support-bot", context).create_tracker()
    tracker.track_success()

    assert not ai.close(timeout=0.01)
    unreliable.up.set()

    assert ai.close()
    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}


def test_where_no_thread_can_be_started_claims_wait_for_the_next(
    client: RecordingClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is raised into the chain and nothing is lost: whoever comes or closes next tries again."""
    ai = LdAiClient(client, ledger=MemoryLedger())
    tracker = ai.completion_config("support-bot", context).create_tracker()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start_no_thread)
        tracker.track_success()
        assert not ai.close()

    assert ai.close()
    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}

"""What a process does as it ends, when it can start no thread any more: at once what else would wait."""

import threading

import pytest
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler, Outcome, RunReport
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.ledgers import _claim_queue as claim_queue
from langchain_ldai.testing import RecordingClient
from tests.ledgers.fakes import Unreliable
from tests.support.chains import SUCCESS
from tests.support.events import start_call, start_chain


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process end: its main thread has, and no other is left."""
    over = threading.Thread()
    monkeypatch.setattr(threading, "main_thread", lambda: over)
    monkeypatch.setattr(threading, "enumerate", lambda: [over])


def test_a_run_that_ends_with_the_process_waits_for_nothing(
    handler: LdAiHandler, reports: list[RunReport], ending: None
) -> None:
    """Nobody could close it later, so it is closed with what is known."""
    root = start_chain(handler)
    start_call(handler, root)
    handler.on_chain_end({}, run_id=root)

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


def test_a_ledger_that_is_down_at_the_end_is_given_up(
    client: RecordingClient,
    context: Context,
    ending: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A process that ends is held up for so many seconds, and not for `ledger_timeout`."""
    monkeypatch.setattr(claim_queue, "EXIT_SECONDS", 0.0)
    ai = LdAiClient(client, ledger=Unreliable())

    ai.completion_config("support-bot", context).create_tracker().track_success()

    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_where_python_starts_no_thread_any_more_claims_are_made_at_once(
    client: RecordingClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python 3.12 does once the main thread has ended, whatever other threads there are."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    over = threading.Thread()
    monkeypatch.setattr(threading, "main_thread", lambda: over)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    ai = LdAiClient(client, ledger=MemoryLedger())
    tracker = ai.completion_config("support-bot", context).create_tracker()

    tracker.track_success()

    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}

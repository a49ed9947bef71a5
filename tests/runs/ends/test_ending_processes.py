"""What a process does as it ends, when it can start no thread any more: at once what else would wait."""

import threading

import pytest

from langchain_ldai import LdAiHandler, Outcome, RunReport
from tests.support.events import start_call, start_chain


def test_a_run_that_ends_with_the_process_waits_for_nothing(
    handler: LdAiHandler, reports: list[RunReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once every thread that keeps the process has ended nobody could close it later: so it is closed at once."""
    over = threading.Thread()
    monkeypatch.setattr(threading, "main_thread", lambda: over)
    monkeypatch.setattr(threading, "enumerate", lambda: [over])
    root = start_chain(handler)
    start_call(handler, root)
    handler.on_chain_end({}, run_id=root)

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]

"""The timer calls each function in time, on one thread."""

import queue
import threading

import pytest

from langchain_ldai._base import timer as timers


def test_each_is_called_when_its_time_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread calls what is due and waits for the rest; what is cancelled meanwhile is not called."""
    clock = [0.0]
    monkeypatch.setattr(timers, "monotonic", lambda: clock[0])
    timer, called = timers.SharedTimer(), queue.SimpleQueue[tuple[str, str]]()

    def note(name: str) -> None:
        called.put((name, threading.current_thread().name))

    def cancelled() -> None:
        note("cancelled")

    assert timer.schedule(0.0, lambda: note("early"))
    assert timer.schedule(0.01, cancelled)
    assert timer.schedule(0.02, lambda: note("late"))
    early = called.get(timeout=20)
    timer.cancel(cancelled)
    clock[0] = 1.0

    assert [early, called.get(timeout=20)] == [("early", "langchain_ldai-wait"), ("late", "langchain_ldai-wait")]
    assert called.empty()


def test_what_no_thread_could_be_started_for_is_never_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller was told, and does without; a later thread calls what that was started for."""
    timer, called = timers.SharedTimer(), queue.SimpleQueue[str]()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda thread: (_ for _ in ()).throw(RuntimeError))
        assert not timer.schedule(0.0, lambda: called.put("refused"))

    assert timer.schedule(0.0, lambda: called.put("taken"))

    assert called.get(timeout=20) == "taken"
    assert called.empty()

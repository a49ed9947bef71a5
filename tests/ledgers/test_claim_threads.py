"""How the queue of claims starts its threads, wakes the one that waits, and lets them end."""

import sys
import threading
import time
from collections.abc import Callable, Collection
from queue import SimpleQueue
from types import FrameType, SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import pytest
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler
from langchain_ldai.ledgers import MemoryLedger, _batches
from langchain_ldai.ledgers import _claim_queue as claim_queue
from langchain_ldai.testing import RecordingClient
from tests.ledgers.fakes import Held, Unreliable
from tests.support.chains import SUCCESS
from tests.support.events import start_chain


@pytest.mark.parametrize("main_is_alive", [True, False])
def test_where_the_worker_cannot_be_started_the_claim_is_not_lost(
    main_is_alive: bool, client: RecordingClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process without a thread to spare tries again; one that ends claims on the thread that it has."""
    start, refused = threading.Thread.start, []

    def refuse_once(thread: threading.Thread) -> None:
        if thread.name == "langchain_ldai-ledger" and not (refused and main_is_alive):
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    if not main_is_alive:
        over = threading.Thread()
        monkeypatch.setattr(threading, "main_thread", lambda: over)
        monkeypatch.setattr(claim_queue, "is_ending", lambda: False)
    monkeypatch.setattr(threading.Thread, "start", refuse_once)
    ai = LdAiClient(client, ledger=MemoryLedger())
    tracker = ai.completion_config("support-bot", context).create_tracker()

    tracker.track_success()

    assert ai.close(10)
    assert len(refused) == 1
    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_while_a_thread_is_started_costs_nothing(
    when: str, client: RecordingClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt reaches the program, and the next claim, or `close`, has all of them made."""
    start: Callable[[threading.Thread], None] = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        if when == "after":
            start(thread)
        raise KeyboardInterrupt

    ai = LdAiClient(client, ledger=MemoryLedger())
    trackers = [ai.completion_config("support-bot", context).create_tracker() for _ in range(3)]
    monkeypatch.setattr(threading.Thread, "start", interrupted)

    with pytest.raises(KeyboardInterrupt):
        trackers[0].track_success()
    for tracker in trackers[1:]:
        tracker.track_success()

    assert ai.close(10)
    assert [client.metrics(tracker.run_id) for tracker in trackers] == [{SUCCESS: [1]}] * 3


def test_two_threads_that_hand_in_claims_at_once_have_them_made_one_by_one(
    client: RecordingClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both start a thread; the one that comes second finds the other at work, and ends."""
    ledger, start = Held(), threading.Thread.start
    ai = LdAiClient(client, ledger=ledger)
    one, other = (ai.completion_config("support-bot", context).create_tracker() for _ in range(2))

    def overtaken(thread: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        threading.Thread(target=other.track_success).start()
        assert ledger.was_asked.wait(10)
        start(thread)
        thread.join(10)

    monkeypatch.setattr(threading.Thread, "start", overtaken)

    one.track_success()
    ledger.gate.set()

    assert ai.close(10)
    assert [client.metrics(tracker.run_id) for tracker in (one, other)] == [{SUCCESS: [1]}] * 2


@pytest.fixture
def as_it_waits(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """Functions that are called, the last one first, each time when the worker begins to wait."""
    calls: list[Callable[[], object]] = []

    class Inbox(SimpleQueue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            if timeout is not None and calls:
                calls.pop()()
            return super().get(block, timeout)

    monkeypatch.setattr(claim_queue, "SimpleQueue", Inbox)
    return calls


class FailsAtFirst(MemoryLedger):
    """Raises for the first run until it has answered for another."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        self.calls.append(run)
        if set(self.calls) == {run}:
            raise ConnectionError
        return super().claim(run, slots, claimant)


def test_a_claim_that_comes_while_the_worker_waits_is_made_at_once(
    client: RecordingClient, context: Context, as_it_waits: list[Callable[[], object]]
) -> None:
    """The worker waits for the next attempt of one run, and no other run waits with it."""
    ledger = FailsAtFirst()
    ai = LdAiClient(client, ledger=ledger)
    one, other = (ai.completion_config("support-bot", context).create_tracker() for _ in range(2))
    as_it_waits.append(other.track_success)

    one.track_success()

    assert ai.close(10)
    assert [client.metrics(tracker.run_id) for tracker in (one, other)] == [{SUCCESS: [1]}] * 2
    assert [run.startswith(other.run_id) for run in ledger.calls[-2:]] == [True, False]


def test_a_claim_that_comes_while_the_ledger_is_down_waits(
    client: RecordingClient,
    context: Context,
    unreliable: Unreliable,
    as_it_waits: list[Callable[[], object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the failures of two runs a new run waits for the next attempt, too, and then all claims are made."""
    ai = LdAiClient(client, ledger=unreliable)
    trackers = [ai.completion_config("support-bot", context).create_tracker() for _ in range(3)]
    now = [time.monotonic()]
    calls: list[int] = []
    clock = SimpleNamespace(monotonic=lambda: sum(now), sleep=time.sleep)  # no second passes by itself
    for module in (_batches, claim_queue):
        monkeypatch.setattr(module, "time", clock)

    def come_once_it_is_down() -> None:
        if len({run for run, _, _ in unreliable.calls}) < 2:
            as_it_waits.append(come_once_it_is_down)
            now.append(1.0)
            return
        calls.append(len(unreliable.calls))
        as_it_waits.append(go_on)
        trackers[2].track_success()

    def go_on() -> None:
        calls.append(len(unreliable.calls))
        unreliable.up.set()
        now.append(1.0)

    as_it_waits.append(come_once_it_is_down)
    for tracker in trackers[:2]:
        tracker.track_success()

    assert ai.close(10)
    assert calls[0] == calls[1]
    assert [client.metrics(tracker.run_id) for tracker in trackers] == [{SUCCESS: [1]}] * 3


def test_a_claim_that_comes_as_the_threads_end_is_made(
    client: RecordingClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who hands it in finds a thread that is alive; that thread looks again before it ends."""
    ledger = MemoryLedger()
    ai = LdAiClient(client, ledger=ledger)
    one, other = (ai.completion_config("support-bot", context).create_tracker() for _ in range(2))
    late = [other.track_success]

    def is_ending() -> bool:
        has_worker = claim_queue.queues.of(ledger)._worker is not None
        if threading.current_thread() is not threading.main_thread() and not has_worker and late:
            late.pop()()
        return False

    monkeypatch.setattr(claim_queue, "is_ending", is_ending)

    one.track_success()

    assert ai.close(10)
    assert [client.metrics(tracker.run_id) for tracker in (one, other)] == [{SUCCESS: [1]}] * 2


@pytest.mark.parametrize("waits", ["client", "handler"])
def test_a_ledger_may_be_met_while_another_thread_waits_for_all(
    waits: str, ai: LdAiClient, context: Context
) -> None:
    """`close` and `flush` go through the ledgers, of which each may come with a client that is made meanwhile."""
    met: list[LdAiClient] = []

    def config_for(metadata: object) -> LdAiCompletionConfig:
        met.append(ai.with_ledger(MemoryLedger()))
        return met[-1].completion_config("support-bot", context)

    handler = LdAiHandler(config_for)

    def trace(frame: FrameType, event: str, argument: object) -> object:
        if frame.f_code not in (WeakSet.__iter__.__code__, WeakKeyDictionary.keyrefs.__code__) or len(met) > 50:
            return None
        sys.settrace(None)
        start_chain(handler)
        sys.settrace(trace)
        return trace

    for _ in range(3):
        start_chain(handler)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        is_done = ai.close(10) if waits == "client" else handler.flush(10)
    finally:
        sys.settrace(before)

    assert (is_done, len(met) > 3) == (True, True)

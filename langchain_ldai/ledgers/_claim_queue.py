"""The queue of claims: background threads claim slots in a ledger, and send the events of those it grants.

A tracker puts a claim into the queue and goes on. While the queue has work, two threads exist. The worker calls
the ledger. The keeper watches the worker. It replaces a worker whose call does not return, and it limits how long
the end of the process waits for the ledger.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final
from weakref import WeakValueDictionary

from langchain_ldai._base.exit import KEEPER, is_ending, is_main_thread_alive
from langchain_ldai._base.forks import register_fork_safe
from langchain_ldai._base.guard import NOT_SENT, Guard
from langchain_ldai.ledgers._batches import ClaimBatch, ClaimPolicy, PendingBatches
from langchain_ldai.ledgers._given_up import DID_NOT_RETURN, TOO_MANY, GivenUp, reason_of
from langchain_ldai.ledgers._protocol import Claim, Ledger

_log = logging.getLogger(__name__)

MAX_PENDING_RUNS: Final = 10_000
"""The number of runs whose claims may wait for a ledger that cannot be reached."""

EXIT_SECONDS: Final = 5.0
"""How long after the process has begun to end the worker may still call the ledger."""

LAST_ATTEMPT_SECONDS: Final = 4.5
"""How much longer the end of the process waits for a call that has begun."""

_POLL_SECONDS: Final = 0.05
_SLOTS_OF_A_RUN: Final = 5


class ClaimQueue:
    """Claims slots in one ledger, run by run, and sends the events of those that the ledger grants.

    Args:
        ledger: Where slots are claimed.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._guard = Guard()
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Start empty: the claims that wait are the parent's, and so are the threads."""
        self._inbox: SimpleQueue[tuple[ClaimPolicy, Claim]] = SimpleQueue()
        self._changed = threading.Condition()
        self._exit_by = math.inf
        self._keeper_lock = threading.Lock()  # held by the keeper, or by a thread that does its work at exit
        self._keeper: threading.Thread | None = None
        self._stuck_workers: list[threading.Thread] = []
        # What follows changes under `_lock` alone.
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._call_began_at = 0.0
        self._in_call: ClaimBatch | None = None
        self._pending = PendingBatches()
        self._given_up = GivenUp()

    def put(self, policy: ClaimPolicy, claim: Claim) -> None:
        """Take a claim, without ever waiting: Python may call this at any line at which it collects a run."""
        if self._inbox.qsize() >= MAX_PENDING_RUNS * _SLOTS_OF_A_RUN:
            self._give_up(ClaimBatch(policy, [claim]), TOO_MANY)
            self._log_given_up()
            return
        self._inbox.put((policy, claim))
        self._ensure_worker()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the ledger has answered every claim, and the events of what it granted are sent.

        Args:
            timeout: Seconds to wait at most; `None` for no limit.

        Returns:
            Whether no claim is left.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._ensure_worker() or self._is_done(), timeout)
            is_done = self._is_done()
        self._given_up.log()
        return is_done

    def _is_done(self) -> bool:
        return not (self._keeper_lock.locked() or self._has_work())

    def _has_work(self) -> bool:
        return not self._inbox.empty() or bool(self._pending or self._in_call)

    def _ensure_worker(self) -> bool:
        """Start the keeper, and so a worker, if there is work and no keeper.

        An interrupt may hit this at any line. So the keeper itself acquires the lock that keeps a second one away.

        Returns:
            `False` if work is left and no thread can be started.
        """
        keeper = self._keeper
        if not self._has_work() or self._keeper_lock.locked() or (keeper is not None and keeper.is_alive()):
            return True
        if is_ending():
            self._run_keeper(here=True)
            return True
        self._keeper = keeper = threading.Thread(target=self._run_keeper, name=KEEPER)
        try:
            keeper.start()
        except RuntimeError:
            if is_main_thread_alive():
                return False  # the next claim tries again
            self._run_keeper(here=True)
        return True

    def _run_keeper(self, *, here: bool = False) -> None:
        """Be the keeper: run workers until no work is left.

        Args:
            here: Whether to work on this thread: when Python ends it starts no more threads, and Python 3.11 would
                wait for one that it does not start.
        """
        while self._keeper_lock.acquire(blocking=False):
            try:
                while self._has_work():
                    if here:
                        self._drain_here()
                    else:
                        self._run_worker()
                    if time.monotonic() >= self._exit_by:
                        self._give_up_all()
                if is_ending():
                    self._given_up.log()
            finally:
                self._keeper = None  # from here on, who puts a claim starts another keeper
                self._keeper_lock.release()
                with self._changed:
                    self._changed.notify_all()
            if not self._has_work():
                return

    def _drain_here(self) -> None:
        """Be the worker. Nobody can stop waiting for its calls."""
        self._exit_by = min(self._exit_by, time.monotonic() + EXIT_SECONDS)
        self._worker = threading.current_thread()
        self._drain()

    def _run_worker(self) -> None:
        """Drain the queue on a worker; give up what waits if two workers hang in calls."""
        if sum(thread.is_alive() for thread in self._stuck_workers) > 1:
            self._give_up_all()
            return
        self._worker = worker = threading.Thread(target=self._drain, name="langchain_ldai-ledger", daemon=True)
        try:
            worker.start()
        except RuntimeError:
            if is_main_thread_alive():
                time.sleep(_POLL_SECONDS)  # the process has no thread to spare now
            else:
                self._drain_here()
        else:
            self._watch(worker)
            self._leave_behind(worker)

    def _watch(self, worker: threading.Thread) -> None:
        """Wait until the worker has ended, its call takes too long, or the process must end."""
        while worker.is_alive():
            worker.join(_POLL_SECONDS)
            now = time.monotonic()
            if is_ending():
                self._exit_by = min(self._exit_by, now + EXIT_SECONDS)
            if now >= self._exit_by + LAST_ATTEMPT_SECONDS:
                return
            batch = self._in_call
            if batch is not None and now >= self._call_began_at + batch.policy.timeout:
                return

    def _leave_behind(self, worker: threading.Thread) -> None:
        """Wait no longer for a worker, and give up the claims of its call, if it hangs in one."""
        with self._lock:
            batch, self._worker, self._in_call = self._in_call, None, None
        self._stuck_workers = [thread for thread in (*self._stuck_workers, worker) if thread.is_alive()]
        if batch is not None:
            self._give_up(batch, DID_NOT_RETURN)
            self._log_given_up()

    def _drain(self) -> None:
        """Be the worker: claim and send until no work is left, or the keeper no longer waits for this thread."""
        me = threading.current_thread()
        while True:
            with self._lock:
                if self._worker is not me:
                    return
                now = time.monotonic()
                self._empty_inbox()
                late = self._pending.take_late(now, is_over=now >= self._exit_by)
                surplus = self._pending.take_surplus(MAX_PENDING_RUNS)
                batch, seconds = self._pending.take_oldest(now)
                self._in_call, self._call_began_at = batch, now
            for each in late:
                self._give_up(each, reason_of(each.failure))
            for each in surplus:
                self._give_up(each, TOO_MANY)
            self._log_given_up()
            if batch is not None:
                self._attempt(batch, me)
            elif seconds is None:
                return
            else:
                self._sleep(seconds)

    def _sleep(self, seconds: float) -> None:
        """Wait until the next attempt, or until a claim comes that need not wait for it."""
        try:
            policy, claim = self._inbox.get(timeout=seconds)
        except Empty:
            return
        with self._lock:
            self._pending.add(policy, claim)
        if self._pending.is_down:
            time.sleep(min(seconds, _POLL_SECONDS))  # every claim waits

    def _attempt(self, batch: ClaimBatch, me: threading.Thread) -> None:
        """Call the ledger for a batch, and send the events of the slots that it grants."""
        claims, failure = batch.claims, None
        first = {claim.slot: claim for claim in reversed(claims)}
        granted: Collection[str] = ()
        try:
            granted = claim_in(self.ledger, claims[0].run, list(first), batch.claimant)
        except BaseException as error:  # noqa: BLE001  # whatever the ledger raises, the worker goes on
            failure = error
        with self._lock:
            if self._worker is not me:
                return
            if failure is not None:
                self._pending.put_back(batch, failure)
                self._in_call = None
                return
            self._pending.note_answer()
            self._in_call = None
        for claim in claims:
            is_granted = claim.slot in granted and claim is first[claim.slot]
            is_sent = is_granted and not self._given_up.was_sent(claim.run, claim.slot)
            if is_sent:
                self._guard.call(NOT_SENT, claim.run, batch.policy.send, claim.context, claim.events)
            claim.set_answer(is_sent)

    def _empty_inbox(self) -> None:
        """Put each claim of the inbox into the batch of its run; called under the lock."""
        for _ in range(self._inbox.qsize()):
            self._pending.add(*self._inbox.get())

    def _give_up_all(self) -> None:
        """Give up every claim that waits: no thread may call the ledger."""
        with self._lock:
            self._empty_inbox()
            waiting = self._pending.take_late(math.inf, is_over=True)
        for batch in waiting:
            self._give_up(batch, DID_NOT_RETURN)
        self._log_given_up()

    def _log_given_up(self) -> None:
        """Log what was given up, at most once a minute. When the process ends, the keeper logs it once instead."""
        if self._exit_by == math.inf:
            self._given_up.log(time.monotonic())

    def _give_up(self, batch: ClaimBatch, reason: str) -> None:
        may_send = batch.policy.on_error == "send"
        for claim in batch.claims:
            is_sent = self._given_up.add(claim.run, claim.slot, reason, is_sent=may_send)
            if is_sent:
                self._guard.call(NOT_SENT, claim.run, batch.policy.send, claim.context, claim.events)
            if may_send:
                claim.set_answer(is_sent)
            else:
                claim.set_unavailable(f"the ledger {reason}", batch.failure)


def claim_in(ledger: Ledger, run: str, slots: Collection[str], claimant: str) -> Collection[str]:
    """Claim slots of a run in a ledger, and return those that it grants.

    Raises:
        TypeError: If the ledger returned one text and no collection.
        ValueError: If it granted slots, but none of those that it was asked for.
    """
    granted = ledger.claim(run, slots, claimant)
    if isinstance(granted, str | bytes):
        raise TypeError("a ledger returns a collection of slots, not one text")
    found = set(granted)
    if found and found.isdisjoint(slots):
        raise ValueError("a ledger grants slots that it was asked for")
    return found


@dataclass(frozen=True, eq=False)
class QueuedClaims(ClaimPolicy):
    """Puts one client's claims into the ledger's queue, and exists as long as one of them waits there.

    Args:
        send: Sends events.
        on_error: What becomes of a metric that the ledger could not claim in time.
        timeout: Seconds for which a claim is attempted.
        queue: The ledger's queue, which all clients of the ledger share.
    """

    queue: ClaimQueue

    @property
    def ledger(self) -> Ledger:
        """See `Claims.ledger`."""
        return self.queue.ledger

    def submit(self, claim: Claim) -> None:
        """See `Claims.submit`; a thread of the queue sends the events."""
        self.queue.put(self, claim)

    def wait(self, timeout: float | None = None) -> bool:
        """See `Claims.wait`."""
        return self.queue.wait(timeout)


class _Queues:
    """The queue of each ledger in this process."""

    def __init__(self) -> None:
        self._of: WeakValueDictionary[int, ClaimQueue] = WeakValueDictionary()
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent's may hold."""
        self._lock = threading.Lock()

    def of(self, ledger: Ledger) -> ClaimQueue:
        """Return the one queue of a ledger."""
        with self._lock:
            queue = self._of.get(id(ledger))
            if queue is None:
                self._of[id(ledger)] = queue = ClaimQueue(ledger)
            return queue


queues: Final = _Queues()

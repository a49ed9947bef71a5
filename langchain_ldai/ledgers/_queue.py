"""The queue of claims: background threads claim slots in a ledger, and send what is granted.

A tracker puts a claim into the queue and goes on. While the queue has work, two threads exist. The worker calls
the ledger. The keeper watches the worker: it replaces a worker whose call does not return, and bounds for how long
the end of the process waits for the ledger.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from traceback import extract_tb
from typing import TYPE_CHECKING, Final
from uuid import uuid4
from weakref import WeakValueDictionary

from langchain_ldai._base.guard import Guard
from langchain_ldai._base.process import WORKER, is_ending, is_main_thread_alive, register_fork_safe
from langchain_ldai.errors import LedgerUnavailableError

if TYPE_CHECKING:
    from langchain_ldai.ledgers._claims import Claims, Ledger

_log = logging.getLogger(__name__)

MAX_PENDING_RUNS: Final = 10_000
"""Of how many runs claims may wait for a ledger that cannot be reached."""

MAX_SENT_UNCLAIMED: Final = 100_000
"""Of how many slots the queue remembers that it sent them without a claim."""

EXIT_SECONDS: Final = 5.0
"""For how long after the end of the process has begun a new attempt may begin."""

LAST_ATTEMPT_SECONDS: Final = 4.5
"""For how long after that the end of the process waits for the attempt that is under way."""

TELL_AGAIN_SECONDS: Final = 60.0
"""After how long the log says again, with a count, that claims are given up."""

_LOOK_SECONDS: Final = 0.05
_SLOTS_OF_A_RUN: Final = 5


class Claim:
    """A slot to claim, and how to send it once the ledger grants it."""

    __slots__ = ("answer", "args", "made", "policy", "run", "send", "slot")

    def __init__(
        self,
        policy: Claims,
        run: str,
        slot: str,
        send: Callable[..., None],
        args: tuple[object, ...],
        answer: Future[bool] | None,
    ) -> None:
        self.policy: Claims = policy
        self.run: str = run
        self.slot: str = slot
        self.send: Callable[..., None] = send
        self.args: tuple[object, ...] = args
        self.made: float = time.monotonic()
        self.answer: Future[bool] | None = answer

    def set_answer(self, is_sent: bool) -> None:
        """Tell who waits whether the events were sent."""
        if self.answer is not None:
            self.answer.set_result(is_sent)


class _Batch:
    """The claims of one run that go to the ledger in one call, and go again unchanged where the call fails."""

    __slots__ = ("attempts", "claimant", "claims", "failure", "not_before")

    def __init__(self, claims: list[Claim]) -> None:
        self.claims = claims
        self.claimant = uuid4().hex
        self.attempts = 0
        self.not_before = 0.0
        self.failure: BaseException | None = None

    @property
    def deadline(self) -> float:
        """When the oldest claim has waited for as long as it may."""
        return min(claim.made + claim.policy.timeout for claim in self.claims)

    @property
    def timeout(self) -> float:
        """How long one call may take, in seconds."""
        return min(claim.policy.timeout for claim in self.claims)


class _GivenUp:
    """The claims that were given up: how many the log has not told yet, and which slots were sent all the same."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # Python may collect a run, and so put a claim, in the thread that holds it
        self._sent: OrderedDict[tuple[str, str], Claim] = OrderedDict()
        self._untold: list[str] = []
        self._count = 0
        self._next_telling = -math.inf

    def was_sent(self, claim: Claim) -> bool:
        """Whether this process has sent the claim's slot without a claim."""
        return (claim.run, claim.slot) in self._sent

    def add(self, claim: Claim, reason: str) -> bool:
        """Note a claim, and return whether its metric is to be sent, as the first of its slot."""
        key, is_sent = (claim.run, claim.slot), claim.policy.on_error == "send"
        with self._lock:
            self._count += 1
            if self._count == 1:
                done = "sent without a claim" if is_sent else "dropped"
                self._untold = [done, reason, claim.slot, claim.run]
            if not is_sent or key in self._sent:
                return False
            self._sent[key] = claim
            if len(self._sent) > MAX_SENT_UNCLAIMED:
                self._sent.popitem(last=False)
            return True

    def tell(self, now: float = math.inf) -> None:
        """Log how many there were, at most once a minute; without a time, whatever is left to tell."""
        with self._lock:
            if not self._count or now < self._next_telling:
                return
            count, untold, self._count = self._count, self._untold, 0
            self._next_telling = time.monotonic() + TELL_AGAIN_SECONDS
        metrics = "1 metric" if count == 1 else f"{count:,} metrics"
        _log.error("%s %s: the ledger %s. The first is %s of LaunchDarkly run %s", metrics, *untold)


class ClaimQueue:
    """Claims slots in one ledger, run by run, and sends what the ledger grants.

    A run whose claim fails waits for its next attempt while other runs go on. If the claims of different runs fail
    one after the other, the ledger is down, and all wait.

    Args:
        ledger: Where slots are claimed.
    """

    def __init__(self, ledger: Ledger) -> None:
        # Only who has a ledger waits for this import; and when a process ends it is late to import anything.
        from tenacity import RetryCallState, Retrying, wait_random_exponential

        self.ledger = ledger
        self._backoff = wait_random_exponential(multiplier=0.1, max=1.0)
        self._retry_state = RetryCallState(Retrying(), None, (), {})
        self._boundary = Guard()
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Reset after a fork: the claims that wait are the parent's."""
        self._inbox: SimpleQueue[Claim] = SimpleQueue()
        self._changed = threading.Condition()
        self._exit_by = math.inf
        self._keeping = threading.Lock()  # only a keeper, or who works at exit, acquires it
        self._keeper: threading.Thread | None = None
        # What follows changes under `_lock` alone.
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._called = 0.0
        self._in_call: _Batch | None = None
        self._fresh: OrderedDict[str, _Batch] = OrderedDict()
        self._failed: list[_Batch] = []
        self._failed_runs_in_a_row = 0
        self._not_before = 0.0
        self._given_up = _GivenUp()

    def put(self, claim: Claim) -> None:
        """Take a claim. It never waits: Python may call it at any line, where it collects a run that was left."""
        if self._inbox.qsize() >= MAX_PENDING_RUNS * _SLOTS_OF_A_RUN:
            self._give_up([claim], _TOO_MANY)
            self._tell()
            return
        self._inbox.put(claim)
        self._ensure_worker()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every claim is made and every granted slot is sent.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether no claim is left.
        """
        with self._changed:
            self._changed.wait_for(self._is_idle, timeout)
            is_done = not (self._keeping.locked() or self._is_left())
        self._given_up.tell()
        return is_done

    def _is_idle(self) -> bool:
        can_work = self._ensure_worker()
        return not can_work or not (self._keeping.locked() or self._is_left())

    def _is_left(self) -> bool:
        return not self._inbox.empty() or bool(self._fresh or self._failed or self._in_call)

    def _ensure_worker(self) -> bool:
        """Have a thread work where there is work.

        An interrupt may hit this at any line. So the thread itself acquires the lock that keeps a second one away.

        Returns:
            `False` where work is left and no thread can be started.
        """
        keeper = self._keeper
        if not self._is_left() or self._keeping.locked() or (keeper is not None and keeper.is_alive()):
            return True
        if is_ending():
            self._keep()
            return True
        self._keeper = keeper = threading.Thread(target=self._keep, name=WORKER)
        try:
            keeper.start()
        except RuntimeError:
            if is_main_thread_alive():
                return False  # the next claim tries again
            self._keep()  # Python starts no more threads
        return True

    def _keep(self) -> None:
        """Be the keeper: have a worker drain the queue until nothing is left."""
        while self._keeping.acquire(blocking=False):
            try:
                while self._is_left():
                    self._have_drained()
                    if time.monotonic() >= self._exit_by:
                        self._give_up_all()
                if is_ending():
                    self._given_up.tell()
            finally:
                self._keeper = None  # who puts a claim from here on starts a keeper of its own
                self._keeping.release()
                with self._changed:
                    self._changed.notify_all()
            if not self._is_left():
                return

    def _have_drained(self) -> None:
        """Drain the queue on a thread that may be left behind; on this one where Python starts no more threads."""
        if sum(thread.is_alive() for thread in _left_behind) > 1:
            self._give_up_all()
            return
        self._worker = worker = threading.Thread(target=self._drain, name="langchain_ldai-ledger", daemon=True)
        try:
            worker.start()
        except RuntimeError:
            if is_main_thread_alive():
                time.sleep(_LOOK_SECONDS)  # the process has no thread to spare now
                return
            self._exit_by = min(self._exit_by, time.monotonic() + EXIT_SECONDS)
            self._worker = threading.current_thread()
            self._drain()
        else:
            self._watch(worker)
            self._dismiss(worker)

    def _watch(self, worker: threading.Thread) -> None:
        """Wait for the worker, for as long as its call may take, and the end of the process."""
        while worker.is_alive():
            worker.join(_LOOK_SECONDS)
            now = time.monotonic()
            if is_ending():
                self._exit_by = min(self._exit_by, now + EXIT_SECONDS)
            if now >= self._exit_by + LAST_ATTEMPT_SECONDS:
                return
            batch = self._in_call
            if batch is not None and now >= self._called + batch.timeout:
                return

    def _dismiss(self, worker: threading.Thread) -> None:
        """Wait no longer for a worker: it has ended, or its call may take as long as it likes."""
        with self._lock:
            batch, self._worker, self._in_call = self._in_call, None, None
        _left_behind[:] = [thread for thread in (*_left_behind, worker) if thread.is_alive()]
        if batch is not None:
            self._give_up(batch.claims, _DID_NOT_RETURN)
            self._tell()

    def _drain(self) -> None:
        """Be the worker: claim and send until nothing is left, or until this thread is left behind."""
        me = threading.current_thread()
        while True:
            with self._lock:
                if self._worker is not me:
                    return
                now = time.monotonic()
                self._sort_inbox()
                late, surplus = self._take_late(now), self._take_surplus()
                batch, seconds = self._take_next(now)
                self._in_call, self._called = batch, now
            for each in late:
                self._give_up(each.claims, _reason_of(each.failure), each.failure)
            for each in surplus:
                self._give_up(each.claims, _TOO_MANY)
            self._tell()
            if batch is not None:
                self._attempt(batch, me)
            elif seconds is None:
                return
            else:
                self._sleep(seconds)

    def _sleep(self, seconds: float) -> None:
        """Wait for the next attempt, or for a claim that need not wait for it."""
        try:
            claim = self._inbox.get(timeout=seconds)
        except Empty:
            return
        with self._lock:
            self._sort(claim)
        if self._is_down():
            time.sleep(min(seconds, _LOOK_SECONDS))  # every claim waits

    def _attempt(self, batch: _Batch, me: threading.Thread) -> None:
        """Claim the slots of a batch, and send those that the ledger grants."""
        claims, failure = batch.claims, None
        first = {claim.slot: claim for claim in reversed(claims)}
        granted: Collection[str] = ()
        try:
            granted = set(self.ledger.claim(claims[0].run, list(first), batch.claimant))
        except BaseException as error:  # noqa: BLE001  # whatever a ledger raises, the worker goes on
            failure = error
        with self._lock:
            if self._worker is not me:
                return
            if failure is not None:
                self._put_back(batch, failure)
                return
            self._in_call, self._failed_runs_in_a_row = None, 0
        for claim in claims:
            is_sent = claim.slot in granted and claim is first[claim.slot] and not self._given_up.was_sent(claim)
            if is_sent:
                self._boundary.run(claim.run, claim.send, *claim.args)
            claim.set_answer(is_sent)

    # What follows, up to `_seconds_after`, is called under the lock.

    def _put_back(self, batch: _Batch, failure: BaseException) -> None:
        """Have a batch that failed wait for its next attempt."""
        now = time.monotonic()
        self._in_call = None
        self._failed.append(batch)
        batch.failure = failure
        batch.attempts += 1
        batch.not_before = now + self._seconds_after(batch.attempts)
        if batch.attempts == 1:
            self._failed_runs_in_a_row += 1
            self._not_before = now + self._seconds_after(self._failed_runs_in_a_row)

    def _sort_inbox(self) -> None:
        """Put what has come with the other claims of its run."""
        for _ in range(self._inbox.qsize()):
            self._sort(self._inbox.get())

    def _sort(self, claim: Claim) -> None:
        if claim.run in self._fresh:
            self._fresh[claim.run].claims.append(claim)
        else:
            self._fresh[claim.run] = _Batch([claim])

    def _take_late(self, now: float) -> list[_Batch]:
        """Take out the batches whose time is over.

        A batch that was never tried is late only where the ledger has just failed, or the process ends.
        """
        is_over = now >= self._exit_by
        late = [batch for batch in self._failed if is_over or now >= batch.deadline]
        failure = self._failed[-1].failure if self._failed else None
        self._failed = [batch for batch in self._failed if batch not in late]
        while self._fresh and (is_over or self._failed_runs_in_a_row):
            run, batch = next(iter(self._fresh.items()))
            if not is_over and now < batch.deadline:
                break
            batch.failure = failure
            late.append(self._fresh.pop(run))
        return late

    def _take_surplus(self) -> list[_Batch]:
        """Take out the batches that came last, where claims of too many runs wait."""
        count = len(self._fresh) + len(self._failed) - MAX_PENDING_RUNS
        return [self._fresh.popitem()[1] for _ in range(min(count, len(self._fresh)))]

    def _take_next(self, now: float) -> tuple[_Batch | None, float | None]:
        """Take out the batch to claim now; else say in how many seconds there is one, `None` if none is left."""
        failed = min(self._failed, key=lambda batch: batch.not_before, default=None)
        is_fresh = bool(self._fresh) and (failed is None or self._is_down() or failed.not_before > now)
        if failed is None and not is_fresh:
            return None, None
        not_before = self._not_before if self._is_down() else 0.0
        if failed is not None and not is_fresh:
            not_before = max(not_before, failed.not_before)
        if not_before > now:
            return None, not_before - now
        if failed is None or is_fresh:
            return self._fresh.popitem(last=False)[1], None
        self._failed.remove(failed)
        return failed, None

    def _is_down(self) -> bool:
        """Whether the claims of different runs failed one after the other."""
        return self._failed_runs_in_a_row > 1

    def _seconds_after(self, failures: int) -> float:
        self._retry_state.attempt_number = failures
        return float(self._backoff(self._retry_state))

    def _give_up_all(self) -> None:
        """Give up every claim that waits, as no thread may call the ledger."""
        with self._lock:
            self._sort_inbox()
            waiting = [*self._failed, *self._fresh.values()]
            self._failed, self._fresh = [], OrderedDict()
        for batch in waiting:
            self._give_up(batch.claims, _DID_NOT_RETURN, batch.failure)
        self._tell()

    def _tell(self) -> None:
        """Log what was given up, at most once a minute; at the end of the process the keeper does, once."""
        if self._exit_by == math.inf:
            self._given_up.tell(time.monotonic())

    def _give_up(self, claims: Iterable[Claim], reason: str, cause: BaseException | None = None) -> None:
        for claim in claims:
            is_sent = self._given_up.add(claim, reason)
            if is_sent:
                self._boundary.run(claim.run, claim.send, *claim.args)
            if claim.policy.on_error == "send":
                claim.set_answer(is_sent)
            elif claim.answer is not None:
                unavailable = LedgerUnavailableError(f"{claim.slot} could not be claimed: the ledger {reason}")
                unavailable.__cause__ = cause
                claim.answer.set_exception(unavailable)


_left_behind: Final[list[threading.Thread]] = []
"""The threads of this process whose call of a ledger did not return in time."""

_TOO_MANY: Final = "cannot keep up, and too many claims wait for it"
_DID_NOT_RETURN: Final = "did not answer in time, it may be locked or out of reach"

_REASONS: Final = (
    ("SQLITE_BUSY SQLITE_LOCKED", "is locked by another process"),
    ("SQLITE_FULL OutOfMemoryError", "is full"),
    ("SQLITE_READONLY ReadOnlyError", "takes no writes"),
    ("ConnectionError TimeoutError OSError BusyLoadingError", "cannot be reached"),
)
"""What the log says of a ledger, by SQLite's name of an error or by the name of its class."""


def _reason_of(error: BaseException | None) -> str:
    """Return what is wrong with the ledger, and where that was seen; nothing that the error itself quotes."""
    if error is None:
        return _DID_NOT_RETURN
    names = {kind.__name__ for kind in type(error).__mro__} | {getattr(error, "sqlite_errorname", "")}
    what = next((what for known, what in _REASONS if names & set(known.split())), "failed")
    frames = extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{what}: {type(error).__name__}{place}"


class _Queues:
    """The queue of each ledger in this process."""

    def __init__(self) -> None:
        self._of: WeakValueDictionary[int, ClaimQueue] = WeakValueDictionary()
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Reset after a fork: the parent's threads are not here."""
        self._lock = threading.Lock()
        _left_behind.clear()

    def of(self, ledger: Ledger) -> ClaimQueue:
        """Return the one queue of a ledger."""
        with self._lock:
            queue = self._of.get(id(ledger))
            if queue is None:
                self._of[id(ledger)] = queue = ClaimQueue(ledger)
            return queue


queues: Final = _Queues()

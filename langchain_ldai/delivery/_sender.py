"""The thread that empties a journal: batch by batch, oldest first, at each flush."""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from enum import Enum
from queue import Empty, SimpleQueue
from typing import Final, Protocol, TypeVar

from langchain_ldai._base.exit import try_to_start
from langchain_ldai._base.forks import register_fork_safe
from langchain_ldai._base.guard import Guard, Ids
from langchain_ldai.delivery._journal import Journal
from langchain_ldai.delivery._journal_file import Batch, DamagedFileError, JournalFile
from langchain_ldai.delivery._memory_file import MemoryFile

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

MAX_BATCH_BYTES: Final = 512 << 10
"""How large a batch of several records may be."""

LOOK_SECONDS: Final = 3.0
"""How often the sender looks for what dead processes left, and whether its own files are in their place."""

CLOSE_SECONDS: Final = 5.0
"""How long `stop` waits for a service that accepts nothing."""

EXIT_SECONDS: Final = 2.0
"""How long the end of the process waits for a service that accepts nothing."""

_GIVE_UP_SECONDS: Final = 0.5
_AFTER_ERROR_SECONDS: Final = 1.0
_GRACE_SECONDS: Final = 0.5
_NOT_SYNCED: Final = "Events could not be brought to the disk; a crash of the machine would lose them"
_KEPT: Final = "Events cannot be sent now, and wait"


class BatchOutcome(Enum):
    """What came of a batch."""

    SETTLED = "accepted, or dead"
    REFUSED = "one of its events is bad, or it is too large: nothing of it was accepted"
    KEPT = "not accepted yet"


class BatchCourier(Protocol):
    """Brings batches to their destination."""

    def keep_up(self) -> float:
        """Do what is due apart from batches; return the `monotonic()` time at which to call this again."""
        ...

    def deliver(self, batch: Batch) -> BatchOutcome:
        """Try to send a batch until it is done, or `Sender.may_wait` returns `False`."""
        ...


class Sender:
    """Sends what a journal holds, on a thread of its own, which starts with the first event.

    Args:
        journal: What is sent.
        flush_seconds: How often it is sent.
        sync_seconds: How often it is brought to the disk; `None` for never.

    Attributes:
        courier: Delivers the batches; `None` where other processes do.
        ends_at: The `monotonic()` time at which `stop` gives up, or gave up. Each batch that is accepted moves it.
        is_started: Whether the thread exists.
    """

    def __init__(self, journal: Journal, flush_seconds: float, sync_seconds: float | None) -> None:
        self._journal = journal
        self._flush_seconds = flush_seconds
        self._sync_seconds = math.inf if sync_seconds is None else sync_seconds
        self._guard = Guard()
        self.courier: BatchCourier | None = None
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Be without a thread: it stayed in the parent."""
        # Python may collect a run at any line, which then appends an event and wakes the sender. So this lock is
        # reentrant. `_wake` is a queue, because an `Event` has a lock that is not.
        self._start_lock = threading.RLock()
        self._sends = threading.Lock()  # held by whoever sends: the thread, or `stop` if there is no thread
        self._settled = threading.Condition()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.is_started = False
        self._settled_records = 0
        self._waiting_flushes = 0
        self._is_flush_due = False
        self.ends_at = math.inf
        self._drain_seconds = CLOSE_SECONDS
        self._flush_at = time.monotonic() + self._flush_seconds
        self._look_at = self._check_at = 0.0
        self._sync_at = time.monotonic() + self._sync_seconds
        self._keep_up_at = math.inf
        self._is_empty = False

    def start(self) -> None:
        """Start the thread, unless it is alive."""
        with self._start_lock:
            if self._thread is None or not self._thread.is_alive():  # not alive if an interrupt has hit its start
                self._start_thread()
            self.is_started = self._thread is not None

    def _start_thread(self) -> None:
        self.ends_at, self._drain_seconds = math.inf, CLOSE_SECONDS
        atexit.unregister(self._stop_at_exit)
        atexit.register(self._stop_at_exit)
        self._thread = threading.Thread(target=self._run, name="langchain_ldai-events", daemon=True)
        if not try_to_start(self._thread):
            self._thread = None  # the next event tries again

    def wake(self) -> None:
        """Have the sender look at what is due."""
        if self._wake.empty():
            self._wake.put(None)

    def request_flush(self) -> None:
        """Have everything sent soon."""
        self._is_flush_due = True
        self.wake()

    def flush(self, timeout: float | None, is_given_up: Callable[[], bool] = lambda: False) -> bool:
        """Send what has been appended so far; return whether that was done within `timeout` seconds.

        Args:
            timeout: Seconds to wait at most; `None` for no limit.
            is_given_up: Returns whether the caller has stopped waiting. It is called twice a second.
        """
        latest = math.inf if timeout is None else time.monotonic() + timeout
        target = self._journal.appended
        self.start()
        with self._settled:
            self._waiting_flushes += 1
            try:
                self.request_flush()
                while not is_given_up() and self._settled_records < target and self._thread is not None:
                    left = latest - time.monotonic()
                    if left <= 0:
                        break
                    self._settled.wait(min(left, _GIVE_UP_SECONDS))
            finally:  # an interrupt may end the wait
                self._waiting_flushes -= 1
            return self._settled_records >= target

    def stop(self, seconds: float | None = None, latest: float = math.inf) -> bool:
        """Send what is left while batches are accepted, leave the rest to other processes, and end the thread.

        Args:
            seconds: How long to go on after the last batch that was accepted; by default `CLOSE_SECONDS`.
            latest: The `monotonic()` time at which to give up if no batch is accepted.

        Returns:
            Whether nothing is left.
        """
        self._is_empty = False
        self._drain_seconds = seconds = CLOSE_SECONDS if seconds is None else seconds
        now = time.monotonic()
        self.ends_at = min(now + seconds, max(now, latest))
        self.wake()
        thread = self._thread
        if thread is None:
            self._finish_without_thread()
            return self._is_empty
        while thread.is_alive() and (left := self.ends_at + _GRACE_SECONDS - time.monotonic()) > 0:
            thread.join(min(left, threading.TIMEOUT_MAX))  # `left` is infinite once another thread was started
        atexit.unregister(self._stop_at_exit)
        return self._is_empty

    def _finish_without_thread(self) -> None:
        if self._sends.acquire(blocking=False):  # else another caller does this
            try:
                self._finish()
            finally:
                self._sends.release()
            self._settle(0)
            self._start_if_needed()

    def _stop_at_exit(self) -> None:
        self.stop(EXIT_SECONDS)

    # The courier calls what follows.

    def may_wait(self, seconds: float) -> bool:
        """Return whether there is time to wait so many seconds before the next attempt."""
        return time.monotonic() + seconds < self.ends_at

    def pause(self, seconds: float, at_least: float) -> None:
        """Wait for `seconds`, or only for `at_least` seconds if somebody waits for a flush or for the end."""
        started = time.monotonic()
        while True:
            self._keep_up()
            is_hurried = self._waiting_flushes > 0 or self.ends_at < math.inf
            until = started + (at_least if is_hurried else seconds)
            if until <= time.monotonic():
                return
            self._wait_until(min(until, self._sync_at, self._keep_up_at, self._check_at))

    def keep_up_during(self, call: Callable[[], _T]) -> _T:
        """Make a call that may take long on another thread, and do meanwhile what cannot wait for it."""
        result: Future[_T] = Future()
        thread = threading.Thread(target=self._call, args=(call, result), name="langchain_ldai-batch", daemon=True)
        if not try_to_start(thread):
            return call()
        try:
            while not result.done():
                self._wait_until(min(self._sync_at, self._keep_up_at, self._check_at))
                self._keep_up()
        finally:  # a ledger may end even this thread, and only one batch may be on its way
            wait([result])
        return result.result()

    def _call(self, call: Callable[[], _T], result: Future[_T]) -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # noqa: BLE001  the sender's thread raises it
            result.set_exception(error)
        self.wake()

    # What follows runs on the thread.

    def _run(self) -> None:
        with self._start_lock:
            if self._thread is not threading.current_thread():  # an interrupt hit the start: another one runs
                return
        try:
            with self._sends:
                self._send_until_stopped()
        finally:  # a ledger may end even the thread
            with self._settled:
                self._thread, self.is_started = None, False
                self._settled.notify_all()
        self._start_if_needed()

    def _start_if_needed(self) -> None:
        if self._journal.is_open:  # another thread has appended meanwhile
            self.start()

    def _send_until_stopped(self) -> None:
        while True:  # at least once, so that a short process too looks for what dead ones left
            is_done = self._guard.call(_KEPT, Ids(), self._do_what_is_due)
            if self.ends_at < math.inf:
                break
            if is_done:
                self._wait_until(
                    min(self._flush_at, self._look_at, self._sync_at, self._keep_up_at, self._check_at)
                )
            else:
                self._is_flush_due = True
                self._wait_until(time.monotonic() + _AFTER_ERROR_SECONDS)
        self._finish()

    def _wait_until(self, at: float) -> None:
        """Wait until the sender is woken, at the latest until a `monotonic()` time."""
        with contextlib.suppress(Empty):
            self._wake.get(timeout=max(0.0, at - time.monotonic()))

    def _do_what_is_due(self) -> bool:
        self._keep_up()
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            if self.courier is not None:
                self._journal.inherit()
        if self._is_flush_due or now >= self._flush_at or self._journal.has_complete_file:
            self._is_flush_due = False
            self._flush_at = now + self._flush_seconds
            self._empty_journal()
        return True

    def _keep_up(self) -> None:
        """Do what cannot wait until a batch is accepted."""
        self._journal.prepare_next_file()
        if self.courier is not None:
            self._keep_up_at = self.courier.keep_up()
        now = time.monotonic()
        if now >= self._check_at:
            self._check_at = now + LOOK_SECONDS
            with contextlib.suppress(OSError):  # the directory cannot be looked at, or takes no file
                self._journal.keep_in_place()
        if now >= self._sync_at:
            self._sync_at = now + self._sync_seconds
            self._guard.call(_NOT_SYNCED, Ids(), self._journal.sync)

    def _empty_journal(self) -> bool:
        """Send what the journal holds; return whether nothing is left."""
        target = self._journal.appended
        if self.courier is None:
            if self.ends_at == math.inf:  # else `_finish` releases the journal next
                self._journal.hand_over()
        elif not self._send_all(self.courier, target):
            return False
        self._settle(target - self._settled_records)
        return True

    def _send_all(self, courier: BatchCourier, target: int) -> bool:
        """Send until `target` of this process's records are settled; leave later ones to the next time.

        Without a target this might never end: records may come in faster than batches are answered.
        """
        while (file := self._journal.oldest()) is not None:
            # Before the batch is read: the file may get its last record, and be completed, in between.
            is_complete = self._journal.is_complete(file)
            try:
                batch = file.next_batch(MAX_BATCH_BYTES)
            except DamagedFileError as damage:
                self._journal.set_aside_oldest(damage)
                continue
            except OSError as error:
                if file.is_own:
                    raise
                self._journal.leave_oldest(error)
                continue
            if batch is None:
                if not is_complete:
                    break
                self._journal.remove_oldest()
                continue
            if not self._deliver(courier, file, batch):
                return False
            if file.is_own and not is_complete and self._settled_records >= target:
                break
            self._keep_up()
        return True

    def _deliver(self, courier: BatchCourier, file: JournalFile | MemoryFile, batch: Batch) -> bool:
        """Deliver a batch of a file, or halve it if it is refused; return `False` if it is kept."""
        outcome = courier.deliver(batch)
        if outcome is BatchOutcome.KEPT:
            return False
        if outcome is BatchOutcome.REFUSED:
            file.halve(batch)
            return True
        file.acknowledge(batch)
        self._settle(len(batch.records) if file.is_own else 0)
        if self.ends_at < math.inf:
            self.ends_at = time.monotonic() + self._drain_seconds
        return True

    def _settle(self, records: int) -> None:
        with self._settled:
            self._settled_records += max(0, records)
            self._settled.notify_all()

    def _finish(self) -> None:
        self._journal.complete()
        self._is_empty = bool(self._guard.call(_KEPT, Ids(), self._empty_journal))
        is_left = not self._is_empty and self._journal.has_waiting_files
        self._guard.call(_KEPT, Ids(), self._journal.release)
        if is_left:
            _log.warning("Events are left in %s; the next process sends them", self._journal.directory)
        if in_memory := self._journal.events_in_memory:
            _log.error(
                "%d events are in memory alone, as %s takes no files, and die with the process",
                in_memory,
                self._journal.directory,
            )

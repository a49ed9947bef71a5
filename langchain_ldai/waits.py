"""The one thread with which a process waits for what may never come; it exists while anything is waited for."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from langchain_ldai.left import WAIT_SECONDS
from langchain_ldai.process import is_ending, renew_in_forks

if TYPE_CHECKING:
    from langchain_ldai.run import Run


class Waits:
    """Calls back once a time has come."""

    def __init__(self) -> None:
        self.renew()
        renew_in_forks(self)

    def renew(self) -> None:
        """Forget who waits: after a fork it is the parent's thread that calls back."""
        self._lock = threading.RLock()  # Python may collect, and so end, a run in the thread that holds it
        self._times: dict[Callable[[], object], float] = {}
        self._timer: threading.Timer | None = None

    def until(self, time: float, callback: Callable[[], object]) -> bool:
        """Have something called at a time, in seconds of `monotonic()`, unless it is forgotten before.

        Returns:
            `False` where that is not possible, as the process ends or no thread can be started.
        """
        with self._lock:
            self._times[callback] = time
            is_possible = self._have_timer()
            if not is_possible:
                del self._times[callback]
            return is_possible

    def forget(self, callback: Callable[[], object]) -> None:
        """Call something no more; where nothing is left to call, the thread ends."""
        with self._lock:
            if self._times.pop(callback, None) is not None and not self._times and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _have_timer(self) -> bool:
        if self._timer is not None:
            return True
        if is_ending():
            return False  # a thread would be started and never run
        timer = threading.Timer(max(0.0, min(self._times.values()) - monotonic()), self._is_time)
        timer.name = "langchain_ldai-wait"
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # the process may have no more threads
            return False
        self._timer = timer
        return True

    def _is_time(self) -> None:
        now = monotonic()
        with self._lock:
            self._timer = None
            due = [callback for callback, time in list(self._times.items()) if time <= now]
            for callback in due:
                del self._times[callback]
            if self._times:
                self._have_timer()
        for callback in due:
            callback()


waits: Final = Waits()
"""Those of this process."""


class WaitingRuns:
    """The runs of one table that have ended and wait for their model calls; changed under the table's lock.

    Args:
        is_over: Called once they have waited long enough.
        at_exit: Called where the interpreter ends before that.
    """

    __slots__ = ("_at_exit", "_is_over", "_runs")

    def __init__(self, is_over: Callable[[], object], at_exit: Callable[[], object]) -> None:
        self._is_over = is_over
        self._at_exit = at_exit
        self._runs: set[Run] = set()

    def add(self, run: Run, now: float) -> bool:
        """Have a run wait; `False` where nobody could end that."""
        if not self._runs:
            if not waits.until(now + WAIT_SECONDS, self._is_over):
                return False
            atexit.register(self._at_exit)
        self._runs.add(run)
        return True

    def discard(self, run: Run) -> None:
        """Have a run wait no more, if it does."""
        if run in self._runs:
            self._runs.discard(run)
            if not self._runs:
                waits.forget(self._is_over)
                atexit.unregister(self._at_exit)

    def go_on(self, now: float) -> None:
        """Wait for those that are left."""
        if self._runs:
            first = min(run.ended_at or now for run in list(self._runs))
            waits.until(first + WAIT_SECONDS, self._is_over)

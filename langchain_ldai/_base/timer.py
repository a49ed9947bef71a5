"""The one thread that calls functions once their times have come."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

from langchain_ldai._base.exit import is_ending, try_to_start
from langchain_ldai._base.forks import register_fork_safe


class SharedTimer:
    """Calls functions once their times have come, on one thread that lives while one is scheduled."""

    def __init__(self) -> None:
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Forget what is scheduled: the parent's thread calls it."""
        self._lock = threading.RLock()  # Python may collect, and so end, a run in the thread that holds it
        self._times: dict[Callable[[], object], float] = {}
        self._timer: threading.Timer | None = None

    def schedule(self, time: float, callback: Callable[[], object]) -> bool:
        """Call a function at a `monotonic()` time, and no longer at a time that it had before.

        Returns:
            `False` if the process ends, or can start no thread.
        """
        with self._lock:
            self._times[callback] = time
            is_possible = self._ensure_thread()
            if not is_possible:
                del self._times[callback]
            return is_possible

    def cancel(self, callback: Callable[[], object]) -> None:
        """Call a function no more; end the thread if it has nothing left to call."""
        with self._lock:
            if self._times.pop(callback, None) is not None and not self._times and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _ensure_thread(self) -> bool:
        if self._timer is not None:
            return True
        timer = threading.Timer(max(0.0, min(self._times.values()) - monotonic()), self._fire)
        timer.name = "langchain_ldai-wait"
        timer.daemon = True
        if is_ending() or not try_to_start(timer):  # at the process's end a thread may start and never run
            return False
        self._timer = timer
        return True

    def _fire(self) -> None:
        now = monotonic()
        with self._lock:
            self._timer = None
            due = [callback for callback, time in list(self._times.items()) if time <= now]
            for callback in due:
                del self._times[callback]
            if self._times:
                self._ensure_thread()
        for callback in due:
            callback()


shared_timer: Final = SharedTimer()
"""The timer that the whole process shares."""

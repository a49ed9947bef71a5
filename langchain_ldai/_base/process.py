"""What a process does beside running: it is forked, and it ends."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final, ParamSpec, Protocol, TypeVar
from weakref import WeakSet, ref

P = ParamSpec("P")
T = TypeVar("T")

WORKER: Final = "langchain_ldai-claims"
"""The name of the threads that go on for the sake of others, and not by themselves."""

FORK_SECONDS: Final = 1.0
"""How long a fork waits for what other threads use at that moment."""


class ForkSafe(Protocol):
    """An object whose locks or threads do not survive a fork: a thread of the parent may hold its lock."""

    def reset_after_fork(self) -> None:
        """Replace locks and drop the parent's work, as in a process that has just started."""
        ...


_fork_safe: Final[WeakSet[ForkSafe]] = WeakSet()


def register_fork_safe(owner: ForkSafe) -> None:
    """Call `owner.reset_after_fork()` in each process that is forked from this one, while `owner` exists."""
    _fork_safe.add(owner)


class PausesForForks:
    """What no thread uses while the process is forked: its users wait for the fork, and the fork for its users."""

    def __init__(self) -> None:
        self.reset_after_fork()
        register_fork_safe(self)
        _pausing.append(ref(self, _pausing.remove))

    def reset_after_fork(self) -> None:
        """Have no users: in a forked process, those of its parent are gone."""
        self._users: set[object] = set()

    def use(self, call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Call a function that uses it, and return what that returns."""
        user = object()
        while True:
            try:
                self._users.add(user)  # first, so that a fork sees it, or it sees the fork
                if not _forks:
                    return call(*args, **options)
            finally:
                self._users.discard(user)
            time.sleep(0.001)

    def close_for_fork(self) -> None:
        """Close what parent and child cannot share; nobody uses it meanwhile."""

    def prepare_fork(self, latest: float) -> None:
        """Wait until nobody uses it, but no longer than until a time of `monotonic()`, and close it."""
        while self._users and time.monotonic() < latest:
            time.sleep(0.001)
        if not self._users:
            self.close_for_fork()


_pausing: Final[list[ref[PausesForForks]]] = []
_forks: Final[list[None]] = []
"""An entry for each thread that is forking the process."""


def is_ending() -> bool:
    """Whether nothing is left that could go on: Python runs what is to be run at exit, or ends."""
    if is_main_thread_alive():
        return False
    return sys.is_finalizing() or not any(
        thread.is_alive() and not thread.daemon and thread.name != WORKER for thread in threading.enumerate()
    )


def is_main_thread_alive() -> bool:
    """Whether the main thread has not ended, so that Python still starts threads."""
    if _interrupted:
        return not sys.is_finalizing()
    try:
        return threading.main_thread().is_alive()
    except BaseException:
        _interrupted.append(None)
        raise


_interrupted: Final[list[None]] = []
"""An entry once an interrupt hit that look: Python 3.11 may then take the main thread for ended, for good."""


def collect_garbage(timeout: float | None) -> bool:
    """Have Python collect what the program dropped, so that streams among it end.

    A stream of LangChain's may read its model to the end before it ends itself (fact 72), so that another thread
    collects where the time is limited.

    Args:
        timeout: Seconds to wait at most; the thread goes on after them.

    Returns:
        Whether everything is collected.
    """
    if timeout is None:
        gc.collect()
        return True
    collector = threading.Thread(target=gc.collect, name="langchain_ldai-collect", daemon=True)
    try:
        collector.start()
    except RuntimeError:  # the process may have no more threads
        return False
    collector.join(min(timeout, threading.TIMEOUT_MAX))
    return not collector.is_alive()


def _prepare_all() -> None:
    latest = time.monotonic() + FORK_SECONDS
    for owner in filter(None, [reference() for reference in _pausing.copy()]):
        owner.prepare_fork(latest)


def _reset_all() -> None:
    _forks.clear()
    for owner in list(_fork_safe):
        owner.reset_after_fork()


if hasattr(os, "register_at_fork"):
    # The `before` that is registered last is called first. What marks a fork is no Python code: an interrupt could
    # be raised in that, and leave the mark behind.
    os.register_at_fork(before=_prepare_all)
    os.register_at_fork(before=partial(_forks.append, None), after_in_parent=_forks.pop, after_in_child=_reset_all)

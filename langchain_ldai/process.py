"""What a process does beside running: it is forked, and it ends."""

import gc
import os
import sys
import threading
from typing import Final, Protocol
from weakref import WeakSet

WORKER: Final = "langchain_ldai-claims"
"""The name of the threads that go on for the sake of others, and not by themselves."""


class Renewable(Protocol):
    """What is of no use to a forked process as it is: its locks may be held by a thread of the parent's."""

    def renew(self) -> None:
        """Begin anew, as in a process that has just started."""
        ...


_inherited: Final[WeakSet[Renewable]] = WeakSet()


def renew_in_forks(owner: Renewable) -> None:
    """Have something begin anew in each process that is forked from this one."""
    _inherited.add(owner)


def is_ending() -> bool:
    """Whether nothing is left that could go on: Python runs what is to be run at exit, or ends."""
    if threading.main_thread().is_alive():
        return False
    return sys.is_finalizing() or not any(
        thread.is_alive() and not thread.daemon and thread.name != WORKER for thread in threading.enumerate()
    )


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


def _renew_all() -> None:
    for owner in list(_inherited):
        owner.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)

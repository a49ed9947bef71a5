"""The end of the process: whether it has begun, and whether Python still starts threads."""

import sys
import threading
from typing import Final

KEEPER: Final = "langchain_ldai-claims"
"""Name of the threads that finish what others left. While only these are alive, the process ends."""


def is_ending() -> bool:
    """Return whether the process is ending: no thread is left that does work of its own."""
    if is_main_thread_alive():
        return False
    return sys.is_finalizing() or not any(
        thread.is_alive() and not thread.daemon and thread.name != KEEPER for thread in threading.enumerate()
    )


def is_main_thread_alive() -> bool:
    """Return whether the main thread is alive, so that Python still starts threads."""
    if _interrupted:
        return not sys.is_finalizing()
    try:
        return threading.main_thread().is_alive()
    except BaseException:
        _interrupted.append(None)
        raise


def try_to_start(thread: threading.Thread) -> bool:
    """Start a thread; return `False` if the process has no thread to spare, or ends."""
    if sys.is_finalizing():  # it still collects garbage, and Python 3.11 would wait for the thread for ever
        return False
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


_interrupted: Final[list[None]] = []
"""One entry if an interrupt hit `is_alive`: from then on Python 3.11 may say that the main thread has ended."""

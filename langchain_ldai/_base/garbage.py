"""Garbage: what the program dropped, and Python has not collected yet."""

import gc
import threading

from langchain_ldai._base.exit import try_to_start


def collect_garbage(timeout: float | None) -> bool:
    """Collect what the program dropped, so that the streams among it end.

    A stream may first read on to its end (fact 72). So if there is a timeout, another thread collects.

    Args:
        timeout: Seconds to wait at most. The thread goes on after them.

    Returns:
        Whether everything is collected.
    """
    if timeout is None:
        gc.collect()
        return True
    collector = threading.Thread(target=gc.collect, name="langchain_ldai-collect", daemon=True)
    if not try_to_start(collector):
        return False
    collector.join(min(timeout, threading.TIMEOUT_MAX))
    return not collector.is_alive()

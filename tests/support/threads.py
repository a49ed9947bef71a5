"""The package's own threads, and a process that has no thread to spare."""

import threading


def threads_named(*names: str) -> list[threading.Thread]:
    """Return the package's threads of these names, such as `claims`."""
    return [each for each in threading.enumerate() if each.name.removeprefix("langchain_ldai-") in names]


def join_threads(*names: str) -> None:
    """Wait until the package's threads of these names have ended."""
    for thread in threads_named(*names):
        thread.join(60)
        assert not thread.is_alive()


def start_no_thread(thread: threading.Thread) -> None:
    """Stand in for `Thread.start` in a process that has no thread to spare, or ends."""
    raise RuntimeError("can't start new thread")

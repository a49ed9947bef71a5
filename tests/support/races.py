"""Threads that race for a tracker's slots, with a thread switch offered before every line of it."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Final, TypeVar

from langchain_ldai._tracking import graph_tracker, slots, tracker

THREADS: Final = 8
PATIENCE_SECONDS: Final = 60

T = TypeVar("T")
Trace = Callable[[FrameType, str, object], object]

_TRACKERS: Final = {module.__file__ for module in (slots, tracker, graph_tracker)}


@contextmanager
def switching_before_every_line(*, every_opcode: bool = False) -> Iterator[None]:
    """Let another thread run before every line, or every part of a line, of the trackers in this thread."""

    def trace(frame: FrameType, event: str, argument: object) -> Trace | None:
        if frame.f_code.co_filename not in _TRACKERS:
            return None
        frame.f_trace_opcodes = every_opcode
        time.sleep(0)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def race_for_each(runs: Sequence[T], record: Callable[[T, int], None]) -> None:
    """Record on each of the runs from eight threads, numbered from 0, that begin at the same moment."""
    start = threading.Barrier(THREADS)

    def race(thread: int) -> None:
        with switching_before_every_line():
            for run in runs:
                start.wait(PATIENCE_SECONDS)
                record(run, thread)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(race, range(THREADS)))

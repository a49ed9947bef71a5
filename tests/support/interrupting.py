"""What happens within a function: Python may collect a run there, and so end it, or call a signal's handler."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal


@contextmanager
def interrupted(
    function: Callable[..., object],
    position: int,
    action: Callable[[], object],
    *,
    before: Literal["line", "opcode"],
) -> Iterator[list[None]]:
    """Take an action before the line of a function, or the part of one, that is run at a position, from 1.

    Gives a list with one entry for each that is still to be run until then.
    """
    left = [None] * position

    def trace(frame: FrameType, event: str, argument: object) -> object:
        if frame.f_code is not function.__code__:
            return None
        frame.f_trace_opcodes = before == "opcode"
        if event == before and left:
            left.pop()
            if not left:
                action()
        return trace

    outer = sys.gettrace()
    sys.settrace(trace)
    try:
        yield left
    finally:
        sys.settrace(outer)

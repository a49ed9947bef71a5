"""What a call costs, in numbers that are the same on a busy machine and on an idle one."""

import gc
import sys
import tracemalloc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import langchain_ldai
from langchain_ldai import LdAiHandler
from langchain_ldai.testing import RecordingClient
from tests.support.chains import QUESTION, chain

_OURS = str(Path(langchain_ldai.__file__).parent)


def bytecodes(action: Callable[[], object]) -> int:
    """Return how many bytecodes of ours an action executes in this thread, with what they call of Python's own.

    It is done twice, since Python 3.12 and later count all bytecodes only of what was traced before; and without
    the garbage collector, which may run what other tests left behind.
    """
    gc.disable()
    try:
        _traced_bytecodes(action)
        return _traced_bytecodes(action)
    finally:
        gc.enable()


def _traced_bytecodes(action: Callable[[], object]) -> int:
    executed = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        nonlocal executed
        if event == "opcode":
            executed += 1
        elif event == "call" and not _is_ours(frame):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return executed


def _is_ours(frame: FrameType | None) -> bool:
    """Whether a frame is of the package, or was called from it but for LangChain's."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(_OURS):
            return True
        if "langchain" in frame.f_code.co_filename:
            return False
        frame = frame.f_back
    return False


class ForgetfulClient(RecordingClient):
    """Serves flags and forgets events."""

    def track(self, *event: object) -> None:
        """Forget the event."""


def run_price(handler: LdAiHandler) -> int:
    """Return the fewest bytecodes of a run of a chain."""
    subject = chain()
    subject.invoke(QUESTION, {"callbacks": [handler]})
    return min(bytecodes(lambda: subject.invoke(QUESTION, {"callbacks": [handler]})) for _ in range(3))


def peak_bytes(action: Callable[[], object]) -> int:
    """Return the most memory that an action holds at once beyond what was held before it."""
    tracemalloc.start()
    try:
        action()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        action()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before


@contextmanager
def no_garbage_collection() -> Generator[None]:
    """Let what refers to itself stay in memory, so that it shows."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

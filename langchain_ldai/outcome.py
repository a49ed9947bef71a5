"""How a run ended; pure."""

import inspect
import sys
from collections.abc import Iterable
from concurrent import futures
from enum import StrEnum
from types import FrameType, GeneratorType
from typing import Final

_ASYNC: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Outcome(StrEnum):
    """How a run ended."""

    SUCCESS = "success"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"


_WORST_FIRST: Final = (
    Outcome.ERROR,
    Outcome.INTERRUPTED,
    Outcome.ABANDONED,
    Outcome.CANCELLED,
    Outcome.SUCCESS,
)


def worst(outcomes: Iterable[Outcome | None]) -> Outcome | None:
    """Return the worst of the outcomes that are known, `None` where none is."""
    return min((each for each in outcomes if each is not None), key=_WORST_FIRST.index, default=None)


def classify(error: BaseException) -> Outcome:
    """Return the outcome of a run, or of a node's visit, that raised this error (facts 57 to 59, 69 to 77).

    What is no `Exception` stops the chain from outside, whoever raises it; of those that are one only that of
    `concurrent.futures` does.
    """
    if not isinstance(error, Exception) or isinstance(error, futures.CancelledError):
        return Outcome.CANCELLED
    langgraph = sys.modules.get("langgraph.errors")
    if langgraph is not None and isinstance(error, langgraph.GraphInterrupt):
        return Outcome.INTERRUPTED
    if langgraph is not None and isinstance(error, langgraph.GraphBubbleUp):
        return Outcome.SUCCESS
    return Outcome.ERROR


def failed_node(error: BaseException) -> str | None:
    """Return which of its nodes failed a graph that raised this error, where the node was told to be cancelled.

    Returns:
        The name of a node that ran out of time or cancelled itself, "" where the graph ran out of time
        (`step_timeout`), and with it all that were at work; `None` for any other error.
    """
    if type(error).__module__ == "langgraph.errors" and isinstance(node := getattr(error, "node", None), str):
        return node
    return "" if isinstance(error, TimeoutError) else None


def was_closed_early() -> bool | None:
    """Whether its reader closed the stream of whose end LangChain is telling; `None` if that cannot be seen.

    A sync stream that is closed ends like one that was read (fact 72). But its generator, which tells of the
    end, still holds what it was reading from, unfinished. An async stream that is closed ends with an error.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_flags & _ASYNC:
            return False
        if frame.f_code.co_flags & inspect.CO_GENERATOR:
            held = [each for each in frame.f_locals.values() if isinstance(each, GeneratorType)]
            return any(each.gi_frame is not None for each in held) if held else None
        frame = frame.f_back
    return None

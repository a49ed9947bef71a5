"""How a run, a node or a step ended: read from the error, or from the stream that was closed; pure."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Mapping
from concurrent import futures
from enum import StrEnum
from types import FrameType, GeneratorType
from typing import Final

_ASYNC: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Outcome(StrEnum):
    """How a run ended.

    `SUCCESS` and `ERROR` are recorded; a run that was `INTERRUPTED`, `CANCELLED` or `ABANDONED` records neither.
    """

    SUCCESS = "success"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"


RECORDED: Final[Mapping[Outcome | None, bool]] = {Outcome.SUCCESS: True, Outcome.ERROR: False}
"""The outcomes that are recorded, and whether each is recorded as a success."""

_FROM_BEST: Final = Outcome.SUCCESS, Outcome.CANCELLED, Outcome.ABANDONED, Outcome.INTERRUPTED, Outcome.ERROR
_BADNESS: Final = {outcome: number for number, outcome in enumerate(_FROM_BEST)}


def worst(outcome: Outcome, *others: Outcome | None) -> Outcome:
    """Return the worst of the outcomes that are known."""
    for other in others:
        if other is not None and _BADNESS[other] > _BADNESS[outcome]:
            outcome = other
    return outcome


def classify(error: BaseException) -> Outcome:
    """Return the outcome of a run, or of a node's visit, that raised this error (facts 57 to 59, 69 to 77).

    A `BaseException` that is no `Exception` stops the chain from outside, whoever raises it. Of the exceptions,
    only `concurrent.futures.CancelledError` does.
    """
    if not isinstance(error, Exception) or isinstance(error, futures.CancelledError) or _hides_stop(error):
        return Outcome.CANCELLED
    langgraph = sys.modules.get("langgraph.errors")
    if langgraph is not None and isinstance(error, langgraph.GraphInterrupt):
        return Outcome.INTERRUPTED
    if langgraph is not None and isinstance(error, langgraph.GraphBubbleUp):
        return Outcome.SUCCESS
    return Outcome.ERROR


def _hides_stop(error: Exception) -> bool:
    """Whether LangChain raised this error because it read a model's result from what stopped the model (fact 77).

    If that is asyncio's own cancellation, the model raised it by itself, and has failed.
    """
    if not isinstance(error, AttributeError) or error.name != "generations":
        return False
    return isinstance(error.obj, BaseException) and not isinstance(error.obj, (Exception, asyncio.CancelledError))


def failed_node(error: BaseException) -> str | None:
    """Return which node made a graph fail with this error, where LangGraph reports that node as cancelled.

    Returns:
        The name of a node that ran out of time or cancelled itself; "" where the graph ran out of time
        (`step_timeout`), and so did all nodes at work; `None` for any other error.
    """
    if type(error).__module__ == "langgraph.errors" and isinstance(node := getattr(error, "node", None), str):
        return node
    return "" if isinstance(error, TimeoutError) else None


def was_closed_early() -> bool | None:
    """Whether the reader closed the stream that is ending; `None` if that cannot be seen.

    The end event of a sync stream does not tell a closed one from one that was read to its end (fact 72). But the
    generator that sends the event still holds what it was reading from, unfinished. A closed async stream ends
    with an error.
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

"""How a run ended; pure."""

import asyncio
import sys
from concurrent import futures
from enum import StrEnum
from typing import Final

_CANCELLED: Final = (asyncio.CancelledError, futures.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)


class Outcome(StrEnum):
    """How a run ended."""

    SUCCESS = "success"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"


def classify(error: BaseException) -> Outcome:
    """Return the outcome of a run, or of a node's visit, that raised this error (facts 57 to 59, 69 to 77)."""
    if isinstance(error, _CANCELLED):
        return Outcome.CANCELLED
    langgraph = sys.modules.get("langgraph.errors")
    if langgraph is not None and isinstance(error, langgraph.GraphInterrupt):
        return Outcome.INTERRUPTED
    if langgraph is not None and isinstance(error, langgraph.GraphBubbleUp):
        return Outcome.SUCCESS
    return Outcome.ERROR

"""How a span ends: its status, and what it says of an error."""

from __future__ import annotations

from collections.abc import Sequence
from traceback import TracebackException
from typing import Final, NamedTuple

from opentelemetry.trace import Span, Status, StatusCode

from langchain_ldai._runs.outcome import Outcome, classify
from langchain_ldai.spans import _names
from langchain_ldai.spans._json import cut, sendable

Attributes = dict[str, str | bool | int | float | Sequence[str]]
"""Attributes of a span."""

_UNKNOWN_ERROR: Final = "_OTHER"


class Failure(NamedTuple):
    """What stopped a model call, a tool or a run.

    Args:
        outcome: What follows from it.
        error_type: The qualified name of the exception's class.
        is_closed_stream: Whether it only tells that a consumer closed the stream.
        message: The exception's text, "" where content is not to be shown.
        stack_trace: Where it was raised, "" where content is not to be shown.
    """

    outcome: Outcome
    error_type: str = _UNKNOWN_ERROR
    is_closed_stream: bool = False
    message: str = ""
    stack_trace: str = ""

    @classmethod
    def of(cls, error: BaseException, max_content: int) -> Failure:
        """Return what an exception tells; its text is cut at `max_content` characters, and 0 leaves it out."""
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        failure = cls(classify(error), name, isinstance(error, GeneratorExit))
        if not max_content:
            return failure
        described = TracebackException.from_exception(error)
        text, trace = str(described), "".join(described.format())
        return failure._replace(message=cut(text, max_content), stack_trace=cut(trace, max_content))


class SpanEnd(NamedTuple):
    """How a span ends.

    Args:
        status: Its status; "unset" where it neither worked nor failed.
        attributes: What it gets at its end.
        failure: Why it failed, `None` where it did not.
    """

    status: StatusCode
    attributes: Attributes
    failure: Failure | None = None

    @classmethod
    def of(cls, outcome: Outcome, failure: Failure | None, attributes: Attributes) -> SpanEnd:
        """Return how the span ends of a run, a model call or a tool call.

        Args:
            outcome: How that ended.
            failure: What stopped it; `None` where nothing did, or nobody knows.
            attributes: What else the span gets at its end.
        """
        if outcome is Outcome.SUCCESS:
            return cls(StatusCode.OK, attributes)
        if outcome is Outcome.ERROR:
            failure = failure or Failure(outcome)
            return cls(StatusCode.ERROR, {**attributes, _names.ERROR_TYPE: failure.error_type}, failure)
        if outcome is Outcome.CANCELLED:
            is_closed_stream = failure is None or failure.is_closed_stream
            name = _names.STREAM_ABANDONED if is_closed_stream else _names.RUN_CANCELLED
            attributes = {**attributes, name: True}
        return cls(StatusCode.UNSET, attributes)

    def apply(self, span: Span, at: int) -> None:
        """End a span, at a time in nanoseconds since 1970."""
        span.set_attributes(sendable(self.attributes))
        if self.failure is not None and self.failure.stack_trace:
            told = {
                _names.EXCEPTION_TYPE: self.failure.error_type,
                _names.EXCEPTION_MESSAGE: self.failure.message,
                _names.EXCEPTION_STACKTRACE: self.failure.stack_trace,
            }
            span.add_event(_names.EXCEPTION, sendable(told), at)
        if self.status is not StatusCode.UNSET:
            span.set_status(Status(self.status, self.failure.message or None if self.failure else None))
        span.end(at)

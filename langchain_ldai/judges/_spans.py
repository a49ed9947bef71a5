"""What judges need of spans: those of a judge's run wait for its score."""

from __future__ import annotations

from contextvars import Context
from typing import Final, Protocol

from langchain_ldai._runs.observing import NO_TRACE, RunSpans, TraceIds
from langchain_ldai._tracking.values import JudgeResult

_DIGITS: Final = {"trace_id": 32, "span_id": 16}


class JudgeSpans(RunSpans, Protocol):
    """Makes the spans of one run of a judge; its root has a link to the judged root, and waits for the score."""

    def context(self) -> Context:
        """Return a new context, in which nothing is set but the judge's parent span."""
        ...

    def scored(self, result: JudgeResult | None) -> None:
        """Take the score that the judge gave, `None` where it gave none; then its root may end."""
        ...


class SpansForJudges(Protocol):
    """Makes the spans of judges' runs, as `langchain_ldai.spans.Spans` does."""

    def for_judge(self, judged: TraceIds) -> JudgeSpans:
        """Return what makes the spans of a judge's run, below the span that is current now."""
        ...


def trace_ids(trace_id: str | None, span_id: str | None) -> TraceIds:
    """Return the ids of a run's root span, as its report has them; both may be missing.

    Raises:
        TypeError: If one is no text.
        ValueError: If one is missing, or is not of hex digits.
    """
    given = TraceIds(trace_id, span_id)
    if given == NO_TRACE:
        return given
    for name, value in given._asdict().items():
        if not isinstance(value, str | None):
            raise TypeError(f"{name} is a str, not {type(value).__name__}")
        if value is None or len(value) != _DIGITS[name] or not set(value) <= set("0123456789abcdef"):
            remedy = "give both ids of a RunReport, or neither"
            raise ValueError(f"{name} has {_DIGITS[name]} hex digits, unlike {value!r}: {remedy}")
    return given

"""The values that a tracker takes and returns; plain data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from numbers import Real
from reprlib import repr as short_repr
from typing import Literal, NoReturn

from langchain_ldai._base.options import check_texts


class Feedback(StrEnum):
    """What a user thought of a run's answer."""

    POSITIVE = "positive"
    NEGATIVE = "negative"

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise ValueError(f"feedback is Feedback.POSITIVE or Feedback.NEGATIVE, not {short_repr(value)}")


FeedbackText = Literal["positive", "negative"]
"""The texts that stand for a `Feedback`."""


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """How many tokens were used. 0 means that a number is not known; `None` is taken as 0.

    Args:
        total: Tokens in all. It is sent as it is, never computed from the parts.
        input: Tokens of the prompt.
        output: Tokens of the completion.

    Raises:
        TypeError: If a part is neither an integer nor `None`.

    Example:
        >>> TokenUsage(total=30, input=10, output=20) + TokenUsage(total=5)
        TokenUsage(total=35, input=10, output=20)
        >>> bool(TokenUsage())
        False
    """

    total: int = 0
    input: int = 0
    output: int = 0

    def __post_init__(self) -> None:
        if type(self.total) is type(self.input) is type(self.output) is int:
            return
        for part in ("total", "input", "output"):
            value: object = getattr(self, part)
            if value is None:
                object.__setattr__(self, part, 0)
            elif not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"TokenUsage.{part} is a whole number, not {short_repr(value)}")

    def __add__(self, other: TokenUsage) -> TokenUsage:
        """Return the sum of both, part by part."""
        return TokenUsage(self.total + other.total, self.input + other.input, self.output + other.output)

    def __bool__(self) -> bool:
        """Return whether any part is above 0."""
        return self.total > 0 or self.input > 0 or self.output > 0


@dataclass(frozen=True, slots=True)
class AiMetrics:
    """What an extractor reads from a function's result, for `track_metrics_of`.

    Args:
        success: Whether the function did what it should.
        tokens: The tokens it used; `None` if unknown.
        duration_ms: How long it took, in milliseconds; `None` for the time that the tracker measured.
        tool_calls: The names of the tools it called.

    Raises:
        TypeError: If `tokens` is no `TokenUsage`, or `tool_calls` no list of names.
        ValueError: If `duration_ms` is negative or not a number.

    Example:
        >>> def read(answer):
        ...     return AiMetrics(bool(answer["text"]), TokenUsage(total=answer["tokens"]))
        >>> tracker = ai.completion_config("support-bot", context).create_tracker()
        >>> answer = tracker.track_metrics_of(read, lambda: {"text": "Hold the button", "tokens": 17})
        >>> tracker.summary.success, tracker.summary.tokens
        (True, TokenUsage(total=17, input=0, output=0))
    """

    success: bool
    tokens: TokenUsage | None = None
    duration_ms: float | None = None
    tool_calls: Iterable[str] | None = None

    def __post_init__(self) -> None:
        # The extractor's mistake is raised in the extractor, not in the tracker.
        object.__setattr__(self, "success", bool(self.success))
        if self.duration_ms is not None:
            object.__setattr__(self, "duration_ms", whole_milliseconds(self.duration_ms))
        if self.tokens is not None:
            object.__setattr__(self, "tokens", check_usage(self.tokens))
        if self.tool_calls is not None:
            object.__setattr__(self, "tool_calls", names_of_tools(self.tool_calls))


@dataclass(frozen=True, slots=True)
class JudgeResult:
    """A judge's score of a run.

    Args:
        metric_key: Key of the metric that takes the score. Without one nothing is sent.
        score: The score. Without one nothing is sent.
        judge_config_key: Key of the judge's AI Config.
        sampled: Whether the run was picked for judging. If not, nothing is sent.
        success: Whether the judge came to a result. If not, nothing is sent.
        reasoning: Why the judge scores so, `None` where it does not say. It is never sent.

    Example:
        >>> tracker = ai.completion_config("support-bot", context).create_tracker()
        >>> tracker.track_judge_result(JudgeResult("answer-length", 0.9))
        >>> client.metrics(tracker.run_id)
        {'answer-length': [0.9]}
    """

    metric_key: str
    score: float | None
    judge_config_key: str | None = None
    sampled: bool = True
    success: bool = True
    reasoning: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSummary:
    """What a tracker had recorded when it was asked; `None` where it had not.

    With a ledger, a value is here as soon as the tracker asks the ledger for it. The ledger may refuse it later.
    """

    duration_ms: int | None = None
    time_to_first_token_ms: int | None = None
    tokens: TokenUsage | None = None
    success: bool | None = None
    feedback: Feedback | None = None
    tool_calls: tuple[str, ...] = ()
    resumption_token: str = field(repr=False)


Slot = Literal["duration_ms", "time_to_first_token_ms", "tokens", "success", "feedback", "path"]
"""The metrics that take one value; times in whole milliseconds. Only an agent graph has a path."""

Value = int | bool | TokenUsage | Feedback | tuple[str, ...]


def check_usage(usage: TokenUsage) -> TokenUsage:
    """Return a usage as a `TokenUsage`; it may be another package's, with the same parts.

    Raises:
        TypeError: If it lacks a part.
    """
    if not all(hasattr(usage, part) for part in ("total", "input", "output")):
        raise TypeError(f"token usage is a langchain_ldai.TokenUsage, not {type(usage).__name__}")
    return TokenUsage(usage.total, usage.input, usage.output)


def score_of(result: JudgeResult) -> float | None:
    """Return a judge's score as an event carries it; `None` where there is none, or it is not finite.

    JSON has no form for other types of numbers: with such an event the client would lose its whole batch.

    Raises:
        TypeError: If the result has not a judge's parts (another package's may have them), its score is no number,
            or a key no text.
    """
    if not all(hasattr(result, part) for part in ("metric_key", "score", "sampled", "success")):
        raise TypeError(
            f"a judge's result is a langchain_ldai.JudgeResult(metric_key, score), not {type(result).__name__}"
        )
    for part in ("metric_key", "judge_config_key"):
        key: object = getattr(result, part, None)
        if not isinstance(key, str | None):
            raise TypeError(f"JudgeResult.{part} is a str, not {type(key).__name__}")
    score = result.score
    if not isinstance(score, Real | None) or isinstance(score, bool):
        raise TypeError(f"JudgeResult.score is a number, not {short_repr(score)}")
    try:
        number = math.nan if score is None else float(score)
    except OverflowError:
        return None
    return (score if isinstance(score, int) else number) if math.isfinite(number) else None


def names_of_tools(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the tools that were called.

    Raises:
        TypeError: If `names` is one text or no list, or a name is not a string.
    """
    return check_texts("tool calls are a list of names", names, "a tool's name")


def keys_of_nodes(keys: Iterable[str]) -> tuple[str, ...]:
    """Return the keys of an agent graph's nodes.

    Raises:
        TypeError: If `keys` is one text or no list, or a key is not a string.
    """
    return check_texts("a path is a list of the nodes' keys", keys, "a node's key")


def whole_milliseconds(ms: float) -> int:
    """Return milliseconds as they are sent: a whole number, rounded down.

    Raises:
        ValueError: If `ms` is negative or not a finite number.
    """
    if not isinstance(ms, Real) or isinstance(ms, bool) or not 0 <= ms < math.inf:
        raise ValueError(f"milliseconds are a number of at least 0, not {short_repr(ms)}")
    return math.floor(ms)

"""One run's tracker: its identity, and a slot for each metric that takes one value and no second."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from reprlib import repr as short_repr
from typing import ClassVar, Final, TypeVar

from langchain_ldai._tracking.once import Event, EventTable, OnceTracker, Send
from langchain_ldai._tracking.values import (
    AiMetrics,
    Feedback,
    FeedbackText,
    JudgeResult,
    MetricSummary,
    Slot,
    TokenUsage,
    check_usage,
    names_of_tools,
    whole_milliseconds,
)
from langchain_ldai._wire import events
from langchain_ldai._wire.tokens import RunIdentity, encode
from langchain_ldai.errors import without_message

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


_OUTCOME: Final = {True: events.SUCCESS, False: events.ERROR}
_FEEDBACK: Final = {
    Feedback.POSITIVE: events.FEEDBACK_POSITIVE,
    Feedback.NEGATIVE: events.FEEDBACK_NEGATIVE,
}


def model_data(
    name: str = "", provider: str = "", *, key: str = "", version: int | None = None
) -> Mapping[str, object]:
    """Return what the events of an AI Config's runs say of its model (spec section 4).

    Args:
        name: Name of the model, "" when unknown.
        provider: Name of the model's provider, "" when unknown.
        key: LaunchDarkly's key of the model, "" when the AI Config has none.
        version: LaunchDarkly's version of the model, `None` when the AI Config has none.
    """
    data: dict[str, object] = {events.MODEL_NAME: name, events.PROVIDER_NAME: provider}
    if key:
        data[events.MODEL_KEY] = key
    if version is not None:
        data[events.MODEL_VERSION] = version
    return data


def _token_events(usage: TokenUsage) -> list[Event]:
    counts = (
        (events.TOKENS_TOTAL, usage.total),
        (events.TOKENS_INPUT, usage.input),
        (events.TOKENS_OUTPUT, usage.output),
    )
    return [(name, {}, count) for name, count in counts if count > 0]


UNKNOWN_MODEL: Final = model_data()


class LdAiConfigTracker(OnceTracker[RunIdentity, Slot]):
    """Records the metrics of one run, each at most once, under the run's `run_id` (spec section 4).

    Made by `config.create_tracker()` for a new run, or by `client.create_tracker(token, context)` for a
    run that another process began. Safe to use from any number of threads: a slot is claimed under a
    lock before its event is sent, outside it. A metric that has been recorded already is dropped with
    one warning in the log.

    Args:
        identity: Which run this is.
        send: Delivers an event.
        model: What the events say of the model, see `model_data`; by default that it is unknown, as after a
            resumption.
    """

    __slots__ = ("_tool_calls",)

    _log: ClassVar = logging.getLogger(__name__)
    _made_by: ClassVar = "AI Config"
    _events_of: ClassVar[EventTable] = {
        "duration_ms": lambda ms: [(events.DURATION, {}, ms)],
        "time_to_first_token_ms": lambda ms: [(events.TIME_TO_FIRST_TOKEN, {}, ms)],
        "tokens": _token_events,
        "success": lambda succeeded: [(_OUTCOME[succeeded], {}, 1)],
        "feedback": lambda feedback: [(_FEEDBACK[feedback], {}, 1)],
    }

    def __init__(
        self,
        identity: RunIdentity,
        send: Send,
        model: Mapping[str, object] = UNKNOWN_MODEL,
    ) -> None:
        data: dict[str, object] = {
            events.RUN_ID: identity.run_id,
            events.CONFIG_KEY: identity.config_key,
            events.VERSION: identity.version,
            **model,
        }
        if identity.variation_key:
            data[events.VARIATION_KEY] = identity.variation_key
        if identity.graph_key:
            data[events.GRAPH_KEY] = identity.graph_key
        super().__init__(identity, encode(identity), data, send)
        self._tool_calls: list[str] = []

    @property
    def summary(self) -> MetricSummary:
        """What has been recorded so far; a snapshot that later recordings do not change."""
        recorded, tool_calls = self._recorded.snapshot(), tuple(self._tool_calls)
        return MetricSummary(resumption_token=self.resumption_token, tool_calls=tool_calls, **recorded)

    def track_duration(self, ms: float) -> None:
        """Record how long the run took, once.

        Args:
            ms: Milliseconds; sent as a whole number, rounded down. 0 is a measurement.

        Raises:
            ValueError: If `ms` is negative or not a number.
        """
        self._track("track_duration", "duration_ms", whole_milliseconds(ms))

    def track_time_to_first_token(self, ms: float) -> None:
        """Record how long the model took to its first token, once.

        Args:
            ms: Milliseconds; sent as a whole number, rounded down.

        Raises:
            ValueError: If `ms` is negative or not a number.
        """
        self._track("track_time_to_first_token", "time_to_first_token_ms", whole_milliseconds(ms))

    def track_tokens(self, usage: TokenUsage | None) -> None:
        """Record the tokens used, once; a usage with no part above 0 is left unrecorded.

        Raises:
            TypeError: If it is no `TokenUsage`.
        """
        if usage is not None and (known := check_usage(usage)):
            self._track("track_tokens", "tokens", known)

    def track_success(self) -> None:
        """Record that the run succeeded; only one of success and error is recorded."""
        self._track("track_success", "success", True)

    def track_error(self) -> None:
        """Record that the run failed; only one of success and error is recorded."""
        self._track("track_error", "success", False)

    def track_feedback(self, feedback: Feedback | FeedbackText) -> None:
        """Record what a user thought of the answer, once.

        Args:
            feedback: `Feedback.POSITIVE` or `Feedback.NEGATIVE`, or its text.

        Raises:
            ValueError: If it is neither; nothing is recorded, whether or not feedback was before.
        """
        self._track("track_feedback", "feedback", _valid(feedback))

    def record_feedback(self, feedback: Feedback | FeedbackText) -> Future[bool]:
        """Record what a user thought of the answer, once, and tell whether it was recorded.

        For who has to answer for it, such as a feedback route: nothing is logged.

        Args:
            feedback: `Feedback.POSITIVE` or `Feedback.NEGATIVE`, or its text.

        Returns:
            Done at once without a ledger: whether it was recorded, and not another before it. With a ledger
            that cannot be reached in time it raises `LedgerUnavailableError`.

        Raises:
            ValueError: If it is neither; nothing is recorded.
        """
        recorded: Future[bool] = Future()
        recorded.set_running_or_notify_cancel()  # so that whoever waits for it cannot cancel it
        is_claimed = self._record("feedback", _valid(feedback), answer=recorded)
        if self.claims is None or not is_claimed:
            recorded.set_result(is_claimed)
        return recorded

    def track_tool_call(self, key: str) -> None:
        """Record one call of a tool, by LaunchDarkly's key of it, or by its name; each call counts.

        Raises:
            TypeError: If the key is not a string.
        """
        names_of_tools((key,))
        self._tool_calls.append(key)  # one step, which needs no lock
        self._send(events.TOOL_CALL, {**self._data, events.TOOL_KEY: key}, 1)

    def track_tool_calls(self, keys: Iterable[str]) -> None:
        """Record one call of each of the tools, by their keys.

        Raises:
            TypeError: If it is one text and no list of keys, or a key is not a string; nothing is recorded.
        """
        for key in names_of_tools(keys):
            self.track_tool_call(key)

    def track_judge_result(self, result: JudgeResult) -> None:
        """Send a judge's score, each time; not without a metric key, a score, sampling and success."""
        if not (result.sampled and result.success and result.metric_key):
            return
        if result.score is None or not math.isfinite(result.score):
            return
        data = dict(self._data)
        if result.judge_config_key:
            data[events.JUDGE_CONFIG_KEY] = result.judge_config_key
        self._send(result.metric_key, data, result.score)

    def track_duration_of(self, operation: Callable[[], _T]) -> _T:
        """Run the operation, record how long it took whether or not it raised, and return its result."""
        started = time.monotonic()
        try:
            return operation()
        finally:
            self.track_duration(_since(started))

    async def track_duration_of_async(self, operation: Callable[[], Awaitable[_T]]) -> _T:
        """Await the operation, record how long it took whether or not it raised, and return its result."""
        started = time.monotonic()
        try:
            return await operation()
        finally:
            self.track_duration(_since(started))

    def track_metrics_of(self, extractor: Callable[[_T], AiMetrics | None], operation: Callable[[], _T]) -> _T:
        """Run the operation and record its duration, its outcome, its tokens and its tool calls.

        If the operation raises, a cancellation included, duration and error are recorded and the
        exception goes on. If the extractor raises, or returns `None` or no `AiMetrics`, the duration alone is
        recorded and the operation's result is returned (spec section 4).

        Args:
            extractor: Reads the metrics from the operation's result.
            operation: What to run.
        """
        started = time.monotonic()
        try:
            result = operation()
        except BaseException:
            self._track_failure(_since(started))
            raise
        self._track_result(extractor, result, _since(started))
        return result

    async def track_metrics_of_async(
        self, extractor: Callable[[_T], AiMetrics | None], operation: Callable[[], Awaitable[_T]]
    ) -> _T:
        """Await the operation and record what `track_metrics_of` records."""
        started = time.monotonic()
        try:
            result = await operation()
        except BaseException:
            self._track_failure(_since(started))
            raise
        self._track_result(extractor, result, _since(started))
        return result

    def _track_failure(self, elapsed_ms: float) -> None:
        self.track_duration(elapsed_ms)
        self.track_error()

    def _track_result(self, extractor: Callable[[_T], AiMetrics | None], result: _T, elapsed_ms: float) -> None:
        try:
            metrics = extractor(result)
            if metrics is not None and not isinstance(metrics, AiMetrics):
                raise TypeError(f"an extractor returns an AiMetrics or None, not {type(metrics).__name__}")
        except Exception as error:  # noqa: BLE001  # an extractor is the caller's code
            _log.warning("the metrics extractor failed for run %s: %s", self.run_id, without_message(error))
            metrics = None
        if metrics is None:
            self.track_duration(elapsed_ms)
            return
        self.track_duration(elapsed_ms if metrics.duration_ms is None else metrics.duration_ms)
        if metrics.success:
            self.track_success()
        else:
            self.track_error()
        if metrics.tokens:
            self.track_tokens(metrics.tokens)
        self.track_tool_calls(metrics.tool_calls or ())


def _since(started: float) -> float:
    return (time.monotonic() - started) * 1000


def _valid(feedback: Feedback | FeedbackText) -> Feedback:
    try:
        return Feedback(feedback)
    except ValueError:
        raise ValueError(
            f"feedback is Feedback.POSITIVE or Feedback.NEGATIVE, not {short_repr(feedback)}"
        ) from None

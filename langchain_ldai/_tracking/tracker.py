"""The tracker of one run of an AI Config."""

import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from reprlib import repr as short_repr
from typing import ClassVar, Final, TypeVar

from langchain_ldai._base.guard import NOT_SENT, Ids
from langchain_ldai._base.options import check_plain, takes_one
from langchain_ldai._tracking.slots import EventTable, OnceTracker
from langchain_ldai._tracking.values import (
    AiMetrics,
    Feedback,
    FeedbackText,
    JudgeResult,
    MetricSummary,
    Slot,
    TokenUsage,
    Value,
    names_of_tools,
    score_of,
)
from langchain_ldai._wire import events
from langchain_ldai._wire.tokens import RunIdentity
from langchain_ldai.errors import WrongResultError, without_message

_T = TypeVar("_T")
Extractor = Callable[[_T], AiMetrics | None]

_OUTCOME: Final = {True: events.SUCCESS, False: events.ERROR}
_FEEDBACK: Final = {Feedback.POSITIVE: events.FEEDBACK_POSITIVE, Feedback.NEGATIVE: events.FEEDBACK_NEGATIVE}
_FAILURE: Final = AiMetrics(success=False)
_NOT_AWAITED: Final = (
    "%s was given a function that returns an awaitable, and recorded nothing for run %s: await %s_async instead"
)


def _token_events(data: Mapping[str, object], usage: TokenUsage) -> list[events.Event]:
    counts = (
        (events.TOKENS_TOTAL, usage.total),
        (events.TOKENS_INPUT, usage.input),
        (events.TOKENS_OUTPUT, usage.output),
    )
    return [(name, data, count) for name, count in counts if count > 0]


class LdAiConfigTracker(OnceTracker[RunIdentity]):
    """Records the metrics of one run, each at most once, from any number of threads.

    `config.create_tracker()` makes the tracker of a new run. `client.create_tracker(token, context)` makes one for
    a run that another process began.

    A metric takes one value. If it has one already, a further call sends nothing and logs one warning; call
    `create_tracker()` again for a new run. Tool calls and judge results have no limit.

    Args:
        identity: Which run this is.
        sender: Sends the events.
        data: What the events say of the model. By default the model is unknown, as after a resumption.

    Attributes:
        identity: Which run this is.
        resumption_token: The text with which another process can add to this run. It never changes.

    Example:
        `client` is a `RecordingClient`, which shows what was sent.

            >>> tracker = ai.completion_config("support-bot", context).create_tracker()
            >>> tracker.track_duration(1200)
            >>> tracker.track_tokens(TokenUsage(total=30, input=10, output=20))
            >>> tracker.track_success()
            >>> client.metrics(tracker.run_id)["$ld:ai:tokens:total"]
            [30]
            >>> tracker.summary.duration_ms
            1200
    """

    __slots__ = ()

    _log: ClassVar = logging.getLogger(__name__)
    _made_by: ClassVar = "AI Config"
    _events_of: ClassVar[EventTable] = {
        "duration_ms": lambda data, ms: [(events.DURATION, data, ms)],
        "time_to_first_token_ms": lambda data, ms: [(events.TIME_TO_FIRST_TOKEN, data, ms)],
        "tokens": _token_events,
        "success": lambda data, succeeded: [(_OUTCOME[succeeded], data, 1)],
        "feedback": lambda data, feedback: [(_FEEDBACK[feedback], data, 1)],
    }

    @property
    def summary(self) -> MetricSummary:
        """What has been recorded so far. Later recordings do not change it."""
        values = {**self._values}
        tool_calls = tuple(values.pop("tool_calls", ()))
        return MetricSummary(resumption_token=self.resumption_token, tool_calls=tool_calls, **values)

    def track_time_to_first_token(self, ms: float) -> None:
        """Record how long the model took until its first token, once.

        Args:
            ms: Milliseconds. They are sent as a whole number, rounded down.

        Raises:
            ValueError: If `ms` is negative or not a number.
        """
        self._track_time("track_time_to_first_token", "time_to_first_token_ms", ms)

    def track_tokens(self, usage: TokenUsage | None) -> None:
        """Record the tokens that the run used, once.

        Args:
            usage: Each part above 0 is sent. A usage without one records nothing, nor does `None`.

        Raises:
            TypeError: If `usage` is no `TokenUsage`.

        Example:
            >>> tracker = ai.completion_config("support-bot", context).create_tracker()
            >>> tracker.track_tokens(TokenUsage(total=17, input=14, output=3))
            >>> client.metrics(tracker.run_id)
            {'$ld:ai:tokens:total': [17], '$ld:ai:tokens:input': [14], '$ld:ai:tokens:output': [3]}
        """
        self._track_usage("track_tokens", usage)

    def track_success(self) -> None:
        """Record that the run succeeded. A run takes one of success and error, whichever comes first."""
        self._track("track_success", {"success": True})

    def track_error(self) -> None:
        """Record that the run failed. A run takes one of success and error, whichever comes first."""
        self._track("track_error", {"success": False})

    def track_feedback(self, feedback: Feedback | FeedbackText) -> None:
        """Record what a user thought of the answer, once.

        Args:
            feedback: `Feedback.POSITIVE` or `Feedback.NEGATIVE`, or its text.

        Raises:
            ValueError: If it is neither. Then nothing is recorded.

        Example:
            A process that has the run's token, and nothing else of it, records the feedback.

                >>> token = ai.completion_config("support-bot", context).create_tracker().resumption_token
                >>> tracker = ai.create_tracker(token, context)
                >>> tracker.track_feedback(Feedback.POSITIVE)
                >>> client.metrics(tracker.run_id)
                {'$ld:ai:feedback:user:positive': [1]}
        """
        self._track("track_feedback", {"feedback": Feedback(feedback)})

    def record_feedback(self, feedback: Feedback | FeedbackText) -> Future[bool]:
        """Record what a user thought of the answer, once, and return whether this call recorded it.

        This is for a feedback route, which tells the user. A second feedback is not logged.

        Args:
            feedback: `Feedback.POSITIVE` or `Feedback.NEGATIVE`, or its text.

        Returns:
            Whether this feedback was recorded, and none before it. Without a ledger the future is done at once.
            With a ledger, its `result()` raises `LedgerUnavailableError` if that could not be reached in time, or
            if `DurableEvents` could not keep the feedback.

        Raises:
            ValueError: If it is neither. Then nothing is recorded.

        Example:
            >>> tracker = ai.completion_config("support-bot", context).create_tracker()
            >>> tracker.record_feedback("positive").result(timeout=10)
            True
            >>> tracker.record_feedback("negative").result(timeout=10)
            False
        """
        recorded: Future[bool] = Future()
        recorded.set_running_or_notify_cancel()  # whoever waits for it cannot cancel it
        is_claimed = bool(self._record({"feedback": Feedback(feedback)}, answer=recorded))
        if self._sender.claims is None or not is_claimed:
            recorded.set_result(is_claimed)
        return recorded

    def track_tool_call(self, key: str) -> None:
        """Record one call of a tool. Each call counts.

        Args:
            key: LaunchDarkly's key of the tool, or its name if LaunchDarkly does not serve it.

        Raises:
            TypeError: If the key is not a string.
        """
        self._record({}, names_of_tools((key,)))

    def track_tool_calls(self, keys: Iterable[str]) -> None:
        """Record one call of each tool.

        Args:
            keys: As `track_tool_call` takes them, one for each call.

        Raises:
            TypeError: If `keys` is one text, or a key is not a string. Then nothing is recorded.
        """
        self._record({}, names_of_tools(keys))

    _record_run = OnceTracker._record
    """Records what a handler knows of the run, together with the keys of the tools that were called."""

    def _event_each_time(self, counted: str) -> events.Event:
        """Note a tool call for the summary, and return its event."""
        self._values.setdefault("tool_calls", []).append(counted)  # two steps, neither of which needs a lock
        return events.TOOL_CALL, {**self._data, events.TOOL_KEY: counted}, 1

    def track_judge_result(self, result: JudgeResult) -> None:
        """Send a judge's score. Each score counts, also where there is a ledger.

        Args:
            result: Nothing is sent unless it was sampled, succeeded, and has a metric key and a finite score.

        Raises:
            TypeError: If it is no judge's result, its score no number, or a key no text.
        """
        score = score_of(result)
        if score is None or not (result.sampled and result.success and result.metric_key):
            return
        judge = {events.JUDGE_CONFIG_KEY: result.judge_config_key} if result.judge_config_key else {}
        self._send([(result.metric_key, {**self._data, **judge}, score)])

    def _record_judge_score(self, metric_key: str, score: float, judge_key: str) -> None:
        """Send a judge's score; with a ledger, one for each judge of the run."""
        scored = {**self._data, events.JUDGE_CONFIG_KEY: judge_key}
        self._send([(metric_key, scored, score)], f"judge:{judge_key}")

    def track_duration_of(self, operation: Callable[[], _T]) -> _T:
        """Call a function, record how long it took, and return its result.

        The duration is recorded also if the function raises; the exception goes on. If the function returns an
        awaitable, nothing is recorded, and a warning names `track_duration_of_async`.

        Args:
            operation: What to call.

        Raises:
            TypeError: If `operation` is a coroutine function, or no function. Then nothing is called.

        Example:
            >>> tracker = ai.completion_config("support-bot", context).create_tracker()
            >>> tracker.track_duration_of(lambda: "Hello Sandy")
            'Hello Sandy'
            >>> list(client.metrics(tracker.run_id))
            ['$ld:ai:duration:total']
        """
        return self._call("track_duration_of", None, operation)

    async def track_duration_of_async(self, operation: Callable[[], Awaitable[_T]]) -> _T:
        """Await what a function returns, and record what `track_duration_of` records.

        Raises:
            TypeError: If `operation` is no function, or returns nothing to await. Then nothing is recorded.
        """
        return await self._call_async("track_duration_of", None, operation)

    def track_metrics_of(self, extractor: Extractor[_T], operation: Callable[[], _T]) -> _T:
        """Call a function, record its duration, outcome, tokens and tool calls, and return its result.

        If the function raises, or is cancelled, duration and error are recorded, and the exception goes on. If
        the extractor raises, or returns no metrics, the duration alone is recorded, and the result is returned
        all the same. If the function returns an awaitable, nothing is recorded, and a warning names
        `track_metrics_of_async`.

        Args:
            extractor: Reads the metrics from the function's result; `None` for no metrics.
            operation: What to call.

        Raises:
            TypeError: If either is a coroutine function, or no function, or the extractor takes no argument. Then
                nothing is called.

        Example:
            >>> def metrics_of(answer):
            ...     return AiMetrics(success=True, tokens=TokenUsage(total=answer["tokens"]))
            >>> tracker = ai.completion_config("support-bot", context).create_tracker()
            >>> tracker.track_metrics_of(metrics_of, lambda: {"text": "Hello Sandy", "tokens": 12})
            {'text': 'Hello Sandy', 'tokens': 12}
            >>> tracker.summary.success, tracker.summary.tokens.total
            (True, 12)
        """
        _check_extractor(extractor)
        return self._call("track_metrics_of", extractor, operation)

    async def track_metrics_of_async(self, extractor: Extractor[_T], operation: Callable[[], Awaitable[_T]]) -> _T:
        """Await what a function returns, and record what `track_metrics_of` records.

        Raises:
            TypeError: If the extractor is a coroutine function, if either is no function, or if `operation`
                returns nothing to await. Then nothing is recorded.
        """
        _check_extractor(extractor)
        return await self._call_async("track_metrics_of", extractor, operation)

    def _call(self, method: str, extractor: Extractor[_T] | None, operation: Callable[[], _T]) -> _T:
        """Call an operation, record how it went, and return its result.

        Args:
            method: The public method, for the log.
            extractor: Reads the metrics from the result; `None` to record the duration alone.
            operation: What to call.
        """
        check_plain("operation", operation, f"await {method}_async instead")
        with self._measured(method, extractor) as results:
            result = operation()
            if not inspect.isawaitable(result):
                results.append(result)
        if not results:
            self._log.warning(_NOT_AWAITED, method, self.run_id, method)
        return result

    async def _call_async(
        self, method: str, extractor: Extractor[_T] | None, operation: Callable[[], Awaitable[_T]]
    ) -> _T:
        """Do what `_call` does, with an operation whose result is awaited."""
        if not callable(operation):
            raise TypeError(f"operation is a function, not {short_repr(operation)}")
        with self._measured(method, extractor) as results:
            returned = operation()
            if inspect.isawaitable(returned):
                results.append(await returned)
        if not results:
            raise TypeError(
                f"{method}_async awaits what the operation returns, which {type(returned).__name__} cannot be: "
                f"call {method} for a plain function"
            )
        return results[0]

    @contextmanager
    def _measured(self, method: str, extractor: Extractor[_T] | None) -> Iterator[list[_T]]:
        """Record how the operation in the block went. The block appends the operation's result to its list.

        A block that ends without an exception and without a result records nothing.
        """
        results: list[_T] = []
        started = time.monotonic()
        try:
            yield results
        except BaseException:
            self._track_metrics(method, _ms_since(started), None if extractor is None else _FAILURE)
            raise
        elapsed_ms = _ms_since(started)
        for result in results:
            self._track_metrics(method, elapsed_ms, self._extracted(extractor, result))

    def _track_metrics(self, method: str, elapsed_ms: int, metrics: AiMetrics | None) -> None:
        """Record how long an operation took, and its metrics if they are known.

        If the client raises, the caller still gets the operation's result, or its exception.
        """
        values: dict[Slot, Value] = {"duration_ms": elapsed_ms}
        tool_calls: Iterable[str] = ()
        if metrics is not None:
            if metrics.duration_ms is not None:
                values["duration_ms"] = int(metrics.duration_ms)
            values["success"] = metrics.success
            if metrics.tokens:
                values["tokens"] = metrics.tokens
            tool_calls = metrics.tool_calls or ()
        try:
            self._track(method, values, tool_calls)
        except Exception as error:  # noqa: BLE001
            self._log.error("%s [%s]: %s", NOT_SENT, Ids(run_id=self.run_id), without_message(error))

    def _extracted(self, extractor: Extractor[_T] | None, result: _T) -> AiMetrics | None:
        if extractor is None:
            return None
        try:
            metrics = extractor(result)
            if metrics is not None and not isinstance(metrics, AiMetrics):
                raise WrongResultError(f"an extractor returns an AiMetrics or None, not {type(metrics).__name__}")
        except Exception as error:  # noqa: BLE001  # an extractor is the caller's code
            self._log.warning("the metrics extractor failed for run %s: %s", self.run_id, without_message(error))
            return None
        return metrics


def _check_extractor(extractor: Callable[..., object]) -> None:
    check_plain("the extractor", extractor, "an extractor is never awaited")
    if not takes_one(extractor):
        raise TypeError(
            "the extractor is called with one argument, the operation's result, which "
            f"{short_repr(extractor)} does not take: the extractor comes first, then the operation"
        )


def _ms_since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)

"""Recording what an operation did, called or awaited (spec section 4)."""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest

from langchain_ldai import AiMetrics, LdAiConfigTracker, TokenUsage
from langchain_ldai._tracking import tracker as tracker_module
from tests.support.sent import USAGE

PROMPT = "the customer's secret prompt"


@pytest.fixture(params=["sync", "async"])
def metrics_of(request: pytest.FixtureRequest, tracker: LdAiConfigTracker) -> Callable[..., object]:
    """Return `track_metrics_of`, or its asynchronous form behind the same signature."""
    if request.param == "sync":
        return tracker.track_metrics_of

    def track(extractor: Callable[[object], AiMetrics | None], operation: Callable[[], object]) -> object:
        async def awaited() -> object:
            return operation()

        return asyncio.run(tracker.track_metrics_of_async(extractor, awaited))

    return track


@pytest.fixture(params=["sync", "async"])
def duration_of(request: pytest.FixtureRequest, tracker: LdAiConfigTracker) -> Callable[..., object]:
    """Return `track_duration_of`, or its asynchronous form behind the same signature."""
    if request.param == "sync":
        return tracker.track_duration_of

    def track(operation: Callable[[], object]) -> object:
        async def awaited() -> object:
            return operation()

        return asyncio.run(tracker.track_duration_of_async(awaited))

    return track


@pytest.fixture
def take_seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Give what lets so many seconds pass for trackers."""
    passed: list[float] = []
    monkeypatch.setattr(tracker_module, "time", SimpleNamespace(monotonic=lambda: sum(passed)))
    return passed.append


@pytest.mark.parametrize("error", [None, RuntimeError, asyncio.CancelledError, KeyboardInterrupt])
def test_the_duration_of_an_operation_is_recorded_alone(sent, duration_of, take_seconds, error):
    """Milliseconds are measured whether or not the operation raises; no outcome is recorded (spec section 4)."""

    def operation():
        take_seconds(1.25)
        if error:
            raise error

    if error:
        with pytest.raises(error):
            duration_of(operation)
    else:
        duration_of(operation)

    assert sent.values == {"$ld:ai:duration:total": 1250}


def test_an_extracted_duration_of_0_stands(sent, metrics_of, take_seconds):
    """What the extractor says counts instead of the time measured, 0 included (spec section 4)."""
    metrics_of(lambda _: AiMetrics(success=True, duration_ms=0), lambda: take_seconds(1.25))

    assert sent.values["$ld:ai:duration:total"] == 0


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_operation_that_is_cut_short_is_an_error(sent, metrics_of, error):
    """A cancellation, too, is recorded as duration and error, and goes on."""
    raised = error()

    def operation():
        raise raised

    with pytest.raises(error) as caught:
        metrics_of(lambda _: AiMetrics(success=True, tokens=USAGE), operation)

    assert caught.value is raised or error is asyncio.CancelledError
    assert list(sent.values) == ["$ld:ai:duration:total", "$ld:ai:generation:error"]


class NoTruth:
    """Is neither true nor false, as NumPy's arrays are."""

    def __bool__(self) -> bool:
        raise ValueError("the truth value is ambiguous")


def test_an_extractor_may_find_nothing(sent, metrics_of, caplog):
    """Then the duration is recorded alone, and nothing is logged (spec 4)."""
    assert metrics_of(lambda result: None, lambda: PROMPT) == PROMPT

    assert list(sent.values) == ["$ld:ai:duration:total"]
    assert caplog.records == []


FAILING = {
    "raises": lambda result: {}[result],
    "negative-duration": lambda _: AiMetrics(success=True, tokens=USAGE, duration_ms=-1),
    "nan-duration": lambda _: AiMetrics(success=True, duration_ms=math.nan),
    "success-of-no-truth": lambda _: AiMetrics(success=NoTruth()),
    "tool-calls-raise": lambda result: AiMetrics(success=True, tool_calls=({}[result] for _ in "x")),
}


@pytest.mark.parametrize("extractor", FAILING.values(), ids=FAILING)
def test_a_failing_extractor_costs_neither_the_result_nor_the_duration(sent, metrics_of, caplog, extractor):
    """The operation did succeed: its result is returned, its duration recorded, nothing else (spec 4)."""
    assert metrics_of(extractor, lambda: PROMPT) == PROMPT

    assert list(sent.values) == ["$ld:ai:duration:total"]
    [warning] = caplog.records
    assert (warning.name, warning.levelname) == ("langchain_ldai._tracking.tracker", "WARNING")
    assert "run-1" in warning.getMessage()


@pytest.mark.parametrize("error", [None, LookupError(PROMPT)], ids=["returns", "raises"])
def test_a_failing_client_costs_neither_the_result_nor_the_exception(metrics_of, sent, caplog, error):
    """What an operation returned is returned, what it raised is raised, and the log says what is lost."""
    sent.failing = True

    def operation():
        if error:
            raise error
        return PROMPT

    if error:
        with pytest.raises(LookupError) as caught:
            metrics_of(lambda _: AiMetrics(success=True), operation)
        assert caught.value is error
    else:
        assert metrics_of(lambda _: AiMetrics(success=True), operation) == PROMPT

    [record] = caplog.records
    assert "A metric could not be sent and is lost [lc_run_id=unknown, run_id=run-1]" in record.getMessage()
    assert PROMPT not in record.getMessage()


def test_a_failing_extractor_logs_nothing_of_the_exception(metrics_of, caplog):
    """The log has the exception's type and place, but no message, cause or context: they may quote a prompt."""

    def extractor(result):
        try:
            raise LookupError(result)
        except LookupError as error:
            raise ValueError(f"cannot read {result}") from error

    metrics_of(extractor, lambda: PROMPT)

    [warning] = caplog.records
    assert PROMPT not in caplog.text
    assert "ValueError" in caplog.text
    assert "in extractor" in caplog.text
    assert warning.exc_info is None


def test_an_extracted_failure_has_its_tokens_and_tool_calls(sent, metrics_of):
    """Tokens and tool calls count also where the operation reports failure (spec section 4)."""
    metrics_of(lambda _: AiMetrics(success=False, tokens=USAGE, tool_calls=["a"]), lambda: None)

    names = ["duration:total", "generation:error", "tokens:total", "tokens:input", "tokens:output", "tool_call"]
    assert list(sent.values) == [f"$ld:ai:{name}" for name in names]


class AwaitedObject:
    """An object whose call has to be awaited."""

    async def __call__(self, *_: object) -> str:
        """Answer."""
        raise AssertionError("called")


async def coroutine_function(*_: object) -> str:
    """Answer."""
    return "answer"


async def async_generator_function(*_: object):
    """Stream an answer."""
    yield "answer"


def succeeded(_: object) -> AiMetrics:
    """Return the metrics of a success."""
    return AiMetrics(success=True)


AWAITED = {
    "function": coroutine_function,
    "partial": partial(partial(coroutine_function)),
    "object": AwaitedObject(),
    "method": AwaitedObject().__call__,
    "generator": async_generator_function,
}


@pytest.mark.parametrize("awaited", AWAITED.values(), ids=AWAITED)
def test_a_plain_form_takes_no_coroutine_function(sent, tracker, awaited):
    """The error names the form that awaits; nothing is called and nothing is recorded."""
    with pytest.raises(
        TypeError, match=r"^operation is a plain function, .*: await track_metrics_of_async instead$"
    ):
        tracker.track_metrics_of(succeeded, awaited)
    with pytest.raises(
        TypeError, match=r"^operation is a plain function, .*: await track_duration_of_async instead$"
    ):
        tracker.track_duration_of(awaited)

    assert sent.events == []


@pytest.mark.parametrize("awaited", AWAITED.values(), ids=AWAITED)
def test_an_extractor_is_no_coroutine_function(sent, metrics_of, awaited):
    """Neither form awaits an extractor, and neither calls the operation for one."""
    called = []

    with pytest.raises(TypeError, match=r"^the extractor is a plain function, not a coroutine function: "):
        metrics_of(awaited, lambda: called.append(1))

    assert (called, sent.events) == ([], [])


def test_an_operation_in_the_place_of_the_extractor_is_told(sent, metrics_of):
    """Nothing is called, and the run is not recorded as an error."""
    with pytest.raises(TypeError, match=r"does not take: the extractor comes first, then the operation$"):
        metrics_of(lambda: "answer", succeeded)

    assert sent.events == []


def test_what_is_yet_to_be_awaited_is_returned_and_told(sent, tracker, caplog):
    """A plain function's awaitable is the caller's; only the begin of it could be measured, which is no metric."""
    answers = [
        tracker.track_metrics_of(succeeded, lambda: coroutine_function()),
        tracker.track_duration_of(lambda: coroutine_function()),
    ]

    assert [asyncio.run(answer) for answer in answers] == ["answer", "answer"]
    assert sent.events == []
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    for record, name in zip(caplog.records, ("track_metrics_of_async", "track_duration_of_async"), strict=True):
        assert f"run run-1: await {name} instead" in record.getMessage()


def test_an_awaiting_form_is_told_of_a_result_that_cannot_be_awaited(sent, tracker):
    """A plain function is no failure of the model: the error names the plain form, and nothing is recorded."""
    with pytest.raises(TypeError, match=r"which str cannot be: call track_metrics_of for a plain function$"):
        asyncio.run(tracker.track_metrics_of_async(succeeded, lambda: "answer"))
    with pytest.raises(TypeError, match=r"which str cannot be: call track_duration_of for a plain function$"):
        asyncio.run(tracker.track_duration_of_async(lambda: "answer"))

    assert sent.events == []


def test_an_operation_is_a_function(sent, tracker):
    """What was called already, with its coroutine or answer, cannot be measured by either form."""
    coroutine = coroutine_function()
    for track in (tracker.track_duration_of, partial(tracker.track_metrics_of, succeeded)):
        with pytest.raises(TypeError, match=r"^operation is a function, not "):
            track("answer")
    for awaiting in (tracker.track_duration_of_async, partial(tracker.track_metrics_of_async, succeeded)):
        with pytest.raises(TypeError, match=r"^operation is a function, not <coroutine"):
            asyncio.run(awaiting(coroutine))
    coroutine.close()

    assert sent.events == []


def test_an_awaitable_object_is_awaited(tracker):
    """A plain function may return any awaitable to the form that awaits."""
    assert asyncio.run(tracker.track_metrics_of_async(succeeded, lambda: coroutine_function())) == "answer"
    assert tracker.summary.success is True


def test_an_operation_of_a_run_that_has_metrics_adds_the_others(tracker, metrics_of, caplog):
    """One warning names the metrics that are dropped; the first values stand."""
    tracker.track_success()
    tracker.track_duration(1)

    metrics_of(lambda answer: AiMetrics(success=False, tokens=TokenUsage(3), duration_ms=9), lambda: "answer")

    assert (tracker.summary.success, tracker.summary.duration_ms, tracker.summary.tokens) == (
        True,
        1,
        TokenUsage(3),
    )
    (message,) = caplog.messages
    assert message.startswith("track_metrics_of: duration_ms and success already recorded for this run")

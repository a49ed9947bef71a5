"""Runs that are cancelled, and branches that fail beside others: facts 69, 70, 76, 77 and 117."""

import asyncio
import inspect
import threading
from concurrent import futures
from typing import Final

import pytest
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableParallel

from langchain_ldai import LdAiHandler, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.runs.ends.stopping import (
    PATIENCE_SECONDS,
    SHAPES,
    STOPS,
    STREAMING,
    CallsHeldUp,
    Shape,
    Stop,
    stop_once_called,
)
from tests.support.calls import INVOKED, STREAMED, Call, each
from tests.support.chains import DURATION, ERROR, FIRST_TOKEN, QUESTION, SUCCESS, TOKENS, chain, counts
from tests.support.events import call_model, start_chain
from tests.support.graphs import NOTHING, NeverOpens, calls, graph, says
from tests.support.models import ScriptedChat


async def consume(runnable: Runnable, config: RunnableConfig) -> list[object]:
    """Read a stream to its end."""
    return [chunk async for chunk in runnable.astream("How?", config)]


async def others_end() -> None:
    """Wait for every other task of the loop."""
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=PATIENCE_SECONDS)


def call_in_a_loop(call: Call, runnable: Runnable, config: RunnableConfig) -> object:
    """Call a runnable, in a loop of its own where the call is async."""
    result = call(runnable, "How?", config)
    return asyncio.run(result) if inspect.iscoroutine(result) else result


@pytest.mark.asyncio
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
async def test_an_invoked_chain_that_is_cancelled(
    stop: Stop, shape: Shape, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The model call never ends; once no one waits for it, the run is cancelled: neither of the two (fact 69)."""
    gate, handler = NeverOpens(), track()
    await stop_once_called(stop, gate, shape(ScriptedChat(gate=gate)).ainvoke("How?", {"callbacks": [handler]}))

    assert reports == []
    handler.flush()

    (report,) = reports
    assert (report.outcome, report.model_calls, report.failed_model_calls) == (Outcome.CANCELLED, 1, 0)
    assert set(client.metrics(report.run_id)) == {DURATION}


@pytest.mark.asyncio
@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
async def test_an_invoked_model_that_is_cancelled_is_abandoned(
    stop: Stop, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A model by itself tells of no end at all: the run lasts until it is given up (facts 69, 117)."""
    gate, handler = NeverOpens(), track(run_timeout=1e-9)
    await stop_once_called(stop, gate, ScriptedChat(gate=gate).ainvoke("How?", {"callbacks": [handler]}))

    handler.flush()

    (report,) = reports
    assert (report.outcome, set(client.metrics(report.run_id))) == (Outcome.ABANDONED, {DURATION})


@pytest.mark.asyncio
@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
async def test_a_cancelled_batch_is_cancelled_in_every_element(
    stop: Stop, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`abatch` ends every root as cancelled, and none of the model calls (fact 69)."""
    gate, handler = CallsHeldUp(calls=3), track()
    await stop_once_called(
        stop, gate, chain(ScriptedChat(gate=gate)).abatch([QUESTION] * 3, {"callbacks": [handler]})
    )

    handler.flush()

    assert [report.outcome for report in reports] == [Outcome.CANCELLED] * 3
    assert all(set(client.metrics(report.run_id)) == {DURATION} for report in reports)


@pytest.mark.asyncio
@pytest.mark.parametrize("shape", STREAMING.values(), ids=STREAMING)
@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
async def test_a_stream_that_is_cancelled(
    stop: Stop, shape: Shape, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Whether the model call ends or not, the run is cancelled once, and its first token stands (fact 70)."""
    streams = shape is not SHAPES["graph"]  # which calls its models without streaming them
    gate, handler = CallsHeldUp(after=3 if streams else 0), track()
    await stop_once_called(stop, gate, consume(shape(ScriptedChat(gate=gate)), {"callbacks": [handler]}))

    handler.flush()

    (report,) = reports
    assert (report.outcome, report.model_calls, report.failed_model_calls) == (Outcome.CANCELLED, 1, 0)
    assert set(client.metrics(report.run_id)) == {DURATION, FIRST_TOKEN}


def test_a_loop_that_is_closed_cancels_its_runs(track: Track, reports: list[RunReport]) -> None:
    """A run that is still going when `asyncio.run` returns is cancelled (fact 69)."""
    handler = track()

    async def leave() -> object:
        gate = NeverOpens()
        work = chain(ScriptedChat(gate=gate)).ainvoke(QUESTION, {"callbacks": [handler]})
        task = asyncio.ensure_future(work)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await gate.reached.wait()
        return task

    asyncio.run(leave())
    handler.flush()

    assert [report.outcome for report in reports] == [Outcome.CANCELLED]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit], ids=lambda error: error.__name__)
@each({**INVOKED, **STREAMED})
def test_a_program_that_is_stopped_cancels_the_run(
    call: Call, error: type[BaseException], track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """What ends the program while a model is called ends the run as cancelled, sync and async (fact 77)."""
    handler = track()
    with pytest.raises(error):
        call_in_a_loop(call, chain(ScriptedChat(script=[error()])), {"callbacks": [handler]})

    handler.flush()

    (report,) = reports
    assert (report.outcome, report.failed_model_calls) == (Outcome.CANCELLED, 0)
    assert set(client.metrics(report.run_id)) == {DURATION}


@each({**INVOKED, **STREAMED})
def test_a_model_that_is_cancelled_from_within(
    call: Call, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A `CancelledError` of the model's own is a cancellation, where LangChain does not replace it (fact 77).

    A fact besides those numbered: `ainvoke` raises an `AttributeError` of LangChain's instead, and so the run
    is one that failed, as it is for the caller.
    """
    with pytest.raises((asyncio.CancelledError, AttributeError)) as raised:
        call_in_a_loop(call, chain(ScriptedChat(script=[asyncio.CancelledError()])), {"callbacks": [track()]})

    (report,) = reports
    cancelled = raised.type is asyncio.CancelledError
    expected = (Outcome.CANCELLED, {DURATION}) if cancelled else (Outcome.ERROR, {DURATION, ERROR})
    assert (report.outcome, set(client.metrics(report.run_id))) == expected
    assert (report.model_calls, report.failed_model_calls) == (1, 0)


class Stop(BaseException):
    """What a host raises in a script whose page was left."""


FROM_OUTSIDE: Final = [Stop(), BaseExceptionGroup("", [Stop(), ValueError()])]
SYNC_ALONE: Final = [GeneratorExit(), futures.CancelledError()]
"""Of these asyncio, and a generator, make something of their own."""
SIGNALS: Final = [
    *[(name, signal) for name in (*INVOKED, *STREAMED) for signal in FROM_OUTSIDE],
    *[("invoke", signal) for signal in SYNC_ALONE],
]


@pytest.mark.parametrize(("name", "signal"), SIGNALS, ids=repr)
@pytest.mark.parametrize("place", ["step", "node"])
def test_whatever_stops_the_chain_from_outside_cancels_it(
    name: str, signal: BaseException, place: str, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Green threads, app runners and other loops have signals of their own, not to be caught (fact 77)."""

    def stops(value: object) -> object:
        raise signal

    shapes = {
        "step": chain() | stops,
        "node": RunnableLambda(lambda value: NOTHING) | graph({"a": says(), "b": stops}),
    }
    with pytest.raises(type(signal)):
        call_in_a_loop({**INVOKED, **STREAMED}[name], shapes[place], {"callbacks": [track()]})

    (report,) = reports
    assert (report.outcome, report.failed_model_calls) == (Outcome.CANCELLED, 0)
    assert not {SUCCESS, ERROR} & client.metrics(report.run_id).keys()


@pytest.mark.parametrize("error", [Exception(), ExceptionGroup("", [ValueError()])], ids=repr)
def test_whatever_a_chain_may_catch_is_an_error(error: Exception, track: Track, reports: list[RunReport]) -> None:
    """An `Exception` of whichever kind is a failure of the chain's own."""

    def fails(value: object) -> object:
        raise error

    with pytest.raises(type(error)):
        (chain() | fails).invoke("How?", {"callbacks": [track()]})

    assert [report.outcome for report in reports] == [Outcome.ERROR]


@pytest.mark.asyncio
async def test_tokens_that_come_after_a_failed_branch_count(
    track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Async, a failing branch ends the run, and the other goes on: error at once, tokens late (fact 76)."""
    gate, handler = NeverOpens(), track()

    async def fail(value: object) -> None:
        await gate.reached.wait()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await RunnableParallel(a=chain(ScriptedChat(gate=gate)), b=fail).ainvoke("How?", {"callbacks": [handler]})
    assert [event.name for event in client.events if event.name in (ERROR, DURATION)] == [ERROR]
    gate.set()  # it opens after all
    await others_end()

    assert [counts(client, report.run_id) for report in reports] == [{ERROR: [1], **TOKENS}]


def test_a_sync_failure_waits_for_the_other_branch(
    track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Sync, the run ends once every branch has: an error with the other branch's tokens (fact 76)."""
    failing = threading.Event()

    def fail(value: object) -> None:
        failing.set()
        raise ZeroDivisionError

    late = RunnableLambda(lambda value: failing.wait(10) and QUESTION) | chain()
    with pytest.raises(ZeroDivisionError):
        RunnableParallel(a=late, b=fail).invoke("How?", {"callbacks": [track()]})

    assert [counts(client, report.run_id) for report in reports] == [{ERROR: [1], **TOKENS}]


@pytest.mark.asyncio
async def test_tokens_that_come_after_the_wait_are_dropped(
    track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Once a run is closed without it, a call that ends adds nothing and opens nothing (fact 117)."""
    gate, handler = NeverOpens(), track()

    async def fail(value: object) -> None:
        await gate.reached.wait()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await RunnableParallel(a=chain(ScriptedChat(gate=gate)), b=fail).ainvoke("How?", {"callbacks": [handler]})
    handler.flush()
    sent = client.events
    gate.set()  # it opens after all
    await others_end()

    assert [(report.outcome, report.summary.tokens) for report in reports] == [(Outcome.ERROR, None)]
    assert (client.events, handler.open_runs) == (sent, 0)


@pytest.mark.asyncio
async def test_a_call_that_starts_after_its_run_has_failed_is_no_run(
    track: Track, reports: list[RunReport]
) -> None:
    """What a failed run's other branch still begins counts for nothing (facts 76, 117)."""
    failed = asyncio.Event()

    async def late(value: object) -> object:
        await failed.wait()
        return QUESTION

    failing = chain() | RunnableLambda(lambda answer: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await RunnableParallel(a=late | chain(), b=failing).ainvoke("How?", {"callbacks": [track()]})
    failed.set()
    await others_end()

    assert [(report.model_calls, report.summary.tokens) for report in reports] == [(1, calls(1))]


@pytest.mark.parametrize("error", [asyncio.CancelledError, futures.CancelledError])
def test_either_cancelled_error_is_a_cancellation(
    error: type[BaseException], handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """`asyncio` has one, and what waits for `run_coroutine_threadsafe` raises that of `concurrent.futures`."""
    root = start_chain(handler)
    call_model(handler, root)
    handler.on_chain_error(error(), run_id=root)

    assert [report.outcome for report in reports] == [Outcome.CANCELLED]


OUT_OF_SIGHT: Final = {
    "ainvoke": lambda chain, config: chain.ainvoke("How?", config),
    "abatch": lambda chain, config: chain.abatch(["How?"], config),
}
"""Calls of which LangChain takes what a model raised, where it is no `Exception`, for the model's result."""


@pytest.mark.asyncio
@pytest.mark.parametrize("place", ["step", "node"])
@pytest.mark.parametrize("signal", FROM_OUTSIDE, ids=repr)
@pytest.mark.parametrize("call", OUT_OF_SIGHT.values(), ids=OUT_OF_SIGHT)
async def test_what_stops_a_model_cancels_the_run_whatever_langchain_makes_of_it(
    call: Call, signal: BaseException, place: str, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """LangChain raises an `AttributeError` of its own instead (fact 77)."""
    steps = RunnableLambda(lambda text: QUESTION) | chain(ScriptedChat(script=[signal]))
    shapes = {"step": steps, "node": RunnableLambda(lambda text: NOTHING) | graph({"a": steps})}

    with pytest.raises(AttributeError, match="generations"):
        await call(shapes[place], {"callbacks": [track()]})

    (report,) = reports
    assert (report.outcome, report.model_calls, report.failed_model_calls) == (Outcome.CANCELLED, 1, 0)
    assert not {SUCCESS, ERROR} & client.metrics(report.run_id).keys()


@pytest.mark.parametrize(
    ("name", "owner"),
    [("generations", Stop), ("generations", ValueError()), ("generations", None), ("code", Stop())],
    ids=repr,
)
def test_an_attribute_error_of_anything_else_is_an_error(
    name: str, owner: object, track: Track, reports: list[RunReport]
) -> None:
    """Only what stopped a model, taken for its result, is a cancellation."""

    def fails(text: object) -> object:
        raise AttributeError(name=name, obj=owner)

    with pytest.raises(AttributeError):
        (chain() | fails).invoke(QUESTION, {"callbacks": [track()]})

    assert [report.outcome for report in reports] == [Outcome.ERROR]

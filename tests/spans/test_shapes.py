"""However a chain is called, each of its spans has the right parent, and the caller's context stays as it was."""

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import pytest
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableParallel
from opentelemetry.context import get_current
from opentelemetry.trace import get_current_span

from langchain_ldai import LdAiHandler, RunReport
from tests.runs.ends.stopping import wait_until_closed
from tests.support.calls import BATCHED, INVOKED, STREAMED, Call, each, run
from tests.support.chains import AGENT_INPUT, QUESTION, agent, chain
from tests.support.models import ScriptedChat
from tests.support.nodes import graph
from tests.support.traces import Trace

ROOT = "request/invoke_agent"
CHAT, TOOL = f"{ROOT}/chat small-1", f"{ROOT}/execute_tool search"


def close_early(runnable: Runnable, value: object, config: RunnableConfig) -> None:
    """Leave a stream at its first chunk."""
    stream = runnable.stream(value, config)
    next(stream)
    stream.close()


def drop(runnable: Runnable, value: object, config: RunnableConfig) -> None:
    """Drop a stream at its first chunk, so that Python ends it."""
    next(runnable.stream(value, config))
    gc.collect()


def in_thread(runnable: Runnable, value: object, config: RunnableConfig) -> None:
    """Call it in a thread, which has no span of its own."""
    thread = threading.Thread(target=runnable.invoke, args=(value, config))
    thread.start()
    thread.join()


def between_threads(runnable: Runnable, value: object, config: RunnableConfig) -> None:
    """Begin a stream in one thread, and read the rest in another."""
    stream = runnable.stream(value, config)
    next(stream)
    thread = threading.Thread(target=list, args=(stream,))
    thread.start()
    thread.join()


async def aclose_early(runnable: Runnable, value: object, config: RunnableConfig) -> None:
    """Leave an asynchronous stream at its first chunk."""
    async with aclosing(runnable.astream(value, config)) as stream:
        await anext(stream)


async def events(runnable: Runnable, value: object, config: RunnableConfig) -> None:
    """Read the events of a chain."""
    async for _ in runnable.astream_events(value, config, version="v2"):
        pass


async def gathered(runnable: Runnable, value: object, config: RunnableConfig) -> None:
    """Call it three times at once."""
    await asyncio.gather(*[runnable.ainvoke(value, config) for _ in range(3)])


async def off_loop(runnable: Runnable, value: object, config: RunnableConfig) -> None:
    """Call it synchronously in a worker thread, which copies the context."""
    await asyncio.to_thread(runnable.invoke, value, config)


LEFT: dict[str, Call] = {"closed stream": close_early, "dropped stream": drop, "closed astream": aclose_early}
MOVED: dict[str, Call] = {"between threads": between_threads, "to_thread": off_loop, "events": events}
SHAPES: dict[str, Call] = {**INVOKED, **STREAMED, **LEFT, **MOVED}


@pytest.mark.asyncio
@each(SHAPES)
async def test_a_models_span_is_below_its_run(
    call: Call, handler: LdAiHandler, trace: Trace, reports: list[RunReport]
) -> None:
    """The run's span is below the one that is current where the run starts; no span of ours becomes current."""
    seen = []
    subject = RunnableLambda(lambda asked: seen.append(get_current_span()) or asked) | chain()

    with trace.app.start_as_current_span("request") as request:
        context = get_current()
        await run(call, subject, QUESTION, {"callbacks": [handler]})
        assert get_current() == context
        await wait_until_closed(handler, reports)

    assert set(seen) == {request}
    assert trace.paths() == ["request", ROOT, CHAT]


@pytest.mark.asyncio
@each({**BATCHED, "gathered": gathered})
async def test_each_run_of_a_batch_has_its_own_spans(call: Call, handler: LdAiHandler, trace: Trace) -> None:
    """Runs that go on at once share no span."""
    with trace.app.start_as_current_span("request"):
        await run(call, chain(), QUESTION, {"callbacks": [handler]})

    assert sorted(trace.paths()) == ["request", *[ROOT] * 3, *[CHAT] * 3]
    assert len({span.parent.span_id for span in trace.named("chat small-1")}) == 3


@pytest.mark.asyncio
@each({**INVOKED, **STREAMED, "thread": in_thread})
async def test_an_agents_tools_and_model_calls_are_siblings(
    call: Call, handler: LdAiHandler, trace: Trace
) -> None:
    """In whichever thread or task they are, they are below the run's span."""
    await run(call, agent(), AGENT_INPUT, {"callbacks": [handler]})

    below = ["chat small-1", "execute_tool search", "chat small-1"]
    assert trace.paths() == ["invoke_agent", *[f"invoke_agent/{name}" for name in below]]


@pytest.mark.asyncio
@each(INVOKED)
async def test_calls_at_once_are_siblings(call: Call, handler: LdAiHandler, trace: Trace) -> None:
    """The branches of a run share its span."""
    subject = RunnableParallel(one=chain(), other=chain(), third=chain())

    await run(call, subject, QUESTION, {"callbacks": [handler]})

    assert trace.paths() == ["invoke_agent", *["invoke_agent/chat small-1"] * 3]


def test_an_applications_span_within_a_run_is_not_a_parent(handler: LdAiHandler, trace: Trace) -> None:
    """A call is below its run's span also where the application has made another one current."""

    def step(asked: object, config: RunnableConfig) -> object:
        with trace.app.start_as_current_span("step"):
            return chain().invoke(QUESTION, config)

    RunnableLambda(step).invoke(QUESTION, {"callbacks": [handler]})

    assert sorted(trace.paths()) == ["invoke_agent", "invoke_agent/chat small-1", "step"]


def test_a_run_that_starts_within_another_is_a_part_of_it(handler: LdAiHandler, trace: Trace) -> None:
    """The model calls of an agent that is called as a tool are the run's."""

    def step(asked: object) -> object:  # LangChain's context names the parent
        return agent().invoke(AGENT_INPUT)

    RunnableLambda(step).invoke(QUESTION, {"callbacks": [handler]})

    assert len(trace.named("invoke_agent")) == 1
    assert trace.paths()[1:] == [
        f"invoke_agent/{name}" for name in ("chat small-1", "execute_tool search", "chat small-1")
    ]


def test_a_generators_consumer_is_in_its_own_context(handler: LdAiHandler, trace: Trace) -> None:
    """While a stream is read, no span of the run is current."""
    stream = chain().stream(QUESTION, {"callbacks": [handler]})

    seen = {get_current_span().get_span_context().is_valid for _ in stream}

    assert seen == {False}
    assert trace.paths() == ["invoke_agent", "invoke_agent/chat small-1"]


def test_a_graphs_nodes_have_no_spans(handler: LdAiHandler, trace: Trace) -> None:
    """Chains, prompts, parsers and nodes are not shown."""
    subject = graph(lambda state, config: {"done": bool(chain().invoke(QUESTION, config))})

    subject.invoke({"done": False}, {"callbacks": [handler]})

    assert trace.paths() == ["invoke_agent", "invoke_agent/chat small-1"]


def test_runs_in_many_threads_are_apart(handler: LdAiHandler, trace: Trace, reports: list[RunReport]) -> None:
    """A shared handler mixes no two runs, and each report names the trace and the span of its run."""
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(agent().invoke, AGENT_INPUT, {"callbacks": [handler]}) for _ in range(8)]
        [call.result() for call in calls]

    roots = trace.named("invoke_agent")
    ids = {(f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}") for span in roots}
    assert {(report.trace_id, report.span_id) for report in reports} == ids
    assert len(ids) == len(reports) == 8
    for root in roots:
        children = [span for span in trace.spans if span.parent == root.context]
        assert [span.name for span in children] == ["chat small-1", "execute_tool search", "chat small-1"]


@pytest.mark.asyncio
async def test_a_cancelled_task_leaves_nothing_open(handler: LdAiHandler, trace: Trace) -> None:
    """What was open ends with the run."""
    subject = chain(ScriptedChat(gate=asyncio.Event()))
    task = asyncio.create_task(subject.ainvoke(QUESTION, {"callbacks": [handler]}))
    await trace.wait_for("chat small-1")
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    handler.flush()

    assert trace.paths() == ["invoke_agent", "invoke_agent/chat small-1"]

"""Steps that start late: below a step, or a run, that has ended or was given up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypedDict
from uuid import UUID, uuid4

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.graph import START, StateGraph

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.support.chains import QUESTION, SUCCESS, chain, counts
from tests.support.events import ANSWER, begun, called, stream_begun, streaming
from tests.support.models import ScriptedChat


def of_calls(reports: list[RunReport]) -> list[tuple[Outcome, int]]:
    """Return how each run ended and how many model calls it counts."""
    return [(report.outcome, report.model_calls) for report in reports]


class State(TypedDict):
    """What the nodes pass on: nothing."""

    done: bool


def graph(*nodes: object) -> Runnable:
    """Return a graph of nodes, one after the other."""
    builder, before = StateGraph(State), START
    for number, node in enumerate(nodes):
        builder.add_node(f"node-{number}", node)
        builder.add_edge(before, f"node-{number}")
        before = f"node-{number}"
    return builder.compile()


@pytest.mark.asyncio
async def test_what_a_node_leaves_to_the_next_is_of_the_same_run(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A task that one node begins and another awaits calls its model below a step that has ended."""
    tasks: list[asyncio.Task[object]] = []
    may_go_on = asyncio.Event()

    async def later() -> object:
        await may_go_on.wait()
        return await ScriptedChat().ainvoke("How?")

    async def first(state: State) -> State:
        tasks.append(asyncio.create_task(later()))
        return {"done": False}

    async def second(state: State) -> State:
        may_go_on.set()
        await asyncio.gather(*tasks)
        await ScriptedChat().ainvoke("How?")
        return {"done": True}

    await graph(first, second).ainvoke({"done": False}, {"callbacks": [handler]})

    assert of_calls(reports) == [(Outcome.SUCCESS, 2)]
    assert client.metrics(reports[0].run_id)[SUCCESS] == [1]


def test_a_stream_that_the_next_step_reads_is_of_the_run_whose_token_was_shown(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A step returns a stream unread: its model starts below that step, after its end."""

    def lazy(value: object, config: RunnableConfig) -> object:
        return ScriptedChat().stream("How?", config)

    read = RunnableLambda(lambda parts: "".join(part.content for part in parts))
    steps = RunnableLambda(lazy) | read | ScriptedChat()

    assert steps.invoke("x", {"callbacks": [handler]}).content == "Hello, world"
    assert of_calls(reports) == [(Outcome.SUCCESS, 2)]


def test_below_a_step_of_a_run_that_has_ended_no_run_opens(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """A step of it that ended leads to its root as the root's own id does, however deep it was."""
    root = begun(handler)
    outer = begun(handler, root)
    inner = begun(handler, outer)
    called(handler, inner)
    for step in (inner, outer, root):
        handler.on_chain_end({}, run_id=step)

    called(handler, inner)
    called(handler, begun(handler, inner))

    assert of_calls(reports) == [(Outcome.SUCCESS, 1)]
    assert handler.open_runs == 0


def test_steps_that_name_each_other_as_parents_hold_nobody_up(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Ids that are used again in a circle lead nowhere: what starts below is a run of its own."""
    root = begun(handler)
    one, other = begun(handler, root), uuid4()
    handler.on_chain_start(None, {}, run_id=other, parent_run_id=one, metadata={})
    handler.on_chain_end({}, run_id=one)
    handler.on_chain_start(None, {}, run_id=one, parent_run_id=other, metadata={})
    for step in (one, other, root):
        handler.on_chain_end({}, run_id=step)

    called(handler, one)

    assert of_calls(reports) == [(Outcome.SUCCESS, 1)]


@pytest.mark.asyncio
async def test_one_run_too_many_costs_one_run(
    config: LdAiCompletionConfig, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The later steps of a run that was given up open no runs, which would push out others in turn."""
    handler = LdAiHandler(config, on_run_end=reports.append, max_open_runs=3)
    arrived: asyncio.Queue[None] = asyncio.Queue()
    may_go_on = asyncio.Event()

    async def wait(value: object) -> object:
        arrived.put_nowait(None)
        await may_go_on.wait()
        return value

    steps = chain() | RunnableLambda(wait) | ScriptedChat() | StrOutputParser() | ScriptedChat()

    runs = []
    for _ in range(4):
        runs.append(asyncio.create_task(steps.ainvoke(QUESTION, {"callbacks": [handler]})))
        await arrived.get()
    may_go_on.set()
    await asyncio.gather(*runs)

    assert sorted(of_calls(reports)) == [(Outcome.ABANDONED, 1), *[(Outcome.SUCCESS, 3)] * 3]
    assert all(counts(client, report.run_id) for report in reports)


def test_a_run_given_up_as_silent_opens_no_others(config: LdAiCompletionConfig, reports: list[RunReport]) -> None:
    """What it does once it goes on is ignored, at whatever depth, and also after a flush."""
    handler = LdAiHandler(config, on_run_end=reports.append, run_timeout=1e-9)
    root = begun(handler)
    called(handler, root)
    step = begun(handler, root)
    handler.flush()

    called(handler, begun(handler, step))
    handler.flush()
    called(handler, root)
    handler.on_chain_end({}, run_id=root)

    assert of_calls(reports) == [(Outcome.ABANDONED, 1)]
    assert handler.open_runs == 0


async def streamed(runnable: Runnable, config: RunnableConfig) -> list[object]:
    """Read a graph's messages, which has its models stream."""
    stream: AsyncIterator[object] = runnable.astream({"done": False}, config, stream_mode="messages")
    return [part async for part in stream]


@pytest.mark.asyncio
async def test_a_node_that_recovers_from_a_call_it_cancelled_is_a_success(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A call that streamed and was cancelled never ends (fact 69), but what was around it has gone on."""
    has_begun = asyncio.Event()

    class Stuck(ScriptedChat):
        async def _astream(self, *args: object, **kwargs: object) -> AsyncIterator[object]:
            async for chunk in super()._astream(*args, **kwargs):
                yield chunk
                has_begun.set()
                await asyncio.sleep(3600)

    async def ask(state: State) -> State:
        call = asyncio.create_task(Stuck().ainvoke("How?"))
        await has_begun.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await ScriptedChat().ainvoke("How?")
        return {"done": True}

    await streamed(graph(ask), {"callbacks": [handler]})
    handler.flush()

    assert of_calls(reports) == [(Outcome.SUCCESS, 2)]


def test_a_stream_closed_early_within_steps_is_still_cancelled(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Where every step around the call is open, too, its end was not reached (fact 72)."""
    steps = RunnableLambda(lambda value: value) | chain()
    stream = steps.stream(QUESTION, {"callbacks": [handler]})
    next(stream)

    stream.close()

    assert [report.outcome for report in reports] == [Outcome.CANCELLED]


@pytest.mark.parametrize(
    ("begin", "outcome"), [(stream_begun, Outcome.CANCELLED), (begun, Outcome.SUCCESS)], ids=["stream", "call"]
)
def test_only_a_root_that_started_as_a_stream_may_have_been_closed(
    begin: Callable[[LdAiHandler], UUID], outcome: Outcome, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """LangChain shows at its start which roots it ends like a success when they are closed (fact 72)."""
    root = begin(handler)
    call = streaming(handler, begun(handler, root))

    handler.on_chain_end({}, run_id=root)
    handler.on_llm_end(ANSWER, run_id=call)

    assert [report.outcome for report in reports] == [outcome]


def test_a_stream_whose_step_went_on_without_a_call_was_read(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A call below a step that has ended is one that the step gave up (fact 72)."""
    root = stream_begun(handler)
    step = begun(handler, root)
    streaming(handler, step)
    handler.on_chain_end({}, run_id=step)

    handler.on_chain_end({}, run_id=root)
    handler.flush()

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


def test_steps_that_are_each_others_parents_do_not_reach_the_root(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A call below a circle of steps is left as it is, and the root's end is taken for what it says."""
    root, one, other = stream_begun(handler), uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=one, parent_run_id=root, metadata={})
    handler.on_chain_start(None, {}, run_id=other, parent_run_id=one, metadata={})
    handler.on_chain_end({}, run_id=one)
    handler.on_chain_start(None, {}, run_id=one, parent_run_id=other, metadata={})
    streaming(handler, one)

    handler.on_chain_end({}, run_id=root)
    handler.flush()

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]

"""Interrupts that a step catches and goes on without: they stopped nothing (fact 58)."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Never

import pytest
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.func import entrypoint, task
from langgraph.graph import START
from langgraph.types import Command

from langchain_ldai import LdAiCompletionConfig, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import AGENT_INPUT, SUCCESS, counts, create_agent
from tests.support.graphs import NOTHING, State, asks, graph, has_node_options, in_parallel, speaks, thread
from tests.support.models import HELLO, ScriptedChat, tool_call

pytestmark = pytest.mark.asyncio

OWN: Final[State] = {"said": ["an answer of its own"]}


def declines(inner: Runnable) -> Callable[[State], object]:
    """Return a step that calls a graph and answers itself what it is asked."""

    def work(state: State) -> object:
        try:
            return inner.invoke(NOTHING)
        except GraphInterrupt:
            return OWN

    return work


def one_asks() -> Runnable:
    """Return a graph with a node that asks."""
    return graph({"asks": asks})


def two_ask() -> Runnable:
    """Return a graph with two nodes that ask at once."""
    return graph({"a": asks, "b": asks}, in_parallel("a", "b"))


def one_asks_further_down() -> Runnable:
    """Return a graph with a subgraph that asks."""
    return graph({"sub": one_asks()})


INNER: Final[Mapping[str, Callable[[], Runnable]]] = {
    "node": one_asks,
    "two-nodes": two_ask,
    "subgraph": one_asks_further_down,
}


def as_node(inner: Runnable) -> Runnable:
    """Return a graph with a node that declines."""
    return graph({"work": declines(inner)}, checkpointer=InMemorySaver())


async def adeclines(inner: Runnable) -> object:
    """Call a graph asynchronously, and answer itself what it is asked."""
    try:
        return await inner.ainvoke(NOTHING)
    except GraphInterrupt:
        return OWN


def as_step(inner: Runnable) -> Runnable:
    """Return a graph with a node, a chain of which a step declines."""
    chain = RunnableLambda(lambda state: state) | declines(inner)
    return graph({"work": chain}, checkpointer=InMemorySaver())


def as_fallback(inner: Runnable) -> Runnable:
    """Return a graph with a node that has a fallback."""
    work = inner.with_fallbacks([RunnableLambda(lambda state: OWN)], exceptions_to_handle=(GraphInterrupt,))
    return graph({"work": lambda state: work.invoke(state)}, checkpointer=InMemorySaver())


def as_workflow(inner: Runnable) -> Runnable:
    """Return a workflow of the functional API that declines what its task is asked."""
    asking = task(lambda state: inner.invoke(state))

    @entrypoint(checkpointer=InMemorySaver())
    def work(state: State) -> object:
        try:
            return asking(state).result()
        except GraphInterrupt:
            return OWN

    return work


def as_tool(inner: Runnable) -> Runnable:
    """Return an agent with a tool that declines."""

    @tool
    def work() -> str:
        """Work."""
        return str(declines(inner)(NOTHING))

    agent = create_agent(ScriptedChat(script=[tool_call("work"), HELLO]), [work], checkpointer=InMemorySaver())
    return RunnableLambda(lambda state: AGENT_INPUT) | agent


PLACES: Final[Mapping[str, Callable[[Runnable], Runnable]]] = {
    "node": as_node,
    "step": as_step,
    "fallback": as_fallback,
    "functional-api": as_workflow,
    "tool": as_tool,
}
inners = pytest.mark.parametrize("build", INNER.values(), ids=INNER)


@inners
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@each({**INVOKED, **STREAMED})
async def test_a_run_that_declines_an_interrupt_succeeds(
    call: Call,
    place: Callable[[Runnable], Runnable],
    build: Callable[[], Runnable],
    track: Track,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """What went on and ended well did not stop."""
    await run(call, place(build()), NOTHING, thread(track()))

    (report,) = reports
    assert (report.outcome, report.retries) == (Outcome.SUCCESS, 0)
    assert counts(client, report.run_id)[SUCCESS] == [1]


@inners
async def test_an_async_node_that_declines_an_interrupt_succeeds(
    build: Callable[[], Runnable], track: Track, writer: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """And so does the run."""
    handler = track(nodes={"work": writer})

    async def work(state: State) -> object:
        return await adeclines(build())

    await graph({"work": work}, checkpointer=InMemorySaver()).ainvoke(NOTHING, thread(handler))

    (report,) = reports
    assert (report.outcome, report.nodes["work"].outcome) == (Outcome.SUCCESS, Outcome.SUCCESS)


@pytest.mark.parametrize("place", [as_node, as_workflow], ids=["node", "functional-api"])
@each({**INVOKED, **STREAMED})
async def test_a_named_node_that_declines_an_interrupt_succeeds(
    call: Call,
    place: Callable[[Runnable], Runnable],
    track: Track,
    writer: LdAiCompletionConfig,
    reports: list[RunReport],
) -> None:
    """The node that answered is told as it ended."""
    handler = track(nodes={"work": writer})

    await run(call, place(one_asks()), NOTHING, thread(handler))

    (report,) = reports
    assert (report.outcome, report.nodes["work"].outcome) == (Outcome.SUCCESS, Outcome.SUCCESS)


async def test_a_root_that_declines_an_interrupt_succeeds(track: Track, reports: list[RunReport]) -> None:
    """Its handler sees only what the node of a graph does."""
    handler = track()
    work = RunnableLambda(declines(one_asks()))
    outer = graph(
        {"work": lambda state: work.invoke(state, {"callbacks": [handler]})}, checkpointer=InMemorySaver()
    )

    outer.invoke(NOTHING, {"configurable": {"thread_id": "1"}})

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


async def test_another_interrupt_beside_a_declined_one_still_stops_the_run(
    track: Track, writer: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """A node declines what it was asked first, and its sibling asks: the run is interrupted, the node is not."""
    handler = track(nodes={"work": writer})
    nodes = {"work": declines(one_asks()), "asks": asks}
    outer = graph(nodes, in_parallel(*nodes), checkpointer=InMemorySaver())

    outer.invoke(NOTHING, thread(handler))

    (report,) = reports
    assert (report.outcome, report.nodes["work"].outcome) == (Outcome.INTERRUPTED, Outcome.SUCCESS)


async def test_a_node_that_declines_one_interrupt_and_asks_itself_is_interrupted(
    track: Track, writer: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """The interrupt that reached LangGraph stopped it."""

    def work(state: State) -> object:
        declines(one_asks())(state)
        return asks(state)

    handler = track(nodes={"work": writer})

    graph({"work": work}, checkpointer=InMemorySaver()).invoke(NOTHING, thread(handler))

    (report,) = reports
    assert (report.outcome, report.nodes["work"].outcome) == (Outcome.INTERRUPTED, Outcome.INTERRUPTED)


async def test_a_node_that_declines_an_interrupt_and_fails_has_failed(
    track: Track, reports: list[RunReport]
) -> None:
    """It ended with an error."""

    def work(state: State) -> object:
        declines(one_asks())(state)
        return speaks(ZeroDivisionError())(state)

    with pytest.raises(ZeroDivisionError):
        graph({"work": work}, checkpointer=InMemorySaver()).invoke(NOTHING, thread(track()))

    assert [report.outcome for report in reports] == [Outcome.ERROR]


@pytest.mark.parametrize("place", [as_node, as_workflow], ids=["node", "functional-api"])
async def test_a_run_that_recovers_from_what_a_step_made_of_an_interrupt_succeeds(
    place: Callable[[Runnable], Runnable], track: Track, reports: list[RunReport]
) -> None:
    """A step that raises another error in its place has caught it, too."""

    def fails(state: State) -> object:
        with pytest.raises(GraphInterrupt):
            one_asks().invoke(state)
        raise ZeroDivisionError

    work = RunnableLambda(fails).with_fallbacks([RunnableLambda(lambda state: OWN)])

    place(work).invoke(NOTHING, thread(track()))

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


@pytest.mark.parametrize("place", [as_node, as_workflow], ids=["node", "functional-api"])
async def test_a_run_that_recovers_from_a_graph_that_failed_while_it_asked_succeeds(
    place: Callable[[Runnable], Runnable], track: Track, reports: list[RunReport]
) -> None:
    """A graph that raised the error of another node asks nothing any more."""
    nodes = {"asks": asks, "fails": speaks(ZeroDivisionError())}
    inner = graph(nodes, in_parallel(*nodes))

    place(inner.with_fallbacks([RunnableLambda(lambda state: OWN)])).invoke(NOTHING, thread(track()))

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


async def test_a_run_that_goes_on_after_a_graph_that_handed_over_while_it_asked_succeeds(
    track: Track, reports: list[RunReport]
) -> None:
    """A graph that left for its parent asks nothing any more."""

    def hands_over(state: State) -> Command:
        return Command(graph=Command.PARENT, goto="then")

    nodes = {"asks": asks, "hands-over": hands_over}
    inner = graph(nodes, in_parallel(*nodes))

    graph({"inner": inner, "then": speaks()}, [(START, "inner")]).invoke(NOTHING, thread(track()))

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


@has_node_options
@pytest.mark.parametrize("waits", ["node", "graph"])
async def test_a_run_that_gives_up_a_graph_that_asks_succeeds(
    waits: str, track: Track, reports: list[RunReport]
) -> None:
    """A graph that was stopped, as another node of it took too long, asks nothing any more."""

    async def hangs(state: State) -> Never:
        await asyncio.Event().wait()

    async def gives_up(state: State) -> State:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(inner.ainvoke(NOTHING), 0.2)
        return speaks()(state)

    nodes = {"asks": asks, "hangs": hangs}
    inner = graph(nodes, in_parallel(*nodes))
    limited = {"timeout": 0.2, "error_handler": speaks()}
    outer = graph(
        {"a": gives_up} if waits == "node" else {"a": inner}, options={"a": limited if waits == "graph" else {}}
    )

    await outer.ainvoke(NOTHING, thread(track()))

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]

"""A graph that stops to ask is neither a success nor a failure; facts 58 to 60."""

import threading
from collections.abc import Callable, Mapping

import pytest
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt, NodeInterrupt
from langgraph.types import Command, interrupt

from langchain_ldai import Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.runs.ends.asking import asking
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import (
    AGENT_INPUT,
    ERROR,
    QUESTION,
    SUCCESS,
    TOKENS,
    chain,
    counts,
    create_agent,
)
from tests.support.graphs import NOTHING, State, asks, calls, graph, in_parallel, speaks, thread
from tests.support.models import HELLO, ScriptedChat, tool_call

pytestmark = pytest.mark.asyncio


@tool
def lookup() -> str:
    """Look something up."""
    return "found"


@asking
@each({**INVOKED, **STREAMED})
async def test_a_run_that_asks_is_interrupted(
    call: Call,
    build: Callable[[], Runnable],
    value: object,
    tools: Mapping[str, list[int]],
    track: Track,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """The root ends like a success, yet neither success nor error goes out; what it used does (fact 58)."""
    await run(call, build(), value, thread(track()))

    (report,) = reports
    assert (report.outcome, report.summary.success) == (Outcome.INTERRUPTED, None)
    assert counts(client, report.run_id) == {**TOKENS, **tools}


@asking
@each({**INVOKED, **STREAMED})
async def test_a_resumed_run_is_a_new_one(
    call: Call,
    build: Callable[[], Runnable],
    value: object,
    tools: Mapping[str, list[int]],
    track: Track,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """`Command(resume=...)` opens another run, and what runs again counts again, tools included (fact 60)."""
    paused, config = build(), thread(track())
    await run(call, paused, value, config)

    await run(call, paused, Command(resume="yes"), config)

    first, second = reports
    assert (first.outcome, second.outcome) == (Outcome.INTERRUPTED, Outcome.SUCCESS)
    assert first.run_id != second.run_id
    assert counts(client, second.run_id) == {SUCCESS: [1], **TOKENS, **tools}


@each({**INVOKED, **STREAMED})
async def test_interrupts_of_parallel_nodes_are_answered_one_by_one(
    call: Call, track: Track, reports: list[RunReport]
) -> None:
    """While a node still asks the run is interrupted, and that node runs again each time (facts 58, 60)."""
    paused = graph({"a": asks, "b": asks}, in_parallel("a", "b"), checkpointer=InMemorySaver())
    config = thread(track())
    await run(call, paused, NOTHING, config)

    for open_question in [asked.id for step in paused.get_state(config).tasks for asked in step.interrupts]:
        await run(call, paused, Command(resume={open_question: "yes"}), config)

    assert [(report.outcome, report.model_calls) for report in reports] == [
        (Outcome.INTERRUPTED, 2),
        (Outcome.INTERRUPTED, 2),
        (Outcome.SUCCESS, 1),
    ]


@each({**INVOKED, **STREAMED})
async def test_a_failing_sibling_outweighs_an_interrupt(
    call: Call, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Where one node asks and another fails, the root raises: an error (facts 58, 76)."""
    asked = threading.Event()

    def asks_late(state: State) -> State:
        text = chain().invoke(QUESTION)
        asked.set()
        return {"said": [text, interrupt("May I?")]}

    def fails(state: State) -> State:
        asked.wait(10)
        raise ZeroDivisionError

    torn = graph({"a": asks_late, "b": fails}, in_parallel("a", "b"), checkpointer=InMemorySaver())

    with pytest.raises(ZeroDivisionError):
        await run(call, torn, NOTHING, thread(track()))

    (report,) = reports
    assert report.outcome is Outcome.ERROR
    assert counts(client, report.run_id) == {ERROR: [1], **TOKENS}


@pytest.mark.parametrize("where", ["interrupt_before", "interrupt_after"])
@each({**INVOKED, **STREAMED})
async def test_a_breakpoint_cannot_be_seen(
    call: Call, where: str, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A static breakpoint raises nothing: both parts end as successes, each a run of its own (fact 58)."""
    node = "b" if where == "interrupt_before" else "a"
    paused = graph({"a": speaks(), "b": speaks()}, checkpointer=InMemorySaver(), **{where: [node]})
    config = thread(track())

    for value in (NOTHING, None):
        await run(call, paused, value, config)

    assert [report.model_calls for report in reports] == [1, 1]
    assert [counts(client, report.run_id) for report in reports] == [{SUCCESS: [1], **TOKENS}] * 2


async def test_a_breakpoint_before_every_model_call_is_no_ai_run(track: Track, client: RecordingClient) -> None:
    """Nothing is recorded of a run that stopped before it called a model (fact 58)."""
    before = client.events
    paused = graph({"a": speaks()}, checkpointer=InMemorySaver(), interrupt_before=["a"])

    paused.invoke(NOTHING, thread(track()))

    assert client.events == before


async def test_a_handler_inside_a_subgraph_is_interrupted_too(track: Track, reports: list[RunReport]) -> None:
    """There the `GraphInterrupt` is the root's own error (fact 59)."""
    handler = track()
    outer = graph(
        {"sub": lambda state: graph({"asks": asks}).invoke(state, {"callbacks": [handler]})},
        checkpointer=InMemorySaver(),
    )

    outer.invoke(NOTHING, {"configurable": {"thread_id": "1"}})

    assert [(report.outcome, report.summary.tokens) for report in reports] == [(Outcome.INTERRUPTED, calls(1))]


async def test_an_exception_of_the_users_by_that_name_is_an_error(track: Track, reports: list[RunReport]) -> None:
    """What counts is the class, not its name."""
    own = type("GraphInterrupt", (Exception,), {})

    with pytest.raises(own):
        graph({"a": speaks(own())}).invoke(NOTHING, {"callbacks": [track()]})

    assert [report.outcome for report in reports] == [Outcome.ERROR]


async def test_the_old_way_to_interrupt_is_one_too(track: Track, reports: list[RunReport]) -> None:
    """`NodeInterrupt`, deprecated, derives from `GraphInterrupt` (fact 59)."""
    with pytest.warns(DeprecationWarning, match="NodeInterrupt is deprecated"):
        error = NodeInterrupt("May I?")
    graph({"a": speaks(error)}, checkpointer=InMemorySaver()).invoke(NOTHING, thread(track()))

    assert [report.outcome for report in reports] == [Outcome.INTERRUPTED]


async def test_an_interrupt_that_the_node_swallows_is_none(track: Track, reports: list[RunReport]) -> None:
    """Caught where it is raised, it reaches no callback: success.

    A fact besides those numbered; caught further up, below the root, it has been seen and the run is interrupted.
    """

    def swallows(ask: Callable[[State], object]) -> Callable[[State], State]:
        def node(state: State) -> State:
            try:
                return {"said": [ask(state)]}
            except GraphInterrupt as error:
                return {"said": [type(error).__name__]}

        return node

    for ask in (asks, RunnableLambda(asks).invoke):
        swallowing = graph({"a": swallows(ask)}, checkpointer=InMemorySaver())
        assert swallowing.invoke(NOTHING, thread(track())) == {"said": ["GraphInterrupt"]}

    assert [report.outcome for report in reports] == [Outcome.SUCCESS, Outcome.INTERRUPTED]


async def test_a_human_in_the_loop_of_an_agent_interrupts_its_run(track: Track, reports: list[RunReport]) -> None:
    """The middleware asks before the tool runs: no tool call until it is approved (fact 58)."""
    middleware = pytest.importorskip("langchain.agents.middleware", reason="LangChain 0.3 has no middleware")
    model = ScriptedChat(script=[tool_call("lookup"), HELLO])
    asks_first = middleware.HumanInTheLoopMiddleware(interrupt_on={"lookup": True})
    agent = create_agent(model, [lookup], middleware=[asks_first], checkpointer=InMemorySaver())
    config = thread(track())

    for value in (AGENT_INPUT, Command(resume={"decisions": [{"type": "approve"}]})):
        await agent.ainvoke(value, config)

    assert [report.outcome for report in reports] == [Outcome.INTERRUPTED, Outcome.SUCCESS]
    assert [report.summary.tool_calls for report in reports] == [(), ("lookup",)]

"""An agent is a graph with a loop of model and tools; facts 56 and 66 to 68."""

from collections.abc import Sequence

import pytest
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, tool
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from langchain_ldai import Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import AGENT_INPUT, ERROR, SUCCESS, TOOL_CALL, counts, create_agent
from tests.support.graphs import NOTHING, calls, graph
from tests.support.models import FLAKY, HELLO, ScriptedChat, Turn, tool_call

try:
    from langchain.agents import middleware
except ImportError:  # LangChain 0.3
    middleware = None

pytestmark = pytest.mark.asyncio

TOOL_ERRORS_END_AGENTS = create_agent.__module__.startswith("langchain.")
"""Whether the root raises what a tool raised: in `create_agent` it does, in `create_react_agent` not (fact 66)."""


has_middleware = pytest.mark.skipif(middleware is None, reason="LangChain 0.3 has no middleware")


@tool
def broken() -> str:
    """Fail."""
    raise ZeroDivisionError


@tool
def measures(length: int) -> int:
    """Need an argument that the model does not give."""
    return length


@tool
def thinks() -> str:
    """Call a model, without passing a config on."""
    return str(ScriptedChat().invoke("What now?").content)


@tool
def lookup() -> str:
    """Look something up."""
    return "found"


def agent(*tools: BaseTool, asked: Sequence[str] | None = None, **options: object) -> Runnable:
    """Return an agent whose model asks for each of the tools in turn and then answers."""
    names = [known.name for known in tools] if asked is None else asked
    script: list[Turn] = [*(tool_call(name) for name in names), HELLO]
    return create_agent(ScriptedChat(script=script), list(tools), **options)


@each({**INVOKED, **STREAMED})
async def test_each_round_of_an_agent_is_a_step_of_one_run(
    call: Call, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Rounds differ only in their step and run id: three model calls and two tool calls, summed (fact 56)."""
    await run(call, agent(lookup, lookup), AGENT_INPUT, {"callbacks": [track()]})

    (report,) = reports
    assert (report.model_calls, report.summary.tokens) == (3, calls(3))
    assert report.summary.tool_calls == ("lookup", "lookup")
    assert counts(client, report.run_id)[SUCCESS] == [1]


@each(INVOKED)
async def test_tools_called_together_are_counted_each(
    call: Call, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Two calls of one tool in one turn are two tool runs, at the same time (fact 55)."""
    (chunk, usage), (second, _) = tool_call("lookup"), tool_call("lookup")
    other = second.model_copy(
        update={"tool_call_chunks": [{**second.tool_call_chunks[0], "id": "call-other", "index": 1}]}
    )
    both = create_agent(ScriptedChat(script=[[chunk, other, usage], HELLO]), [lookup])

    await run(call, both, AGENT_INPUT, {"callbacks": [track()]})

    (report,) = reports
    assert counts(client, report.run_id)[TOOL_CALL] == [1, 1]


@each(INVOKED)
async def test_a_failing_tool_is_an_error_only_where_it_ends_the_run(
    call: Call, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`on_tool_error` alone says nothing of the outcome; the root's end does (fact 66)."""
    config = {"callbacks": [track()]}
    if TOOL_ERRORS_END_AGENTS:
        with pytest.raises(ZeroDivisionError):
            await run(call, agent(broken), AGENT_INPUT, config)
    else:
        await run(call, agent(broken), AGENT_INPUT, config)

    (report,) = reports
    assert report.outcome is (Outcome.ERROR if TOOL_ERRORS_END_AGENTS else Outcome.SUCCESS)
    assert counts(client, report.run_id)[ERROR if TOOL_ERRORS_END_AGENTS else SUCCESS] == [1]
    assert report.summary.tool_calls == ("broken",)


@each(INVOKED)
async def test_a_tool_error_that_is_handled_is_none(call: Call, track: Track, reports: list[RunReport]) -> None:
    """A `ToolNode` told to handle errors makes a message of them: the run succeeds (fact 66)."""
    builder = StateGraph(MessagesState).add_edge("__start__", "model").add_edge("model", "tools")
    model = ScriptedChat(script=[tool_call("broken")])
    builder.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_node("tools", ToolNode([broken], handle_tool_errors=True))

    await run(call, builder.compile(), AGENT_INPUT, {"callbacks": [track()]})

    assert [(report.outcome, report.summary.tool_calls) for report in reports] == [(Outcome.SUCCESS, ("broken",))]


@pytest.mark.parametrize(
    ("tools", "asked", "counted"),
    [((measures,), None, ("measures",)), ((lookup,), ["unheard_of"], ())],
    ids=["wrong-arguments", "unknown-tool"],
)
@each(INVOKED)
async def test_a_tool_call_that_cannot_be_made_is_no_error(
    call: Call, tools: Sequence[BaseTool], asked, counted, track: Track, reports: list[RunReport]
) -> None:
    """Wrong arguments become a message after the tool's start, an unknown tool never starts (fact 66)."""
    await run(call, agent(*tools, asked=asked), AGENT_INPUT, {"callbacks": [track()]})

    assert [(report.outcome, report.summary.tool_calls) for report in reports] == [(Outcome.SUCCESS, counted)]


@each(INVOKED)
async def test_a_model_called_by_a_tool_counts_for_the_run(
    call: Call, track: Track, reports: list[RunReport]
) -> None:
    """The call is found below the tool, although no config was passed on (fact 68)."""
    await run(call, agent(thinks), AGENT_INPUT, {"callbacks": [track()]})

    assert [(report.model_calls, report.summary.tokens) for report in reports] == [(3, calls(3))]


async def test_a_tool_that_hands_over_is_no_error(track: Track, reports: list[RunReport]) -> None:
    """A `Command` for the graph around the agent raises `ParentCommand` through it: control flow (fact 57)."""

    @tool
    def hand_over() -> Command:
        """Hand over to the other node."""
        return Command(goto="other", graph=Command.PARENT, update=AGENT_INPUT)

    builder = StateGraph(MessagesState).add_node("agent", agent(hand_over), destinations=("other",))
    builder.add_node("other", agent(lookup)).add_edge("__start__", "agent")
    await builder.compile().ainvoke(AGENT_INPUT, {"callbacks": [track()]})

    (report,) = reports
    assert (report.outcome, report.model_calls) == (Outcome.SUCCESS, 3)
    assert report.summary.tool_calls == ("hand_over", "lookup")


@each(INVOKED)
async def test_an_agent_called_in_a_node_is_part_of_the_run(
    call: Call, track: Track, reports: list[RunReport]
) -> None:
    """An agent is a graph like any other, also where a node calls it (fact 55)."""

    def node(state: object) -> dict[str, list[object]]:
        return {"said": [agent(lookup).invoke(AGENT_INPUT)["messages"][-1].content]}

    await run(call, graph({"a": node}), NOTHING, {"callbacks": [track()]})

    assert [(report.model_calls, report.summary.tool_calls) for report in reports] == [(2, ("lookup",))]


def retrying(**options: object) -> object:
    """Return the middleware that retries models, without its pauses."""
    return middleware.ModelRetryMiddleware(initial_delay=0, jitter=False, **options)


@has_middleware
@pytest.mark.parametrize(
    ("script", "make", "failed", "tokens"),
    [
        ([FLAKY, HELLO], lambda: retrying(max_retries=1), 1, calls(1)),
        ([FLAKY], lambda: retrying(max_retries=1), 2, None),
        ([FLAKY], lambda: middleware.ModelFallbackMiddleware(ScriptedChat()), 1, calls(1)),
    ],
    ids=["retried", "retried-in-vain", "fallen-back"],
)
@each(INVOKED)
async def test_a_failure_that_middleware_absorbs_stays_visible(
    call: Call, script, make, failed: int, tokens, track: Track, client: RecordingClient, reports
) -> None:
    """The root ends well, so the run is a success; `failed_model_calls` tells what happened (fact 67)."""
    absorbing = create_agent(ScriptedChat(script=script), [lookup], middleware=[make()])

    await run(call, absorbing, AGENT_INPUT, {"callbacks": [track()]})

    (report,) = reports
    assert (report.model_calls, report.failed_model_calls, report.summary.tokens) == (2, failed, tokens)
    assert counts(client, report.run_id)[SUCCESS] == [1]


@has_middleware
@each(INVOKED)
async def test_a_failure_that_middleware_gives_up_on_is_an_error(
    call: Call, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """With `on_failure="error"` the last failure reaches the root (fact 67)."""
    model = ScriptedChat(script=[FLAKY])
    failing = create_agent(model, [lookup], middleware=[retrying(max_retries=1, on_failure="error")])

    with pytest.raises(ConnectionError):
        await run(call, failing, AGENT_INPUT, {"callbacks": [track()]})

    (report,) = reports
    assert report.failed_model_calls == 2
    assert counts(client, report.run_id) == {ERROR: [1]}


@has_middleware
async def test_a_tool_that_middleware_retries_is_called_twice(track: Track, reports: list[RunReport]) -> None:
    """Each attempt is a tool run of its own; used up, they become a message.

    A fact besides those numbered.
    """
    patient = middleware.ToolRetryMiddleware(max_retries=1, initial_delay=0, jitter=False)

    await agent(broken, middleware=[patient]).ainvoke(AGENT_INPUT, {"callbacks": [track()]})

    assert [report.summary.tool_calls for report in reports] == [("broken", "broken")]
    assert reports[0].outcome is Outcome.SUCCESS

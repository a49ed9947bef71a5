"""What happens in a named node, at any depth, is counted for that node's AI Config; facts 55 and 56."""

from collections.abc import Callable, Mapping

import pytest
from langchain_core.runnables import Runnable
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

from langchain_ldai import Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import AGENT_INPUT, ERROR, QUESTION, SUCCESS, TOKENS, agent, chain, counts
from tests.support.graphs import (
    NOTHING,
    RETRIED,
    State,
    asks,
    calls,
    graph,
    in_parallel,
    says,
    speaks,
    thread,
)
from tests.support.models import FLAKY, HELLO, ScriptedChat

pytestmark = pytest.mark.asyncio


def runs_an_agent(state: State) -> State:
    """Call an agent: two model calls and a tool call in nodes of its own."""
    return {"said": [agent().invoke(AGENT_INPUT)["messages"][-1].content]}


def flaky() -> ScriptedChat:
    """Return a model that fails once."""
    return ScriptedChat(script=[FLAKY, HELLO])


Figures = tuple[int, int, int, tuple[str, ...]]
"""Model calls, failed ones, retries, and tools called."""

INSIDE: Mapping[str, tuple[Callable[[], object], Figures]] = {
    "chain-as-node": (says, (1, 0, 0, ())),
    "chain-called-by-the-node": (speaks, (1, 0, 0, ())),
    "retried-model": (lambda: says(flaky().with_retry(wait_exponential_jitter=False)), (2, 1, 1, ())),
    "retried-chain": (lambda: says(flaky()).with_retry(wait_exponential_jitter=False), (2, 1, 1, ())),
    "fallback": (lambda: says(flaky().with_fallbacks([ScriptedChat()])), (2, 1, 0, ())),
    "subgraph": (lambda: graph({"a": says(), "b": speaks()}), (2, 0, 0, ())),
    "subgraph-called-by-the-node": (lambda: lambda state: graph({"a": says()}).invoke(NOTHING), (1, 0, 0, ())),
    "agent": (lambda: runs_an_agent, (2, 0, 0, ("search",))),
}


@pytest.mark.parametrize(("build", "figures"), INSIDE.values(), ids=INSIDE)
@each({**INVOKED, **STREAMED})
async def test_a_named_nodes_figures_are_its_ai_configs(
    call: Call, build, figures: Figures, track: Track, writer, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Whatever runs below the named node is the node's, and nothing of it the run's (facts 55, 56)."""
    handler = track(nodes={"writer": writer})

    await run(call, graph({"writer": build(), "rest": says()}), NOTHING, {"callbacks": [handler]})

    (report,) = reports
    node = report.nodes["writer"]
    found = (node.model_calls, node.failed_model_calls, node.retries, node.summary.tool_calls)
    assert (found, node.config_key, node.outcome) == (figures, "writer", Outcome.SUCCESS)
    assert node.summary.tokens == calls(node.model_calls - node.failed_model_calls)
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}
    assert counts(client, node.run_id)[SUCCESS] == [1]


@each({**INVOKED, **STREAMED})
async def test_a_named_node_of_a_subgraph_is_found(
    call: Call, track: Track, writer, critic, reports: list[RunReport]
) -> None:
    """The name counts at any depth, also inside another named node (fact 55)."""
    inner = graph({"critic": says(), "unnamed": says()})

    await run(
        call, graph({"writer": inner}), NOTHING, {"callbacks": [track(nodes={"writer": writer, "critic": critic})]}
    )

    (report,) = reports
    assert {name: node.model_calls for name, node in report.nodes.items()} == {"writer": 1, "critic": 1}
    assert report.model_calls == 0


def visits_thrice(how: str) -> Runnable:
    """Return a graph that visits its node `writer` three times."""
    builder = StateGraph(State)
    builder.add_node("writer", speaks(*[FLAKY] * 2 if how == "retry" else []), **RETRIED)
    if how == "send":
        builder.add_conditional_edges(START, lambda state: [Send("writer", state)] * 3, ["writer"])
        return builder.compile()
    builder.add_edge(START, "writer")
    ended = 1 if how == "retry" else 3
    builder.add_conditional_edges("writer", lambda state: END if len(state["said"]) == ended else "writer")
    return builder.compile()


@pytest.mark.parametrize("how", ["loop", "send", "retry"])
@each(INVOKED)
async def test_all_visits_of_a_node_are_one_tracker(
    call: Call, how: str, track: Track, writer, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Three visits, one after the other or all at once, sum up under one run id (facts 55, 65)."""
    await run(call, visits_thrice(how), NOTHING, {"callbacks": [track(nodes={"writer": writer})]})

    (node,) = reports[0].nodes.values()
    assert (node.model_calls, node.retries) == (3, 2 if how == "retry" else 0)
    assert counts(client, node.run_id) == {
        SUCCESS: [1],
        **{name: [3 * value[0]] for name, value in TOKENS.items()},
    }


@each(INVOKED)
async def test_parallel_nodes_are_told_apart(
    call: Call, track: Track, writer, critic, reports: list[RunReport]
) -> None:
    """The events of parallel nodes interleave; each goes where its ancestors lead (fact 55)."""
    nodes = {"writer": graph({"a": says(), "b": says()}), "critic": says(), "rest": says()}
    handler = track(nodes={"writer": writer, "critic": critic})

    await run(call, graph(nodes, in_parallel(*nodes)), NOTHING, {"callbacks": [handler]})

    (report,) = reports
    assert {name: node.summary.tokens for name, node in report.nodes.items()} == {
        "writer": calls(2),
        "critic": calls(1),
    }
    assert report.summary.tokens == calls(1)
    assert len({report.run_id, *(node.run_id for node in report.nodes.values())}) == 3


async def test_two_nodes_of_one_ai_config_have_two_trackers(
    track: Track, writer, reports: list[RunReport]
) -> None:
    """There is one tracker per node name and run, also in the next run."""
    handler = track(nodes={"a": writer, "b": writer})

    for _ in range(2):
        graph({"a": says(), "b": says()}).invoke(NOTHING, {"callbacks": [handler]})

    nodes = [node for report in reports for node in report.nodes.values()]
    assert len({node.run_id for node in nodes}) == 4
    assert {node.config_key for node in nodes} == {"writer"}


@each(INVOKED)
async def test_the_last_visits_outcome_is_the_nodes(
    call: Call, track: Track, writer, critic, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A node that fails after a good visit is an error; its neighbour, and nobody else, stays a success."""
    edges = [(START, "writer"), ("writer", "critic"), ("critic", "writer")]
    failing = graph({"writer": speaks(None, ZeroDivisionError()), "critic": speaks()}, edges)

    with pytest.raises(ZeroDivisionError):
        await run(call, failing, NOTHING, {"callbacks": [track(nodes={"writer": writer, "critic": critic})]})

    (report,) = reports
    assert report.outcome is Outcome.ERROR
    assert counts(client, report.nodes["writer"].run_id)[ERROR] == [1]
    assert counts(client, report.nodes["critic"].run_id)[SUCCESS] == [1]


@each(INVOKED)
async def test_a_node_that_asks_is_interrupted_and_its_sibling_is_not(
    call: Call, track: Track, writer, critic, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The node and the run are interrupted, the sibling has succeeded; a resume is another run (facts 58, 60)."""
    paused = graph(
        {"writer": asks, "critic": says()}, in_parallel("writer", "critic"), checkpointer=InMemorySaver()
    )
    config = thread(track(nodes={"writer": writer, "critic": critic}))

    for value in (NOTHING, Command(resume="yes")):
        await run(call, paused, value, config)

    first, second = reports
    assert first.outcome is first.nodes["writer"].outcome is Outcome.INTERRUPTED
    assert counts(client, first.nodes["writer"].run_id) == TOKENS
    assert counts(client, first.nodes["critic"].run_id)[SUCCESS] == [1]
    assert [*second.nodes] == ["writer"]


async def test_a_handoff_out_of_a_named_node_is_a_success(track: Track, writer, reports: list[RunReport]) -> None:
    """`ParentCommand` ends the node's run as an error that is none (fact 57)."""

    def leaves(state: State) -> Command:
        return Command(goto="rest", graph=Command.PARENT, update=speaks()(state))

    builder = StateGraph(State).add_node("rest", says()).add_edge(START, "writer")
    builder.add_node("writer", graph({"leaves": leaves}), destinations=("rest",))
    builder.compile().invoke(NOTHING, {"callbacks": [track(nodes={"writer": writer})]})

    assert reports[0].outcome is reports[0].nodes["writer"].outcome is Outcome.SUCCESS


async def test_a_named_node_of_a_graph_that_hands_over_is_told_as_it_ended(
    track: Track, writer, reports: list[RunReport]
) -> None:
    """LangGraph runs the node around it once more, for its conditional edges: no new attempt (fact 57)."""

    def leaves(state: State) -> Command:
        return Command(goto="rest", graph=Command.PARENT, update=NOTHING)

    inner = graph({"writer": speaks(), "leaves": leaves})
    builder = StateGraph(State).add_node("rest", speaks(ZeroDivisionError())).add_edge(START, "inner")
    builder.add_node("inner", inner).add_conditional_edges("inner", lambda state: END)

    with pytest.raises(ZeroDivisionError):
        builder.compile().invoke(NOTHING, {"callbacks": [track(nodes={"writer": writer})]})

    assert (reports[0].outcome, reports[0].nodes["writer"].outcome) == (Outcome.ERROR, Outcome.SUCCESS)


async def test_a_task_of_the_functional_api_can_be_named(track: Track, writer, reports: list[RunReport]) -> None:
    """LangGraph calls a task a node, by the task's name: a fact besides those numbered."""
    answer = task(name="answer")(speaks())

    entrypoint()(lambda state: [answer(state).result(), chain().invoke(QUESTION)][0]).invoke(
        NOTHING, {"callbacks": [track(nodes={"answer": writer})]}
    )

    (report,) = reports
    assert (report.model_calls, report.nodes["answer"].model_calls) == (1, 1)

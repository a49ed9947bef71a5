"""`LdAiHandler(graph)` on a compiled LangGraph records the agent graph's metrics and each node's."""

import asyncio
import operator
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated, TypedDict

import pytest
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt
from ldclient import Context

from langchain_ldai import LdAiAgentGraph, LdAiClient, LdAiConfigTracker, LdAiHandler, Outcome, RunReport
from langchain_ldai._runs.graph_path import Journey
from langchain_ldai.testing import RecordingClient
from tests.runs.ends.limits import LIMIT, time_is_up_after
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import QUESTION, SUCCESS, chain
from tests.support.events import ANSWER, start_call, start_chain
from tests.support.graphs import has_node_options
from tests.support.models import ScriptedChat

PREFIX = "$ld:ai:graph:"


class State(TypedDict):
    """What the nodes pass on."""

    seen: Annotated[list[str], operator.add]


def agent_flag() -> dict[str, object]:
    """Return a flag that serves an agent."""
    return {"_ldMeta": {"enabled": True, "mode": "agent"}, "instructions": "Do it.", "model": {"name": "small-1"}}


GRAPH_FLAG = {
    "_ldMeta": {"enabled": True, "variationKey": "wide", "version": 2},
    "root": "triage",
    "edges": {"triage": [{"key": "refunds"}, {"key": "sales"}], "refunds": [{"key": "sales"}]},
}


@pytest.fixture
def client() -> RecordingClient:
    """A client that serves a graph of three agents."""
    return RecordingClient({"desk": GRAPH_FLAG, **{key: agent_flag() for key in ("triage", "refunds", "sales")}})


@pytest.fixture
def graph(client: RecordingClient, context: Context) -> LdAiAgentGraph:
    """The agent graph `desk`."""
    return LdAiClient(client).agent_graph("desk", context)


@pytest.fixture
def handler(graph: LdAiAgentGraph, reports: list[RunReport]) -> LdAiHandler:
    """A handler for the agent graph."""
    return LdAiHandler(graph, on_run_end=reports.append)


def asking_node(name: str, *, fails: int = 0):
    """Return a node that asks a model, and fails the first so many times."""
    failures = [ConnectionError()] * fails

    def act(state: State) -> State:
        chain(ScriptedChat()).invoke(QUESTION)
        if failures:
            raise failures.pop()
        return {"seen": [name]}

    return act


def compile_graph(path: list[tuple[str, str]], **nodes: object) -> Runnable:
    """Return a compiled LangGraph of these nodes and edges, `triage` first."""
    builder = StateGraph(State)
    for name, action in nodes.items():
        builder.add_node(name, action, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False))
    builder.add_edge(START, "triage")
    for source, target in path:
        builder.add_edge(source, target)
    return builder.compile()


def graph_metrics(client: RecordingClient, report: RunReport) -> dict[str, list[float]]:
    """Return the graph's own metrics, but for the duration, which is checked to be one."""
    metrics = {name.removeprefix(PREFIX): values for name, values in client.metrics(report.run_id).items()}
    assert len(metrics.pop("duration:total")) == 1
    return metrics


def handoffs(client: RecordingClient) -> list[tuple[str, str, str]]:
    """Return the handoffs that were recorded: what, from whom, to whom."""
    return [
        (event.name.removeprefix(f"{PREFIX}handoff_"), event.data["sourceKey"], event.data["targetKey"])
        for event in client.events
        if event.name.startswith(f"{PREFIX}handoff")
    ]


@pytest.mark.asyncio
@each({**INVOKED, **STREAMED})
async def test_a_graph_and_its_nodes_each_get_their_metrics(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The graph has path, handoff, total tokens and outcome once; each node its own run, with the graph's key."""
    desk = compile_graph([("triage", "refunds")], triage=asking_node("triage"), refunds=asking_node("refunds"))

    await run(call, desk, {"seen": []}, {"callbacks": [handler]})

    (report,) = reports
    assert (report.config_key, report.outcome, report.path) == ("desk", Outcome.SUCCESS, ("triage", "refunds"))
    assert graph_metrics(client, report) == {
        "path": [1],
        "node": [1, 1],
        "handoff_success": [1],
        "total_tokens": [26],
        "invocation_success": [1],
    }
    assert handoffs(client) == [("success", "triage", "refunds")]
    for part in report.nodes.values():
        assert client.metrics(part.run_id)[SUCCESS] == [1]
        assert client.metrics(part.run_id)["$ld:ai:tokens:total"] == [13]
    assert {event.data["graphKey"] for event in client.events if event.name == SUCCESS} == {"desk"}


def visits(client: RecordingClient) -> list[tuple[str, int, str, str]]:
    """Return the visits that were recorded: of which node, as which one, for which AI Config and graph."""
    return [
        (event.data["nodeKey"], event.data["index"], event.data["configKey"], event.data["graphKey"])
        for event in client.events
        if event.name == f"{PREFIX}node"
    ]


def test_each_visit_is_recorded_in_its_place(handler: LdAiHandler, client: RecordingClient) -> None:
    """Each visit is an event with the node's key and its place from 0; a retry is no visit."""

    def refunds(state: State) -> Command:
        chain().invoke(QUESTION)
        return Command(goto="sales" if len(state["seen"]) < 3 else END, update={"seen": ["refunds"]})

    compile_graph(
        [("triage", "refunds"), ("sales", "refunds")],
        triage=asking_node("triage", fails=1),
        refunds=refunds,
        sales=asking_node("sales"),
    ).invoke({"seen": []}, {"callbacks": [handler]})

    names = ["triage", "refunds", "sales", "refunds"]
    assert visits(client) == [(name, place, "desk", "desk") for place, name in enumerate(names)]


def test_a_failed_graph_is_an_invocation_failure(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A node that fails for good is a failed handoff to it, and a failure of the graph."""
    desk = compile_graph(
        [("triage", "refunds")], triage=asking_node("triage"), refunds=asking_node("refunds", fails=9)
    )

    with pytest.raises(ConnectionError):
        desk.invoke({"seen": []}, {"callbacks": [handler]})

    assert graph_metrics(client, reports[0])["invocation_failure"] == [1]
    assert handoffs(client) == [("failure", "triage", "refunds")]
    assert reports[0].nodes["refunds"].outcome is Outcome.ERROR


def test_an_agent_that_asks_something_has_neither_taken_over_nor_failed(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """It is on the path, and the handoff to it is not recorded."""

    def refunds(state: State) -> State:
        return {"seen": [interrupt("How much?")]}

    desk = compile_graph([("triage", "refunds")], triage=asking_node("triage"), refunds=refunds)

    desk.invoke({"seen": []}, {"callbacks": [handler]})

    assert graph_metrics(client, reports[0]) == {"path": [1], "node": [1, 1], "total_tokens": [13]}
    assert reports[0].path == ("triage", "refunds")


def test_a_run_that_waits_for_a_call_tells_its_way_once(handler: LdAiHandler, client: RecordingClient) -> None:
    """Path and handoffs go with the duration, and not with the outcome, which is told before."""
    root, calls = start_chain(handler), []
    for step, name in enumerate(("triage", "refunds"), 1):
        place = {"langgraph_node": name, "langgraph_step": step, "langgraph_checkpoint_ns": f"{name}:{step}"}
        node = start_chain(handler, root, **place)
        calls.append(start_call(handler, node))
        handler.on_chain_end({}, run_id=node)
    handler.on_chain_end({}, run_id=root)
    told_at_first = handoffs(client)

    for call in calls:
        handler.on_llm_end(ANSWER, run_id=call)

    assert (told_at_first, handoffs(client)) == ([], [("success", "triage", "refunds")])


def test_an_agent_that_is_a_graph_itself_is_one_visit(
    handler: LdAiHandler,
    client: RecordingClient,
    reports: list[RunReport],
    take_seconds: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its own nodes are on no path, hand over to nobody, and time nothing; nor does a node that is no agent."""

    def works(state: State) -> State:
        take_seconds(0.25)
        chain().invoke(QUESTION)
        return {"seen": []}

    refunds = StateGraph(State).add_node("look", works).add_node("pay", works)
    refunds.add_edge(START, "look").add_edge("look", "pay")
    path = [("triage", "refunds"), ("refunds", "filing")]
    desk = compile_graph(path, triage=works, refunds=refunds.compile(), filing=works)

    desk.invoke({"seen": []}, {"callbacks": [handler]})

    assert reports[0].path == ("triage", "refunds")
    assert handoffs(client) == [("success", "triage", "refunds")]
    assert reports[0].summary.duration_ms == 1_000
    assert "ERROR" not in [record.levelname for record in caplog.records]


def test_a_retried_node_is_one_visit(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """LangGraph's retries are attempts of one visit: one place on the path, one handoff, its retries counted."""
    desk = compile_graph(
        [("triage", "refunds")], triage=asking_node("triage"), refunds=asking_node("refunds", fails=2)
    )

    desk.invoke({"seen": []}, {"callbacks": [handler]})

    assert reports[0].path == ("triage", "refunds")
    assert handoffs(client) == [("success", "triage", "refunds")]
    assert reports[0].nodes["refunds"].retries == 2


def test_handoffs_follow_the_steps_that_were_taken(handler: LdAiHandler, client: RecordingClient) -> None:
    """With two ways to a node, the handoff is from where the run came."""
    desk = compile_graph(
        [("triage", "refunds"), ("refunds", "sales")],
        triage=asking_node("triage"),
        refunds=asking_node("refunds"),
        sales=asking_node("sales"),
    )

    desk.invoke({"seen": []}, {"callbacks": [handler]})

    assert handoffs(client) == [("success", "triage", "refunds"), ("success", "refunds", "sales")]


def test_a_fan_out_hands_over_to_each(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Parallel nodes, and several tasks of one node, are a visit and a handoff each."""
    builder = StateGraph(State)
    for name in ("triage", "refunds", "sales"):
        builder.add_node(name, asking_node(name))
    builder.add_edge(START, "triage")
    builder.add_conditional_edges(
        "triage", lambda state: [Send("refunds", state), Send("refunds", state), Send("sales", state)]
    )

    builder.compile().invoke({"seen": []}, {"callbacks": [handler]})

    assert sorted(reports[0].path) == ["refunds", "refunds", "sales", "triage"]
    assert sorted(handoffs(client)) == [
        ("success", "triage", target) for target in ("refunds", "refunds", "sales")
    ]
    assert graph_metrics(client, reports[0])["total_tokens"] == [52]


def test_a_loop_is_walked_as_often_as_it_was(handler: LdAiHandler, client: RecordingClient) -> None:
    """A command that goes to a node and one that ends are steps like others."""

    def refunds(state: State) -> Command:
        chain().invoke(QUESTION)
        return Command(goto="sales" if len(state["seen"]) < 3 else END, update={"seen": ["refunds"]})

    desk = compile_graph(
        [("triage", "refunds"), ("sales", "refunds")],
        triage=asking_node("triage"),
        refunds=refunds,
        sales=asking_node("sales"),
    )

    desk.invoke({"seen": []}, {"callbacks": [handler]})

    assert handoffs(client) == [("success", "triage", "refunds"), ("success", "refunds", "sales")]


def test_a_node_outside_the_graph_counts_for_the_total_alone(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A LangGraph node without an AI Config adds to the graph's tokens and is not on its path."""
    desk = compile_graph(
        [("triage", "polish"), ("polish", "refunds")],
        triage=asking_node("triage"),
        polish=asking_node("polish"),
        refunds=asking_node("refunds"),
    )

    desk.invoke({"seen": []}, {"callbacks": [handler]})

    assert reports[0].path == ("triage", "refunds")
    assert handoffs(client) == [("success", "triage", "refunds")]
    assert graph_metrics(client, reports[0])["total_tokens"] == [39]


def test_a_graph_run_is_resumed_by_its_token(
    graph: LdAiAgentGraph, client: RecordingClient, reports: list[RunReport]
) -> None:
    """With `resume=True` a graph's token in the metadata continues the graph's run."""
    handler = LdAiHandler(graph, on_run_end=reports.append, resume=True)
    tracker = graph.create_tracker()
    desk = compile_graph([], triage=asking_node("triage"))

    desk.invoke(
        {"seen": []}, {"callbacks": [handler], "metadata": {"ldai_resumption_token": tracker.resumption_token}}
    )

    assert reports[0].run_id == tracker.run_id
    assert graph_metrics(client, reports[0])["invocation_success"] == [1]


def test_each_user_may_have_another_graph(
    client: RecordingClient, context: Context, reports: list[RunReport]
) -> None:
    """A function from metadata may give an agent graph, whose nodes are then the run's."""
    handler = LdAiHandler(
        lambda metadata: LdAiClient(client).agent_graph("desk", context), on_run_end=reports.append
    )

    compile_graph([], triage=asking_node("triage")).invoke({"seen": []}, {"callbacks": [handler]})

    assert list(reports[0].nodes) == ["triage"]


def test_only_in_an_agents_node_is_there_a_current_tracker(handler: LdAiHandler) -> None:
    """A tool that records on the current tracker gets a node's, and never the graph's, which has other metrics."""
    found = []

    def look(state: State, config: RunnableConfig) -> State:
        found.append(LdAiHandler.current_tracker(config))
        return {"seen": []}

    compile_graph([("triage", "outside")], triage=look, outside=look).invoke(
        {"seen": []}, {"callbacks": [handler]}
    )

    assert [tracker and type(tracker) for tracker in found] == [LdAiConfigTracker, None]


def test_a_tool_outside_every_node_is_left_alone(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """LangChain runs that are no LangGraph are the graph's own, without a path or a tool call."""
    chain().invoke(QUESTION, {"callbacks": [handler]})

    assert reports[0].path == ()
    assert graph_metrics(client, reports[0]) == {"total_tokens": [13], "invocation_success": [1]}


def test_a_visit_that_ends_once_more_hands_over_no_more() -> None:
    """A node that is attempted again after it has handed over does not do so twice, also where steps go back."""
    journey = Journey({("triage", "refunds")})
    journey.visit_started("triage", "triage:1", 1)
    journey.visit_ended("triage", "triage:1", Outcome.ERROR)
    for step in (2, 4):
        journey.visit_started("refunds", f"refunds:{step}", step)
        journey.visit_ended("refunds", f"refunds:{step}", Outcome.SUCCESS)

    journey.visit_ended("triage", "triage:1", Outcome.SUCCESS)
    journey.visit_started("refunds", "refunds:5", 2)
    journey.visit_ended("refunds", "refunds:5", Outcome.SUCCESS)

    assert journey.handoffs == (("triage", "refunds", True),)


def test_visits_of_one_node_at_once_hand_over_once() -> None:
    """A node that was handed over to by both is not handed over to by either again, when it starts once more."""
    journey = Journey({("triage", "refunds")})
    for step, (node, tasks) in enumerate([("triage", "ab"), ("refunds", "c"), ("refunds", "d")], 1):
        for task in tasks:
            journey.visit_started(node, task, step)
        for task in tasks:
            journey.visit_ended(node, task, Outcome.SUCCESS)

    assert journey.handoffs == (("triage", "refunds", True),)


def test_where_langgraph_is_not_loaded_no_tool_hands_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent graph may be run without it; then nothing that a tool gives back is a command."""
    monkeypatch.delitem(sys.modules, "langgraph.types")

    assert not Journey({("triage", "refunds")}).hands_over("triage", "refunds")


def test_of_agents_visited_at_once_the_handoff_to_each_is_told_by_its_own_visit(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """One visit of two fails: a handoff of each kind, and the agent is an error, whichever ends last."""
    builder = (
        StateGraph(State)
        .add_node("triage", asking_node("triage"))
        .add_node("refunds", asking_node("refunds", fails=1))
    )
    builder.add_edge(START, "triage")
    builder.add_conditional_edges("triage", lambda state: [Send("refunds", state)] * 2, ["refunds"])

    with pytest.raises(ConnectionError):
        builder.compile().invoke({"seen": []}, {"callbacks": [handler]})

    assert reports[0].path == ("triage", "refunds", "refunds")
    assert sorted(handoffs(client)) == [("failure", "triage", "refunds"), ("success", "triage", "refunds")]
    assert reports[0].nodes["refunds"].outcome is Outcome.ERROR


@has_node_options
@pytest.mark.parametrize(("attempts", "told"), [(2, "success"), (1, "failure")])
def test_an_agent_out_of_time_is_a_failed_handoff_unless_it_is_tried_again(
    attempts: int, told: str, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The attempt that was stopped ends late, and tells nothing of the visit once another was begun."""
    begun: list[asyncio.Event] = []
    time_is_up = time_is_up_after(1)

    async def refunds(state: State) -> State:
        await chain().ainvoke(QUESTION)
        begun.append(asyncio.Event())
        if len(begun) == 1:
            time_is_up()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.wait_for(begun[0].wait(), 0.1 if attempts == 1 else 60)
        return {"seen": ["refunds"]}

    async def sales(state: State) -> State:
        begun[0].set()
        await asyncio.sleep(0.05)
        return {"seen": ["sales"]}

    policy = RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=attempts, retry_on=lambda error: True)
    builder = StateGraph(State).add_node("triage", asking_node("triage")).add_node("sales", sales)
    builder.add_node("refunds", refunds, timeout=LIMIT, retry_policy=policy)
    builder.add_edge(START, "triage").add_edge("triage", "refunds").add_edge("refunds", "sales")
    work = builder.compile().ainvoke({"seen": []}, {"callbacks": [handler]})
    with pytest.raises(Exception, match="run timeout") if attempts == 1 else nullcontext():
        asyncio.run(work)
    handler.flush()

    assert (told, "triage", "refunds") in handoffs(client)
    assert [result for result, _, target in handoffs(client) if target == "refunds"] == [told]
    assert reports[0].path[:2] == ("triage", "refunds")

"""Spans of named nodes and of agent graphs: each run of an AI Config has a root of its own."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.runnables import Runnable, RunnableConfig
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG
from tests.support.agent_graphs import agent as agent_flag
from tests.support.chains import QUESTION, chain
from tests.support.events import ANSWER, start_call, start_chain
from tests.support.models import ScriptedChat
from tests.support.nodes import graph
from tests.support.traces import Trace, told


def asks(*answers: object) -> Callable[..., dict[str, object]]:
    """Return a node that asks a model, or several in turn."""

    def node(state: object, config: RunnableConfig) -> dict[str, object]:
        for model in answers or (ScriptedChat(),):
            chain(model).invoke(QUESTION, config)
        return {"done": True}

    return node


def run_ids(trace: Trace) -> list[object]:
    """Return the run ids of the spans that have one, in order."""
    return [told(span)[1]["launchdarkly.run.id"] for span in trace.spans if "launchdarkly.run.id" in told(span)[1]]


@pytest.fixture
def writer(context: Context) -> object:
    """The AI Config of a node."""
    client = RecordingClient({"writer": {**FLAG, "model": {"name": "large-1"}}})
    return LdAiClient(client).completion_config("writer", context)


def test_a_named_node_has_a_root_below_the_runs(
    writer: object, make_handler: Callable[..., LdAiHandler], trace: Trace, reports: list[RunReport]
) -> None:
    """It has the node's own run id and usage, and so have the calls in it."""
    handler = make_handler(nodes={"node-1": writer})

    graph(asks(), asks()).invoke({"done": False}, {"callbacks": [handler]})

    assert trace.paths() == [
        "invoke_agent",
        "invoke_agent/chat small-1",
        "invoke_agent/invoke_agent",
        "invoke_agent/invoke_agent/chat large-1",
    ]
    (report,) = reports
    assert run_ids(trace) == [report.run_id, report.nodes["node-1"].run_id]
    assert report.trace_id == report.nodes["node-1"].trace_id
    assert report.span_id != report.nodes["node-1"].span_id
    assert [told(span)[1]["gen_ai.usage.total_tokens"] for span in trace.spans] == [13] * 4
    assert all("launchdarkly.graph.key" not in told(span)[1] for span in trace.spans)


def test_a_run_whose_nodes_alone_call_models_has_a_root(
    writer: object, make_handler: Callable[..., LdAiHandler], trace: Trace
) -> None:
    """It holds the node's spans together, and has no usage of its own."""
    handler = make_handler(nodes={"node-0": writer})

    graph(asks()).invoke({"done": False}, {"callbacks": [handler]})

    assert trace.paths()[:2] == ["invoke_agent", "invoke_agent/invoke_agent"]
    run, node, _ = [told(span)[1] for span in trace.spans]
    assert ("gen_ai.usage.total_tokens" in run, node["gen_ai.usage.total_tokens"]) == (False, 13)


def test_nodes_without_an_ai_config_of_the_run_have_roots_of_their_own(
    writer: object, make_handler: Callable[..., LdAiHandler], trace: Trace, reports: list[RunReport]
) -> None:
    """What happens elsewhere in the run is not shown, as it is not counted."""
    handler = make_handler(None, nodes={"node-0": writer, "node-2": writer})

    with trace.app.start_as_current_span("request"):
        graph(asks(), asks(), asks()).invoke({"done": False}, {"callbacks": [handler]})

    below = ["request/invoke_agent", "request/invoke_agent/chat large-1"]
    assert trace.paths() == ["request", *below, *below]
    assert (reports[0].trace_id, reports[0].span_id) == (None, None)


def test_a_node_that_is_visited_again_has_one_root(
    writer: object, make_handler: Callable[..., LdAiHandler], trace: Trace
) -> None:
    """As it has one run: from its first visit to the end of its last."""
    handler = make_handler(nodes={"writer": writer})
    root = start_chain(handler)
    for visit in range(2):
        node = start_node(handler, root, "writer", visit)
        handler.on_llm_end(ANSWER, run_id=start_call(handler, node, **in_node("writer", visit)))
        handler.on_chain_end({}, run_id=node)
    handler.on_chain_end({}, run_id=root)

    run, node_span, first, second = trace.spans
    assert trace.paths()[1:] == [
        "invoke_agent/invoke_agent",
        *["invoke_agent/invoke_agent/chat large-1"] * 2,
    ]
    assert node_span.start_time <= first.start_time
    assert second.end_time <= node_span.end_time <= run.end_time
    assert told(node_span)[1]["gen_ai.usage.total_tokens"] == 26


def in_node(name: str, visit: int) -> dict[str, object]:
    """Return what LangGraph says of a step in a node."""
    return {"langgraph_node": name, "langgraph_checkpoint_ns": f"{name}:{visit}", "langgraph_step": visit}


def start_node(handler: LdAiHandler, root: UUID, name: str, visit: int) -> UUID:
    """Start a node below a root and return its id."""
    return start_chain(handler, root, **in_node(name, visit))


@pytest.mark.parametrize(
    ("error", "mark"),
    [
        (ValueError("no"), "launchdarkly.run.cancelled"),
        (KeyboardInterrupt(), "launchdarkly.run.cancelled"),
        (GeneratorExit(), "launchdarkly.stream.abandoned"),
    ],
    ids=["error", "stop", "closed"],
)
def test_a_node_that_the_run_cuts_off_takes_over_what_stopped_it(
    error: BaseException, mark: str, writer: object, make_handler: Callable[..., LdAiHandler], trace: Trace
) -> None:
    """The node never ends by itself, but when the run's root does; its calls that are open end with it."""
    handler = make_handler(nodes={"writer": writer})
    root = uuid4()
    handler.on_chain_start({}, {}, run_id=root, metadata={}, defers_inputs=True)
    node = start_node(handler, root, "writer", 1)
    start_call(handler, node, **in_node("writer", 1))

    handler.on_chain_error(error, run_id=root)
    handler.close()

    root_span, node_span, call = trace.spans
    assert node_span.end_time == root_span.end_time
    assert [(told(span)[0], told(span)[1][mark]) for span in (node_span, call)] == [("UNSET", True)] * 2


def test_a_tool_of_a_node_that_calls_no_model_is_shown(
    writer: object, make_handler: Callable[..., LdAiHandler], trace: Trace
) -> None:
    """Once another node has called one, as the tool is counted then."""
    handler = make_handler(nodes={"writer": writer})
    root, tool = start_chain(handler), uuid4()
    node = start_node(handler, root, "writer", 1)
    handler.on_tool_start({"name": "search"}, "", run_id=tool, parent_run_id=node, metadata=in_node("writer", 1))
    handler.on_tool_end("", run_id=tool)
    handler.on_chain_end({}, run_id=node)
    assert not trace.started

    handler.on_llm_end(ANSWER, run_id=start_call(handler, root))
    handler.on_chain_end({}, run_id=root)

    assert sorted(trace.paths()) == [
        "invoke_agent",
        "invoke_agent/chat small-1",
        "invoke_agent/invoke_agent",
        "invoke_agent/invoke_agent/execute_tool search",
    ]


Flags = Mapping[str, Any]


def agent_graph(flag: Flags) -> tuple[object, Runnable]:
    """Return an agent graph of two agents, and a LangGraph with nodes of their names."""
    agents = {f"node-{number}": agent_flag(variationKey="n1") for number in range(2)}
    ai = LdAiClient(RecordingClient({**agents, "desk": flag}))
    return ai.agent_graph("desk", Context.create("user-1")), graph(asks(), asks())


DESK = {
    "_ldMeta": {"enabled": True, "variationKey": "g1", "version": 5},
    "root": "node-0",
    "edges": {"node-0": [{"key": "node-1"}]},
}


def test_an_agent_graph_has_a_span_of_its_own(make_handler: Callable[..., LdAiHandler], trace: Trace) -> None:
    """Each agent has a root below it; the graph's span says which agents were visited."""
    source, subject = agent_graph(DESK)

    subject.invoke({"done": False}, {"callbacks": [make_handler(source)]})

    agent = ["launchdarkly.graph/invoke_agent", "launchdarkly.graph/invoke_agent/chat"]
    assert trace.paths() == ["launchdarkly.graph", *agent, *agent]
    status, attributes = told(trace.spans[0])
    assert status == "OK"
    assert attributes["launchdarkly.graph.path"] == "node-0->node-1"
    assert attributes["launchdarkly.graph.key"] == attributes["launchdarkly.config.key"] == "desk"
    assert not [key for key in attributes if key.startswith("gen_ai")]
    roots = [told(span)[1] for span in trace.named("invoke_agent")]
    assert [root["launchdarkly.config.key"] for root in roots] == ["node-0", "node-1"]
    assert {root["launchdarkly.graph.key"] for root in roots} == {"desk"}
    events = [span.events[0].attributes["feature_flag.key"] for span in trace.spans if span.events]
    assert events == ["desk", "node-0", "node-1"]


def test_an_agent_graph_for_a_named_node_has_no_path(
    make_handler: Callable[..., LdAiHandler], trace: Trace
) -> None:
    """Its nodes are not looked at there."""
    source, subject = agent_graph(DESK)

    subject.invoke({"done": False}, {"callbacks": [make_handler(None, nodes={"node-0": source})]})

    (span,) = trace.named("launchdarkly.graph")
    assert "launchdarkly.graph.path" not in told(span)[1]

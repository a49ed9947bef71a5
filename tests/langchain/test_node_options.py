"""What `nodes={...}` may be given, and what user code and tracers see inside a named node; facts 16, 56, 64."""

from collections.abc import Callable, Mapping

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig

from langchain_ldai import LdAiHandler, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.support.calls import INVOKED, Call, each, run
from tests.support.chains import AGENT_INPUT, QUESTION, SUCCESS, TOOL_CALL, agent, chain, counts, create_agent
from tests.support.graphs import NOTHING, State, calls, graph, says, speaks, thread

pytestmark = pytest.mark.asyncio

MODEL_NODE = "model" if create_agent.__module__.startswith("langchain.") else "agent"
"""What an agent calls the node of its model."""


class Tracer(BaseCallbackHandler):
    """Keeps the metadata of every start event by reference, as LangChain's tracers do (fact 18)."""

    def __init__(self) -> None:
        self.kept: list[Mapping[str, object]] = []

    def on_chain_start(self, serialized, inputs, *, metadata=None, **kwargs) -> None:
        self.kept.append(metadata)

    def on_chat_model_start(self, serialized, messages, *, metadata=None, **kwargs) -> None:
        self.kept.append(metadata)


@each(INVOKED)
async def test_without_a_config_nodes_are_tracked_alone(
    call: Call, track: Track, writer, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`config=None`: the run's own figures go nowhere; its report still tells its outcome and its nodes."""
    await run(
        call,
        graph({"writer": says(), "rest": says()}),
        NOTHING,
        {"callbacks": [track(None, nodes={"writer": writer})]},
    )

    (report,) = reports
    assert (report.outcome, report.run_id, report.model_calls) == (Outcome.SUCCESS, "", 0)
    assert report.nodes["writer"].summary.tokens == calls(1)
    assert {event.data["configKey"] for event in client.events if "runId" in (event.data or {})} == {"writer"}


async def test_without_a_config_a_run_past_the_nodes_is_none(
    track: Track, writer, client: RecordingClient, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """No named node, no AI run; the log asks whether the name is right."""
    before = client.events

    graph({"rest": says()}).invoke(NOTHING, {"callbacks": [track(None, nodes={"writer": writer})]})

    assert (reports, client.events) == ([], before)
    assert "no node of a LangGraph has been called 'writer'" in caplog.text
    caplog.clear()


async def test_a_nodes_function_gets_the_nodes_metadata(track: Track, writer, reports: list[RunReport]) -> None:
    """Once a run, at the first visit, with the user's keys, the thread's and LangGraph's own (fact 56)."""
    seen: list[Mapping[str, object]] = []
    handler = track(nodes={"writer": lambda metadata: [writer, seen.append(metadata)][0]})
    twice = graph({"writer": speaks(), "rest": speaks()}, [("__start__", "rest"), ("rest", "writer")])

    for _ in range(2):
        twice.invoke(NOTHING, thread(handler, metadata={"user": "ada"}))

    assert [report.nodes["writer"].model_calls for report in reports] == [1, 1]
    expected = {"user": "ada", "thread_id": "1", "langgraph_node": "writer", "langgraph_step": 2}
    assert [expected.items() <= metadata.items() for metadata in seen] == [True, True]


async def test_a_nodes_function_may_leave_the_node_alone(track: Track, reports: list[RunReport]) -> None:
    """A node whose function gives `None` is counted nowhere, neither for the run."""
    handler = track(nodes={"writer": lambda metadata: None})

    graph({"writer": says(), "rest": says()}).invoke(NOTHING, {"callbacks": [handler]})

    assert [(report.model_calls, report.nodes) for report in reports] == [(1, {})]


async def test_marks_inside_a_node_are_the_nodes(track: Track, writer) -> None:
    """Every start event names the AI Config whose figures it changes, down to subgraphs (facts 16, 18, 56).

    Wherever the tracer stands: below a subgraph the order of handlers is that of a set, a fact [1.x] besides
    those numbered, so a handler that copies the metadata there may miss the marks.
    """
    first, handler, last = Tracer(), track(nodes={"writer": writer}), Tracer()
    nested = graph({"writer": graph({"inner": says()}), "rest": says()})

    nested.invoke(NOTHING, {"callbacks": [first, handler, last], "metadata": {"user": "ada"}})

    expected = {None: "support-bot", "rest": "support-bot", "writer": "writer", "inner": "writer"}
    for tracer in (first, last):
        shown = {(metadata.get("langgraph_node"), metadata.get("ldai_config_key")) for metadata in tracer.kept}
        assert shown == set(expected.items())


async def test_messages_streamed_from_a_node_name_the_nodes_run(
    track: Track, writer, reports: list[RunReport]
) -> None:
    """`stream_mode="messages"` shows for each message whose it is (fact 64)."""
    config = {"callbacks": [track(nodes={"writer": writer})]}

    stream = graph({"writer": says(), "rest": says()}).stream(NOTHING, config, stream_mode="messages")
    shown = {(data["langgraph_node"], data["ldai_run_id"]) for _, data in stream}

    (report,) = reports
    assert shown == {("writer", report.nodes["writer"].run_id), ("rest", report.run_id)}


@each(INVOKED)
async def test_the_current_tracker_inside_a_node_is_the_nodes(
    call: Call, track: Track, writer, reports: list[RunReport]
) -> None:
    """User code records on the run that its own calls are counted for."""
    current: list[str] = []

    def node(state: State, config: RunnableConfig) -> State:
        current.append(LdAiHandler.current_tracker(config).run_id)
        return {"said": [chain().invoke(QUESTION)]}

    await run(
        call, graph({"writer": node, "rest": node}), NOTHING, {"callbacks": [track(nodes={"writer": writer})]}
    )

    (report,) = reports
    assert current == [report.nodes["writer"].run_id, report.run_id]


async def test_a_nodes_duration_covers_its_model_calls_or_its_visits(
    track: Track, writer, reports: list[RunReport], take_seconds: Callable[[float], None]
) -> None:
    """With duration="run" a node is timed from its start to its end, summed over its visits."""

    def pauses(state: State) -> State:
        take_seconds(0.25)
        return {"said": [chain().invoke(QUESTION)]}

    handlers = [track(nodes={"writer": writer}, duration=mode) for mode in ("model", "run")]
    graph({"writer": pauses, "rest": pauses}).invoke(NOTHING, {"callbacks": handlers})

    assert [report.nodes["writer"].summary.duration_ms for report in reports] == [0, 250]


async def test_a_named_node_without_a_model_call_has_no_report(
    track: Track, writer, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Such a node is no AI run, whatever its outcome."""
    handler = track(nodes={"writer": writer})

    graph({"writer": lambda state: NOTHING, "rest": says()}).invoke(NOTHING, {"callbacks": [handler]})

    assert [report.nodes for report in reports] == [{}]
    assert "writer" not in {event.data["configKey"] for event in client.events if event.name == SUCCESS}


@pytest.mark.parametrize("named", [MODEL_NODE, "tools"])
async def test_tools_count_where_they_run_although_the_model_runs_elsewhere(
    named: str, track: Track, writer, client: RecordingClient
) -> None:
    """Tools wait for the run's first model call, not for one in their own node (facts 55, 56)."""
    agent().invoke(AGENT_INPUT, {"callbacks": [track(nodes={named: writer})]})

    keys = [event.data["configKey"] for event in client.events if event.name == TOOL_CALL]
    assert keys == ["writer" if named == "tools" else "support-bot"]


async def test_a_handler_inside_a_named_node_knows_how_its_run_ended(
    track: Track, writer, reports: list[RunReport]
) -> None:
    """Attached there, the root is itself a step of the named node, and its outcome the run's (fact 115)."""
    handler = track(nodes={"writer": writer})

    def node(state: State) -> State:
        return {"said": [chain().invoke(QUESTION, {"callbacks": [handler]})]}

    graph({"writer": node}).invoke(NOTHING)

    (report,) = reports
    assert (report.outcome, report.nodes["writer"].outcome) == (Outcome.SUCCESS, Outcome.SUCCESS)


async def test_a_step_that_records_for_a_node_stands(
    track: Track, writer, client: RecordingClient, reports: list[RunReport]
) -> None:
    """What user code recorded through the node's tracker is not recorded again at the node's end."""

    def node(state: State, config: RunnableConfig) -> State:
        LdAiHandler.current_tracker(config).track_error()
        return {"said": [chain().invoke(QUESTION)]}

    graph({"writer": node}).invoke(NOTHING, {"callbacks": [track(nodes={"writer": writer})]})

    node_report = reports[0].nodes["writer"]
    assert (node_report.outcome, node_report.summary.success) == (Outcome.SUCCESS, False)
    assert SUCCESS not in counts(client, node_report.run_id)

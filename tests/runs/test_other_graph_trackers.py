"""An agent graph's tracker, too, is known by its methods: a wrapper works like ours."""

from collections.abc import Sequence

import pytest
from langgraph.graph import START, MessagesState, StateGraph
from ldai import LDAIClient
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiGraphTracker, LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.runs.wrapping import Wrapped, WrappedConfig
from tests.support.chains import AGENT_INPUT, QUESTION, chain
from tests.support.models import FLAKY, HELLO, ScriptedChat

USER = Context.create("user-1")


class WithoutVisits(Wrapped):
    """A graph's tracker, or an agent graph, that knows the path and no visits."""

    def __getattr__(self, name: str) -> object:
        if name == "_track_visits":
            raise AttributeError(name)
        return super().__getattr__(name)

    def create_tracker(self, **options: object) -> "WithoutVisits":
        """Return a tracker that knows no visits either."""
        return WithoutVisits(self._wrapped.create_tracker(**options), self._called)


def travel(
    config: object,
    reports: list[RunReport],
    book: Sequence[object] = (HELLO,),
    **options: object,
) -> RunReport:
    """Run a graph of two agents, of which the second says this."""
    graph = StateGraph(MessagesState)
    graph.add_node("plan", lambda state: {"messages": [ScriptedChat().invoke("How?")]})
    graph.add_node("book", lambda state: {"messages": [ScriptedChat(script=list(book)).invoke("How?")]})
    graph.add_edge(START, "plan").add_edge("plan", "book")
    handler = LdAiHandler(config, on_run_end=reports.append, **options)
    graph.compile().invoke(AGENT_INPUT, {"callbacks": [handler]})
    return reports[-1]


@pytest.fixture
def travelling(client: RecordingClient) -> RecordingClient:
    """A client that serves an agent graph."""
    agent_flag = {"_ldMeta": {"enabled": True, "mode": "agent"}}
    for key, flag in {
        "travel": {"_ldMeta": {"enabled": True}, "root": "plan", "edges": {"plan": [{"key": "book"}]}},
        "plan": agent_flag,
        "book": agent_flag,
    }.items():
        client.set_flag(key, flag)
    return client


def test_a_graphs_tracker_that_knows_no_visits_records_the_path(
    travelling: RecordingClient, reports: list[RunReport]
) -> None:
    """Each visit is an event only where the tracker can send it."""
    graph = LdAiClient(travelling).agent_graph("travel", USER)

    report = travel(WithoutVisits(graph, []), reports)

    metrics = travelling.metrics(report.run_id)
    assert metrics["$ld:ai:graph:path"] == [1]
    assert "$ld:ai:graph:node" not in metrics


def test_a_wrapped_agent_graph_records_like_ours(
    travelling: RecordingClient, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """The path, the handoff and the graph's metrics, through the wrapper."""
    called: list[str] = []
    graph = LdAiClient(travelling).agent_graph("travel", USER)

    ours, wrapped = travel(graph, reports), travel(WrappedConfig(graph, called), reports)

    assert wrapped.path == ours.path == ("plan", "book")
    assert travelling.metrics(wrapped.run_id).keys() == travelling.metrics(ours.run_id).keys()
    assert sorted(called) == [
        "_track_visits",
        "track_duration",
        "track_handoff_success",
        "track_invocation_success",
        "track_total_tokens",
    ]
    assert caplog.records == []


def test_a_wrapped_agent_graph_that_visits_no_node_has_no_path(travelling: RecordingClient) -> None:
    """Where the model is called beside the nodes, the graph's own metrics are recorded alone."""
    called: list[str] = []
    graph = LdAiClient(travelling).agent_graph("travel", USER)

    chain().invoke(QUESTION, {"callbacks": [LdAiHandler(WrappedConfig(graph, called))]})

    assert sorted(called) == ["track_duration", "track_invocation_success", "track_total_tokens"]


def test_a_wrapped_agent_graph_leaves_out_the_first_token(
    travelling: RecordingClient, caplog: pytest.LogCaptureFixture
) -> None:
    """LaunchDarkly counts it for nodes alone."""
    called: list[str] = []
    graph = LdAiClient(travelling).agent_graph("travel", USER)

    list(chain().stream(QUESTION, {"callbacks": [LdAiHandler(WrappedConfig(graph, called))]}))

    assert sorted(called) == ["track_duration", "track_invocation_success", "track_total_tokens"]
    assert caplog.records == []


def test_a_failed_handoff_is_one_by_the_wrapper_too(travelling: RecordingClient) -> None:
    """The agent that took over has failed."""
    called: list[str] = []
    graph = LdAiClient(travelling).agent_graph("travel", USER)

    with pytest.raises(ConnectionError):
        travel(WrappedConfig(graph, called), [], book=[FLAKY])

    assert "track_handoff_failure" in called
    assert "track_handoff_success" not in called


def test_an_agent_graph_may_stand_for_a_node(
    travelling: RecordingClient, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """It has the node's figures, and no path."""
    graph = LdAiClient(travelling).agent_graph("travel", USER)

    report = travel(None, reports, nodes={"plan": graph})

    metrics = travelling.metrics(report.nodes["plan"].run_id)
    assert set(metrics) == {
        f"$ld:ai:graph:{name}" for name in ("duration:total", "invocation_success", "total_tokens")
    }
    assert caplog.records == []


def test_what_was_recorded_on_a_wrapped_graphs_tracker_stands(travelling: RecordingClient) -> None:
    """A failure that was recorded by hand is not followed by the success of the run."""
    graph = LdAiClient(travelling).agent_graph("travel", USER)
    made: list[LdAiGraphTracker] = []

    class Failed(WrappedConfig):
        def create_tracker(self, **options: object) -> Wrapped:
            made.append(super().create_tracker(**options))
            made[-1].track_invocation_failure()
            return made[-1]

    travel(Failed(graph, []), [])

    assert made[0].summary.success is False
    assert "$ld:ai:graph:invocation_success" not in travelling.metrics(made[0].run_id)


def test_an_agent_graph_of_the_official_package_is_refused(travelling: RecordingClient) -> None:
    """The message names what works."""
    graph = LDAIClient(travelling).agent_graph("travel", USER)

    with pytest.raises(TypeError, match=r"use agent graphs of LdAiClient\.agent_graph\(\)"):
        LdAiHandler(graph)

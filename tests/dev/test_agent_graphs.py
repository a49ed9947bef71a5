"""Agent graphs of the file: a program builds and runs them, and the page shows their runs."""

import re

from langchain_core.language_models import FakeListChatModel
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command
from ldclient import Context, LDClient
from ldclient.config import Config

from langchain_ldai import LdAiAgentGraph, LdAiClient, LdAiHandler
from langchain_ldai.dev.queries import Filter, latest_runs
from langchain_ldai.dev.view import token_of
from langchain_ldai.testing import RecordingClient
from tests.dev.conftest import Desk
from tests.dev.sending import event

USER = Context.create("user-1")


def run_graph(agents: LdAiAgentGraph) -> None:
    """Let each agent speak, and hand over to its first child."""
    graph = StateGraph(MessagesState)

    def add(key: str, following: str) -> None:
        model = FakeListChatModel(responses=[f"{key} was here"])

        def speak(state: MessagesState) -> Command[str]:
            return Command(update={"messages": [model.invoke(state["messages"])]}, goto=following)

        graph.add_node(key, speak)

    for key in agents.nodes:
        add(key, next(iter(agents.children(key)), END))
    graph.add_edge(START, agents.root)
    graph.compile().invoke({"messages": [("user", "What is new?")]}, {"callbacks": [LdAiHandler(agents)]})


def test_a_graph_of_the_file_is_run_and_shown(desk: Desk) -> None:
    """Its run has its path, visits, handoffs and a graph's token; each agent has a run of its own."""
    beside = Config("sdk-dev", base_uri=desk.url, stream_uri=desk.url, events_uri=desk.url)
    with LDClient(beside) as ld:
        run_graph(LdAiClient(ld).agent_graph("newsroom", USER))

    runs = {run.config: run for run in latest_runs(desk.store, Filter(), 10)}
    assert {key: run.outcome for key, run in runs.items()} == dict.fromkeys(
        ("newsroom", "researcher", "writer"), "success"
    )
    details = desk.ask(f"/runs/{runs['newsroom'].id}").text
    shown = re.findall(r"<td>\$ld:ai:graph:([^<]*)</td>", details)
    assert {"path researcher &gt; writer", "node researcher", "node writer"} <= set(shown)
    assert "handoff_success researcher &gt; writer" in shown
    token = token_of(runs["newsroom"])
    assert LdAiClient(RecordingClient()).create_graph_tracker(token, USER).run_id == runs["newsroom"].run_id


def test_a_graphs_run_takes_no_feedback(desk: Desk) -> None:
    """The run of one of its agents does."""
    for config in ("newsroom", "writer"):
        data = {"configKey": config, "graphKey": "newsroom", "run": f"of-{config}"}
        desk.store.accept(None, [event("$ld:ai:generation:success", **data)])

    graphs, agents = (desk.ask(f"/view?config={config}").text for config in ("newsroom", "writer"))

    assert ("of-newsroom" in graphs, "positive feedback on" in graphs) == (True, False)
    assert "positive feedback on of-writer" in agents


def test_a_graphs_run_is_known_by_the_graph_alone(desk: Desk) -> None:
    """Some of LaunchDarkly's packages give the events of a graph no key of an AI Config."""
    desk.store.accept(None, [event("$ld:ai:graph:invocation_success", configKey=None, graphKey="desk")])

    (run,) = latest_runs(desk.store, Filter(), 10)
    assert (run.config, run.graph, run.outcome) == ("desk", "desk", "success")

"""Named nodes and agent graphs: each node's own judges score what the node was asked and what it answered."""

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import Runnable
from langgraph.graph import START, MessagesState, StateGraph
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler, RunReport
from langchain_ldai.judges import Judges
from langchain_ldai.testing import RecordingClient
from tests.judges.judge_models import METRIC, JudgeModel, flags_with, judge_flag, judged_flag
from tests.judges.judged import graph_of
from tests.support.models import ScriptedChat

USER = Context.create("user-1")


class Talk(MessagesState):
    """Messages, and a plan."""

    plan: str


def says(text: str) -> ScriptedChat:
    """Return a model that gives this answer."""
    return ScriptedChat(script=[[AIMessageChunk(text)]])


@pytest.fixture
def model() -> JudgeModel:
    """The model of all judges."""
    return JudgeModel()


def run_judged(client: RecordingClient, handler: LdAiHandler, subject: Runnable) -> None:
    """Run a graph and wait for its judges."""
    subject.invoke({"seen": []}, {"callbacks": [handler]})
    assert handler.flush(10)


def test_a_named_node_is_judged_once_a_run(model: JudgeModel, reports: list[RunReport]) -> None:
    """Its own config's judges see the first call's question and the last call's answer; the rest is the run's."""
    flags = {**flags_with(accuracy=1.0), "writer": judged_flag(tone=1.0), "tone": judge_flag()}
    client = RecordingClient(flags)
    ai = LdAiClient(client)
    configs = [ai.completion_config(key, USER) for key in ("support-bot", "writer")]
    judges = Judges(ai, model=lambda config: model)
    handler = LdAiHandler(configs[0], nodes={"writer": configs[1]}, judges=judges, on_run_end=reports.append)

    run_judged(client, handler, graph_of({"plan": [says("A plan")], "writer": [says("A draft"), says("A text")]}))

    (report,) = reports
    scores = {
        (event.data["runId"], event.data["judgeConfigKey"]) for event in client.events if event.name == METRIC
    }
    assert scores == {(report.run_id, "accuracy"), (report.nodes["writer"].run_id, "tone")}
    assert (report.judges, report.nodes["writer"].judges) == (("accuracy",), ("tone",))
    shown = sorted(str(messages[-1].content).partition("\n\nAnswer with")[0] for messages in model.shown)
    assert shown == [
        "MESSAGE HISTORY:\nplan 0?\n\nRESPONSE TO EVALUATE:\nA plan",
        "MESSAGE HISTORY:\nwriter 0?\n\nRESPONSE TO EVALUATE:\nA text",
    ]


def test_the_update_of_a_node_is_no_structured_response(
    model: JudgeModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a graph whose state has messages, and whose model gave no text, there is no answer."""
    client = RecordingClient(flags_with())
    ai = LdAiClient(client)
    judges = Judges(ai, model=lambda config: model)
    handler = LdAiHandler(ai.completion_config("support-bot", USER), judges=judges)
    silent = says("")
    builder = StateGraph(Talk)
    builder.add_node("plan", lambda state, config: silent.invoke("How?", config) and {"plan": "none"})
    builder.add_edge(START, "plan")

    builder.compile().invoke({"messages": [("user", "How?")]}, {"callbacks": [handler]})

    assert handler.flush(10)
    assert model.shown == []
    assert "no answer" in caplog.text


def test_the_agents_of_a_graph_have_judges(model: JudgeModel, reports: list[RunReport]) -> None:
    """Each agent's config has its own; the score, and the judge's own run, have the graph's key."""
    agent = {**judged_flag(accuracy=1.0), "_ldMeta": {"enabled": True, "mode": "agent"}, "instructions": "Do it."}
    desk = {"_ldMeta": {"enabled": True}, "root": "triage", "edges": {"triage": [{"key": "sales"}]}}
    client = RecordingClient({"desk": desk, "triage": agent, "sales": agent, "accuracy": judge_flag()})
    ai = LdAiClient(client)
    judges = Judges(ai, model=lambda config: model)
    handler = LdAiHandler(ai.agent_graph("desk", USER), judges=judges, on_run_end=reports.append)

    run_judged(client, handler, graph_of({"triage": [says("To sales")], "sales": [says("Sold")]}))

    (report,) = reports
    scored = [event.data for event in client.events if event.name == METRIC]
    assert {data["runId"] for data in scored} == {node.run_id for node in report.nodes.values()}
    assert [data["graphKey"] for data in scored] == ["desk", "desk"]
    counted = [event.data for event in client.events if isinstance(event.data, dict)]
    judging = [data for data in counted if data.get("configKey") == "accuracy"]
    assert judging
    assert {data["graphKey"] for data in judging} == {"desk"}
    assert report.judges == ()


def test_only_what_happens_in_a_judged_node_is_shown(model: JudgeModel, reports: list[RunReport]) -> None:
    """Where the run has no AI Config, or another node's judge is not drawn, nothing of those is gathered."""
    flags = {**flags_with(accuracy=1.0), "plan": judged_flag(accuracy=0.0)}
    client = RecordingClient(flags)
    ai = LdAiClient(client)
    nodes = {"writer": ai.completion_config("support-bot", USER), "plan": ai.completion_config("plan", USER)}
    judges = Judges(ai, model=lambda config: model)
    handler = LdAiHandler(None, nodes=nodes, judges=judges, on_run_end=reports.append)

    run_judged(client, handler, graph_of({"writer": [says("A text")], "plan": [says("y")], "look": [says("x")]}))

    (shown,) = model.shown
    assert "writer 0?" in str(shown[-1].content)
    assert [each.judges for each in reports[0].nodes.values()] == [("accuracy",), ()]

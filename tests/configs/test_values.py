"""The values that a client makes and takes can be compared, hashed, and taken apart like any frozen dataclass."""

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from ldclient import Context

from langchain_ldai import (
    GraphEdge,
    JudgeAttachment,
    LdAiAgentConfigDefault,
    LdAiAgentConfigRequest,
    LdAiClient,
    LdAiCompletionConfigDefault,
    LdAiJudgeConfigDefault,
    Message,
    ModelConfig,
    Outcome,
    RunReport,
    ToolConfig,
)
from langchain_ldai.server import FeedbackReceived
from langchain_ldai.testing import RecordedEvent, RecordingClient

ADA = Context.create("ada")
NESTED = {"deep": {"list": [1, {"x": [2]}]}}
AGENT = {"_ldMeta": {"enabled": True, "mode": "agent"}, "model": {"name": "small-1", "parameters": NESTED}}
FLAGS = {
    "chat": {
        "_ldMeta": {"enabled": True},
        "model": {"name": "small-1", "parameters": NESTED},
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
        "tools": {"search": {"parameters": NESTED}},
        "outputFormat": NESTED,
    },
    "judge": {"_ldMeta": {"enabled": True, "mode": "judge"}, "model": {"parameters": NESTED}},
    "desk": {"root": "triage", "edges": {"triage": [{"key": "refunds", "handoff": NESTED}]}},
    "triage": AGENT,
    "refunds": AGENT,
}
AI = LdAiClient(RecordingClient(FLAGS))
SERVED: dict[str, Callable[[Context], object]] = {
    "completion": lambda context: AI.completion_config("chat", context),
    "agent": lambda context: AI.agent_config("triage", context),
    "judge": lambda context: AI.judge_config("judge", context),
    "graph": lambda context: AI.agent_graph("desk", context),
}
VALUES: dict[str, Callable[[], object]] = {
    **{name: lambda serve=serve: serve(ADA) for name, serve in SERVED.items()},
    "model": lambda: ModelConfig("small-1", NESTED, NESTED),
    "tool": lambda: ToolConfig("search", parameters=NESTED),
    "message": lambda: Message("user", "Hello", ({"type": "text", "text": "Hello"},)),
    "edge": lambda: GraphEdge("triage", "refunds", NESTED),
    "completion's default": lambda: LdAiCompletionConfigDefault(
        messages=[Message("user", "Hello")], judges=[JudgeAttachment("judge", 1)], output_format=NESTED
    ),
    "agent's default": lambda: LdAiAgentConfigDefault(tools={"search": ToolConfig("search")}, messages=[]),
    "judge's default": lambda: LdAiJudgeConfigDefault(messages=[]),
    "request": lambda: LdAiAgentConfigRequest("triage", variables=NESTED),
    "report": lambda: RunReport(root_run_id="lc-1", outcome=Outcome.SUCCESS, nodes={}),
    "event": lambda: RecordedEvent("name", ADA, NESTED, 1),
    "feedback": lambda: FeedbackReceived("run-1", "chat", "positive", None, ADA),
}


@pytest.mark.parametrize("make", VALUES.values(), ids=VALUES)
def test_equal_values_have_one_hash(make: Callable[[], object]) -> None:
    """What is frozen can be a key, and so can its deep copy."""
    value = make()

    assert value == make()
    assert len({value, make(), copy.deepcopy(value), replace(value)}) == 1


@pytest.mark.parametrize("serve", SERVED.values(), ids=SERVED)
def test_what_counts_for_another_context_is_not_equal(serve: Callable[[Context], object]) -> None:
    """A cache by AI Configs never gives one user what counts for another."""
    assert serve(ADA) == serve(Context.create("ada"))
    assert serve(ADA) != serve(Context.create("grace"))


@pytest.mark.parametrize("serve", SERVED.values(), ids=SERVED)
def test_what_is_served_can_be_shown_as_a_dictionary(serve: Callable[[Context], object]) -> None:
    """`asdict` gives the parts, as JSON takes them, and nothing of the client but that there is one."""
    shown = asdict(serve(ADA))

    origin = shown.pop("_origin")
    assert "client" not in repr(origin)
    assert json.loads(json.dumps(shown, default=lambda origin: None))["key"] == shown["key"]


@pytest.mark.parametrize("serve", SERVED.values(), ids=SERVED)
def test_no_state_of_a_graph_takes_what_is_served(serve: Callable[[Context], object]) -> None:
    """From a checkpoint it would come back without its client, so LangGraph has to refuse it."""
    with pytest.raises(TypeError, match="Type is not msgpack serializable: LdAi"):
        JsonPlusSerializer().dumps_typed({"config": serve(ADA)})


def test_what_is_replaced_counts_as_before() -> None:
    """A config with another part is for the same client and context."""
    client = RecordingClient(FLAGS)
    config = LdAiClient(client).completion_config("chat", ADA)

    tracker = replace(config, enabled=False).create_tracker()
    tracker.track_success()

    (event,) = [event for event in client.events if event.name == "$ld:ai:generation:success"]
    assert event.context == ADA
    assert event.data["modelName"] == "small-1"

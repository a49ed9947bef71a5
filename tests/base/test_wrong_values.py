"""A value that could mean nothing is refused where it is made, in words of a bounded length."""

from collections.abc import Callable

import pytest
from fastapi import Depends
from ldclient import Context

from langchain_ldai import (
    AiMetrics,
    JudgeAttachment,
    LdAiAgentConfigDefault,
    LdAiClient,
    LdAiCompletionConfigDefault,
    LdAiHandler,
    Message,
    ModelConfig,
    ProviderConfig,
    ToolConfig,
)
from langchain_ldai.chat_models import create_chat_model
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.judges import JudgeTask
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.ledgers.redis import RedisLedger
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.server import feedback_routes
from langchain_ldai.server.fastapi import feedback_router
from langchain_ldai.spans import Spans
from langchain_ldai.testing import RecordingClient

ADA = Context.create("ada")
AI = LdAiClient(RecordingClient())
CONFIG = AI.completion_config("support-bot", ADA)
SEALER = TokenSealer([TokenSealer.generate_key()])

PARTS: dict[str, tuple[Callable[[], object], str]] = {
    "LangChain's role": (
        lambda: Message("ai", "Hello"),
        'a Message\'s role is "system", "user" or "assistant", not \'ai\'',
    ),
    "no role": (lambda: Message([], "Hello"), r"role is .* not \[\]"),
    "one block": (lambda: Message("user", "", {"type": "text"}), "blocks are a list of dictionaries, not dict"),
    "no blocks": (lambda: Message("user", "", None), "blocks are a list of dictionaries, not NoneType"),
    "blocks that end": (lambda: Message("user", "", iter([{}])), "blocks are a list of dictionaries, not list_it"),
    "model's name": (lambda: ModelConfig(None), "ModelConfig.name is a str, not None"),
    "parameters": (
        lambda: ModelConfig("small-1", [("temperature", 0.2)]),
        r"ModelConfig.parameters is a dictionary, not \[\('temperature', 0.2\)\]",
    ),
    "custom": (lambda: ModelConfig("small-1", custom="a"), "ModelConfig.custom is a dictionary, not 'a'"),
    "region": (lambda: ModelConfig("small-1", region=3), "ModelConfig.region is a str, not 3"),
    "provider": (lambda: ProviderConfig(3), "ProviderConfig.name is a str, not 3"),
    "tool's name": (lambda: ToolConfig(3), "ToolConfig.name is a str, not 3"),
    "description": (lambda: ToolConfig("search", 3), "ToolConfig.description is a str, not 3"),
    "schema": (lambda: ToolConfig("search", parameters="x"), "ToolConfig.parameters is a dictionary, not 'x'"),
    "judge": (lambda: JudgeAttachment(3, 0.1), "JudgeAttachment.key is a str, not 3"),
    "share's text": (lambda: JudgeAttachment("a", "0.1"), "JudgeAttachment.sampling_rate is a number, not '0.1'"),
    "percent": (
        lambda: LdAiCompletionConfigDefault(judges=[JudgeAttachment("accuracy", 10)]),
        "LdAiCompletionConfigDefault: the sampling_rate of a judge is a share from 0 to 1, not .*10",
    ),
    "agent's percent": (
        lambda: LdAiAgentConfigDefault(judges=[JudgeAttachment("accuracy", -0.1)]),
        "LdAiAgentConfigDefault: the sampling_rate of a judge is a share from 0 to 1",
    ),
}
LISTS: dict[str, tuple[Callable[[object], object], str]] = {
    "tool calls": (CONFIG.create_tracker().track_tool_calls, "tool calls are a list of names"),
    "metrics": (lambda given: AiMetrics(True, tool_calls=given), "tool calls are a list of names"),
    "path": (AI.agent_graph("desk", ADA).create_tracker().track_path, "a path is a list of the nodes' keys"),
    "allow": (lambda given: create_chat_model(CONFIG, allow=given), "allow is a list of names of parameters"),
    "origins": (
        lambda given: feedback_routes(AI, SEALER, context_for=lambda request: ADA, allow_origins=given),
        "allow_origins is a list of origins",
    ),
}
LONG = "x" * 10_000
OPTIONS: dict[str, Callable[[], object]] = {
    "on_ledger_error": lambda: LdAiClient(RecordingClient(), ledger=MemoryLedger(), on_ledger_error=LONG),
    "duration": lambda: LdAiHandler(CONFIG, duration=LONG),
    "run_ids": lambda: LdAiHandler(CONFIG, run_ids=LONG),
    "spans": lambda: LdAiHandler(CONFIG, spans=LONG),
    "agents": lambda: AI.agent_configs(LONG, ADA),
    "key": lambda: AI.completion_config(LONG + "\0", ADA),
    "run id": lambda: CONFIG.create_tracker(run_id=[LONG]),
    "allow": lambda: create_chat_model(CONFIG, allow=LONG),
    "send": lambda: DurableEvents("events", send=LONG),
    "capture_content": lambda: Spans(capture_content=LONG),
    "path": lambda: feedback_routes(AI, SEALER, context_for=lambda request: ADA, path=LONG),
    "router's path": lambda: feedback_router(AI, SEALER, context=Depends(lambda: ADA), path=LONG),
    "origin": lambda: feedback_routes(AI, SEALER, context_for=lambda request: ADA, allow_origins=[LONG]),
}


@pytest.mark.parametrize(("make", "message"), PARTS.values(), ids=PARTS)
def test_a_part_of_a_default_that_would_be_left_out_is_refused(make: Callable[[], object], message: str) -> None:
    """Reading what LaunchDarkly serves leaves out what it cannot use; what a program gives is told of at once."""
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize(("take", "expected"), LISTS.values(), ids=LISTS)
def test_a_list_of_texts_is_nothing_else(take: Callable[[object], object], expected: str) -> None:
    """Neither one text, nor what is no list, nor a list of something else; the error says of what."""
    for given, message in (
        ("ab", f"{expected}, not one text: \\['ab'\\]"),
        (3, f"{expected}, not 3"),
        ([3], "is a str, not int"),
    ):
        with pytest.raises(TypeError, match=message):
            take(given)


@pytest.mark.parametrize("make", OPTIONS.values(), ids=OPTIONS)
def test_an_error_quotes_no_more_than_a_line_of_a_wrong_value(make: Callable[[], object]) -> None:
    """What was given by mistake may be a whole prompt, and the error may come into a log."""
    with pytest.raises((TypeError, ValueError)) as refused:
        make()

    assert len(str(refused.value)) < 300


def test_a_url_or_a_task_that_is_no_text_is_refused() -> None:
    """A variable of the environment may be missing, and a queue may have read the JSON already."""
    with pytest.raises(TypeError, match="url is a str, as in 'redis://localhost:6379/0', not NoneType"):
        RedisLedger.from_url(None)
    with pytest.raises(TypeError, match=r"read from the text that to_json\(\) gave, not from dict"):
        JudgeTask.from_json({"v": 1})

"""The conversation that the spans of a run name: LangGraph's thread, or what the application says."""

from collections.abc import Callable

import pytest

from langchain_ldai import LdAiHandler
from tests.support.chains import AGENT_INPUT, QUESTION, agent, chain
from tests.support.traces import Trace, told

CONVERSATIONS = {
    "thread": ({}, {"thread_id": "t-1", "session_id": "s-1"}, "t-1"),
    "session": ({}, {"session_id": "s-1"}, "s-1"),
    "number": ({}, {"thread_id": 7}, "7"),
    "none": ({}, {}, None),
    "text": ({"conversation": "c-1"}, {"thread_id": "t-1"}, "c-1"),
    "function": ({"conversation": lambda metadata: metadata["chat"]}, {"chat": "c-2", "thread_id": "t-1"}, "c-2"),
    "function to nothing": ({"conversation": lambda metadata: None}, {"thread_id": "t-1"}, None),
}


@pytest.mark.parametrize(("options", "metadata", "expected"), CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_every_span_names_the_conversation(
    options: dict[str, object],
    metadata: dict[str, object],
    expected: str | None,
    make_handler: Callable[..., LdAiHandler],
    trace: Trace,
) -> None:
    """It is LangGraph's thread, or what the application says."""
    handler = make_handler(spans=options)

    agent().invoke(AGENT_INPUT, {"callbacks": [handler], "metadata": metadata})

    found = [told(span)[1].get("gen_ai.conversation.id") for span in trace.spans]
    assert found == [expected] * 4


async def later(metadata: object) -> str:
    """Return a conversation once it is awaited."""
    return "c-1"


class Unnamed:
    """What has no text, and is neither true nor false."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __bool__ = __str__


@pytest.mark.parametrize(
    "conversation",
    [
        lambda metadata: metadata["missing"],
        lambda metadata: later(metadata),
        lambda metadata: Unnamed(),
    ],
)
def test_a_conversation_that_cannot_be_told_costs_its_id_alone(
    conversation: Callable[..., object],
    make_handler: Callable[..., LdAiHandler],
    trace: Trace,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the application's function raises is logged, once."""
    handler = make_handler(spans={"conversation": conversation})

    for _ in range(2):
        chain().invoke(QUESTION, {"callbacks": [handler]})

    assert len(trace.named("invoke_agent")) == 2
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "The function given for conversation failed"
    ]


def test_metadata_without_a_text_costs_the_conversation_alone(
    handler: LdAiHandler, trace: Trace, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no text names no conversation, and the spans are there."""
    chain().invoke(QUESTION, {"callbacks": [handler], "metadata": {"thread_id": Unnamed()}})

    (root,) = trace.named("invoke_agent")
    assert "gen_ai.conversation.id" not in told(root)[1]
    assert "The conversation in the metadata is no text" in caplog.text

"""The first token is the first chunk that carries something."""

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, GenerationChunk

from langchain_ldai.chunks import carries_content, event_carries_content
from tests.support.models import USAGE


def chunk(content: object = "", **fields: object) -> ChatGenerationChunk:
    """Return a chat model's chunk."""
    return ChatGenerationChunk(message=AIMessageChunk(content=content, **fields))


CARRIES = {
    "text": ("x", chunk("x")),
    "text without a chunk": ("x", None),
    "a space": (" ", chunk(" ")),
    "a legacy LLM's text": ("", GenerationChunk(text="x")),
    "a block of text": ([{"type": "text", "text": "x"}], None),
    "a block of reasoning": ("", chunk([{"type": "reasoning", "reasoning": "hm", "index": 0}])),
    "a bare string as a block": (["x"], None),
    "part of a tool call": ("", chunk(tool_call_chunks=[{"name": "f", "args": "", "id": "1", "index": 0}])),
    "reasoning beside the content": ("", chunk(additional_kwargs={"reasoning_content": "hm"})),
}
EMPTY = {
    "a role": ("", chunk(additional_kwargs={"role": "assistant"})),
    "an empty closing chunk": ("", chunk()),
    "usage": ("", chunk(usage_metadata=USAGE)),
    "nothing at all": ("", None),
    "an empty legacy chunk": ("", GenerationChunk(text="")),
    "an empty block": ([{"type": "text", "text": "", "index": 0, "annotations": []}], None),
    "no blocks": ([], None),
}


@pytest.mark.parametrize(("token", "given"), CARRIES.values(), ids=CARRIES)
def test_text_reasoning_and_tool_calls_count(token: object, given: object) -> None:
    """Truthiness of the token alone would miss some of these (fact 34)."""
    assert carries_content(token, given)


@pytest.mark.parametrize(("token", "given"), EMPTY.values(), ids=EMPTY)
def test_roles_closings_and_usage_do_not_count(token: object, given: object) -> None:
    """The mere arrival of a chunk is no first token (facts 8, 34, 36)."""
    assert not carries_content(token, given)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"event": "message-start", "role": "ai"}, False),
        ({"event": "content-block-start", "content": {"type": "text", "text": "", "index": 0}}, False),
        ({"event": "content-block-delta", "delta": {"type": "text-delta", "text": "x"}}, True),
        ({"event": "content-block-delta", "delta": {"type": "reasoning-delta", "reasoning": "hm"}}, True),
        ({"event": "content-block-start", "content": {"type": "tool_call_chunk", "name": "f"}}, True),
        ({"event": "message-finish", "usage": dict(USAGE)}, False),
        ("no event", False),
    ],
)
def test_events_of_the_v3_protocol_are_read_alike(event: object, expected: bool) -> None:
    """In v3 the first token is the first delta, or a start that is not empty (fact 31)."""
    assert event_carries_content(event) is expected

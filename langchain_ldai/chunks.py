"""Whether a streamed chunk carries something of the answer; pure.

Text, reasoning and parts of tool calls do. A role, an empty closing chunk and a chunk of nothing but usage
do not (facts 8, 31, 34 to 36).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from langchain_core.outputs import ChatGenerationChunk, GenerationChunk

_LABELS: Final = frozenset({"type", "index", "id", "encoding", "annotations"})
_KWARGS_WITH_CONTENT: Final = ("reasoning_content", "reasoning", "tool_calls", "function_call", "audio")


def carries_content(token: object, chunk: GenerationChunk | ChatGenerationChunk | None) -> bool:
    """Return whether a chunk, as `on_llm_new_token` gets it, carries something.

    Args:
        token: The chunk's text, or its list of content blocks.
        chunk: The chunk itself, where the model hands it on.
    """
    if _has_content(token):
        return True
    if chunk is None:
        return False
    message = getattr(chunk, "message", None)  # a chat model's chunk has one
    if message is None:
        return bool(chunk.text)
    return (
        _has_content(message.content)
        or bool(getattr(message, "tool_call_chunks", None))
        or any(message.additional_kwargs.get(name) for name in _KWARGS_WITH_CONTENT)
    )


def event_carries_content(event: object) -> bool:
    """Return whether an event of the v3 stream protocol carries something (fact 31)."""
    return isinstance(event, Mapping) and _block_has_content(event.get("delta") or event.get("content"))


def _has_content(content: object) -> bool:
    if isinstance(content, list):
        return any(_block_has_content(block) for block in content)
    return isinstance(content, str) and content != ""


def _block_has_content(block: object) -> bool:
    if isinstance(block, Mapping):
        return any(value for name, value in block.items() if name not in _LABELS)
    return isinstance(block, str) and block != ""

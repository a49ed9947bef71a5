"""What counts as a first token: the first chunk that carries content; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from langchain_core.outputs import ChatGenerationChunk, GenerationChunk

_CONTENT: Final = {
    *("text", "content", "refusal", "transcript", "guard_content", "citations_content"),
    *("reasoning", "reasoning_content", "reasoning_details", "reasoning_text", "thinking", "summary"),
    *("name", "partial_json", "function", "function_call", "tool_calls", "tool_outputs", "executed_tools"),
    *("data", "base64", "url", "source", "image_url", "audio"),
    *("value", "delta", "fields"),  # what blocks are wrapped in
}
"""Fields of text, reasoning, tool calls and media: each is a text, or blocks that are read in the same way."""

_TOOL_DATA: Final = {
    *("args", "arguments", "input", "code", "executable_code", "action", "operation", "queries"),
    *("output", "outputs", "result", "code_execution_result"),
}
"""Fields of what a tool is given or gave back: anything in them is content."""

_UNREADABLE: Final = ("redacted", "encrypted")
"""Parts of the types of blocks whose content nobody can read."""


def carries_content(token: object, chunk: GenerationChunk | ChatGenerationChunk | None) -> bool:
    """Return whether a chunk, as `on_llm_new_token` gets it, carries something.

    Args:
        token: The chunk's text, or its list of content blocks.
        chunk: The chunk itself, where the model hands it on.
    """
    parts = [token, getattr(chunk, "text", None)]
    message = getattr(chunk, "message", None)  # a chat model's chunk has one
    if message is not None:
        parts = [token, message.content, getattr(message, "tool_call_chunks", None), message.additional_kwargs]
    return any(map(_has_content, parts))


def event_carries_content(event: object) -> bool:
    """Return whether an event of the v3 stream protocol carries something (fact 31)."""
    return isinstance(event, Mapping) and _has_content(event)


def _has_content(part: object) -> bool:
    """Return whether a text, a block, or one in a list of those holds something."""
    if isinstance(part, Mapping):
        kind = str(part.get("type"))
        return not any(word in kind for word in _UNREADABLE) and any(
            (name in _CONTENT and _has_content(value)) or (name in _TOOL_DATA and _has_leaf(value))
            for name, value in part.items()
        )
    if isinstance(part, (list, tuple)):
        return any(map(_has_content, part))
    return isinstance(part, (str, bytes)) and len(part) > 0


def _has_leaf(part: object) -> bool:
    """Return whether a tool's arguments, or its result, hold anything but a type."""
    if isinstance(part, Mapping):
        return any(_has_leaf(value) for name, value in part.items() if name != "type")
    if isinstance(part, (list, tuple)):
        return any(map(_has_leaf, part))
    return part is not None and part not in ("", b"")

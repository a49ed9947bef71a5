"""What was asked and answered, as attributes of spans; pure.

The same words stand there twice: as JSON, as OpenTelemetry's conventions have it, and in numbered attributes, two
for each message, which LaunchDarkly's transcript reads. What cannot be shown becomes its type's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final

from langchain_core.messages import BaseMessage

from langchain_ldai._runs.steps import arguments_of_tool, tools_offered
from langchain_ldai.spans import _names as names
from langchain_ldai.spans._json import cut, json_list, to_json

MAX_MESSAGES: Final = 32
"""How many messages a span shows beside the system prompt: OpenTelemetry keeps 128 attributes of a span."""

MAX_CHOICES: Final = 8
"""How many of a model's choices a span shows."""

_ROLES: Final = {
    "ai": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
}
"""The roles of messages by what they are called; any other is the user's."""

# Types of content blocks, and where a block of each type holds its words.
_TEXTS: Final = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_REASONINGS: Final = {
    "reasoning": ("reasoning", "summary"),  # LangChain, OpenAI
    "thinking": ("thinking",),  # Anthropic
    "reasoning_content": ("reasoning_content",),  # Bedrock
}
_CALLS: Final = frozenset({"tool_call", "tool_use", "function_call"})

# Types of content blocks that hold a file, and where one holds it: data of a tool's own may have such a type, too.
_MEDIA: Final = frozenset(
    {
        "image",
        "image_url",
        "input_image",
        "audio",
        "input_audio",
        "video",
        "file",
        "input_file",
        "document",
        "media",
    }
)
_FILES: Final = frozenset({"base64", "data", "source", "image_url", "input_audio", "file", "file_data"})

_Part = dict[str, Any]
_Message = dict[str, Any]


def prompt_attributes(asked: object, max_length: int) -> dict[str, str]:
    """Return what a model was asked: for its span, and for the root's if it is the run's first call.

    Args:
        asked: What LangChain gives when a model starts: a list of messages in a list, or a list of prompts.
        max_length: Characters of an attribute. A longer text is cut; of a long conversation the latest messages
            are shown.
    """
    first = next(iter(_items(asked)), None)
    messages = [(_role(each), each) for each in ([first] if isinstance(first, str) else _items(first))]
    system = [part for role, each in messages if role == "system" for part in _message(each)["parts"]]
    latest = [_message(each) for each in [each for role, each in messages if role != "system"][-MAX_MESSAGES:]]
    return {
        **_attribute(names.SYSTEM_INSTRUCTIONS, json_list(system, max_length)),
        **_attribute(names.INPUT_MESSAGES, json_list(latest[::-1], max_length, is_reversed=True)),
        **_numbered(names.PROMPT, [_said("system", system), *latest] if system else latest, max_length),
    }


def tools_attributes(told: Mapping[str, Any], max_length: int) -> dict[str, str]:
    """Return which tools a model was offered, for its span.

    Args:
        told: What else LangChain gives when a model starts.
        max_length: Characters of the attribute. Tools beyond that are left out.
    """
    offered = _items(tools_offered(told))
    return _attribute(names.TOOL_DEFINITIONS, json_list(map(_definition, offered), max_length))


def answer_attributes(result: object, max_length: int) -> dict[str, str]:
    """Return what a model answered: for its span, and for the root's if it is the run's last call.

    Args:
        result: What LangChain gives when a model ends, an `LLMResult`; nothing is shown of anything else.
        max_length: Characters of an attribute. A longer text is cut.
    """
    generations = chain.from_iterable(_items(getattr(result, "generations", None)))
    answers = [
        _message(getattr(each, "message", None) or getattr(each, "text", ""), "assistant")
        for each, _ in zip(generations, range(MAX_CHOICES), strict=False)
    ]
    return {
        **_attribute(names.OUTPUT_MESSAGES, json_list(answers, max_length)),
        **_numbered(names.COMPLETION, answers, max_length),
    }


def arguments_attributes(told: Mapping[str, Any], max_length: int) -> dict[str, str]:
    """Return what a tool was given, for its span: a text as it is, anything else as JSON.

    Args:
        told: What LangChain gives when a tool starts.
        max_length: Characters of the attribute. A longer text is cut.
    """
    text = _text(arguments_of_tool(told), max_length)
    return _attribute(names.TOOL_CALL_ARGUMENTS, cut(text, max_length))


def tool_result_attributes(result: object, max_length: int) -> dict[str, str]:
    """Return what a tool gave back, for its span: a text as it is, a message's text, anything else as JSON.

    Args:
        result: What it gave back. A tool that is called without a call's id gives the content of a message.
        max_length: Characters of the attribute. A longer text is cut.
    """
    content = result.content if isinstance(result, BaseMessage) else result
    is_content = content is not result or any(map(_is_file, _blocks(content)))
    text = _words(content) if is_content else _text(result, max_length)
    return _attribute(names.TOOL_CALL_RESULT, cut(text, max_length))


def _items(value: object) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _attribute(name: str, text: str) -> dict[str, str]:
    """Return an attribute, or none where it says nothing."""
    return {name: text} if text else {}


def _numbered(prefix: str, messages: Iterable[_Message], max_length: int) -> dict[str, str]:
    """Return the role and the words of each message as attributes of its own."""
    attributes = {}
    for index, message in enumerate(messages):
        lines = (_line(part, max_length) for part in message["parts"])
        attributes[f"{prefix}.{index}.role"] = message["role"]
        attributes[f"{prefix}.{index}.content"] = cut("\n".join(filter(None, lines)), max_length)
    return attributes


def _said(role: str, parts: list[_Part]) -> _Message:
    return {"role": role, "parts": parts}


def _line(part: _Part, max_length: int) -> str:
    """Return a part as text: what a model says as it is, a call of a tool as JSON, an image by its type."""
    if "content" in part or "result" in part:
        return str(part.get("content", part.get("result")))
    if part["type"] == "tool_call":
        return to_json({name: part[name] for name in ("name", "arguments") if name in part}, max_length)
    return f"[{part['type']}]"


def _message(given: object, role: str = "user") -> _Message:
    """Return the role and the parts of a message, or of a text in its place."""
    if not isinstance(given, BaseMessage):
        return _said(role, [_part(given)])
    role = _role(given)
    if role == "tool":
        call_id, result = getattr(given, "tool_call_id", None), _words(given.content)
        return _said(role, [_known("tool_call_response", id=call_id, result=result)])
    return _said(role, list(_parts(given)))


def _role(given: object) -> str:
    """Return the role of a message; what is none, or has another role, is the user's."""
    if not isinstance(given, BaseMessage):
        return "user"
    kind = given.type.removesuffix("MessageChunk").lower()
    named = str(getattr(given, "role", kind)) if kind == "chat" else kind
    return _ROLES.get(named, "user")


def _parts(message: BaseMessage) -> Iterator[_Part]:
    """Yield what a message says: reasoning, text, other blocks, calls of tools."""
    more = message.additional_kwargs
    if reasoning := _words(more.get("reasoning_content")):
        yield {"type": "reasoning", "content": reasoning}
    calls = [*getattr(message, "tool_calls", ()), *getattr(message, "invalid_tool_calls", ())]
    if not calls and isinstance(more.get("function_call"), Mapping):
        calls = [more["function_call"]]
    for block in _blocks(message.content):
        part = _part(block)
        is_repeated = bool(calls) and part["type"] == "tool_call"  # by a provider, within the content
        if not is_repeated and part.get("content") != "":
            yield part
    yield from map(_call, calls)


def _part(block: object) -> _Part:
    """Return the part that a block of content is: an image, for one, only by its type."""
    kind = _kind(block)
    if isinstance(block, str):
        return {"type": "text", "content": block}
    if not isinstance(block, Mapping):
        return {"type": kind}
    if kind in _TEXTS:
        return {"type": "text", "content": _words(block.get(_TEXTS[kind]))}
    if kind in _REASONINGS:
        said = [_words(block.get(name)) for name in _REASONINGS[kind]]
        return {"type": "reasoning", "content": "\n".join(filter(None, said))}
    if kind in _CALLS:
        return _call(block)
    if kind == "tool_result":
        return {
            "type": "tool_call_response",
            "id": block.get("tool_use_id"),
            "result": _words(block.get("content")),
        }
    return {"type": kind}


def _kind(block: object) -> str:
    """Return the type that a block of content names, or else the name of its own type."""
    if not isinstance(block, Mapping):
        return type(block).__name__
    kind = block.get("type", "text" if "text" in block else None)
    return kind if isinstance(kind, str) else type(block).__name__


def _is_file(block: object) -> bool:
    return isinstance(block, Mapping) and _kind(block) in _MEDIA and not _FILES.isdisjoint(block)


def _words(content: object) -> str:
    """Return the text in a message's content, or in what is told of a block: of an image only its type."""
    return "\n".join(filter(None, map(_words_of_block, _blocks(content))))


def _blocks(content: object) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _words_of_block(block: object) -> str:
    if isinstance(block, str):
        return block
    text = block.get("text") if isinstance(block, Mapping) else block
    return text if isinstance(text, str) else "" if block is None else f"[{_kind(block)}]"


def _call(call: Mapping[str, Any]) -> _Part:
    """Return a call of a tool as LangChain tells it, or as a provider's block of content does."""
    arguments = _first(call, "args", "input", "arguments")
    return _known("tool_call", id=_first(call, "call_id", "id"), name=call.get("name"), arguments=arguments)


def _definition(tool: object) -> _Part:
    """Return a tool that a model was offered, from OpenAI's or Anthropic's form; any other by its type."""
    kind = "function" if isinstance(tool, Mapping) and "type" not in tool else _kind(tool)
    described = tool.get("function", tool) if isinstance(tool, Mapping) else None
    if not isinstance(described, Mapping):
        return {"type": kind}
    name, description = described.get("name"), described.get("description")
    parameters = _first(described, "parameters", "input_schema")
    return _known(kind, name=name, description=description, parameters=parameters)


def _known(kind: str, **told: object) -> _Part:
    """Return what is known of something of a kind: what is told of it as `None` is left out."""
    return {"type": kind, **{name: value for name, value in told.items() if value is not None}}


def _first(source: Mapping[str, Any], *keys: str) -> object:
    return next((source[key] for key in keys if source.get(key) is not None), None)


def _text(value: object, max_length: int) -> str:
    return value if isinstance(value, str) else "" if value is None else to_json(value, max_length)

"""What a judge is told of the tools that a run offered and called; bounded, and pure but for what it was given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from langchain_ldai._runs.steps import HANDOFF_PREFIX, arguments_of_tool

MAX_CALLS: Final = 50
MAX_CHARACTERS: Final = 2_000

_CUT: Final = "... (cut, {count:,} characters more)"


@dataclass(slots=True)
class ToolCall:
    """A tool call.

    Args:
        name: LaunchDarkly's key of the tool, or its name.
        arguments: What it was given, as text.
        result: What became of it.
    """

    name: str
    arguments: str
    result: str = "no result"


class Trajectory:
    """Gathers the tools that a run offers and calls."""

    def __init__(self) -> None:
        self._offered: dict[str, None] = {}
        self._calls: dict[object, ToolCall] = {}
        self._omitted = 0

    def offer(self, tools: object) -> None:
        """Take the tools that a model was offered, in the form in which LangChain shows them."""
        if isinstance(tools, Iterable) and not isinstance(tools, (str, Mapping)):
            self._offered |= dict.fromkeys(filter(None, map(_name_of, tools)))

    def call(self, key: object, name: str, told: Mapping[str, Any]) -> None:
        """Take a tool call that begins; the same one twice is one."""
        if key in self._calls:
            return
        if len(self._calls) >= MAX_CALLS:
            self._omitted += 1
            return
        self._calls[key] = ToolCall(name, _cut(as_json(arguments_of_tool(told))))

    def end(self, key: object, result: object) -> None:
        """Take what a tool gave back, or raised."""
        call = self._calls.get(key)
        if call is not None:
            failed = isinstance(result, BaseException)
            call.result = f"{'error' if failed else 'result'}: {_cut(_shown(result))}"

    def __str__(self) -> str:
        if not self._offered and not self._calls:
            return ""
        lines = [f"TOOLS OFFERED: {', '.join(self._offered)}"] if self._offered else []
        lines += [f"TOOL CALLED: {call.name} {call.arguments}\n{call.result}" for call in self._calls.values()]
        if not self._calls:
            lines.append("No tool was called.")
        if self._omitted:
            lines.append(f"... and {self._omitted} further tool calls")
        return "\n".join(lines)


def as_json(value: object) -> str:
    """Return a value as compact JSON with its keys sorted; what JSON lacks becomes text, if need be the whole."""
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError):  # keys that are no texts, or that cannot be sorted; or it holds itself
        return str(value)


def _plain(value: Any) -> object:  # noqa: ANN401  whatever a model or a tool made
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if dump is not None and not isinstance(value, type) else str(value)


def _shown(result: object) -> str:
    """Return what a tool gave back as text: a message's content, an exception with its type, else JSON."""
    if isinstance(result, BaseException):
        return f"{type(result).__name__}: {result}"
    content = getattr(result, "content", result)
    return content if isinstance(content, str) else as_json(content)


def _cut(text: str) -> str:
    more = len(text) - MAX_CHARACTERS
    return text if more <= 0 else text[:MAX_CHARACTERS] + _CUT.format(count=more)


def _name_of(tool: object) -> str:
    """Return the name of a function among a model's tools; "" of a provider's own tool, or of a handoff."""
    if not isinstance(tool, Mapping):
        return ""
    function = tool.get("function")
    name = (function if isinstance(function, Mapping) else tool).get("name")
    is_own = tool.get("type") in ("function", "custom", None)
    return name if is_own and isinstance(name, str) and not name.startswith(HANDOFF_PREFIX) else ""

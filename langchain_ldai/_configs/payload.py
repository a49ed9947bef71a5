"""A flag payload, read leniently: what has the wrong type is absent, and nothing raises (spec 1, 2); pure."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypedDict, TypeGuard, cast

from langchain_core.utils import mustache

from langchain_ldai._configs.types import (
    FrozenDict,
    JudgeAttachment,
    LdAiAgentConfig,
    LdAiCompletionConfig,
    LdAiJudgeConfig,
    Message,
    ModelConfig,
    ProviderConfig,
    Role,
    ToolConfig,
    TrackerParts,
    freeze_object,
)
from langchain_ldai._tracking.once import Send
from langchain_ldai._tracking.tracker import model_data
from langchain_ldai._wire.tokens import MAX_VERSION

_log = logging.getLogger(__name__)

Render = Callable[[str], str]
"""Fills in the tags of a message or of instructions."""

Payload = Mapping[str, object]

JUDGE_PLACEHOLDERS: Final = {
    "message_history": "{{message_history}}",
    "response_to_evaluate": "{{response_to_evaluate}}",
}
"""The variables reserved in a judge's messages, and what they render as (spec section 2, rule 16)."""

_COMPLETION: Final = (None, "completion", "messages")
"""How the mode of a completion is written: the last is what LaunchDarkly's newer packages call it."""

_Content = str | list[Payload]
"""What a message says: one text, or a list of blocks."""

_ROLES: Final[dict[str, Role]] = {"system": "system", "user": "user", "assistant": "assistant"}
_WHOLE_NUMBER: Final = re.compile(r"\s*-?[0-9]{1,19}\s*")
_SKILL_KEY: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,255}")


_MODES: Final = frozenset({"completion", "agent", "judge"})
_FALLBACK: Final = "the default is used, or without one a disabled AI Config"


def usable(value: object, mode: str, key: str, fallback: Payload) -> Payload:
    """Return the payload served, or the fallback where it is not an object or of another mode.

    Args:
        value: What the flag evaluated to.
        mode: The mode asked for: `completion`, `agent` or `judge`.
        key: The AI Config's key, for the log.
        fallback: The caller's default as a payload.
    """
    if not isinstance(value, Mapping):
        _log.error("AI Config %r is a %s, not an object; %s", key, type(value).__name__, _FALLBACK)
        return fallback
    served_mode = object_in(value, "_ldMeta").get("mode")
    served = "completion" if served_mode in _COMPLETION else served_mode
    if served != mode:
        remedy = f"ask for it with {served}_config(); " if isinstance(served, str) and served in _MODES else ""
        _log.warning("AI Config %r is of mode %r, not %r; %s%s", key, served, mode, remedy, _FALLBACK)
        return fallback
    return value


def parse_completion(key: str, payload: Payload, send: Send, render: Render) -> LdAiCompletionConfig:
    """Return the completion config that a payload describes."""
    messages = tuple(_message(role, content, render) for role, content in _served_messages(payload))
    return LdAiCompletionConfig(messages=messages, **_shared(key, payload, send))


def parse_agent(key: str, payload: Payload, send: Send, render: Render, graph_key: str = "") -> LdAiAgentConfig:
    """Return the agent config that a payload describes, as a node of the agent graph named, if any."""
    instructions = payload.get("instructions")
    return LdAiAgentConfig(
        instructions=render(instructions) if isinstance(instructions, str) else None,
        messages=tuple(
            _message(role, content, render) for role, content in _served_messages(payload) if role != "system"
        ),
        **_shared(key, payload, send, graph_key),
    )


def parse_judge(key: str, payload: Payload, send: Send, render: Render) -> LdAiJudgeConfig:
    """Return the judge config that a payload describes, without messages of the older form."""
    metric_key = as_text(payload.get("evaluationMetricKey"))
    older = payload.get("evaluationMetricKeys")
    if not metric_key.strip() and isinstance(older, list):
        metric_key = next((text for item in older if (text := as_text(item)).strip()), "")
    return LdAiJudgeConfig(
        messages=tuple(
            _message(role, content, render)
            for role, content in _served_messages(payload)
            if role == "system" or not any(map(_has_placeholder, _texts(content)))
        ),
        evaluation_metric_key=metric_key.strip() or None,
        **_shared(key, payload, send),
    )


def _has_placeholder(template: str) -> bool:
    """Return whether a text, as it is served, shows a judge's history or answer."""
    try:
        shown = {name for tag, name in mustache.tokenize(template) if tag in ("variable", "no escape")}
    except mustache.ChevronError:  # it is used as it is, so no other form of a tag is one
        return any(placeholder in template for placeholder in JUDGE_PLACEHOLDERS.values())
    return not shown.isdisjoint(JUDGE_PLACEHOLDERS)


class _Shared(TypedDict):
    key: str
    enabled: bool
    variation_key: str
    version: int
    model: ModelConfig
    provider: ProviderConfig
    tools: Mapping[str, ToolConfig]
    judges: tuple[JudgeAttachment, ...]
    output_format: Mapping[str, object] | None
    skills: tuple[tuple[str, int], ...]
    raw: Payload
    _parts: TrackerParts


def _shared(key: str, payload: Payload, send: Send, graph_key: str = "") -> _Shared:
    meta, model = object_in(payload, "_ldMeta"), object_in(payload, "model")
    version, output = as_integer(meta.get("version")), payload.get("outputFormat")
    model_name, provider_name = as_text(model.get("name")), as_text(object_in(payload, "provider").get("name"))
    return {
        "key": key,
        "enabled": meta.get("enabled") is True,
        "variation_key": as_text(meta.get("variationKey")),
        "version": 1 if version is None else version,
        "model": ModelConfig(
            model_name, object_in(model, "parameters"), object_in(model, "custom"), as_text(model.get("region"))
        ),
        "provider": ProviderConfig(provider_name),
        "tools": _tools(payload),
        "judges": _judges(payload),
        "output_format": freeze_object(output) if isinstance(output, Mapping) else None,
        "skills": _skills(payload),
        "raw": freeze_object(payload),
        "_parts": TrackerParts(
            send,
            model_data(
                model_name,
                provider_name,
                key=as_text(meta.get("modelKey")),
                version=_whole_number(meta.get("modelVersion")),
            ),
            graph_key,
        ),
    }


def _served_messages(payload: Payload) -> Iterable[tuple[Role, _Content]]:
    """Return who speaks and what is said in each message, not filled in."""
    entries = payload.get("messages")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping):
            content = entry.get("content")
            is_blocks = isinstance(content, list) and all(isinstance(block, Mapping) for block in content)
            role = _ROLES.get(as_text(entry.get("role")).lower(), "user")
            yield role, cast(_Content, content) if is_blocks else as_text(content)


def _texts(content: _Content) -> list[str]:
    """Return the texts that a message's content consists of."""
    if isinstance(content, str):
        return [content]
    return [as_text(block.get("text")) for block in content if block.get("type") == "text"]


def _message(role: Role, content: _Content, render: Render) -> Message:
    if isinstance(content, str):
        return Message(role, render(content))
    blocks = [
        {**block, "text": render(as_text(block.get("text")))} if block.get("type") == "text" else block
        for block in content
    ]
    return Message(role, "".join(_texts(blocks)), () if role == "system" else tuple(blocks))


def _skills(payload: Payload) -> tuple[tuple[str, int], ...]:
    entries = payload.get("skills")
    skills = (
        (as_text(entry.get("key")), _whole_number(entry.get("version")) or 0)
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, Mapping)
    )
    return tuple((key, version) for key, version in skills if _SKILL_KEY.fullmatch(key) and version >= 1)


def _tools(payload: Payload) -> Mapping[str, ToolConfig]:
    if "tools" in payload:
        tools = object_in(payload, "tools")
        return FrozenDict(
            {name: _tool(name, entry) for name, entry in tools.items() if isinstance(entry, Mapping)}
        )
    older = object_in(object_in(payload, "model"), "parameters").get("tools")
    entries = older if isinstance(older, list) else []
    named = ((as_text(entry.get("name")), entry) for entry in entries if isinstance(entry, Mapping))
    return FrozenDict({name: _tool(name, entry) for name, entry in named if name})


def _tool(key: str, entry: Payload) -> ToolConfig:
    return ToolConfig(
        name=as_text(entry.get("name")) or key,
        description=as_text(entry.get("description")) or None,
        type=as_text(entry.get("type")) or None,
        parameters=freeze_object(entry.get("parameters")),
        custom_parameters=freeze_object(entry.get("customParameters")),
    )


def _judges(payload: Payload) -> tuple[JudgeAttachment, ...]:
    entries = object_in(payload, "judgeConfiguration").get("judges")
    if not isinstance(entries, list):
        return ()
    return tuple(
        JudgeAttachment(as_text(entry.get("key")), float(rate))
        for entry in entries
        if isinstance(entry, Mapping)
        and as_text(entry.get("key"))
        and _is_number(rate := entry.get("samplingRate"))
    )


def object_in(payload: Payload, name: str) -> Payload:
    """Return the object under a name, an empty one where there is none."""
    value = payload.get(name)
    return cast(Payload, value) if isinstance(value, Mapping) else {}


def as_text(value: object) -> str:
    """Return a text, "" for anything else."""
    return value if isinstance(value, str) else ""


def as_integer(value: object) -> int | None:
    """Return a number of at most 64 bits as an integer, `None` for anything else."""
    return int(value) if _is_number(value) else None


def _whole_number(value: object) -> int | None:
    """Return a number without a fraction, also one that is written as text, `None` for anything else."""
    number = int(value) if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) else value
    return int(number) if _is_number(number) and number == int(number) else None


def _is_number(value: object) -> TypeGuard[float]:
    # What a token's version may be: JSON also has numbers that no float, and no other SDK, can hold.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_VERSION

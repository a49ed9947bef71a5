"""AI Configs as flag payloads: reads what is served, and writes a default; pure.

Reading is lenient: a value of the wrong type counts as absent, and nothing raises (spec sections 1 and 2).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from reprlib import repr as short_repr
from typing import ClassVar, Final, TypeVar, cast, get_args

from langchain_core.utils import mustache

from langchain_ldai._configs.fields import (
    as_text,
    is_number,
    object_in,
    objects_in,
    variation_key_in,
    version_in,
    whole_number,
)
from langchain_ldai._configs.types import (
    FrozenDict,
    JudgeAttachment,
    LdAiAgentConfig,
    LdAiCompletionConfig,
    LdAiConfig,
    LdAiJudgeConfig,
    Message,
    ModelConfig,
    Origin,
    ProviderConfig,
    Role,
    ToolConfig,
    freeze_object,
)
from langchain_ldai._tracking.sending import EventSender
from langchain_ldai._wire import events
from langchain_ldai._wire.events import field_name

_log = logging.getLogger(__name__)

ConfigT = TypeVar("ConfigT", bound=LdAiConfig)

Render = Callable[[str], str]
"""Fills in the tags of a message or of instructions."""

Payload = Mapping[str, object]

JUDGE_PLACEHOLDERS: Final = {
    "message_history": "{{message_history}}",
    "response_to_evaluate": "{{response_to_evaluate}}",
}
"""The variables reserved in a judge's messages, and what they render as (spec section 2, rule 16)."""

_COMPLETION: Final = (None, "completion", "messages")
"""The ways to write the mode of a completion: LaunchDarkly's newer packages write the last."""

_Content = str | list[Payload]
"""What a message says: one text, or a list of blocks."""

_ROLES: Final[dict[str, Role]] = {role: role for role in get_args(Role)}
_SKILL_KEY: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,255}")


_MODES: Final = ("completion", "agent", "judge")
_FALLBACK: Final = "the default is used, or without one a disabled AI Config"


def payload_or_fallback(value: object, mode: str, key: str, fallback: Payload) -> Payload:
    """Return the payload served, or the fallback if it is no object or is of another mode.

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
        remedy = f"ask for it with {served}_config(); " if served in _MODES else ""
        _log.warning("AI Config %r is of mode %r, not %r; %s%s", key, served, mode, remedy, _FALLBACK)
        return fallback
    return value


@dataclass(frozen=True, slots=True)
class PayloadReader:
    """Reads payloads of one AI Config.

    Args:
        key: Key of the AI Config.
        sender: Sends the events of its trackers.
        render: Fills in the tags of its texts.
        graph_key: Key of the agent graph that the AI Config is a node of, "" outside one.
    """

    key: str
    sender: EventSender
    render: Render
    graph_key: str = ""

    def completion(self, payload: Payload) -> LdAiCompletionConfig:
        """Return the completion config that a payload describes."""
        return self._config(LdAiCompletionConfig, payload, _served_messages(payload))

    def agent(self, payload: Payload) -> LdAiAgentConfig:
        """Return the agent config that a payload describes."""
        instructions = payload.get("instructions")
        return self._config(
            LdAiAgentConfig,
            payload,
            [(role, content) for role, content in _served_messages(payload) if role != "system"],
            instructions=self.render(instructions) if isinstance(instructions, str) else None,
        )

    def judge(self, payload: Payload) -> LdAiJudgeConfig:
        """Return the judge config that a payload describes, without messages of the older form."""
        messages = [
            (role, content)
            for role, content in _served_messages(payload)
            if role == "system" or not any(map(_has_placeholder, _texts(content)))
        ]
        metric_key = _evaluation_metric_key(payload)
        return self._config(LdAiJudgeConfig, payload, messages, evaluation_metric_key=metric_key)

    def judge_prompt(self, payload: Payload) -> tuple[Message, ...]:
        """Return every message of a judge; where it has none, its instructions as a system message."""
        instructions = as_text(payload.get("instructions"))
        served = list(_served_messages(payload)) or ([("system", instructions)] if instructions else [])
        return self._messages(served)

    def _messages(self, served: Iterable[tuple[Role, _Content]]) -> tuple[Message, ...]:
        return tuple(self._message(role, content) for role, content in served)

    def _message(self, role: Role, content: _Content) -> Message:
        if isinstance(content, str):
            return Message(role, self.render(content))
        blocks = [
            {**block, "text": self.render(as_text(block.get("text")))} if block.get("type") == "text" else block
            for block in content
        ]
        return Message(role, "".join(_texts(blocks)), () if role == "system" else tuple(blocks))

    def _config(
        self,
        make: Callable[..., ConfigT],
        payload: Payload,
        served: Iterable[tuple[Role, _Content]],
        **own: object,
    ) -> ConfigT:
        """Return a config: its fields that every kind has come from the payload, the others from `own`."""
        meta, model = object_in(payload, "_ldMeta"), object_in(payload, "model")
        model_name, provider_name = as_text(model.get("name")), as_text(object_in(payload, "provider").get("name"))
        output = payload.get("outputFormat")
        tracked_model: dict[str, object] = {events.MODEL_NAME: model_name, events.PROVIDER_NAME: provider_name}
        if key := as_text(meta.get("modelKey")):
            tracked_model[events.MODEL_KEY] = key
        if (version := whole_number(meta.get("modelVersion"))) is not None:
            tracked_model[events.MODEL_VERSION] = version
        return make(
            key=self.key,
            enabled=meta.get("enabled") is True,
            variation_key=variation_key_in(meta),
            version=version_in(meta),
            messages=self._messages(served),
            model=ModelConfig(
                model_name,
                object_in(model, "parameters"),
                object_in(model, "custom"),
                as_text(model.get("region")),
            ),
            provider=ProviderConfig(provider_name),
            tools=_tools(payload),
            judges=_judges(payload),
            output_format=freeze_object(output) if isinstance(output, Mapping) else None,
            skills=_skills(payload),
            raw=freeze_object(payload),
            _origin=Origin(self.sender, tracked_model, self.graph_key),
            **own,
        )


def _served_messages(payload: Payload) -> Iterable[tuple[Role, _Content]]:
    """Return who speaks and what is said in each message, its tags not filled in."""
    for entry in objects_in(payload, "messages"):
        content = entry.get("content")
        is_blocks = isinstance(content, list) and all(isinstance(block, Mapping) for block in content)
        role = _ROLES.get(as_text(entry.get("role")).lower(), "user")
        yield role, cast(_Content, content) if is_blocks else as_text(content)


def _texts(content: _Content) -> list[str]:
    """Return the texts that a message's content consists of."""
    if isinstance(content, str):
        return [content]
    return [as_text(block.get("text")) for block in content if block.get("type") == "text"]


def _has_placeholder(template: str) -> bool:
    """Return whether a text, as it is served, shows a judge's history or answer."""
    try:
        shown = {name for tag, name in mustache.tokenize(template) if tag in ("variable", "no escape")}
    except mustache.ChevronError:  # such a text is used as it is, and a tag in another form is plain text in it
        return any(placeholder in template for placeholder in JUDGE_PLACEHOLDERS.values())
    return not shown.isdisjoint(JUDGE_PLACEHOLDERS)


def _evaluation_metric_key(payload: Payload) -> str | None:
    """Return the key of the metric that takes a judge's score; older payloads have a list of keys."""
    older = payload.get("evaluationMetricKeys")
    keys = [payload.get("evaluationMetricKey"), *(older if isinstance(older, list) else ())]
    return next((key for item in keys if (key := as_text(item).strip())), None)


def _skills(payload: Payload) -> tuple[tuple[str, int], ...]:
    skills = (
        (as_text(entry.get("key")), whole_number(entry.get("version")) or 0)
        for entry in objects_in(payload, "skills")
    )
    return tuple((key, version) for key, version in skills if _SKILL_KEY.fullmatch(key) and version >= 1)


def _tools(payload: Payload) -> Mapping[str, ToolConfig]:
    if "tools" in payload:
        tools = object_in(payload, "tools")
        return FrozenDict(
            {name: _tool(name, entry) for name, entry in tools.items() if isinstance(entry, Mapping)}
        )
    older = objects_in(object_in(object_in(payload, "model"), "parameters"), "tools")
    named = ((as_text(entry.get("name")), entry) for entry in older)
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
    """Return the judges; of several entries with one key the first counts."""
    judges: dict[str, JudgeAttachment] = {}
    for entry in objects_in(object_in(payload, "judgeConfiguration"), "judges"):
        key, rate = as_text(entry.get("key")), entry.get("samplingRate")
        if key and is_number(rate):
            judges.setdefault(key, JudgeAttachment(key, float(rate)))
    return tuple(judges.values())


@dataclass(frozen=True, slots=True)
class ConfigDefault:
    """What a default of every kind has."""

    enabled: bool | None = None
    model: ModelConfig | None = None
    provider: ProviderConfig | None = None

    mode: ClassVar[str]

    def __post_init__(self) -> None:
        for part in fields(self):
            _check_part(type(self).__name__, part.name, getattr(self, part.name))

    def to_payload(self) -> dict[str, object]:
        """Return the default in the form in which a flag serves an AI Config."""
        payload = {field_name(part.name): _payload_value(getattr(self, part.name)) for part in fields(self)}
        payload["_ldMeta"] = {"enabled": bool(payload.pop("enabled")), "mode": self.mode}
        if "judges" in payload:
            payload["judgeConfiguration"] = {"judges": payload.pop("judges")}
        return payload


@dataclass(frozen=True, slots=True)
class LdAiCompletionConfigDefault(ConfigDefault):
    """The completion config to use where LaunchDarkly serves none.

    Args:
        enabled: Whether to use it; `None` counts as `False`.
        model: Which model to call.
        provider: Who serves it.
        messages: The prompt. A client fills in its mustache tags, as it does in a served config.
        tools: Tools by key.
        judges: Judges that are to score runs.
        output_format: JSON schema that the answer is to follow.

    Raises:
        TypeError: If a part is of another type. Without the check an outage would be the first to show it.
        ValueError: If a judge's share is not from 0 to 1.

    Example:
        >>> default = LdAiCompletionConfigDefault(
        ...     enabled=True,
        ...     model=ModelConfig("gpt-4.1-mini", {"temperature": 0.2}),
        ...     provider=ProviderConfig("OpenAI"),
        ...     messages=[Message("system", "You help with {{product}}.")],
        ... )
        >>> config = ai.completion_config("not-there", context, default, {"product": "the kettle"})
        >>> config.messages[0].content
        'You help with the kettle.'
    """

    messages: Sequence[Message] = field(default=(), hash=False)
    tools: Mapping[str, ToolConfig] | None = field(default=None, hash=False)
    judges: Sequence[JudgeAttachment] = field(default=(), hash=False)
    output_format: Mapping[str, object] | None = field(default=None, hash=False)

    mode: ClassVar[str] = "completion"


@dataclass(frozen=True, slots=True)
class LdAiAgentConfigDefault(ConfigDefault):
    """The agent config to use where LaunchDarkly serves none.

    Args:
        enabled: Whether to use it; `None` counts as `False`.
        model: Which model to call.
        provider: Who serves it.
        instructions: What the agent is told. A client fills in its mustache tags.
        tools: Tools by key.
        judges: Judges that are to score runs.
        messages: What follows the instructions; a system message among them is left out.
        output_format: JSON schema that the answer is to follow.

    Raises:
        TypeError: If a part is of another type. Without the check an outage would be the first to show it.
        ValueError: If a judge's share is not from 0 to 1.

    Example:
        >>> default = LdAiAgentConfigDefault(
        ...     enabled=True,
        ...     instructions="Find the page that answers the question.",
        ...     tools={"search": ToolConfig("search", "Searches the manual.")},
        ... )
        >>> ai.agent_config("not-there", context, default).instructions
        'Find the page that answers the question.'
    """

    instructions: str | None = None
    tools: Mapping[str, ToolConfig] | None = field(default=None, hash=False)
    judges: Sequence[JudgeAttachment] = field(default=(), hash=False)
    messages: Sequence[Message] = field(default=(), hash=False)
    output_format: Mapping[str, object] | None = field(default=None, hash=False)

    mode: ClassVar[str] = "agent"


@dataclass(frozen=True, slots=True)
class LdAiJudgeConfigDefault(ConfigDefault):
    """The judge config to use where LaunchDarkly serves none.

    Args:
        enabled: Whether to use it; `None` counts as `False`.
        model: Which model to call.
        provider: Who serves it.
        messages: What the judge is told. A client fills in its mustache tags, but for the two placeholders that
            are a judge's own.
        evaluation_metric_key: Key of the metric that takes the score.

    Raises:
        TypeError: If a part is of another type. Without the check an outage would be the first to show it.

    Example:
        >>> default = LdAiJudgeConfigDefault(
        ...     enabled=True,
        ...     messages=[Message("system", "Say from 0 to 1 how polite the answer is.")],
        ...     evaluation_metric_key="politeness",
        ... )
        >>> ai.judge_config("not-there", context, default).evaluation_metric_key
        'politeness'
    """

    messages: Sequence[Message] = field(default=(), hash=False)
    evaluation_metric_key: str | None = None

    mode: ClassVar[str] = "judge"


_PARTS: Final[Mapping[str, type]] = {
    "enabled": bool,
    "model": ModelConfig,
    "provider": ProviderConfig,
    "instructions": str,
    "evaluation_metric_key": str,
    "output_format": Mapping,
}
_LISTS: Final[Mapping[str, type]] = {"messages": Message, "judges": JudgeAttachment}


def _check_part(owner: str, name: str, value: object) -> None:
    """Raise unless a part of a default is of its type and JSON, and a judge's share is from 0 to 1.

    LaunchDarkly's client sends a default that it used. If that is no JSON, it loses the whole batch of events.
    """
    expected = ""
    if name == "tools" and not _are(value or {}, Mapping, ToolConfig):
        expected = "a dictionary of ToolConfig by key"
    elif name in _LISTS and not _are(value, Sequence, _LISTS[name]):
        expected = f"a list of {_LISTS[name].__name__}"
    elif name in _PARTS and not (value is None or isinstance(value, _PARTS[name])):
        expected = f"a {_PARTS[name].__name__}"
    if expected:
        raise TypeError(f"{owner}: {name} is {expected}, not {short_repr(value)}")
    if name == "judges" and not all(
        0 <= judge.sampling_rate <= 1 for judge in cast(Iterable[JudgeAttachment], value)
    ):
        raise ValueError(f"{owner}: the sampling_rate of a judge is a share from 0 to 1, not {short_repr(value)}")
    try:
        json.dumps(_payload_value(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{owner}: {name} has to be JSON, which it is not: {error}") from None


def _are(values: object, collection: type, kind: type) -> bool:
    if not isinstance(values, collection):
        return False
    items = values.values() if isinstance(values, Mapping) else values
    return all(isinstance(item, kind) for item in cast(Iterable[object], items))


def _payload_value(value: object) -> object:
    """Return a part of a default as a payload has it."""
    if isinstance(value, Mapping):
        return {key: _payload_item(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(map(_payload_item, value))
    return _payload_item(value)


def _payload_item(value: object) -> object:
    if isinstance(value, Message):
        return {"role": value.role, "content": list(value.blocks) or value.content}
    if isinstance(value, (ModelConfig, ProviderConfig, ToolConfig, JudgeAttachment)):
        return {field_name(part.name): getattr(value, part.name) for part in fields(value)}
    return value

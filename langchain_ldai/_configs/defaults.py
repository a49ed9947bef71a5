"""What to use where LaunchDarkly serves nothing usable: defaults, written as flag payloads; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from reprlib import repr as short_repr
from typing import ClassVar, Final, cast

from langchain_ldai._configs.types import JudgeAttachment, Message, ModelConfig, ProviderConfig, ToolConfig


@dataclass(frozen=True, slots=True)
class LdAiCompletionConfigDefault:
    """The completion config to use where LaunchDarkly serves none.

    Args:
        enabled: Whether to use it; `None` counts as `False` (spec section 2, rule 11).
        model: Which model to call.
        provider: Who serves it.
        messages: The prompt; mustache tags in it are filled in like those of a served config.
        tools: Tools by key.
        judges: Judges that are to score runs.
        output_format: JSON schema that the answer is to follow.

    Raises:
        TypeError: If a part is of another type: it would be found out in an outage, when the default is used.
    """

    enabled: bool | None = None
    model: ModelConfig | None = None
    provider: ProviderConfig | None = None
    messages: Sequence[Message] = ()
    tools: Mapping[str, ToolConfig] | None = None
    judges: Sequence[JudgeAttachment] = ()
    output_format: Mapping[str, object] | None = None

    mode: ClassVar[str] = "completion"

    def __post_init__(self) -> None:
        _check(self)

    def to_payload(self) -> dict[str, object]:
        """Return the default in the flag payload's form (spec section 1)."""
        return {
            **_base(self.mode, self.enabled, self.model, self.provider),
            "messages": _messages(self.messages),
            "outputFormat": self.output_format,
            **_tools_and_judges(self.tools, self.judges),
        }


@dataclass(frozen=True, slots=True)
class LdAiAgentConfigDefault:
    """The agent config to use where LaunchDarkly serves none; see `LdAiCompletionConfigDefault`."""

    enabled: bool | None = None
    model: ModelConfig | None = None
    provider: ProviderConfig | None = None
    instructions: str | None = None
    tools: Mapping[str, ToolConfig] | None = None
    judges: Sequence[JudgeAttachment] = ()
    messages: Sequence[Message] = ()
    output_format: Mapping[str, object] | None = None

    mode: ClassVar[str] = "agent"

    def __post_init__(self) -> None:
        _check(self)

    def to_payload(self) -> dict[str, object]:
        """Return the default in the flag payload's form (spec section 1)."""
        return {
            **_base(self.mode, self.enabled, self.model, self.provider),
            "instructions": self.instructions,
            "messages": _messages(self.messages),
            "outputFormat": self.output_format,
            **_tools_and_judges(self.tools, self.judges),
        }


@dataclass(frozen=True, slots=True)
class LdAiJudgeConfigDefault:
    """The judge config to use where LaunchDarkly serves none; see `LdAiCompletionConfigDefault`."""

    enabled: bool | None = None
    model: ModelConfig | None = None
    provider: ProviderConfig | None = None
    messages: Sequence[Message] = ()
    evaluation_metric_key: str | None = None

    mode: ClassVar[str] = "judge"

    def __post_init__(self) -> None:
        _check(self)

    def to_payload(self) -> dict[str, object]:
        """Return the default in the flag payload's form (spec section 1)."""
        return {
            **_base(self.mode, self.enabled, self.model, self.provider),
            "messages": _messages(self.messages),
            "evaluationMetricKey": self.evaluation_metric_key,
        }


@dataclass(frozen=True, slots=True)
class LdAiAgentConfigRequest:
    """One agent asked for with `agent_configs`: its key, and the default and variables of its own."""

    key: str
    default: LdAiAgentConfigDefault | None = None
    variables: Mapping[str, object] | None = None


ConfigDefault = LdAiCompletionConfigDefault | LdAiAgentConfigDefault | LdAiJudgeConfigDefault
"""A default of any mode."""

_PARTS: Final[Mapping[str, type]] = {
    "enabled": bool,
    "model": ModelConfig,
    "provider": ProviderConfig,
    "instructions": str,
    "evaluation_metric_key": str,
    "output_format": Mapping,
}
_LISTS: Final[Mapping[str, type]] = {"messages": Message, "judges": JudgeAttachment}


def _check(default: ConfigDefault) -> None:
    """Raise `TypeError` where a part has a type that it cannot have."""
    for name in default.__slots__:
        value, expected = getattr(default, name), ""
        if name == "tools" and not _are(value or {}, Mapping, ToolConfig):
            expected = "a dictionary of ToolConfig by key"
        elif name in _LISTS and not _are(value, Sequence, _LISTS[name]):
            expected = f"a list of {_LISTS[name].__name__}"
        elif name in _PARTS and not (value is None or isinstance(value, _PARTS[name])):
            expected = f"a {_PARTS[name].__name__}"
        if expected:
            raise TypeError(f"{type(default).__name__}: {name} is {expected}, not {short_repr(value)}")


def _are(values: object, collection: type, kind: type) -> bool:
    if not isinstance(values, collection):
        return False
    items = values.values() if isinstance(values, Mapping) else values
    return all(isinstance(item, kind) for item in cast(Iterable[object], items))


def _base(
    mode: str, enabled: bool | None, model: ModelConfig | None, provider: ProviderConfig | None
) -> dict[str, object]:
    payload: dict[str, object] = {"_ldMeta": {"enabled": bool(enabled), "mode": mode}}
    if model is not None:
        payload["model"] = {
            "name": model.name,
            "parameters": model.parameters,
            "custom": model.custom,
            "region": model.region,
        }
    if provider is not None:
        payload["provider"] = {"name": provider.name}
    return payload


def _messages(messages: Sequence[Message]) -> list[dict[str, object]]:
    return [{"role": message.role, "content": list(message.blocks) or message.content} for message in messages]


def _tools_and_judges(
    tools: Mapping[str, ToolConfig] | None, judges: Sequence[JudgeAttachment]
) -> dict[str, object]:
    return {
        "tools": {key: _tool(tool) for key, tool in (tools or {}).items()},
        "judgeConfiguration": {
            "judges": [{"key": judge.key, "samplingRate": judge.sampling_rate} for judge in judges]
        },
    }


def _tool(tool: ToolConfig) -> dict[str, object]:
    return {
        "name": tool.name,
        "description": tool.description,
        "type": tool.type,
        "parameters": tool.parameters,
        "customParameters": tool.custom_parameters,
    }

"""What an AI Config, a model call and its result tell for attributes of spans; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from langchain_ldai._runs.steps import ModelCall, name_of_tool
from langchain_ldai._runs.usage import read_count, read_model
from langchain_ldai._tracking.values import TokenUsage
from langchain_ldai.spans import _names
from langchain_ldai.spans._ends import Attributes

_PROVIDERS: Final = {
    "bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
"""OpenTelemetry's names of LaunchDarkly's providers, where they differ."""

_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "refusal": "content_filter",
}
"""LaunchDarkly's names of the reasons for which a model stops, where providers name them otherwise."""

_FINISH_PLACES: Final = ("finish_reason", "stop_reason", "stopReason", "done_reason")


def config_attributes(config: object) -> Attributes:
    """Return which model an AI Config serves; what is unknown is left out."""
    provider = _name(getattr(config, "provider", None)).lower()
    found = {
        _names.SYSTEM: _names.LANGCHAIN,
        _names.PROVIDER_NAME: _PROVIDERS.get(provider, provider),
        _names.REQUEST_MODEL: _name(getattr(config, "model", None)),
    }
    return {name: value for name, value in found.items() if value}


def model_attributes(config: object, call: ModelCall, asked: object) -> Attributes:
    """Return which model is called, and how.

    Args:
        config: The AI Config that the call is counted for.
        call: The call.
        asked: What the model is asked: prompts, in the place of messages, where it is a legacy one.
    """
    is_legacy = isinstance(asked, list) and bool(asked) and isinstance(asked[0], str)
    operation = _names.TEXT_COMPLETION if is_legacy else _names.CHAT
    named = {_names.REQUEST_MODEL: call.named} if call.named else {}
    return {_names.OPERATION_NAME: operation, **config_attributes(config), **named}


def tool_attributes(told: Mapping[str, Any]) -> Attributes:
    """Return which tool is called."""
    call_id = told.get("tool_call_id")
    return {
        _names.OPERATION_NAME: _names.EXECUTE_TOOL,
        _names.TOOL_NAME: name_of_tool(told),
        _names.TOOL_TYPE: _names.FUNCTION,
        **({_names.TOOL_CALL_ID: str(call_id)} if call_id else {}),
    }


def result_attributes(call: ModelCall, result: Any, usage: TokenUsage | None, details: UsageDetails) -> Attributes:  # noqa: ANN401
    """Return what is known of a model call at its end.

    Args:
        call: The call.
        result: Its result, or the partial one of a failure; only a language model's tells more.
        usage: What it used, `None` when unknown.
        details: The details of that.
    """
    found = usage_attributes(usage, details)
    if call.first_token is not None:
        found[_names.TIME_TO_FIRST_CHUNK] = call.first_token
    if hasattr(result, "generations"):
        if model := read_model(result):
            found[_names.RESPONSE_MODEL] = model
        if reasons := _finish_reasons(result):
            found[_names.FINISH_REASONS] = reasons
    return found


def _name(part: object) -> str:
    name = getattr(part, "name", None)
    return name if isinstance(name, str) else ""


class UsageDetails(NamedTuple):
    """Parts of the tokens that model calls used, 0 where nothing is reported.

    Args:
        cache_read: Tokens of the prompt that were read from a cache.
        cache_creation: Tokens of the prompt that were put into one.
        reasoning: Tokens of the completion that nobody sees.
    """

    cache_read: int = 0
    cache_creation: int = 0
    reasoning: int = 0

    def plus(self, other: UsageDetails) -> UsageDetails:
        """Return the sum of both, part by part."""
        return UsageDetails(*map(sum, zip(self, other, strict=True)))


def usage_details(result: object) -> UsageDetails:
    """Return the details of what a model call used."""
    for generation in _generations(result):
        usage = getattr(getattr(generation, "message", None), "usage_metadata", None)
        if isinstance(usage, Mapping):
            read, written = usage.get("input_token_details"), usage.get("output_token_details")
            counts = (read, "cache_read"), (read, "cache_creation"), (written, "reasoning")
            return UsageDetails(*(_count(*count) for count in counts))
    return UsageDetails()


def _count(details: object, name: str) -> int:
    return read_count(details.get(name)) if isinstance(details, Mapping) else 0


def usage_attributes(usage: TokenUsage | None, details: UsageDetails) -> Attributes:
    """Return seven counts, or none where the usage is not known; reasoning tokens where there are any."""
    if usage is None:
        return {}
    found: Attributes = {
        _names.INPUT_TOKENS: usage.input,
        _names.OUTPUT_TOKENS: usage.output,
        _names.TOTAL_TOKENS: usage.total,
        _names.CACHE_READ_TOKENS: details.cache_read,
        _names.CACHE_CREATION_TOKENS: details.cache_creation,
        _names.PROMPT_TOKENS: usage.input,
        _names.COMPLETION_TOKENS: usage.output,
    }
    if details.reasoning:
        found[_names.REASONING_TOKENS] = details.reasoning
    return found


def _finish_reasons(result: object) -> Sequence[str]:
    """Return why a model stopped, for each of its answers that says so."""
    reasons = [_finish_reason(generation) for generation in _generations(result)]
    return [_FINISH.get(reason, reason) for reason in reasons if reason]


def _finish_reason(generation: object) -> str:
    told = getattr(getattr(generation, "message", None), "response_metadata", None)
    for source in (told, getattr(generation, "generation_info", None)):
        if isinstance(source, Mapping):
            reasons = [source.get(place) for place in _FINISH_PLACES]
            if found := next((reason for reason in reasons if isinstance(reason, str) and reason), None):
                return found
    return ""


def _generations(result: object) -> Iterator[Any]:
    return chain.from_iterable(getattr(result, "generations", None) or ())

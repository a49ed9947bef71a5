"""What a model call used, and which model answered: read from its result; pure.

LangChain's `usage_metadata` comes first (facts 79 to 93). Models that do not fill it in leave the numbers in one
of the places, and under one of the names, listed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from numbers import Real
from typing import TYPE_CHECKING, Final

from langchain_ldai._tracking.values import TokenUsage

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult

_STANDARD: Final = ("total_tokens", "input_tokens", "output_tokens")

# Each row begins with a provider's name for a count. The count does not include what the row's other names count.
_INPUT: Final = (
    ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),  # LangChain, Anthropic
    ("prompt_tokens",),  # OpenAI, Mistral, Groq, Bedrock (Invoke)
    ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"),  # Bedrock (Converse)
    ("inputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount"),  # Bedrock (Invoke, streamed)
    ("input_token_count",),  # watsonx
    ("prompt_token_count", "tool_use_prompt_token_count"),  # Google
    ("prompt_eval_count",),  # Ollama
)
_OUTPUT: Final = (
    ("output_tokens",),
    ("completion_tokens",),
    ("outputTokens",),
    ("outputTokenCount",),
    ("output_token_count",),
    ("generated_token_count",),
    ("candidates_token_count", "thoughts_token_count"),
    ("eval_count",),
)
_TOTAL: Final = (("total_tokens",), ("totalTokens",), ("total_token_count",))
_BEYOND_64_BITS: Final = 2**63

_MODEL: Final = ("model_name", "model", "model_id")

_PLACES: Final = (
    "token_usage",
    "usage",
    "usage_metadata",
    "token_count",
    "amazon-bedrock-invocationMetrics",
)


def read_usage(result: LLMResult) -> TokenUsage | None:
    """Return what one model call used, or `None` where its result does not say or it was a cache hit.

    Args:
        result: What `on_llm_end` got, or the partial result of a failed call from `on_llm_error`.
    """
    for generation in chain.from_iterable(result.generations):
        standard = getattr(getattr(generation, "message", None), "usage_metadata", None)
        if standard and standard.get("total_cost") == 0:  # from LangChain's cache
            return None
        if standard:
            total, used_input, used_output = map(read_count, map(standard.get, _STANDARD))
            if total or used_input or used_output:
                return TokenUsage(total or used_input + used_output, used_input, used_output)
    return next((usage for counts in filter(None, _counts(result)) if (usage := _read(counts))), None)


def read_model(result: LLMResult) -> str:
    """Return the name of the model that answered, "" where its result does not say."""
    sources = [result.llm_output]
    for generation in chain.from_iterable(result.generations):
        sources.append(getattr(getattr(generation, "message", None), "response_metadata", None))
    for source in filter(None, sources):
        for name in _MODEL:
            if isinstance(model := source.get(name), str) and model:
                return model
    return ""


def result_of_decision(answer: object) -> LLMResult:
    """Return the answer of a decision model (fact 158) in the form of a language model's result."""
    from langchain_core.outputs import LLMResult  # not before it is needed

    return LLMResult(generations=[], llm_output={name: _member(answer, name) for name in ("usage", "model")})


def _member(given: object, name: str) -> object:
    """Return an item of a dictionary, or an attribute of another object: some packages give their own objects."""
    return given.get(name) if isinstance(given, Mapping) else getattr(given, name, None)


def _counts(result: LLMResult) -> Iterator[object]:
    """Give what may hold the counts of a call, in the order in which it is read."""
    output = result.llm_output or {}
    generations = list(chain.from_iterable(result.generations))
    if output.get("token_usage") == {} and not any(hasattr(each, "message") for each in generations):
        return  # a later prompt of a legacy `generate`, whose usage the first prompt has (fact 86)
    yield from _within(output)
    for generation in generations:
        yield from _within(getattr(getattr(generation, "message", None), "response_metadata", {}))
        yield from _within(generation.generation_info or {})


def _within(source: Mapping[str, object]) -> Iterator[object]:
    """Give what is at the places of a dictionary that may hold counts, and the dictionary itself."""
    inner = source.get("x_groq")
    if isinstance(inner, Mapping):
        yield from _within(inner)  # Groq's streamed usage, a level deeper (fact 91)
    yield from map(source.get, _PLACES)
    yield source


def _read(counts: object) -> TokenUsage:
    """Return the usage in what may hold counts."""
    used_input, used_output = _first(counts, _INPUT), _first(counts, _OUTPUT)
    return TokenUsage(_first(counts, _TOTAL) or used_input + used_output, used_input, used_output)


def _first(counts: object, rows: Iterable[Iterable[str]]) -> int:
    """Return the first sum above 0 that a row of names gives; 0 if none does."""
    sums = (sum(read_count(_member(counts, name)) for name in row) for row in rows)
    return next((number for number in sums if number), 0)


def read_count(value: object) -> int:
    """Return a value as a count of tokens; 0 if it is no count."""
    if type(value) is not int:  # NumPy's numbers are real, too
        value = float(value) if isinstance(value, Real) and not isinstance(value, bool) else 0
    return int(value) if 0 < value < _BEYOND_64_BITS else 0

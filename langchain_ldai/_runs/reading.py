"""What is read from LangChain's events: outcomes from errors, content from chunks, usage and model from results.

All of it is pure. LangChain's `usage_metadata` comes first (facts 79 to 93). Models that do not fill it in leave
the numbers in one of the places, and under one of the names, listed here.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent import futures
from enum import StrEnum
from types import FrameType, GeneratorType
from typing import TYPE_CHECKING, Final

from langchain_ldai._tracking.values import TokenUsage

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, Generation, GenerationChunk, LLMResult

_ASYNC: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Outcome(StrEnum):
    """How a run ended.

    `SUCCESS` and `ERROR` are recorded; a run that was `INTERRUPTED`, `CANCELLED` or `ABANDONED` records neither.
    """

    SUCCESS = "success"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"


_WORST_FIRST: Final = (
    Outcome.ERROR,
    Outcome.INTERRUPTED,
    Outcome.ABANDONED,
    Outcome.CANCELLED,
    Outcome.SUCCESS,
)


def worst(outcomes: Iterable[Outcome | None]) -> Outcome | None:
    """Return the worst of the outcomes that are known, `None` where none is."""
    return min(filter(None, outcomes), key=_WORST_FIRST.index, default=None)


def classify(error: BaseException) -> Outcome:
    """Return the outcome of a run, or of a node's visit, that raised this error (facts 57 to 59, 69 to 77).

    A `BaseException` that is no `Exception` stops the chain from outside, whoever raises it. So does
    `concurrent.futures.CancelledError`, and no other `Exception`.
    """
    if not isinstance(error, Exception) or isinstance(error, futures.CancelledError) or _hides_stop(error):
        return Outcome.CANCELLED
    langgraph = sys.modules.get("langgraph.errors")
    if langgraph is not None and isinstance(error, langgraph.GraphInterrupt):
        return Outcome.INTERRUPTED
    if langgraph is not None and isinstance(error, langgraph.GraphBubbleUp):
        return Outcome.SUCCESS
    return Outcome.ERROR


def _hides_stop(error: Exception) -> bool:
    """Whether LangChain raised this error because it took what stopped a model for the model's result (fact 77).

    asyncio's own cancellation gets there only where the model raised it by itself, and that is a failure.
    """
    if not isinstance(error, AttributeError) or error.name != "generations":
        return False
    return isinstance(error.obj, BaseException) and not isinstance(error.obj, (Exception, asyncio.CancelledError))


def failed_node(error: BaseException) -> str | None:
    """Return which node made a graph fail with this error, where LangGraph reports that node as cancelled.

    Returns:
        The name of a node that ran out of time or cancelled itself; "" where the graph ran out of time
        (`step_timeout`), and so did all nodes at work; `None` for any other error.
    """
    if type(error).__module__ == "langgraph.errors" and isinstance(node := getattr(error, "node", None), str):
        return node
    return "" if isinstance(error, TimeoutError) else None


def was_closed_early() -> bool | None:
    """Whether the reader closed the stream that is ending; `None` if that cannot be seen.

    The end event of a sync stream does not tell a closed one from one that was read to its end (fact 72). But the
    generator that sends the event still holds what it was reading from, unfinished. A closed async stream ends
    with an error.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_flags & _ASYNC:
            return False
        if frame.f_code.co_flags & inspect.CO_GENERATOR:
            held = [each for each in frame.f_locals.values() if isinstance(each, GeneratorType)]
            return any(each.gi_frame is not None for each in held) if held else None
        frame = frame.f_back
    return None


_CONTENT: Final = frozenset(
    {
        *("text", "content", "refusal", "transcript", "guard_content", "citations_content"),
        *("reasoning", "reasoning_content", "reasoning_details", "reasoning_text", "thinking", "summary"),
        *("name", "partial_json", "function", "function_call", "tool_calls", "tool_outputs", "executed_tools"),
        *("data", "base64", "url", "source", "image_url", "audio"),
        *("value", "delta", "fields"),  # what blocks are wrapped in
    }
)
"""Fields of text, reasoning, tool calls and media: each is a text, or blocks that are read in the same way."""

_PAYLOADS: Final = frozenset(
    {
        *("args", "arguments", "input", "code", "executable_code", "action", "operation", "queries"),
        *("output", "outputs", "result", "code_execution_result"),
    }
)
"""Fields of what a tool is given or gave back: anything in them is content."""

_UNREADABLE: Final = ("redacted", "encrypted")
"""Parts of the types of blocks whose content nobody can read."""


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
    parts = (message.content, getattr(message, "tool_call_chunks", None), message.additional_kwargs)
    return any(map(_has_content, parts))


def event_carries_content(event: object) -> bool:
    """Return whether an event of the v3 stream protocol carries something (fact 31)."""
    return isinstance(event, Mapping) and _has_content(event)


def _has_content(part: object) -> bool:
    """Return whether a text, a block, or one in a list of those holds something."""
    if isinstance(part, Mapping):
        kind = str(part.get("type"))
        if any(word in kind for word in _UNREADABLE):
            return False
        return any(
            (name in _CONTENT and _has_content(value)) or (name in _PAYLOADS and _has_leaf(value))
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


# A row is the name of a count and the names of what its provider counts beside it rather than in it.
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
_BEYOND_64_BITS: Final = 2**63
_TOTAL: Final = (("total_tokens",), ("totalTokens",), ("total_token_count",))

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
    for candidates in result.generations:
        for generation in candidates:
            standard = getattr(getattr(generation, "message", None), "usage_metadata", None)
            if standard and standard.get("total_cost") == 0:
                return None
            if standard and (usage := _standard(standard)):
                return usage
    return next((usage for counts in _counts(result) if (usage := _read(counts))), None)


def read_model(result: LLMResult) -> str:
    """Return the name of the model that answered, "" where its result does not say."""
    sources = [result.llm_output or {}]
    for candidates in result.generations:
        sources += [message.response_metadata for item in candidates if (message := _message(item))]
    for source in filter(None, sources):
        for name in _MODEL:
            if isinstance(model := source.get(name), str) and model:
                return model
    return ""


def result_of_decision(answer: object) -> LLMResult:
    """Return the answer of a decision model (fact 158) in the form of a language model's result."""
    from langchain_core.outputs import LLMResult  # not before it is needed

    counts = _member(answer, "usage")
    counts = counts if isinstance(counts, Mapping) else getattr(counts, "__dict__", None)
    return LLMResult(generations=[], llm_output={"usage": counts, "model": _member(answer, "model")})


def _member(answer: object, name: str) -> object:
    return answer.get(name) if isinstance(answer, Mapping) else getattr(answer, name, None)


def _message(generation: Generation) -> BaseMessage | None:
    """Return the message that a chat model's generation has."""
    return getattr(generation, "message", None)


def _standard(counts: Mapping[str, object]) -> TokenUsage | None:
    used_input, used_output = _positive(counts.get("input_tokens")), _positive(counts.get("output_tokens"))
    total = _positive(counts.get("total_tokens")) or used_input + used_output
    return TokenUsage(total, used_input, used_output) if total else None


def _counts(result: LLMResult) -> Iterator[Mapping[str, object]]:
    output = result.llm_output or {}
    generations = [generation for candidates in result.generations for generation in candidates]
    is_legacy = not any(_message(generation) for generation in generations)
    if is_legacy and output.get("token_usage") == {}:
        return  # a later prompt of a legacy `generate`, whose usage the first prompt has (fact 86)
    yield from _within(output)
    for generation in generations:
        if message := _message(generation):
            yield from _within(message.response_metadata)
        yield from _within(generation.generation_info or {})


def _within(source: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    inner = source.get("x_groq")
    if isinstance(inner, Mapping):
        yield from _within(inner)  # Groq's streamed usage, a level deeper (fact 91)
    for place in _PLACES:
        counts = source.get(place)
        if isinstance(counts, Mapping):
            yield counts
    yield source


def _read(counts: Mapping[str, object]) -> TokenUsage | None:
    used_input, used_output = _first(counts, _INPUT), _first(counts, _OUTPUT)
    usage = TokenUsage(_first(counts, _TOTAL) or used_input + used_output, used_input, used_output)
    return usage or None


def _first(counts: Mapping[str, object], rows: Iterable[Iterable[str]]) -> int:
    sums = (sum(_positive(counts.get(name)) for name in row) for row in rows)
    return next((number for number in sums if number), 0)


def _positive(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return int(value) if 0 < value < _BEYOND_64_BITS else 0

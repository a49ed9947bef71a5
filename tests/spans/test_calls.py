"""What the span of a model call, or of a tool call, says."""

from collections.abc import Callable

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from langchain_ldai import LdAiHandler
from tests.support.events import ANSWER, start_call, start_chain, start_tool
from tests.support.models import USAGE, ScriptedChat
from tests.support.traces import Trace, told

FINISHES = {
    "OpenAI": ({"finish_reason": "stop"}, {}, ("stop",)),
    "Anthropic": ({"stop_reason": "end_turn"}, {}, ("stop",)),
    "Bedrock": ({"stopReason": "max_tokens"}, {}, ("length",)),
    "Ollama": ({"done_reason": "stop"}, {}, ("stop",)),
    "tools": ({"stop_reason": "tool_use"}, {}, ("tool_calls",)),
    "functions": ({"finish_reason": "function_call"}, {}, ("tool_calls",)),
    "stop sequence": ({"stop_reason": "stop_sequence"}, {}, ("stop",)),
    "refusal": ({"stop_reason": "refusal"}, {}, ("content_filter",)),
    "other": ({"finish_reason": "SAFETY"}, {}, ("SAFETY",)),
    "in the generation": ({}, {"finish_reason": "stop"}, ("stop",)),
    "no text": ({"finish_reason": None}, {"finish_reason": 3}, None),
    "absent": ({}, None, None),
}


@pytest.mark.parametrize(("metadata", "info", "expected"), FINISHES.values(), ids=FINISHES)
def test_a_model_says_why_it_stopped(
    metadata: dict[str, object],
    info: dict[str, object] | None,
    expected: tuple[str, ...] | None,
    handler: LdAiHandler,
    trace: Trace,
) -> None:
    """In LaunchDarkly's words, wherever the provider says it."""
    message = AIMessage("", response_metadata={"model_name": "small-1-2026", **metadata})
    result = LLMResult(generations=[[ChatGeneration(message=message, generation_info=info)]])
    root = start_chain(handler)

    handler.on_llm_end(result, run_id=start_call(handler, root))
    handler.on_chain_end({}, run_id=root)

    (model,) = trace.named("chat small-1")
    assert told(model)[1].get("gen_ai.response.finish_reasons") == expected
    assert told(model)[1]["gen_ai.response.model"] == "small-1-2026"


DETAILS = {
    "all": (
        {
            "input_token_details": {"cache_read": 4, "cache_creation": 2},
            "output_token_details": {"reasoning": 3},
        },
        (4, 2, 3),
    ),
    "none": ({}, (0, 0, None)),
    "no counts": (
        {"input_token_details": {"cache_read": 2**70, "cache_creation": True}, "output_token_details": "many"},
        (0, 0, None),
    ),
    "odd": ({"input_token_details": {"cache_read": None}, "output_token_details": {}}, (0, 0, None)),
}


@pytest.mark.parametrize(("details", "expected"), DETAILS.values(), ids=DETAILS)
def test_usage_has_its_details(
    details: dict[str, object], expected: tuple[object, ...], handler: LdAiHandler, trace: Trace
) -> None:
    """Of a call, and summed up at the root; reasoning tokens only where there are any."""
    message = AIMessage("", usage_metadata=USAGE)
    message.usage_metadata = {**USAGE, **details}
    result = LLMResult(generations=[[ChatGeneration(message=message)]])
    root = start_chain(handler)

    for _ in range(2):
        handler.on_llm_end(result, run_id=start_call(handler, root))
    handler.on_chain_end({}, run_id=root)

    keys = "cache_read.input_tokens", "cache_creation.input_tokens", "reasoning.output_tokens"
    run, model, _ = [told(span)[1] for span in trace.spans]
    assert tuple(model.get(f"gen_ai.usage.{key}") for key in keys) == expected
    assert tuple(run.get(f"gen_ai.usage.{key}") for key in keys) == tuple(each and 2 * each for each in expected)


def test_a_cache_hit_adds_no_details(handler: LdAiHandler, trace: Trace) -> None:
    """Its tokens are not counted, and so neither are the parts of them."""
    message, root = AIMessage(""), start_chain(handler)
    message.usage_metadata = {**USAGE, "input_token_details": {"cache_read": 4}}
    result = LLMResult(generations=[[ChatGeneration(message=message)]])
    handler.on_llm_end(result, run_id=start_call(handler, root))
    message.usage_metadata = {**message.usage_metadata, "total_cost": 0}
    handler.on_llm_end(result, run_id=start_call(handler, root))
    handler.on_chain_end({}, run_id=root)

    (run,) = trace.named("invoke_agent")
    assert told(run)[1]["gen_ai.usage.input_tokens"] == 10
    assert told(run)[1]["gen_ai.usage.cache_read.input_tokens"] == 4


def test_unknown_usage_is_left_out(handler: LdAiHandler, trace: Trace) -> None:
    """Neither the call nor the root has one count, where no model said what it used."""
    root = start_chain(handler)
    handler.on_llm_end(LLMResult(generations=[]), run_id=start_call(handler, root))
    handler.on_chain_end({}, run_id=root)

    assert not [key for span in trace.spans for key in told(span)[1] if "usage" in key]


def test_a_model_that_reports_its_name_is_shown_by_it(handler: LdAiHandler, trace: Trace) -> None:
    """Where LangChain says which model is called, that is asked; else the AI Config's."""
    root = start_chain(handler)
    handler.on_llm_end(ANSWER, run_id=start_call(handler, root, ls_model_name="small-1b"))
    handler.on_chain_end({}, run_id=root)

    assert [span.name for span in trace.spans] == ["invoke_agent", "chat small-1b"]
    assert told(trace.spans[0])[1]["gen_ai.request.model"] == "small-1"


def test_a_tool_has_the_id_of_the_models_call(handler: LdAiHandler, trace: Trace) -> None:
    """It is left out where LangChain does not say it, as before 1.0."""
    root = start_chain(handler)
    handler.on_llm_end(ANSWER, run_id=start_call(handler, root))
    handler.on_tool_end("", run_id=start_tool(handler, root, tool_call_id="call-1"))
    handler.on_tool_end("", run_id=start_tool(handler, root))
    handler.on_chain_end({}, run_id=root)

    tools = [told(span)[1] for span in trace.named("execute_tool search")]
    assert [tool.get("gen_ai.tool.call.id") for tool in tools] == ["call-1", None]


def test_the_model_that_is_the_root_has_both_spans(handler: LdAiHandler, trace: Trace) -> None:
    """A model that is called by itself is a run of one call."""
    ScriptedChat().invoke("How?", {"callbacks": [handler]})

    assert trace.paths() == ["invoke_agent", "invoke_agent/chat small-1"]


def test_a_root_shows_the_last_answer_that_came(make_handler: Callable[..., LdAiHandler], trace: Trace) -> None:
    """A call that fails after it takes nothing away."""
    handler = make_handler(spans={"capture_content": True})
    root = start_chain(handler)
    answer = LLMResult(generations=[[ChatGeneration(message=AIMessage("Hold the button"))]])

    handler.on_llm_end(answer, run_id=start_call(handler, root))
    handler.on_llm_error(ValueError("no"), run_id=start_call(handler, root))
    handler.on_chain_end({}, run_id=root)

    run, _, failed = [told(span)[1] for span in trace.spans]
    assert run["gen_ai.completion.0.content"] == "Hold the button"
    assert "gen_ai.completion.0.content" not in failed

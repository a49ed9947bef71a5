"""What a model call used is read from wherever its model leaves it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

from langchain_ldai import TokenUsage
from langchain_ldai.usage import read_usage

USAGE = {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}


def chat(
    message: AIMessage, *, candidates: int = 1, llm_output: dict | None = None, info: dict | None = None
) -> LLMResult:
    """Return a chat model's result."""
    generations = [ChatGeneration(message=message, generation_info=info) for _ in range(candidates)]
    return LLMResult(generations=[generations], llm_output=llm_output)


def text(llm_output: dict | None = None, info: dict | None = None) -> LLMResult:
    """Return a legacy LLM's result."""
    return LLMResult(generations=[[Generation(text="x", generation_info=info)]], llm_output=llm_output)


OPENAI = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}

FOUND = {
    "usage_metadata": chat(AIMessage("x", usage_metadata=USAGE)),
    "usage_metadata before llm_output": chat(
        AIMessage("x", usage_metadata=USAGE), llm_output={"token_usage": {"prompt_tokens": 99}}
    ),
    "each candidate repeats the whole usage": chat(AIMessage("x", usage_metadata=USAGE), candidates=3),
    "OpenAI's token_usage": chat(AIMessage("x"), llm_output={"token_usage": OPENAI}),
    "Bedrock's usage": chat(AIMessage("x"), llm_output={"usage": OPENAI}),
    "Bedrock's invocation metrics": chat(
        AIMessage(
            "x",
            response_metadata={"amazon-bedrock-invocationMetrics": {"inputTokenCount": 10, "outputTokenCount": 3}},
        )
    ),
    "Ollama's counts": chat(AIMessage("x"), info={"prompt_eval_count": 10, "eval_count": 3}),
    "Cohere's token_count": chat(
        AIMessage("x"), info={"token_count": {"input_tokens": 10.0, "output_tokens": 3.0}}
    ),
    "a legacy LLM's token_usage": text({"token_usage": OPENAI}),
}


@pytest.mark.parametrize("result", FOUND.values(), ids=FOUND)
def test_usage_is_found_and_a_missing_total_is_the_sum(result: LLMResult) -> None:
    """Each place and each set of names gives the same usage (facts 84 to 92)."""
    assert read_usage(result) == TokenUsage(total=13, input=10, output=3)


UNKNOWN = {
    "nothing": chat(AIMessage("x")),
    "no generations": LLMResult(generations=[]),
    "empty text for usage": text({"token_usage": ""}),
    "malformed counts": text(
        {"token_usage": {"prompt_tokens": "many", "completion_tokens": None, "total_tokens": True}}
    ),
    "negative and infinite counts": text(
        {"token_usage": {"prompt_tokens": -1, "completion_tokens": float("inf")}}
    ),
    "a later prompt of a legacy generate": text({"token_usage": {}, "usage": OPENAI}),
    "a cache hit": chat(
        AIMessage("x", usage_metadata={**USAGE, "total_cost": 0}), llm_output={"token_usage": OPENAI}
    ),
    "a cache hit without usage": chat(AIMessage.model_construct(content="x", usage_metadata={"total_cost": 0})),
}


@pytest.mark.parametrize("result", UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_usage_is_none(result: LLMResult) -> None:
    """Malformed counts are ignored, and a cache hit used nothing (facts 79, 80, 86, 92)."""
    assert read_usage(result) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["token_usage", "usage", "input_tokens", "total_tokens", "eval_count", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["token_usage", "usage", "eval_count", "x"]), JSON),
    st.none() | st.dictionaries(st.just("usage"), JSON),
)
def test_no_shape_of_usage_raises(llm_output: dict, info: dict | None) -> None:
    """Whatever a provider left there, the answer is a usage with something in it or `None`."""
    usage = read_usage(text(llm_output, info))

    assert usage is None or (usage and min(usage.total, usage.input, usage.output) >= 0)

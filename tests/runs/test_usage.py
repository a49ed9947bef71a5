"""What a model call used is read from wherever its model leaves it."""

from collections.abc import Mapping
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, RunReport, TokenUsage
from langchain_ldai._runs.usage import read_usage
from tests.conftest import Track
from tests.support.events import start_call, start_chain
from tests.support.vectors import Case, cases, with_ids

VECTORS = cases("usage")


def generation(parts: Mapping[str, object]) -> Generation:
    """Return a candidate as a vector describes it, unchecked, since models fill it in unchecked."""
    info = parts.get("generation_info")
    if parts.get("text"):
        return Generation(text="x", generation_info=info)
    message = AIMessage("x", response_metadata=parts.get("response_metadata", {}))
    message.usage_metadata = parts.get("usage_metadata")
    return ChatGeneration(message=message, generation_info=info)


def result_of(case: Case) -> LLMResult:
    """Return a vector's result as a handler gets it."""
    result = case["result"]
    return LLMResult(
        generations=[[generation(parts) for parts in result["generations"]]], llm_output=result["llm_output"]
    )


@pytest.mark.parametrize("case", with_ids(VECTORS))
def test_each_shape_gives_what_was_used(case: Case) -> None:
    """Each vector's result gives the tokens it expects, or `None` (facts 79 to 93), and stays as it was."""
    result = result_of(case)
    before = result.model_dump_json()

    usage = read_usage(result)

    assert usage == (TokenUsage(**case["expected"]) if case["expected"] else None)
    assert result.model_dump_json() == before


def test_every_fact_about_usage_has_a_vector() -> None:
    """Facts 79, 80 and 84 to 93 each have a vector, and no two vectors share an id."""
    assert {case["fact"] for case in VECTORS} == {79, 80, *range(84, 94)}
    assert len({case["id"] for case in VECTORS}) == len(VECTORS)


def test_a_result_may_be_without_any_prompt() -> None:
    """A call that failed before its first candidate has no list of candidates (fact 93)."""
    assert read_usage(LLMResult(generations=[])) is None


KEYS = st.sampled_from(
    [
        "token_usage",
        "usage",
        "usage_metadata",
        "x_groq",
        "meta",
        "input_tokens",
        "cache_read_input_tokens",
        "total_tokens",
        "total_cost",
        "eval_count",
        "x",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "text": st.booleans(),
        "usage_metadata": st.none() | st.dictionaries(KEYS, JSON),
        "response_metadata": st.dictionaries(KEYS, JSON),
        "generation_info": st.none() | st.dictionaries(KEYS, JSON),
    },
)


@given(st.none() | st.dictionaries(KEYS, JSON), st.lists(PARTS, max_size=2))
def test_no_shape_of_usage_raises(llm_output: dict | None, generations: list[dict]) -> None:
    """Whatever a provider left there, the answer is a usage with something in it or `None`."""
    usage = read_usage(result_of({"result": {"llm_output": llm_output, "generations": generations}}))

    assert usage is None or (usage and min(usage.total, usage.input, usage.output) >= 0)


class Counted:
    """The figures of a call as an object, with numbers that are not Python's own."""

    prompt_tokens = Fraction(3)
    completion_tokens = Fraction(4)


@pytest.mark.parametrize("place", ["token_usage", "usage"])
def test_figures_may_be_an_object_with_numbers_of_any_type(place: str) -> None:
    """Some packages hand their provider's object on as it is, and NumPy's numbers are no `int`."""
    result = LLMResult(generations=[[Generation(text="x")]], llm_output={place: Counted()})

    assert read_usage(result) == TokenUsage(7, 3, 4)


class Answered:
    """A model's message of which one part cannot be read."""

    def __init__(self, *, unreadable: str) -> None:
        self._unreadable = unreadable

    @property
    def usage_metadata(self) -> UsageMetadata:
        if self._unreadable == "usage":
            raise ValueError
        return UsageMetadata(input_tokens=3, output_tokens=4, total_tokens=7)

    @property
    def response_metadata(self) -> dict[str, object]:
        if self._unreadable == "model":
            raise ValueError
        return {"model_name": "small-1"}


@pytest.mark.parametrize(
    ("unreadable", "tokens", "models"),
    [("model", TokenUsage(7, 3, 4), ()), ("usage", None, ("small-1",))],
)
def test_a_part_of_a_result_that_cannot_be_read_costs_no_other(
    unreadable: str,
    tokens: TokenUsage | None,
    models: tuple[str, ...],
    handler: LdAiHandler,
    reports: list[RunReport],
) -> None:
    """Tokens are counted whatever the model's name is, and the other way round."""
    call = start_call(handler)
    answer = SimpleNamespace(message=Answered(unreadable=unreadable))
    handler.on_llm_end(SimpleNamespace(llm_output=None, generations=[[answer]]), run_id=call)

    assert [(report.summary.tokens, report.models) for report in reports] == [(tokens, models)]


def test_a_failed_call_without_a_result_is_an_error_and_nothing_else(
    track: Track, reports: list[RunReport]
) -> None:
    """Nothing is read, and nothing is logged."""
    handler = track()

    handler.on_llm_error(ValueError(), run_id=start_call(handler))

    assert [(report.outcome, report.summary.tokens, report.models) for report in reports] == [("error", None, ())]


def test_what_cannot_be_read_in_a_node_is_told_with_the_id_of_the_nodes_run(
    writer: LdAiCompletionConfig, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """It is the node's figures that lack it."""
    handler = LdAiHandler(None, nodes={"writer": writer}, on_run_end=reports.append)
    root = start_chain(handler)
    node = start_chain(handler, root, langgraph_node="writer", langgraph_checkpoint_ns="writer:1")
    answer = SimpleNamespace(message=Answered(unreadable="usage"))

    handler.on_llm_end(SimpleNamespace(llm_output=None, generations=[[answer]]), run_id=start_call(handler, node))
    for step in (node, root):
        handler.on_chain_end({}, run_id=step)

    assert f"run_id={reports[0].nodes['writer'].run_id}]" in caplog.messages[0]

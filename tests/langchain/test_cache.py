"""Answers from a cache: facts 79 to 83. The cache is the model's own field, so that no other test sees it."""

from collections.abc import Callable
from typing import Final

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_ldai import Outcome, RunReport, TokenUsage
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import FIRST_TOKEN, QUESTION, SUCCESS, TOKENS, chain, counts
from tests.support.graphs import calls
from tests.support.models import ScriptedChat, ScriptedLLM

pytestmark = pytest.mark.asyncio

Wrap = Callable[[Runnable], Runnable]

ONCE: Final = TokenUsage(9, 7, 2)
"""What a scripted legacy LLM uses for one prompt."""


@pytest.fixture
def chat() -> ScriptedChat:
    """A chat model with a cache of its own."""
    return ScriptedChat(cache=InMemoryCache())


@pytest.fixture
def llm() -> ScriptedLLM:
    """A legacy LLM with a cache of its own."""
    return ScriptedLLM(cache=InMemoryCache())


def chain_of(*runnables: Runnable) -> Runnable:
    """Return a chain that asks each of them the same."""
    first, *others = [runnable | RunnableLambda(lambda answer: QUESTION) for runnable in runnables]
    for other in others:
        first |= other
    return first


@pytest.mark.parametrize("wrap", [chain, lambda model: model], ids=["in-a-chain", "alone"])
@each(INVOKED)
async def test_an_answer_from_the_cache_uses_nothing(
    call: Call, wrap: Wrap, chat: ScriptedChat, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A hit is a call and a success with a duration, but tells again what the first one used (fact 79)."""
    handler = track()
    for _ in range(2):
        await run(call, wrap(chat), "How?", {"callbacks": [handler]})

    first, hit = reports
    assert counts(client, first.run_id) == {SUCCESS: [1], **TOKENS}
    assert (hit.model_calls, hit.summary.tokens, hit.summary.duration_ms is None) == (1, None, False)
    assert counts(client, hit.run_id) == {SUCCESS: [1]}


@each(INVOKED)
async def test_within_a_run_only_the_first_answer_uses_tokens(
    call: Call, chat: ScriptedChat, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A hit changes the first call's result in place, after its tokens have been read (facts 79, 81)."""
    twice = chain_of(chain(chat), chain(chat))

    await run(call, twice, QUESTION, {"callbacks": [track()]})

    (report,) = reports
    assert report.model_calls == 2
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}


@pytest.mark.parametrize("batch", ["batch", "abatch"])
async def test_in_a_batch_only_the_misses_use_tokens(
    batch: str, chat: ScriptedChat, track: Track, reports: list[RunReport]
) -> None:
    """Each element of a batch is a miss or a hit of its own (fact 79)."""
    result = getattr(chain(chat), batch)([QUESTION] * 3, {"callbacks": [track()], "max_concurrency": 1})
    await result if batch == "abatch" else result

    assert [report.summary.tokens for report in reports] == [calls(1), None, None]


@each(INVOKED)
async def test_a_cached_answer_without_usage_has_none(
    call: Call, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`usage_metadata` is then `{"total_cost": 0}` and nothing else (fact 80)."""
    silent, handler = ScriptedChat(script=[[AIMessageChunk("Hello")]], cache=InMemoryCache()), track()

    for _ in range(2):
        await run(call, chain(silent), QUESTION, {"callbacks": [handler]})

    assert [counts(client, report.run_id) for report in reports] == [{SUCCESS: [1]}] * 2


@each(INVOKED)
async def test_an_answer_of_a_legacy_llm_from_the_cache_is_no_ai_run(
    call: Call, llm: ScriptedLLM, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A legacy LLM's hit tells no handler anything: without a call seen nothing is recorded (fact 82)."""
    handler = track()
    for _ in range(2):
        await run(call, chain(llm), QUESTION, {"callbacks": [handler]})

    (report,) = reports
    assert report.summary.tokens == ONCE
    assert {event.data["runId"] for event in client.events if "runId" in event.data} == {report.run_id}


@each(INVOKED)
async def test_a_run_counts_a_legacy_llms_misses(
    call: Call, llm: ScriptedLLM, track: Track, reports: list[RunReport]
) -> None:
    """Beside a hit the run's other calls count as ever (fact 82)."""
    handler = track()
    for _ in range(2):
        await run(call, chain_of(chain(llm), chain()), QUESTION, {"callbacks": [handler]})

    figures = [(report.outcome, report.model_calls, report.summary.tokens) for report in reports]
    both = TokenUsage(13 + 9, 10 + 7, 3 + 2)
    assert figures == [(Outcome.SUCCESS, 2, both), (Outcome.SUCCESS, 1, calls(1))]


@pytest.mark.parametrize("generate", ["generate", "agenerate"])
async def test_of_several_prompts_only_the_misses_are_runs(
    generate: str, llm: ScriptedLLM, track: Track, reports: list[RunReport]
) -> None:
    """A legacy `generate` starts what is not in the cache (fact 82)."""
    llm.invoke("known")

    result = getattr(llm, generate)(["known", "new"], callbacks=[track()])
    await result if generate == "agenerate" else result

    assert [(report.outcome, report.summary.tokens) for report in reports] == [(Outcome.SUCCESS, ONCE)]


@each(STREAMED)
async def test_a_stream_takes_nothing_from_the_cache(
    call: Call, chat: ScriptedChat, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`stream` asks the model each time, and its tokens count each time (fact 83)."""
    handler = track()
    for _ in range(2):
        await run(call, chain(chat), QUESTION, {"callbacks": [handler]})

    assert [counts(client, report.run_id) for report in reports] == [{SUCCESS: [1], **TOKENS}] * 2
    assert all(FIRST_TOKEN in client.metrics(report.run_id) for report in reports)


@each(INVOKED)
async def test_a_streamed_answer_from_the_cache_has_no_first_token(
    call: Call, chat: ScriptedChat, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A call that streams does so once; its hit sends no tokens, and the first token stays absent (fact 83)."""
    handler = track()
    for _ in range(2):
        await run(call, chain(chat.bind(stream=True)), QUESTION, {"callbacks": [handler]})

    first, hit = (client.metrics(report.run_id) for report in reports)
    assert FIRST_TOKEN in first
    assert set(first) - set(hit) == {FIRST_TOKEN, *TOKENS}

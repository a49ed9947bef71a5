"""Fallbacks are one run, whether or not they are needed (facts 48, 49)."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext

import pytest
from langchain_core.runnables import Runnable

from langchain_ldai import LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.support.calls import BATCHED, INVOKED, STREAMED, Call, each, run
from tests.support.chains import PROMPT, QUESTION, SUCCESS, chain
from tests.support.models import ScriptedChat
from tests.support.observe import summarize

pytestmark = pytest.mark.asyncio


def failing_chain() -> Runnable:
    """Return a chain whose model fails."""
    return chain(ScriptedChat(script=[ConnectionError("by design")]))


FALLBACKS = {
    "not-needed": (lambda: chain().with_fallbacks([chain()]), ("success", 1, 0, 13)),
    "needed": (lambda: failing_chain().with_fallbacks([chain()]), ("success", 2, 1, 13)),
    "the-third": (lambda: failing_chain().with_fallbacks([failing_chain(), chain()]), ("success", 3, 2, 13)),
    "all-fail": (lambda: failing_chain().with_fallbacks([failing_chain()]), ("error", 2, 2, 0)),
    "of-models": (
        lambda: PROMPT | ScriptedChat(script=[ConnectionError()]).with_fallbacks([ScriptedChat()]),
        ("success", 2, 1, 13),
    ),
    "of-fallbacks": (
        lambda: (
            failing_chain()
            .with_fallbacks([failing_chain()])
            .with_fallbacks([failing_chain().with_fallbacks([chain()])])
        ),
        ("success", 4, 3, 13),
    ),
}


@pytest.mark.parametrize(("fallbacks", "expected"), FALLBACKS.values(), ids=FALLBACKS)
@each({**INVOKED, **STREAMED})
async def test_fallbacks_are_one_run(
    call: Call,
    fallbacks: Callable[[], Runnable],
    expected: object,
    handler: LdAiHandler,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """Invoked outermost, each attempt says it has no parent; LangChain's context knows better (facts 48, 49)."""
    with pytest.raises(ConnectionError) if expected[0] == "error" else nullcontext():
        await run(call, fallbacks(), QUESTION, {"callbacks": [handler]})

    assert summarize(reports) == [expected]
    assert len(client.metrics(reports[0].run_id).get(SUCCESS, [])) == (expected[0] == "success")


@each(INVOKED)
async def test_retries_within_fallbacks_are_of_the_same_run(
    call: Call, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Each attempt of a retry below an attempt of a fallback finds its run (facts 45, 48)."""
    twice = failing_chain().with_retry(wait_exponential_jitter=False, stop_after_attempt=2)

    await run(call, twice.with_fallbacks([chain()]), QUESTION, {"callbacks": [handler]})

    assert summarize(reports) == [("success", 3, 2, 13)]
    assert reports[0].retries == 1


@each(BATCHED)
async def test_each_element_of_a_batch_of_fallbacks_is_a_run(
    call: Call, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """There the attempts have their parents; the first element's failure is its own (fact 48)."""
    once = chain(ScriptedChat(script=[ConnectionError("once"), ConnectionError("twice"), *ScriptedChat().script]))

    await run(call, once.with_fallbacks([chain()]), QUESTION, {"callbacks": [handler]})

    assert [report.outcome for report in reports] == ["success"] * 3
    assert sum(report.model_calls for report in reports) == 5


async def test_fallbacks_at_once_are_runs_of_their_own(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """The parent that the context names is that of the task the attempt runs in (fact 49)."""
    calls = [
        failing_chain().with_fallbacks([chain()]).ainvoke(QUESTION, {"callbacks": [handler]}) for _ in range(50)
    ]

    await asyncio.gather(*calls)

    assert summarize(reports) == [("success", 2, 1, 13)] * 50
    assert len({report.run_id for report in reports}) == 50

"""Failures that end a run, or only a part of it, or come twice: facts 51 to 54, and 93 and 117 with them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.output_parsers import JsonOutputParser
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from langchain_ldai import LdAiHandler, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import DURATION, ERROR, FIRST_TOKEN, PROMPT, QUESTION, SUCCESS, TOKENS, chain, counts
from tests.support.graphs import NeverOpens, calls
from tests.support.models import FLAKY, HELLO, ScriptedChat, ScriptedLLM

pytestmark = pytest.mark.asyncio

ASKED: Final[list[list[BaseMessage]]] = [[HumanMessage("One?")], [HumanMessage("Two?")]]

Batch = Callable[..., object]

BATCH: Final[dict[str, Batch]] = {
    "batch": lambda runnable, *args, **options: runnable.batch(*args, **options),
    "abatch": lambda runnable, *args, **options: runnable.abatch(*args, **options),
}
GENERATE: Final[dict[str, Batch]] = {
    "generate": lambda model, prompts, handler: model.generate(prompts, callbacks=[handler]),
    "agenerate": lambda model, prompts, handler: model.agenerate(prompts, callbacks=[handler]),
}


def outcomes(reports: Sequence[RunReport]) -> list[tuple[Outcome, int, object]]:
    """Return how runs ended, how many of their model calls failed, and what they used, in order of the outcome."""
    figures = [(report.outcome, report.failed_model_calls, report.summary.tokens) for report in reports]
    return sorted(figures, key=str)


async def await_result(result: object) -> object:
    """Wait for what a call gave, where it is to be awaited."""
    return await result if asyncio.iscoroutine(result) else result


def broken_stream() -> ScriptedChat:
    """Return a model whose stream breaks off after it has said what it used."""
    return ScriptedChat().model_copy(update={"script": [[*HELLO, FLAKY]]})


class Reporting(ScriptedChat):
    """A chat model that reports its failure itself and raises it, so that it is reported twice."""

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        run_manager.on_llm_error(FLAKY)
        raise FLAKY

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        await run_manager.on_llm_error(FLAKY)
        raise FLAKY


class ReportingLLM(ScriptedLLM):
    """A legacy LLM that reports its failure itself and raises it, as Bedrock's does."""

    def _generate(self, prompts, stop=None, run_manager=None, **kwargs):
        run_manager.on_llm_error(FLAKY)
        raise FLAKY


class FailingLLM(ScriptedLLM):
    """A legacy LLM that fails."""

    def _generate(self, prompts, stop=None, run_manager=None, **kwargs):
        raise FLAKY


@each(BATCH)
async def test_a_batch_that_fails_is_an_error_for_every_element(
    call: Batch, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Every root gets the one element's failure; the other element's call succeeded and counts (fact 51)."""
    failing = chain(ScriptedChat(script=[HELLO, FLAKY]))

    with pytest.raises(ConnectionError):
        await await_result(call(failing, [QUESTION] * 2, {"callbacks": [track()], "max_concurrency": 1}))

    assert outcomes(reports) == [(Outcome.ERROR, 0, calls(1)), (Outcome.ERROR, 1, None)]
    assert all(client.metrics(report.run_id)[ERROR] == [1] for report in reports)


@each(BATCH)
async def test_a_batch_whose_model_never_starts_is_no_ai_run(
    call: Batch, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Where one element's prompt fails, no element's model starts: nothing is recorded (fact 51)."""
    before, handler = client.events, track()

    with pytest.raises(KeyError):
        await await_result(call(chain(), [QUESTION, {"wrong": "?"}], {"callbacks": [handler]}))

    assert (reports, client.events) == ([], before)


@each(BATCH)
async def test_a_batch_that_returns_its_failures_ends_each_element_for_itself(
    call: Batch, track: Track, reports: list[RunReport]
) -> None:
    """With `return_exceptions=True` each element has an outcome of its own (fact 51)."""
    failing = chain(ScriptedChat(script=[HELLO, FLAKY, HELLO]))

    await await_result(call(failing, [QUESTION] * 3, {"callbacks": [track()]}, return_exceptions=True))

    assert outcomes(reports) == [(Outcome.ERROR, 1, None), *[(Outcome.SUCCESS, 0, calls(1))] * 2]


@each(BATCH)
async def test_a_batch_of_no_sequence_ends_each_element_for_itself(
    call: Batch, track: Track, reports: list[RunReport]
) -> None:
    """The one element's failure is not the others'.

    A fact besides those numbered: fact 51 is one of sequences, of which each step is a batch.
    """
    failing = ScriptedChat(script=[HELLO, FLAKY])

    with pytest.raises(ConnectionError):
        await await_result(call(failing, ["How?"] * 2, {"callbacks": [track()], "max_concurrency": 1}))

    assert outcomes(reports) == [(Outcome.ERROR, 1, None), (Outcome.SUCCESS, 0, calls(1))]


async def test_tokens_that_come_after_a_batch_has_failed_count(track: Track, reports: list[RunReport]) -> None:
    """`abatch` fails every root at once and leaves other calls running; their ends still count (facts 51, 117)."""
    gate, handler = NeverOpens(), track()
    models = iter([ScriptedChat(gate=gate), ScriptedChat(script=[FLAKY], gate=gate.reached)])

    with pytest.raises(ConnectionError):
        await (PROMPT | (lambda value: next(models))).abatch([QUESTION] * 2, {"callbacks": [handler]})
    assert len(reports) == 1
    gate.set()  # it opens after all
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})

    assert outcomes(reports) == [(Outcome.ERROR, 0, calls(1)), (Outcome.ERROR, 1, None)]


async def test_a_prompt_whose_end_never_comes_does_not_hold_a_chain(
    track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`generate` that fails at its second prompt never ends the first; the root's end does (facts 52, 117)."""
    handler, model = track(), ScriptedChat(script=[HELLO, FLAKY])

    def ask(value: object, config: RunnableConfig) -> object:
        return model.generate(ASKED, callbacks=config["callbacks"])

    with pytest.raises(ConnectionError):
        RunnableLambda(ask).invoke(QUESTION, {"callbacks": [handler]})
    assert reports == []
    handler.flush()

    (report,) = reports
    assert (report.model_calls, report.failed_model_calls) == (2, 1)
    assert set(client.metrics(report.run_id)) == {ERROR, DURATION}


async def test_a_prompt_whose_end_never_comes_is_abandoned(track: Track, reports: list[RunReport]) -> None:
    """Without a chain around it each prompt is a run: the failed one an error, the other abandoned (fact 52)."""
    handler = track(run_timeout=1e-9)
    with pytest.raises(ConnectionError):
        ScriptedChat(script=[HELLO, FLAKY]).generate(ASKED, callbacks=[handler])

    handler.flush()

    assert outcomes(reports) == [(Outcome.ABANDONED, 0, None), (Outcome.ERROR, 1, None)]


async def test_the_prompts_of_agenerate_end_each_for_itself(track: Track, reports: list[RunReport]) -> None:
    """Async, the failed prompt is an error and the other a success (fact 52)."""
    with pytest.raises(ConnectionError):
        await ScriptedChat(script=[HELLO, FLAKY]).agenerate(ASKED, callbacks=[track()])

    assert outcomes(reports) == [(Outcome.ERROR, 1, None), (Outcome.SUCCESS, 0, calls(1))]


@each(GENERATE)
async def test_the_prompts_of_a_legacy_llm_fail_together(
    call: Batch, track: Track, reports: list[RunReport]
) -> None:
    """A legacy LLM's failure is each prompt's error, sync and async (fact 52)."""
    with pytest.raises(ConnectionError):
        await await_result(call(FailingLLM(), ["One?", "Two?"], track()))

    assert outcomes(reports) == [(Outcome.ERROR, 1, None)] * 2


@each({**INVOKED, **STREAMED})
async def test_an_answer_that_cannot_be_parsed_is_an_error(
    call: Call, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The model's call succeeded, and its tokens count; the run is an error (fact 53)."""

    def parse(message: BaseMessage) -> object:
        return JsonOutputParser().invoke(message)

    with pytest.raises(OutputParserException):
        await run(call, PROMPT | ScriptedChat() | parse, QUESTION, {"callbacks": [track()]})

    (report,) = reports
    assert (report.model_calls, report.failed_model_calls) == (1, 0)
    assert counts(client, report.run_id) == {ERROR: [1], **TOKENS}


@pytest.mark.parametrize("wrap", [chain, lambda model: model], ids=["in-a-chain", "alone"])
@pytest.mark.parametrize("model", [Reporting(), ReportingLLM()], ids=["chat-model", "legacy-llm"])
@each(INVOKED)
async def test_a_failure_that_is_reported_twice_counts_once(
    call: Call,
    model: Runnable,
    wrap: Callable[[Runnable], Runnable],
    track: Track,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """A model that calls `on_llm_error` itself and raises has failed once (fact 54)."""
    with pytest.raises(ConnectionError):
        await run(call, wrap(model), "How?", {"callbacks": [track()]})

    (report,) = reports
    assert (report.outcome, report.model_calls, report.failed_model_calls) == (Outcome.ERROR, 1, 1)
    assert counts(client, report.run_id) == {ERROR: [1]}


@pytest.mark.parametrize("wrap", [chain, lambda model: model], ids=["in-a-chain", "alone"])
@each(STREAMED)
async def test_what_a_failed_call_had_used_counts(
    call: Call,
    wrap: Callable[[Runnable], Runnable],
    track: Track,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """A stream that breaks off after its usage has come records it, sync and async (fact 93)."""
    with pytest.raises(ConnectionError):
        await run(call, wrap(broken_stream()), "How?", {"callbacks": [track()]})

    (report,) = reports
    assert report.failed_model_calls == 1
    assert set(client.metrics(report.run_id)) == {ERROR, DURATION, FIRST_TOKEN, *TOKENS}
    assert counts(client, report.run_id) == {ERROR: [1], **TOKENS}


@each(INVOKED)
async def test_a_failure_that_the_chain_survives_is_no_error(
    call: Call, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A child chain's error event is its own: what a step catches leaves the root a success (fact 45)."""
    inner = chain(ScriptedChat(script=[FLAKY]))

    def forgive(value: object, config: RunnableConfig) -> str:
        with pytest.raises(ConnectionError):
            inner.invoke(QUESTION, config)
        return LdAiHandler.current_tracker(config).run_id

    run_id = await run(call, RunnableLambda(forgive), QUESTION, {"callbacks": [track()]})

    assert counts(client, run_id) == {SUCCESS: [1]}
    assert outcomes(reports) == [(Outcome.SUCCESS, 1, None)]

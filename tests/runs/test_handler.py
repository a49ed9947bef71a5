"""Every plain shape of run gives one tracker and one set of events."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from langchain_ldai import Feedback, LdAiCompletionConfig, LdAiHandler, Outcome, RunReport, TokenUsage
from langchain_ldai.testing import RecordingClient
from tests.support.calls import BATCHED, INVOKED, STREAMED, Call, each, run
from tests.support.chains import (
    AGENT_INPUT,
    DURATION,
    ERROR,
    FIRST_TOKEN,
    QUESTION,
    SUCCESS,
    TOKENS,
    TOOL_CALL,
    agent,
    chain,
    counts,
)
from tests.support.events import ANSWER, start_call, start_chain
from tests.support.models import FLAKY, HELLO, ScriptedChat, ScriptedLLM

pytestmark = pytest.mark.asyncio


@each({**INVOKED, **STREAMED})
async def test_a_run_that_streams_alone_has_a_first_token(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Duration, tokens and success are recorded once each, the time to first token of a stream alone (fact 29)."""
    await run(call, chain(), QUESTION, {"callbacks": [handler]})

    (report,) = reports
    first_token = {FIRST_TOKEN} if call in STREAMED.values() else set()
    assert set(client.metrics(report.run_id)) == {DURATION, SUCCESS, *TOKENS, *first_token}
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}


@each(BATCHED)
async def test_each_element_of_a_batch_is_a_run(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A batch of three is three runs with three run ids, although their events interleave (fact 6)."""
    await run(call, chain(), QUESTION, {"callbacks": [handler]})

    assert len({report.run_id for report in reports}) == 3
    assert all(counts(client, report.run_id) == {SUCCESS: [1], **TOKENS} for report in reports)


@pytest.mark.parametrize("model", [ScriptedChat(), ScriptedLLM()], ids=["chat-model", "legacy-llm"])
@each({**INVOKED, **STREAMED})
async def test_a_model_called_by_itself_is_a_run(
    call: Call, model: Runnable, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A chat model or a legacy LLM without a chain around it is its own root (fact 3)."""
    await run(call, model, "How?", {"callbacks": [handler]})

    (report,) = reports
    assert counts(client, report.run_id)[SUCCESS] == [1]
    assert report.summary.tokens in (TokenUsage(13, 10, 3), TokenUsage(9, 7, 2))


@each({**INVOKED, **STREAMED})
async def test_an_agents_model_calls_are_one_run(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """An agent's tokens are summed over its model calls, its tool calls recorded by name, success once."""
    await run(call, agent(), AGENT_INPUT, {"callbacks": [handler]})

    (report,) = reports
    doubled = {name: [2 * value for value in values] for name, values in TOKENS.items()}
    assert counts(client, report.run_id) == {SUCCESS: [1], TOOL_CALL: [1], **doubled}
    assert report.summary.tool_calls == ("search",)
    assert (report.model_calls, report.failed_model_calls) == (2, 0)


async def test_every_event_of_a_run_has_the_runs_data(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """All events of a run have its run id, the AI Config's keys and the evaluation's context (spec section 4)."""
    chain().invoke(QUESTION, {"callbacks": [handler]})

    events = [event for event in client.events if event.name.startswith(("$ld:ai:duration", "$ld:ai:tok"))]
    data = {"runId": reports[0].run_id, "configKey": "support-bot", "variationKey": "friendly", "version": 3}
    assert all(event.data == {**data, "modelName": "small-1", "providerName": "acme"} for event in events)
    assert {event.context.key for event in events} == {"user-1"}


@each({**INVOKED, **STREAMED})
async def test_a_run_that_raises_is_an_error(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The root's exception makes the outcome an error, and reaches the caller as it is."""
    failing = chain(ScriptedChat(script=[ZeroDivisionError("by design")]))

    with pytest.raises(ZeroDivisionError, match="by design"):
        await run(call, failing, QUESTION, {"callbacks": [handler]})

    (report,) = reports
    assert report.outcome is Outcome.ERROR
    assert counts(client, report.run_id) == {ERROR: [1]}
    assert report.failed_model_calls == 1


async def test_a_run_without_a_model_call_is_no_ai_run(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Without a model call nothing is recorded and no report made, tool calls included."""
    before = client.events

    RunnableLambda(lambda value: value).invoke(QUESTION, {"callbacks": [handler]})

    assert (client.events, reports) == (before, [])


async def test_duration_covers_model_calls_or_the_whole_run(
    config: LdAiCompletionConfig, reports: list[RunReport], take_seconds: Callable[[float], None]
) -> None:
    """With duration="run" the time outside of model calls counts; with "model" it does not."""
    modes = ("model", "run")
    handlers = [LdAiHandler(config, on_run_end=reports.append, duration=mode) for mode in modes]
    pause = RunnableLambda(lambda value: take_seconds(0.25) or value)

    (pause | chain() | pause).invoke(QUESTION, {"callbacks": handlers})

    assert [report.summary.duration_ms for report in reports] == [0, 500]


async def test_a_model_call_that_outlives_its_root_counts_to_its_own_end_or_to_the_roots(
    config: LdAiCompletionConfig, reports: list[RunReport], take_seconds: Callable[[float], None]
) -> None:
    """With duration="run" the run is over with its root; with "model" the call is in flight until it ends."""
    for mode in ("model", "run"):
        handler = LdAiHandler(config, on_run_end=reports.append, duration=mode)
        root = start_chain(handler)
        take_seconds(0.25)
        call = start_call(handler, root)
        take_seconds(0.25)
        handler.on_chain_end({}, run_id=root)
        take_seconds(0.5)
        handler.on_llm_end(ANSWER, run_id=call)

    assert [report.summary.duration_ms for report in reports] == [750, 500]


async def test_a_failing_callback_of_the_user_is_logged_once_and_harms_nothing(
    config: LdAiCompletionConfig, client: RecordingClient, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception from `on_run_end` stays out of the chain, and of the log the second time."""
    handler = LdAiHandler(config, on_run_end=lambda report: 1 / 0)

    answers = [chain().invoke(QUESTION, {"callbacks": [handler]}) for _ in range(2)]

    assert answers == ["Hello, world"] * 2
    assert len([event for event in client.events if event.name == SUCCESS]) == 2
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("langchain_ldai._base.guard", "ERROR")
    assert "ZeroDivisionError" in record.message


async def test_metrics_that_the_user_recorded_stand(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """What a step records through `current_tracker` is not overwritten, and no warning is logged."""

    def judge(answer: str, config: RunnableConfig) -> str:
        tracker = LdAiHandler.current_tracker(config)
        tracker.track_error()
        tracker.track_tokens(TokenUsage(total=1))
        tracker.track_feedback(Feedback.POSITIVE)
        return answer

    (chain() | judge).invoke(QUESTION, {"callbacks": [handler]})

    (report,) = reports
    assert counts(client, report.run_id) == {
        ERROR: [1],
        "$ld:ai:tokens:total": [1],
        "$ld:ai:feedback:user:positive": [1],
    }
    assert caplog.records == []


async def test_there_is_no_current_tracker_outside_a_run(handler: LdAiHandler) -> None:
    """`current_tracker` is `None` without callbacks, with a mere list of them, and once the run has ended."""
    seen: list[RunnableConfig] = []
    RunnableLambda(lambda value, config: seen.append(config)).invoke(1, {"callbacks": [handler]})

    configs: list[RunnableConfig] = [{}, {"callbacks": [handler]}, *seen]

    assert [LdAiHandler.current_tracker(config) for config in configs] == [None] * 3


class Asking(BaseRetriever):
    """A retriever that asks a model what to look for, and what else."""

    model: Runnable = ScriptedChat()

    def _get_relevant_documents(self, query, *, run_manager):
        for _ in range(2):
            chain(self.model).invoke(QUESTION, {"callbacks": run_manager.get_child()})
        return []


async def test_a_model_called_by_a_retriever_is_part_of_the_run(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A retriever is a step like others: what it asks of a model counts for the run."""
    (Asking() | (lambda documents: QUESTION) | chain()).invoke("How?", {"callbacks": [handler]})

    assert [report.model_calls for report in reports] == [3]
    assert counts(client, reports[0].run_id)["$ld:ai:tokens:total"] == [39]


@pytest.mark.parametrize(
    ("script", "outcome"),
    [([HELLO] * 2, Outcome.SUCCESS), ([HELLO, FLAKY], Outcome.ERROR)],
    ids=["answers", "fails"],
)
async def test_a_retriever_called_by_itself_is_a_run(
    script: list[object], outcome: Outcome, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """It ends as the retriever does."""
    with suppress(ConnectionError):
        Asking(model=ScriptedChat(script=script)).invoke("How?", {"callbacks": [handler]})

    assert [(report.outcome, report.model_calls) for report in reports] == [(outcome, 2)]

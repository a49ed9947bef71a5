"""Attempts that fail and are repeated, or replaced by a fallback: facts 44 to 50."""

from collections.abc import Callable
from typing import Final

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.llms import create_base_retry_decorator
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from tenacity import RetryCallState, wait_none

from langchain_ldai import LdAiHandler, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.support.calls import BATCHED, INVOKED, STREAMED, Call, each, run
from tests.support.chains import ERROR, FIRST_TOKEN, PROMPT, QUESTION, SUCCESS, TOKENS, chain, counts
from tests.support.graphs import calls
from tests.support.models import FLAKY, HELLO, ScriptedChat, ScriptedLLM

pytestmark = pytest.mark.asyncio

DOWN: Final = TimeoutError("down")
TWICE: Final = {"stop_after_attempt": 2, "wait_exponential_jitter": False}

Shape = Callable[..., Runnable]

RETRIED: Final[dict[str, Shape]] = {
    "model-alone": lambda model: model.with_retry(**TWICE),
    "model-in-chain": lambda model: chain(model.with_retry(**TWICE)),
    "chain": lambda model: chain(model).with_retry(**TWICE),
}
FALLING_BACK: Final[dict[str, Shape]] = {
    "model-alone": lambda first, second: first.with_fallbacks([second]),
    "model-in-chain": lambda first, second: chain(first.with_fallbacks([second])),
    "chain": lambda first, second: chain(first).with_fallbacks([chain(second)]),
    "chain-in-chain": lambda first, second: (
        PROMPT | first.with_fallbacks([PROMPT | second]).with_fallbacks([second])
    ),
}


def shapes(of: dict[str, Shape]) -> pytest.MarkDecorator:
    """Run a test once for each of the shapes."""
    return pytest.mark.parametrize("shape", of.values(), ids=of)


class RetryingChat(ScriptedChat):
    """A chat model that makes a failed request again itself, as older integrations do."""

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        request = super()._generate
        retrying = create_base_retry_decorator([ConnectionError], 3, run_manager)(lambda: request(messages))
        retrying.retry.wait = wait_none()
        return retrying()

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        request = super()._generate

        @create_base_retry_decorator([ConnectionError], 3, run_manager)
        async def retrying():
            return request(messages)

        retrying.retry.wait = wait_none()
        return await retrying()


class RetryingLLM(ScriptedLLM):
    """A legacy LLM that fails twice a call, and makes the request again itself."""

    def _generate(self, prompts, stop=None, run_manager=None, **kwargs):
        request, ahead = super()._generate, [FLAKY, FLAKY]

        def attempt():
            if ahead:
                raise ahead.pop()
            return request(prompts)

        retrying = create_base_retry_decorator([ConnectionError], 3, run_manager)(attempt)
        retrying.retry.wait = wait_none()
        return retrying()


class Attempts(BaseCallbackHandler):
    """Another handler, which keeps what it is told of the attempts.

    A fact besides those numbered: async, `on_retry` comes from a task of its own, once the state that it is
    given, which is one for all attempts, says that the next attempt goes on.
    """

    run_inline = True

    def __init__(self) -> None:
        self.told: list[object] = []

    def on_retry(self, retry_state, **kwargs):
        """Keep what came."""
        self.told.append(retry_state)


@shapes(RETRIED)
@each(INVOKED)
async def test_an_attempt_that_recovers_is_a_success_with_a_retry(
    call: Call, shape: Shape, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`with_retry`: a failed attempt is counted and fails nothing, a child chain's neither (facts 44, 45)."""
    await run(call, shape(ScriptedChat(script=[FLAKY, HELLO])), "How?", {"callbacks": [track()]})

    (report,) = reports
    assert (report.model_calls, report.failed_model_calls, report.retries) == (2, 1, 1)
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}


@shapes(RETRIED)
@each(INVOKED)
async def test_attempts_that_are_used_up_are_one_error(
    call: Call, shape: Shape, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """With the last attempt failed the root is an error, recorded once (facts 44, 45)."""
    with pytest.raises(ConnectionError):
        await run(call, shape(ScriptedChat(script=[FLAKY])), "How?", {"callbacks": [track()]})

    (report,) = reports
    assert (report.model_calls, report.failed_model_calls, report.retries) == (2, 2, 1)
    assert counts(client, report.run_id) == {ERROR: [1]}


@shapes(RETRIED)
@each(BATCHED)
async def test_in_a_batch_the_retry_is_the_failed_elements(
    call: Call, shape: Shape, track: Track, reports: list[RunReport]
) -> None:
    """A retried batch runs its failed elements again; the others' runs know of no retry (fact 44)."""
    await run(call, shape(ScriptedChat(script=[FLAKY, HELLO])), "How?", {"callbacks": [track()]})

    figures = [(report.model_calls, report.failed_model_calls, report.retries) for report in reports]
    assert sorted(figures) == [(1, 0, 0), (1, 0, 0), (2, 1, 1)]
    assert [(report.outcome, report.summary.tokens) for report in reports] == [(Outcome.SUCCESS, calls(1))] * 3


@shapes(RETRIED)
@each(STREAMED)
async def test_a_stream_is_not_retried(
    call: Call, shape: Shape, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`with_retry` leaves a stream that fails alone: an error without a retry (fact 46)."""
    with pytest.raises(ConnectionError):
        await run(call, shape(ScriptedChat(script=[FLAKY, HELLO])), "How?", {"callbacks": [track()]})

    (report,) = reports
    assert (report.model_calls, report.failed_model_calls, report.retries) == (1, 1, 0)
    assert counts(client, report.run_id) == {ERROR: [1]}


@pytest.mark.parametrize(
    "model", [RetryingChat(script=[FLAKY, FLAKY, HELLO]), RetryingLLM()], ids=["chat-model", "legacy-llm"]
)
@each(INVOKED)
async def test_retries_within_a_model_call_are_counted(
    call: Call, model: Runnable, track: Track, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """`on_retry` comes with tenacity's state between start and end: one call that did not fail (fact 47)."""
    caplog.set_level("CRITICAL", create_base_retry_decorator.__module__)  # it logs each attempt itself
    others = Attempts()

    await run(call, chain(model.model_copy()), QUESTION, {"callbacks": [track(), others]})

    (report,) = reports
    assert [type(state) for state in others.told] == [RetryCallState] * 2
    assert (report.outcome, report.model_calls, report.failed_model_calls) == (Outcome.SUCCESS, 1, 0)
    assert report.retries == 2


HEARD_TWICE: Final[dict[str, Callable[[Runnable, LdAiHandler], tuple[Runnable, list[LdAiHandler]]]]] = {
    "twice-in-the-list": lambda model, handler: (model, [handler, handler]),
    "bound-and-passed": lambda model, handler: (model.with_config(callbacks=[handler]), [handler]),
}


@pytest.mark.parametrize("heard", HEARD_TWICE.values(), ids=HEARD_TWICE)
@pytest.mark.parametrize(
    "model", [RetryingChat(script=[FLAKY, FLAKY, HELLO]), RetryingLLM()], ids=["chat-model", "legacy-llm"]
)
@each(INVOKED)
async def test_retries_that_are_heard_of_twice_count_once(
    call: Call,
    model: Runnable,
    heard: Callable[[Runnable, LdAiHandler], tuple[Runnable, list[LdAiHandler]]],
    track: Track,
    reports: list[RunReport],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A handler that is given twice gets each of the root's events twice, `on_retry` as well (facts 47, 96)."""
    caplog.set_level("CRITICAL", create_base_retry_decorator.__module__)
    subject, callbacks = heard(model.model_copy(), track())

    await run(call, subject, "How?", {"callbacks": callbacks})

    assert [(report.model_calls, report.retries) for report in reports] == [(1, 2)]


KEY_ERRORS: Final = {"exceptions_to_handle": (KeyError,)}

HANDED_DOWN: Final[dict[str, Callable[[Runnable], Runnable]]] = {
    "fallbacks": lambda model: model.with_fallbacks([ScriptedChat()], **KEY_ERRORS),
    "fallbacks-of-a-chain": lambda model: chain(model).with_fallbacks([chain()], **KEY_ERRORS),
    "fallbacks-of-fallbacks": lambda model: model.with_fallbacks([ScriptedChat()], **KEY_ERRORS).with_fallbacks(
        [ScriptedChat()], **KEY_ERRORS
    ),
    "fallbacks-in-a-chain": lambda model: PROMPT | model.with_fallbacks([ScriptedChat()], **KEY_ERRORS),
    "bound": lambda model: model.with_fallbacks([ScriptedChat()], **KEY_ERRORS).with_config(run_name="asks"),
}


@shapes(HANDED_DOWN)
@each(INVOKED)
async def test_a_repeated_attempt_counts_once_whatever_its_tag_is_handed_to(
    call: Call, shape: Callable[[Runnable], Runnable], track: Track, reports: list[RunReport]
) -> None:
    """`with_fallbacks` passes its config on, and the tag of the attempt with it (facts 44, 48)."""
    retrying = shape(ScriptedChat(script=[FLAKY, FLAKY, HELLO])).with_retry(
        stop_after_attempt=3, wait_exponential_jitter=False
    )

    await run(call, retrying, "How?", {"callbacks": [track()]})

    assert [(report.model_calls, report.retries) for report in reports] == [(3, 2)]


@each(INVOKED)
async def test_a_fallback_within_a_repeated_attempt_is_no_retry(
    call: Call, track: Track, reports: list[RunReport]
) -> None:
    """The first attempt fails twice over, the second is saved by its fallback: one retry (facts 44, 48)."""
    falling_back = ScriptedChat(script=[FLAKY]).with_fallbacks([ScriptedChat(script=[DOWN, HELLO])])

    await run(call, falling_back.with_retry(**TWICE), "How?", {"callbacks": [track()]})

    assert [(report.model_calls, report.retries) for report in reports] == [(4, 1)]


@each(INVOKED)
async def test_retries_within_retries_are_each_counted(call: Call, track: Track, reports: list[RunReport]) -> None:
    """The inner runnable is repeated once in each of the outer's two attempts: three retries (fact 44)."""
    model = ScriptedChat(script=[FLAKY, FLAKY, FLAKY, HELLO])

    await run(call, chain(model.with_retry(**TWICE)).with_retry(**TWICE), "How?", {"callbacks": [track()]})

    assert [(report.model_calls, report.retries) for report in reports] == [(4, 3)]


@each(INVOKED)
async def test_a_callers_own_second_attempt_is_a_call_like_any(
    call: Call, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """What user code catches and does again is a failed call in a run that succeeds, and no retry we can see."""
    model = ScriptedChat(script=[FLAKY, HELLO])

    def insist(value: object, config: RunnableConfig) -> object:
        with pytest.raises(ConnectionError):
            model.invoke("How?", config)
        return model.invoke("How?", config)

    await run(call, RunnableLambda(insist), QUESTION, {"callbacks": [track()]})

    (report,) = reports
    assert (report.model_calls, report.failed_model_calls, report.retries) == (2, 1, 0)
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}


@shapes(FALLING_BACK)
@each({**INVOKED, **STREAMED, **BATCHED})
async def test_a_fallback_that_helps_is_part_of_the_run(
    call: Call, shape: Shape, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Each call is one run and a success, also where its attempts look like roots (facts 48, 49)."""
    falling_back = shape(ScriptedChat(script=[FLAKY]), ScriptedChat())

    await run(call, falling_back, "How?", {"callbacks": [track()]})

    assert len(reports) == (3 if call in BATCHED.values() else 1)
    for report in reports:
        assert (report.model_calls, report.failed_model_calls, report.retries) == (2, 1, 0)
        assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}


@shapes(FALLING_BACK)
@each({**INVOKED, **STREAMED, **BATCHED})
async def test_a_fallback_that_is_not_needed_is_no_run(
    call: Call, shape: Shape, track: Track, reports: list[RunReport]
) -> None:
    """The wrapper and its one attempt are one run, not two (fact 48)."""
    await run(call, shape(ScriptedChat(), ScriptedChat()), "How?", {"callbacks": [track()]})

    figures = [(report.outcome, report.model_calls, report.summary.tokens) for report in reports]
    assert figures == [(Outcome.SUCCESS, 1, calls(1))] * (3 if call in BATCHED.values() else 1)


@shapes(FALLING_BACK)
@each({**INVOKED, **STREAMED, **BATCHED})
async def test_fallbacks_that_all_fail_are_one_error(
    call: Call, shape: Shape, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The run is an error, recorded once (fact 50).

    A fact besides those numbered: a batch raises the last failure, all others the first.
    """
    with pytest.raises(type(DOWN if call in BATCHED.values() else FLAKY)):
        await run(
            call,
            shape(ScriptedChat(script=[FLAKY]), ScriptedChat(script=[DOWN])),
            "How?",
            {"callbacks": [track()]},
        )

    assert len(reports) == (3 if call in BATCHED.values() else 1)
    for report in reports:
        assert report.model_calls == report.failed_model_calls >= 2
        assert counts(client, report.run_id) == {ERROR: [1]}


@shapes(FALLING_BACK)
@each(STREAMED)
async def test_a_stream_that_breaks_off_does_not_fall_back(
    call: Call, shape: Shape, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """After the first chunk a failure is the root's; the first token stands (fact 50)."""
    breaking_off = ScriptedChat().model_copy(update={"script": [[AIMessageChunk("Hel"), FLAKY]]})

    with pytest.raises(ConnectionError):
        await run(call, shape(breaking_off, ScriptedChat()), "How?", {"callbacks": [track()]})

    (report,) = reports
    assert (report.model_calls, report.failed_model_calls) == (1, 1)
    assert FIRST_TOKEN in client.metrics(report.run_id)
    assert counts(client, report.run_id) == {ERROR: [1]}

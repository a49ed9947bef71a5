"""In which order LangChain's events come, with which names, and to whom (facts 1 to 10, 14)."""

from uuid import uuid4

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler, Outcome, RunReport, TokenUsage
from langchain_ldai.testing import RecordingClient
from tests.support.calls import BATCHED, INVOKED, STREAMED, Call, each, run
from tests.support.chains import AGENT_INPUT, QUESTION, SUCCESS, TOKENS, agent, chain, counts, search
from tests.support.models import ScriptedChat, ScriptedLLM
from tests.support.observe import EventLog, LetterCountingChat, needs_v3

pytestmark = pytest.mark.asyncio

STEP = ["on_chain_start", "on_chain_end"]
MODEL = ["on_chat_model_start", "on_llm_end"]
TWO_PROMPTS = [[HumanMessage("a")], [HumanMessage("bb")]]


@each(INVOKED)
async def test_a_chains_events_come_in_the_known_order(
    call: Call, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Root, prompt, model, parser, the root's end last: that end makes the one report (fact 1)."""
    events = EventLog()

    await run(call, chain(), QUESTION, {"callbacks": [handler, events]})

    assert events.seen == ["on_chain_start", *STEP, *MODEL, *STEP, "on_chain_end"]
    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


@each(STREAMED)
async def test_a_parser_that_starts_between_tokens_changes_nothing(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """In a stream the parser starts after the first token and ends after the model (fact 2)."""
    events = EventLog()

    await run(call, chain(), QUESTION, {"callbacks": [handler, events]})

    token, end = (events.seen.index(name) for name in ("on_llm_new_token", "on_llm_end"))
    assert events.seen[token - 1] == "on_chat_model_start"
    assert events.seen[token : token + 3] == ["on_llm_new_token", "on_chain_start", "on_llm_new_token"]
    assert events.seen[end:] == ["on_llm_end", "on_chain_end", "on_chain_end"]
    assert counts(client, reports[0].run_id) == {SUCCESS: [1], **TOKENS}


@each({**INVOKED, **STREAMED, **BATCHED})
async def test_the_handler_changes_no_event(call: Call, handler: LdAiHandler) -> None:
    """Another handler gets the same events with ours beside it as without (facts 1, 2, 33)."""
    alone, beside = EventLog(), EventLog()

    await run(call, chain(), QUESTION, {"callbacks": [alone]})
    await run(call, chain(), QUESTION, {"callbacks": [handler, beside]})

    assert sorted(beside.seen) == sorted(alone.seen)


@pytest.mark.parametrize(
    ("model", "start"),
    [(ScriptedChat(), "on_chat_model_start"), (ScriptedLLM(), "on_llm_start")],
    ids=["chat-model", "legacy-llm"],
)
async def test_a_model_is_its_own_root(
    model: Runnable, start: str, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Without a chain the model call opens and closes its run, and is counted once (fact 3)."""
    events, run_id = EventLog(), uuid4()

    model.invoke("How?", {"callbacks": [handler, events], "run_id": run_id})

    assert events.seen == [start, "on_llm_end"]
    assert [(report.root_run_id, report.model_calls) for report in reports] == [(run_id, 1)]


async def test_run_names_rename_no_run(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """A `run_name` for the chain or the model is LangSmith's business: no figure depends on it (fact 4)."""
    named = chain(ScriptedChat().with_config(run_name="Writer")).with_config(run_name="Answer")

    named.invoke(QUESTION, {"callbacks": [handler]})

    assert (reports[0].config_key, reports[0].models, reports[0].model_calls) == ("support-bot", (), 1)


async def test_a_tool_is_counted_by_its_own_name(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """A tool start's `name` is the `run_name` where one is given: the tool's own is `serialized`'s (fact 4)."""
    look_up = RunnableLambda(lambda question: [question, search.invoke({}, {"run_name": "Look up"})][0])

    (look_up | chain()).invoke(QUESTION, {"callbacks": [handler]})

    assert reports[0].summary.tool_calls == ("search",)


async def test_an_end_is_counted_for_what_its_start_said(
    ai: LdAiClient, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Ends carry no metadata: figures go to the AI Config that the root's start chose (fact 5)."""
    chosen = LdAiHandler(
        lambda metadata: ai.completion_config("support-bot", Context.create(metadata["user"])),
        on_run_end=reports.append,
    )
    users = ["ada", "grace", "edsger"]

    chain(LetterCountingChat()).batch(
        [{"question": user} for user in users],
        [{"callbacks": [chosen], "metadata": {"user": user}} for user in users],
    )

    used = {event.context.key: event.value for event in client.events if event.name == "$ld:ai:tokens:input"}
    assert used == {"ada": 3, "grace": 5, "edsger": 6}


@pytest.mark.parametrize("at_once", [None, 1], ids=["all-at-once", "one-by-one"])
@pytest.mark.parametrize("batch", ["batch", "abatch"])
async def test_interleaved_elements_keep_their_own_figures(
    batch: str, at_once: int | None, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A batch runs step by step through all its elements; each root's figures are its own (fact 6)."""
    questions = ["a", "bb", "ccc"]

    await run(
        lambda runnable, value, config: getattr(runnable, batch)(value, config),
        chain(LetterCountingChat()),
        [{"question": question} for question in questions],
        {"callbacks": [handler], "max_concurrency": at_once},
    )

    assert sorted(report.summary.tokens.input for report in reports) == [1, 2, 3]
    assert all((report.model_calls, report.outcome) == (1, "success") for report in reports)


@pytest.mark.parametrize("generate", ["generate", "agenerate"])
async def test_two_prompts_of_one_generate_are_two_runs(
    generate: str, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """`generate([a, b])` starts both calls before either works: two roots, each with its own tokens (fact 7)."""
    await run(
        lambda model, prompts, config: getattr(model, generate)(prompts, **config),
        LetterCountingChat(),
        TWO_PROMPTS,
        {"callbacks": [handler]},
    )

    assert sorted(report.summary.tokens.input for report in reports) == [1, 2]
    assert len({report.run_id for report in reports}) == 2


@pytest.mark.parametrize(
    ("at_once", "expected"),
    [(None, [None, TokenUsage(18, 14, 4)]), (1, [TokenUsage(9, 7, 2)] * 2)],
    ids=["one-generate", "two-generates"],
)
@pytest.mark.parametrize("batch", ["batch", "abatch"])
async def test_a_batch_of_a_legacy_llm_sends_its_tokens_once(
    batch: str,
    at_once: int | None,
    expected: list[TokenUsage | None],
    handler: LdAiHandler,
    reports: list[RunReport],
) -> None:
    """Unlimited it is one `generate`, whose usage the first prompt has for both (facts 7, 86)."""
    await run(
        lambda runnable, value, config: getattr(runnable, batch)(value, config),
        ScriptedLLM(),
        ["a", "b"],
        {"callbacks": [handler], "max_concurrency": at_once},
    )

    assert sorted((report.summary.tokens for report in reports), key=bool) == expected


async def test_a_stream_that_nobody_reads_is_no_run(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """No callback fires before the first read (fact 9)."""
    config = {"callbacks": [handler]}

    streams = chain().stream(QUESTION, config), chain().astream(QUESTION, config)
    unread = [*streams, ScriptedChat().stream("?", config)]

    assert handler.open_runs == 0
    del streams, unread
    assert (handler.open_runs, reports) == (0, [])


@needs_v3
async def test_a_v3_stream_that_nobody_reads_is_no_run(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """A v3 stream starts with its first read too (facts 9, 10)."""
    unread = ScriptedChat().stream_events("?", {"callbacks": [handler]}, version="v3")

    assert handler.open_runs == 0
    del unread
    assert (handler.open_runs, reports) == (0, [])


@needs_v3
async def test_a_plain_sequence_has_no_v3_stream(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """Only chat models and graphs have the v3 protocol; the refusal leaves nothing behind (fact 10)."""
    with pytest.raises(NotImplementedError):
        list(chain().stream_events(QUESTION, {"callbacks": [handler]}, version="v3"))

    assert (handler.open_runs, reports) == (0, [])


async def test_a_handler_that_ignores_chains_counts_each_model_call(
    config: LdAiCompletionConfig, client: RecordingClient, reports: list[RunReport]
) -> None:
    """With `ignore_chain` model calls have a parent that nobody knows: each is a run (fact 14)."""

    class OfModels(LdAiHandler):
        ignore_chain = True

    agent().invoke(AGENT_INPUT, {"callbacks": [OfModels(config, on_run_end=reports.append)]})

    assert [report.model_calls for report in reports] == [1, 1]
    assert all(counts(client, report.run_id)[SUCCESS] == [1] for report in reports)


@pytest.mark.parametrize(
    ("ignored", "expected"),
    [("ignore_chat_model", []), ("ignore_llm", [("success", 1, None)])],
    ids=["ends-without-starts", "starts-without-ends"],
)
async def test_a_handler_that_hears_half_says_what_it_heard(
    ignored: str, expected: list[object], config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """`ignore_chat_model` leaves tokens and ends, `ignore_llm` leaves starts: neither is an error (fact 14)."""
    handler = type("Half", (LdAiHandler,), {ignored: True})(config, on_run_end=reports.append)

    list(chain().stream(QUESTION, {"callbacks": [handler]}))
    handler.flush()

    assert [(report.outcome, report.model_calls, report.summary.tokens) for report in reports] == expected
    assert handler.open_runs == 0

"""With every provider's own package, a run records what the provider's answer says."""

from collections.abc import Callable

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.runnables import Runnable

from langchain_ldai import LdAiHandler, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.providers.models import GOOGLE_MAY_SPEAK_GRPC, PROVIDERS, Provider, openai
from tests.providers.server import Answer, body, events, serving
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import ERROR, FIRST_TOKEN, SUCCESS, TOKENS, counts, search

pytestmark = [
    pytest.mark.asyncio,
    # Google's package derives from a class of aiohttp that wants no heirs.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    # Google's package forgets to await the body of an error.
    pytest.mark.filterwarnings("ignore:coroutine 'ClientResponse.json' was never awaited:RuntimeWarning"),
    # AWS's packages, and Google's for LangChain 0.3, stop reading at the last event and leave the rest to lie.
    pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning"),
]


def by_name(provider: Provider) -> str:
    """Return a provider's name, as the id of its cases."""
    return provider.name


each_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=by_name)

Make = Callable[[str], Runnable]


async def ask(call: Call, make: Make, answer: Answer, handler: LdAiHandler) -> None:
    """Ask a model that a provider serves which answers so."""
    with serving(answer) as url:
        await run(call, make(url), "Hi", {"callbacks": [handler]})


def make_for(provider: Provider, call: Call) -> Callable[[str], BaseChatModel]:
    """Return what makes the provider's model; skip what cannot be served over HTTP."""
    if provider.name == "google" and GOOGLE_MAY_SPEAK_GRPC and call in (INVOKED["ainvoke"], STREAMED["astream"]):
        pytest.skip("for LangChain 0.3, Google's package speaks gRPC, and no HTTP, when it is async")
    return provider.make


@each_provider
@each(INVOKED)
async def test_a_whole_answer_has_tokens_and_no_first_token(
    call: Call, provider: Provider, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Tokens are recorded once, cached ones included once; a package that always streams has a first token."""
    answer = provider.whole or provider.stream("answer")

    await ask(call, make_for(provider, call), answer, handler)

    (report,) = reports
    assert (FIRST_TOKEN in client.metrics(report.run_id)) is (provider.whole is None)
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}


@each_provider
@each(STREAMED)
async def test_a_streamed_answer_has_tokens_and_a_first_token(
    call: Call, provider: Provider, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A stream's usage is counted once, however many of its events carry it."""
    await ask(call, make_for(provider, call), provider.stream("answer"), handler)

    (report,) = reports
    assert FIRST_TOKEN in client.metrics(report.run_id)
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}


@each_provider
@each(STREAMED)
async def test_a_tool_call_is_a_first_token(
    call: Call, provider: Provider, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A stream of nothing but a tool call has a first token (fact 34)."""
    make = make_for(provider, call)

    await ask(call, lambda url: make(url).bind_tools([search]), provider.stream("tool"), handler)

    (report,) = reports
    assert FIRST_TOKEN in client.metrics(report.run_id)
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}


@each_provider
@each({**INVOKED, **STREAMED})
async def test_a_refusal_is_one_error(
    call: Call, provider: Provider, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A call that the provider refuses has failed once, without tokens or a first token."""
    status = 500 if call in INVOKED.values() else 400

    with pytest.raises(Exception, match=r"\S"):
        await ask(call, make_for(provider, call), body(f"{provider.name}/error.json", status), handler)

    (report,) = reports
    assert (report.outcome, report.model_calls, report.failed_model_calls) == (Outcome.ERROR, 1, 1)
    assert FIRST_TOKEN not in client.metrics(report.run_id)
    assert counts(client, report.run_id) == {ERROR: [1]}


@each_provider
@each(STREAMED)
async def test_a_break_after_the_first_text_keeps_what_is_known(
    call: Call, provider: Provider, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A connection that breaks is an error; first token and any usage told by then are kept (fact 93)."""
    answer = provider.stream("answer").cut_after(provider.until_text)

    with pytest.raises(Exception, match=r"\S"):
        await ask(call, make_for(provider, call), answer, handler)

    (report,) = reports
    assert FIRST_TOKEN in client.metrics(report.run_id)
    assert counts(client, report.run_id)[ERROR] == [1]
    assert (report.failed_model_calls, report.summary.tokens) == (1, provider.partial)


@pytest.mark.parametrize("provider", [item for item in PROVIDERS if item.until_usage], ids=by_name)
@each(STREAMED)
async def test_a_break_after_the_usage_keeps_the_usage(
    call: Call, provider: Provider, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A connection that breaks before the end is an error; the usage told by then counts once (fact 93)."""
    with pytest.raises(Exception, match=r"\S"):
        await ask(call, make_for(provider, call), provider.until_usage, handler)

    (report,) = reports
    assert counts(client, report.run_id) == {ERROR: [1], **TOKENS}


@each(INVOKED)
async def test_two_candidates_share_one_usage(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """With n=2, OpenAI states the usage of both once, and LangChain repeats it on each (fact 84)."""
    await ask(call, lambda url: openai(url, n=2), body("openai/two.json"), handler)

    assert counts(client, reports[0].run_id) == {SUCCESS: [1], **TOKENS}


@each(STREAMED)
async def test_a_stream_that_says_no_usage_has_no_tokens(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """With a custom base URL, OpenAI's package asks for no usage; what is unknown is not sent (fact 87)."""
    await ask(call, lambda url: openai(url, stream_usage=None), events("openai/no-usage.sse"), handler)

    (report,) = reports
    assert FIRST_TOKEN in client.metrics(report.run_id)
    assert counts(client, report.run_id) == {SUCCESS: [1]}


@each(STREAMED)
async def test_a_stream_without_content_has_no_first_token(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A role, a closing chunk and a chunk of usage are no first token (facts 34, 36)."""
    await ask(call, openai, events("openai/empty.sse"), handler)

    (report,) = reports
    assert FIRST_TOKEN not in client.metrics(report.run_id)
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}

"""When a streamed call of OpenAI's or Azure's ends without usage, the log says once how to get it."""

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessageChunk

from langchain_ldai import LdAiCompletionConfig, LdAiHandler
from tests.providers.models import openai
from tests.providers.server import events, serving
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import QUESTION, chain
from tests.support.models import HELLO, ScriptedChat

pytestmark = pytest.mark.asyncio

WITHOUT_USAGE = [AIMessageChunk(""), AIMessageChunk("Hello")]


class Chat(ScriptedChat):
    """A chat model of a provider."""

    provider: str = "openai"

    def _get_ls_params(self, stop=None, **kwargs):
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_provider": self.provider}


def hints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the hints in the log."""
    return [record.getMessage() for record in caplog.records if "stream_usage" in record.getMessage()]


@pytest.mark.parametrize("provider", ["openai", "azure"])
@each(STREAMED)
async def test_a_stream_without_usage_gives_one_hint_a_handler(
    call: Call, provider: str, config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """The hint names `stream_usage=True` and `base_url`; a second such call of the handler gives none."""
    model = Chat(script=[WITHOUT_USAGE], provider=provider)

    for handler in [LdAiHandler(config)] * 2 + [LdAiHandler(config)]:
        await run(call, model, "Hi", {"callbacks": [handler]})

    assert len(hints(caplog)) == 2
    assert all("stream_usage=True" in hint and "base_url" in hint for hint in hints(caplog))
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert all(record.name.startswith("langchain_ldai.") for record in caplog.records)


@each(STREAMED)
async def test_openais_package_with_a_base_url_gives_the_hint(
    call: Call, handler: LdAiHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """With a `base_url`, OpenAI's package asks for no usage unless it is told to (fact 87)."""
    with serving(events("openai/no-usage.sse")) as url:
        await run(call, openai(url, stream_usage=None), "Hi", {"callbacks": [handler]})

    assert len(hints(caplog)) == 1


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(Chat(script=[HELLO]), id="usage-is-there"),
        pytest.param(Chat(script=[WITHOUT_USAGE], provider="ollama"), id="another-provider"),
    ],
)
@each(STREAMED)
async def test_a_stream_that_needs_no_hint_gives_none(
    call: Call, model: Chat, handler: LdAiHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no hint where usage came, nor where `stream_usage` is none of the provider's."""
    await run(call, model, "Hi", {"callbacks": [handler]})

    assert hints(caplog) == []


@each(STREAMED)
async def test_a_stream_that_fails_gives_no_hint(
    call: Call, handler: LdAiHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that breaks before the usage is no want of `stream_usage`."""
    with serving(events("openai/answer.sse").cut_after(2)) as url, pytest.raises(Exception, match=r"\S"):
        await run(call, openai(url), "Hi", {"callbacks": [handler]})

    assert hints(caplog) == []


@each(INVOKED)
async def test_a_call_that_does_not_stream_gives_no_hint(
    call: Call, handler: LdAiHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """A whole answer has no use for `stream_usage`; nor has a cache hit, which uses nothing (fact 79)."""
    model = Chat(script=[WITHOUT_USAGE], cache=InMemoryCache())

    for _ in range(2):
        await run(call, model, "Hi", {"callbacks": [handler]})

    assert hints(caplog) == []


@pytest.mark.parametrize(("provider", "count"), [("openai", 1), ("azure", 1), ("somebody", 0)])
async def test_a_silent_stream_is_explained_once(
    provider: str, count: int, handler: LdAiHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """One hint a handler names `stream_usage` where an OpenAI-style stream ends without usage (fact 87)."""
    model = Chat(provider=provider, script=[[AIMessageChunk("Hello")], [AIMessageChunk("Hello")], HELLO])

    for _ in range(3):
        list(chain(model).stream(QUESTION, {"callbacks": [handler]}))

    assert len(caplog.records) == count
    assert all("stream_usage=True" in record.message for record in caplog.records)


@each(STREAMED)
async def test_a_stream_that_nothing_counts_gives_no_hint(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    """Where the handler's function leaves a run alone, none of its tokens are missing."""
    await run(call, Chat(script=[WITHOUT_USAGE]), "Hi", {"callbacks": [LdAiHandler(lambda metadata: None)]})

    assert hints(caplog) == []

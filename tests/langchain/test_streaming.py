"""Which calls have a time to first token, and which have none (facts 13, 29 to 33)."""

from collections.abc import AsyncIterator, Awaitable, Iterator

import pytest
from langchain_core.language_models.chat_models import BaseChatModel, generate_from_stream
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph

from langchain_ldai import LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import AGENT_INPUT, FIRST_TOKEN, chain
from tests.support.models import USAGE, ScriptedChat
from tests.support.observe import HAS_V3, EventLog, Way, count_first_tokens, needs_v3

pytestmark = pytest.mark.asyncio


class WithSetting(ScriptedChat):
    """A model with the field that integrations have."""

    streaming: bool = False


class Plain(BaseChatModel):
    """A model that cannot stream."""

    @property
    def _llm_type(self) -> str:
        return "plain"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Hello, world", usage_metadata=USAGE))])


class Telling(ScriptedChat):
    """A model that tells its run manager of each chunk itself."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs) -> Iterator[ChatGenerationChunk]:
        for chunk in super()._stream(messages):
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


class StreamingWithin(Telling):
    """A model whose `_generate` streams internally."""

    def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        return generate_from_stream(self._stream(messages, run_manager=run_manager))

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        return self._generate(messages, run_manager=run_manager.get_sync())


def graph(model: Runnable | None = None) -> Runnable:
    """Return a graph of one node that calls the model."""
    model = model or ScriptedChat()

    async def acall(state: MessagesState) -> dict[str, object]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    call = RunnableLambda(lambda state: {"messages": [model.invoke(state["messages"])]}, acall)
    builder.add_node("call", call)
    builder.add_edge(START, "call")
    return builder.compile()


async def read(stream: AsyncIterator[object] | Awaitable[AsyncIterator[object]]) -> None:
    """Read a stream to its end."""
    stream = await stream if isinstance(stream, Awaitable) else stream
    async for _ in stream:
        pass


invoking = RunnableLambda(lambda question, config: ScriptedChat().invoke(question, config))
v3_is_beta = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
from_settings = pytest.mark.skipif(
    not HAS_V3, reason="langchain-core 0.3 leaves `streaming` to the models (facts 29, 30)"
)

STREAMING = {
    "stream": lambda config: list(ScriptedChat().stream("?", config)),
    "astream": lambda config: read(ScriptedChat().astream("?", config)),
    "stream-of-a-chain": lambda config: list(chain().stream({"question": "?"}, config)),
    "astream_events-v2": lambda config: read(invoking.astream_events("?", config, version="v2")),
    "stream=True": lambda config: ScriptedChat().invoke("?", config, stream=True),
    "streaming-within": lambda config: StreamingWithin().invoke("?", config),
    "streaming-within-async": lambda config: StreamingWithin().ainvoke("?", config),
    "graph-messages": lambda config: list(graph().stream(AGENT_INPUT, config, stream_mode="messages")),
    "agraph-messages": lambda config: read(graph().astream(AGENT_INPUT, config, stream_mode="messages")),
}
STREAMING_AS_OF_OLD = {
    "astream_events-v1": lambda config: read(invoking.astream_events("?", config, version="v1")),
    "astream_log": lambda config: read(invoking.astream_log("?", config)),
}
STREAMING_IN_V3 = {
    "model": lambda config: list(ScriptedChat().stream_events("?", config, version="v3")),
    "amodel": lambda config: read(ScriptedChat().astream_events("?", config, version="v3")),
    "graph": lambda config: list(graph().stream_events(AGENT_INPUT, config, version="v3")),
    "agraph": lambda config: read(graph().astream_events(AGENT_INPUT, config, version="v3")),
    "model-that-tells": lambda config: list(Telling().stream_events("?", config, version="v3")),
}
SILENT = {
    "invoke": lambda config: ScriptedChat().invoke("?", config),
    "ainvoke": lambda config: ScriptedChat().ainvoke("?", config),
    "graph-values": lambda config: list(graph().stream(AGENT_INPUT, config, stream_mode="values")),
    "agraph-updates": lambda config: read(graph().astream(AGENT_INPUT, config, stream_mode="updates")),
    "disable_streaming": lambda config: list(ScriptedChat(disable_streaming=True).stream("?", config)),
    "no-_stream": lambda config: list(Plain().stream("?", config)),
    "no-_astream": lambda config: read(Plain().astream("?", config)),
}


@pytest.mark.parametrize("way", STREAMING.values(), ids=STREAMING)
async def test_whatever_streams_tokens_has_a_first_one(
    way: Way, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Also where the caller did not ask the model for a stream (facts 13, 29)."""
    assert await count_first_tokens(way, client, handler, reports) == 1


@pytest.mark.filterwarnings("ignore:astream_events version='v1' is deprecated", "ignore:astream_log is deprecated")
@pytest.mark.parametrize("way", STREAMING_AS_OF_OLD.values(), ids=STREAMING_AS_OF_OLD)
async def test_deprecated_streams_have_a_first_token(
    way: Way, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """They make the models below them stream as `astream_events` v2 does (fact 29)."""
    assert await count_first_tokens(way, client, handler, reports) == 1


@v3_is_beta
@needs_v3
@pytest.mark.parametrize("way", STREAMING_IN_V3.values(), ids=STREAMING_IN_V3)
async def test_a_v3_stream_has_a_first_token(
    way: Way, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`on_stream_event` comes there, alone or beside `on_llm_new_token`: it counts once (facts 31, 32)."""
    assert await count_first_tokens(way, client, handler, reports) == 1


@pytest.mark.parametrize("way", SILENT.values(), ids=SILENT)
async def test_whatever_answers_at_once_has_no_first_token(
    way: Way, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A missing first token stays absent; the handler turns no call into a stream (facts 30, 33)."""
    assert await count_first_tokens(way, client, handler, reports) == 0


@from_settings
@pytest.mark.parametrize(
    ("streaming", "call", "expected"),
    [(True, INVOKED["invoke"], 1), (True, INVOKED["ainvoke"], 1), (False, STREAMED["stream"], 0)],
    ids=["on-invoke", "on-ainvoke", "off-stream"],
)
async def test_the_models_own_setting_decides(
    streaming: bool,
    call: Call,
    expected: int,
    handler: LdAiHandler,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """A model's `streaming` turns its invokes into streams, and its streams into invokes (facts 29, 30)."""
    model = WithSetting(streaming=streaming)

    assert await count_first_tokens(lambda config: call(model, "?", config), client, handler, reports) == expected


@each(INVOKED)
async def test_the_handler_makes_no_call_a_stream(call: Call, handler: LdAiHandler) -> None:
    """It looks like none of LangChain's streaming handlers, whose presence makes models stream (fact 33)."""
    events = EventLog()

    await run(call, chain(), {"question": "?"}, {"callbacks": [events, handler]})

    assert {"on_llm_new_token", "on_stream_event"}.isdisjoint(events.seen)
    assert not hasattr(handler, "tap_output_iter")


@each({**INVOKED, **STREAMED})
async def test_the_first_call_that_streams_counts(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A call before it that does not stream, and those after it that do, change nothing (facts 29, 30)."""
    answers, streams = ScriptedChat(), ScriptedChat()
    steps = RunnableLambda(lambda question, config: [question, answers.invoke(question, config, stream=False)][0])
    two_streams = RunnableLambda(lambda question, config: [list(streams.stream(question, config)) for _ in "ab"])

    await run(call, steps | two_streams, "?", {"callbacks": [handler]})

    (report,) = reports
    assert report.model_calls == 3
    assert len(client.metrics(report.run_id)[FIRST_TOKEN]) == 1

"""Which chunk of a stream is the first token (facts 8, 34 to 36)."""

from collections.abc import Iterator

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import GenerationChunk
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_ldai import LdAiHandler, RunReport, TokenUsage
from langchain_ldai.testing import RecordingClient
from tests.support.calls import STREAMED, Call, each, run
from tests.support.chains import FIRST_TOKEN, chain
from tests.support.models import USAGE_CHUNK, ScriptedChat, ScriptedLLM
from tests.support.observe import count_first_tokens, needs_v3

pytestmark = pytest.mark.asyncio


CARRYING = {
    "text": AIMessageChunk("Hello"),
    "blank": AIMessageChunk(" "),
    "tool-call": AIMessageChunk(
        "", tool_call_chunks=[{"name": "search", "args": "", "id": "1", "index": 0, "type": "tool_call_chunk"}]
    ),
    "reasoning": AIMessageChunk("", additional_kwargs={"reasoning_content": "Let me see"}),
    "thinking-block": AIMessageChunk([{"type": "thinking", "thinking": "Let me see", "index": 0}]),
    "text-block": AIMessageChunk([{"type": "text", "text": "Hello", "index": 0}]),
    "refusal-block": AIMessageChunk([{"type": "refusal", "refusal": "I will not", "index": 0}]),
}
EMPTY = {
    "role": AIMessageChunk(""),
    "no-blocks": AIMessageChunk([]),
    "empty-text-block": AIMessageChunk([{"type": "text", "text": "", "index": 0}]),
    "usage": USAGE_CHUNK,
    "finish-reason": AIMessageChunk("", response_metadata={"finish_reason": "stop"}),
}


def stream_v3(model: Runnable, value: object, config: RunnableConfig) -> list[object]:
    """Stream by the v3 protocol."""
    return list(model.stream_events(value, config, version="v3"))


PROTOCOLS = [
    *[pytest.param(call, id=name) for name, call in STREAMED.items()],
    pytest.param(stream_v3, id="v3", marks=needs_v3),
]


@pytest.mark.parametrize("call", PROTOCOLS)
@pytest.mark.parametrize("chunk", CARRYING.values(), ids=CARRYING)
async def test_a_chunk_that_carries_something_is_the_first_token(
    chunk: AIMessageChunk, call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Text, reasoning and parts of tool calls do, whatever `token` says of them (fact 34)."""
    model = ScriptedChat(script=[[AIMessageChunk(""), chunk, USAGE_CHUNK]])

    assert await count_first_tokens(lambda config: call(model, "?", config), client, handler, reports) == 1


@pytest.mark.parametrize("call", PROTOCOLS)
@pytest.mark.parametrize("chunk", EMPTY.values(), ids=EMPTY)
async def test_a_chunk_that_carries_nothing_is_no_first_token(
    chunk: AIMessageChunk, call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Nor does a stream's closing chunk, which LangChain 1.x adds (facts 8, 34, 36)."""
    model = ScriptedChat(script=[[chunk] if chunk is USAGE_CHUNK else [chunk, USAGE_CHUNK]])

    assert await count_first_tokens(lambda config: call(model, "?", config), client, handler, reports) == 0


async def test_the_first_token_is_recorded_when_it_comes(handler: LdAiHandler, client: RecordingClient) -> None:
    """At the chunk after the role chunk: neither before it, nor again (facts 34, 36)."""
    recorded = []

    for chunk in ScriptedChat().stream("?", {"callbacks": [handler]}):
        events = [event for event in client.events if event.name == FIRST_TOKEN]
        recorded.append((chunk.content, len(events)))

    assert recorded[:5] == [("", 0), ("Hello", 1), (", ", 1), ("world", 1), ("", 1)]


class TellingLLM(ScriptedLLM):
    """A legacy LLM that streams, and may tell its run manager so, without a chunk."""

    tells: bool

    def _stream(self, prompt, stop=None, run_manager=None, **kwargs) -> Iterator[GenerationChunk]:
        for text in ("", "Hello"):
            if run_manager and self.tells:
                run_manager.on_llm_new_token(text)
            yield GenerationChunk(text=text)


@pytest.mark.parametrize("tells", [True, False], ids=["tells", "does-not-tell"])
@each(STREAMED)
async def test_a_legacy_llm_has_a_first_token_where_it_tells(
    call: Call, tells: bool, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """LangChain tells of no legacy token itself; a token without its chunk is enough (fact 35)."""
    await run(call, TellingLLM(tells=tells), "?", {"callbacks": [handler]})

    assert (FIRST_TOKEN in client.metrics(reports[0].run_id)) is tells


@each(STREAMED)
async def test_tokens_are_those_of_the_merged_message(
    call: Call, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """LangChain adds up the usage of a stream's chunks; the handler reads the sum once (facts 34, 36)."""
    start = AIMessageChunk("", usage_metadata={"input_tokens": 10, "output_tokens": 0, "total_tokens": 10})
    end = AIMessageChunk("", usage_metadata={"input_tokens": 0, "output_tokens": 3, "total_tokens": 3})
    model = ScriptedChat(script=[[start, AIMessageChunk("Hello"), end]])

    await run(call, chain(model), {"question": "?"}, {"callbacks": [handler]})

    assert reports[0].summary.tokens == TokenUsage(13, 10, 3)

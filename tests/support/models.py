"""Deterministic chat models and LLMs that play a script and report usage, sync and async."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation, LLMResult
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, Field, PrivateAttr

USAGE: Final[UsageMetadata] = {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}
USAGE_CHUNK: Final = AIMessageChunk("", usage_metadata=USAGE)
HELLO: Final[list[AIMessageChunk | BaseException]] = [
    AIMessageChunk(""),
    AIMessageChunk("Hello"),
    AIMessageChunk(", "),
    AIMessageChunk("world"),
    USAGE_CHUNK,
]
"""A role chunk, three tokens and a chunk of usage, as OpenAI-style providers send them (fact 36)."""
GREETING: Final = HELLO[1:]
"""An answer that begins with a token."""
FLAKY: Final = ConnectionError("flaky")

Turn = list[AIMessageChunk | BaseException] | BaseException


def tool_call(name: str, usage: UsageMetadata = USAGE) -> Turn:
    """Return a turn in which the model asks for a tool."""
    call = {"name": name, "args": "{}", "id": f"call-{name}", "index": 0, "type": "tool_call_chunk"}
    return [AIMessageChunk("", tool_call_chunks=[call]), AIMessageChunk("", usage_metadata=usage)]


class ScriptedChat(BaseChatModel):
    """A chat model that plays one turn of its script a call, the last one for ever.

    An exception in a turn, or as a turn, is raised. `gate`, where given, is awaited before each chunk.
    """

    script: Sequence[Turn] = Field(default=(HELLO,))
    candidates: int = 1
    gate: asyncio.Event | None = None
    _played: int = PrivateAttr(default=0)

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[object], **kwargs: object) -> Runnable:
        """Accept tools; the script says when they are called."""
        return self

    def _turn(self) -> list[AIMessageChunk | BaseException]:
        turn = self.script[min(self._played, len(self.script) - 1)]
        self._played += 1
        if isinstance(turn, BaseException):
            raise turn
        return turn

    def _stream(self, messages, stop=None, run_manager=None, **kwargs) -> Iterator[ChatGenerationChunk]:
        for chunk in self._turn():
            if isinstance(chunk, BaseException):
                raise chunk
            yield ChatGenerationChunk(message=chunk.model_copy(deep=True))

    async def _astream(
        self, messages, stop=None, run_manager=None, **kwargs
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages):
            if self.gate is not None:
                await self.gate.wait()
            yield chunk

    def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        merged = AIMessageChunk("")
        for chunk in self._stream(messages):
            merged += chunk.message
        message = message_chunk_to_message(merged)
        assert isinstance(message, AIMessage)
        return ChatResult(generations=[ChatGeneration(message=message) for _ in range(self.candidates)])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        if self.gate is not None:
            await self.gate.wait()
        return self._generate(messages)


class ScriptedLLM(BaseLLM):
    """A legacy LLM that answers every prompt alike and reports the usage of them all together (fact 86)."""

    @property
    def _llm_type(self) -> str:
        return "scripted-llm"

    def _generate(self, prompts, stop=None, run_manager=None, **kwargs) -> LLMResult:
        count = len(prompts)
        usage = {"prompt_tokens": 7 * count, "completion_tokens": 2 * count, "total_tokens": 9 * count}
        return LLMResult(
            generations=[[Generation(text="Hello")] for _ in prompts], llm_output={"token_usage": usage}
        )


class NamedChat(ScriptedChat):
    """A chat model that says its name to LangChain."""

    name_to_tell: str

    def _get_ls_params(self, stop=None, **kwargs):
        return {**super()._get_ls_params(stop, **kwargs), "ls_model_name": self.name_to_tell}

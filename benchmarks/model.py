"""A chat model that answers at once, so that what is measured is what surrounds it."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolCall, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable

USAGE: Final[UsageMetadata] = {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}


class InstantChat(BaseChatModel):
    """Gives one answer for each tool that has answered in the messages, the last one for ever.

    Args:
        answers: The answers; a stream of one is `chunks`, whatever the messages.
        chunks: What is streamed, without a pause.
        model_name: Its name, which every provider's model tells.
    """

    answers: Sequence[AIMessage] = (AIMessage("Hold the button", usage_metadata=USAGE),)
    chunks: Sequence[ChatGenerationChunk] = ()
    model_name: str = "small-1"

    @property
    def _llm_type(self) -> str:
        return "instant"

    def bind_tools(self, tools: Sequence[object], **kwargs: object) -> Runnable:
        """Accept tools; the answers say when they are called."""
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        tools = sum(isinstance(message, ToolMessage) for message in messages)
        answer = self.answers[min(tools, len(self.answers) - 1)].model_copy()
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate(messages)

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield from self.chunks

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self.chunks:
            yield chunk


def streaming(count: int) -> InstantChat:
    """Return a model that streams so many chunks of text and one of usage."""
    # They are made once, since making one takes longer than what is measured.
    last = AIMessageChunk("", id="lc_run--0", usage_metadata=USAGE)
    messages = [*(AIMessageChunk("token ", id="lc_run--0") for _ in range(count)), last]
    return InstantChat(chunks=[ChatGenerationChunk(message=message) for message in messages])


def calling(tool: str, times: int) -> InstantChat:
    """Return a model that calls a tool so many times, and then answers."""
    calls = [ToolCall(name=tool, args={}, id=f"call-{number}") for number in range(times)]
    asking = [AIMessage("", tool_calls=[call], usage_metadata=USAGE) for call in calls]
    return InstantChat(answers=[*asking, AIMessage("Hold the button", usage_metadata=USAGE)])

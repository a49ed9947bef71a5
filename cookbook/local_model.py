"""A chat model that needs no account.

It streams a fixed answer word by word and reports its usage. Given tools, it calls the first of them once, with
its answer if that is JSON, and then answers.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel, generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool

ANSWER = "Hold the button"


class LocalModel(BaseChatModel):
    """Gives the same answer to every question; a word counts as a token.

    Args:
        model: Its name.
        answer: What it answers.
        pause: How many seconds it takes for a word.
    """

    model: str
    answer: str = ANSWER
    pause: float = 0

    @property
    def _llm_type(self) -> str:
        return "local"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """Let the model call these tools."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        tools = kwargs.get("tools")
        if tools and not isinstance(messages[-1], ToolMessage):
            name = tools[0]["function"]["name"]
            arguments = self.answer if self.answer.startswith("{") else "{}"
            call = tool_call_chunk(name=name, args=arguments, id=f"call-{name}", index=0)
            chunks = [AIMessageChunk(content="", tool_call_chunks=[call])]
        else:
            first, *others = self.answer.split()
            chunks = [AIMessageChunk(content=word) for word in (first, *(f" {other}" for other in others))]
        asked = sum(len(str(message.content).split()) for message in messages)
        usage = UsageMetadata(input_tokens=asked, output_tokens=len(chunks), total_tokens=asked + len(chunks))
        for chunk in [*chunks, AIMessageChunk(content="", usage_metadata=usage)]:
            time.sleep(self.pause)
            yield ChatGenerationChunk(message=chunk)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))

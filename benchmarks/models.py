"""A chat model that answers at once, so that what is measured is LangChain and the handlers."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

USAGE: Final[UsageMetadata] = {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}


class InstantChat(BaseChatModel):
    """Answers at once; streams the given number of chunks, of which the last one has the usage.

    Args:
        chunks: How many chunks with text a stream has.
        tool_calls: How many times it asks for the tool `look_up` before it answers.
    """

    chunks: int = 1
    tool_calls: int = 0

    @property
    def _llm_type(self) -> str:
        return "instant"

    def bind_tools(self, tools: Sequence[BaseTool | Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Accept tools; how often one is asked for is the model's own affair."""
        return self

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return {"ls_provider": "acme", "ls_model_name": "small-1", "ls_model_type": "chat"}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        asked = sum(message.type == "tool" for message in messages)
        calls = [{"name": "look_up", "args": {}, "id": f"call-{asked}"}] if asked < self.tool_calls else []
        answer = AIMessage("" if calls else "Hello", tool_calls=calls, usage_metadata=USAGE)
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for _ in range(self.chunks):
            yield ChatGenerationChunk(message=AIMessageChunk("Hello "))
        yield ChatGenerationChunk(message=AIMessageChunk("", usage_metadata=USAGE))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages):
            yield chunk

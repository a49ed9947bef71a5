"""A chat model that needs no account: it streams a fixed answer word by word and reports its usage."""

from collections.abc import Iterator
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

ANSWER = "Hold the button"


class LocalModel(BaseChatModel):
    """Answers every question with the same three words; a word counts as a token."""

    model: str

    @property
    def _llm_type(self) -> str:
        return "local"

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        words = ANSWER.split()
        for position, word in enumerate(words):
            text = word if position == 0 else f" {word}"
            yield ChatGenerationChunk(message=AIMessageChunk(text))
        asked = sum(len(str(message.content).split()) for message in messages)
        usage = {"input_tokens": asked, "output_tokens": len(words), "total_tokens": asked + len(words)}
        yield ChatGenerationChunk(message=AIMessageChunk("", usage_metadata=usage))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        chunks = [chunk.message for chunk in self._stream(messages)]
        whole = sum(chunks[1:], chunks[0])
        return ChatResult(generations=[ChatGeneration(message=AIMessage(**whole.model_dump(exclude={"type"})))])

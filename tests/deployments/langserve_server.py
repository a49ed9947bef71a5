"""The application of the recipe with a model that does as it is asked, and with workers that say who they are."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models.chat_models import agenerate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langserve_app import handler, ld, serve
from local_model import LocalModel


class AskedModel(LocalModel):
    """Streams its answer with pauses; asked to fail or to go on for ever, it does, after a word."""

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        question = messages[-1].content
        for chunk in self._stream(messages):
            yield chunk
            await asyncio.sleep(0.001)
            if question == "Fail":
                raise ValueError("as asked")
            while question == "Go on":
                yield ChatGenerationChunk(message=AIMessageChunk(" and"))
                await asyncio.sleep(0.02)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages))


class NamedWorker:
    """Adds a header with the id of the process."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

        async def send_with_name(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Worker"] = str(os.getpid())
            await send(message)

        await self.app(scope, receive, send_with_name)


def deliver() -> None:
    """Deliver all the time, so that no test waits for the next time that the clients do."""
    while True:
        handler.flush()
        ld.flush()
        pause.wait(0.05)


app = serve(lambda config: AskedModel(model=config.model.name))
app.add_middleware(NamedWorker)

pause = threading.Event()
if "DELIVER_AT_ONCE" in os.environ:
    threading.Thread(target=deliver, daemon=True).start()

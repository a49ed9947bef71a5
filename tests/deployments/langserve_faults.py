"""The LangServe recipe's application with two more routes: one that fails, one that never ends by itself."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langserve import add_routes

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "cookbook"))
from langserve_app import app, chain, with_handler
from local_model import LocalModel


class Endless(LocalModel):
    """Streams two words and then waits for ever."""

    async def _astream(
        self, messages, stop=None, run_manager=None, **kwargs
    ) -> AsyncIterator[ChatGenerationChunk]:
        for word in ("One", " moment"):
            yield ChatGenerationChunk(message=AIMessageChunk(word))
        await asyncio.Event().wait()


def fail(answer: str) -> str:
    """Fail once the model has answered."""
    raise ValueError(answer)


options = {"per_req_config_modifier": with_handler, "config_keys": ["configurable", "metadata", "callbacks"]}
add_routes(app, chain | fail, path="/fails", **options)
add_routes(app, chain.first | Endless(model="local-parrot"), path="/endless", **options)

"""What several tests observe with: another handler, a model that counts letters, and checks of the outcome."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config
from langsmith import Client

from langchain_ldai import LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.support.chains import FIRST_TOKEN, SUCCESS, TOKENS, counts
from tests.support.models import ScriptedChat

HAS_V3: Final = hasattr(Runnable, "stream_events")
needs_v3: Final = pytest.mark.skipif(not HAS_V3, reason="langchain-core 0.3 has no v3 stream protocol (fact 10)")
COPIES_CONFIGURABLE: Final = "user" in ensure_config({"configurable": {"user": "ada"}})["metadata"]
"""Whether every scalar of `configurable` is found in a run's metadata: in langchain-core 0.3 (fact 27)."""

TOKEN: Final = "ldai_resumption_token"
Way = Callable[[RunnableConfig], object]
"""How a runnable is called, given the config alone."""

_EVENTS: Final = [name for name in dir(BaseCallbackHandler) if name.startswith("on_")]


def _noting(event: str) -> Callable[..., None]:
    def note(self: "EventLog", *args: object, **kwargs: object) -> None:
        self.seen.append(event)
        if isinstance(metadata := kwargs.get("metadata"), dict):
            self.metadata.append(metadata)
            self.copies.append(dict(metadata))

    return note


class EventLog(BaseCallbackHandler):
    """Another handler, which notes its events by name, and their metadata: the dicts, and copies of then."""

    def __init__(self, *, inline: bool = False) -> None:
        self.run_inline = inline
        self.seen: list[str] = []
        self.metadata: list[dict[str, object]] = []
        self.copies: list[dict[str, object]] = []


for _event in _EVENTS:
    setattr(EventLog, _event, _noting(_event))


class LetterCountingChat(ScriptedChat):
    """A model that uses one input token for each letter of its last message; "fail" makes it fail."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs) -> Iterator[ChatGenerationChunk]:
        question = str(messages[-1].content)
        if question.startswith("fail"):
            raise ConnectionError(question)
        usage = {"input_tokens": len(question), "output_tokens": 3, "total_tokens": len(question) + 3}
        yield ChatGenerationChunk(message=AIMessageChunk("Hello"))
        yield ChatGenerationChunk(message=AIMessageChunk("", usage_metadata=usage))


class SilentClient(Client):
    """A LangSmith client that sends nothing and notes the marks of what it is given, at that time."""

    def __init__(self) -> None:
        super().__init__(api_url="http://localhost:9", api_key="none", auto_batch_tracing=False)
        self.created: list[object] = []
        self.updated: list[object] = []

    def create_run(self, *args, **kwargs) -> None:
        self.created.append(kwargs["extra"].get("metadata", {}).get(TOKEN))

    def update_run(self, *args, **kwargs) -> None:
        self.updated.append(kwargs["extra"].get("metadata", {}).get(TOKEN))


def summarize(reports: list[RunReport]) -> list[tuple[object, int, int, int]]:
    """Return each run's outcome, model calls, failed ones, and tokens."""
    return [
        (report.outcome, report.model_calls, report.failed_model_calls, getattr(report.summary.tokens, "total", 0))
        for report in reports
    ]


async def count_first_tokens(
    way: Way, client: RecordingClient, handler: LdAiHandler, reports: list[RunReport]
) -> int:
    """Return how many first tokens a run has that is called in this way; all else is checked to be whole."""
    result = way({"callbacks": [handler]})
    if isinstance(result, Awaitable):
        await result
    async with asyncio.timeout(60):
        while handler.open_runs:  # noqa: ASYNC110  a v3 stream ends before the model's end fires (fact 78)
            await asyncio.sleep(0)
    (report,) = reports
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}
    return len(client.metrics(report.run_id).get(FIRST_TOKEN, []))

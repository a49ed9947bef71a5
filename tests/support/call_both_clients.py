"""Both clients through one table: each is asked in the same way, and what it sends is recorded."""

import asyncio
from collections.abc import Mapping
from typing import Final

import pytest

from langchain_ldai import (
    AsyncLdAiClient,
    LdAiAgentConfigDefault,
    LdAiClient,
    LdAiCompletionConfigDefault,
    LdAiJudgeConfigDefault,
)
from langchain_ldai.testing import AsyncRecordingClient, RecordedEvent, RecordingClient


class SyncClient:
    """`LdAiClient`, called."""

    def __init__(self, flags: Mapping[str, object]) -> None:
        self.recording = RecordingClient(flags)
        self.ai = LdAiClient(self.recording)

    def __call__(self, method: str, *args: object, **options: object) -> object:
        """Call a method of the client by its name."""
        return getattr(self.ai, method)(*args, **options)

    @property
    def events(self) -> list[RecordedEvent]:
        """The events sent so far."""
        return list(self.recording.events)


class AsyncClient:
    """`AsyncLdAiClient`, awaited."""

    def __init__(self, flags: Mapping[str, object]) -> None:
        self.recording = AsyncRecordingClient(flags)
        self.ai = AsyncLdAiClient(self.recording)

    def __call__(self, method: str, *args: object, **options: object) -> object:
        """Await a method of the client by its name."""
        return asyncio.run(getattr(self.ai, method)(*args, **options))

    @property
    def events(self) -> list[RecordedEvent]:
        """The events sent so far."""
        return list(self.recording.events)


DEFAULTS: Final = {
    "completion_config": LdAiCompletionConfigDefault,
    "agent_config": LdAiAgentConfigDefault,
    "judge_config": LdAiJudgeConfigDefault,
}
"""The class of the default of each method."""

both_clients = pytest.mark.parametrize("ask_of", [SyncClient, AsyncClient], ids=["sync", "async"])
"""Runs a test with each client: `ask = ask_of(flags)`, then `ask("completion_config", key, context)`."""

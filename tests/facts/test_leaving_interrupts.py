"""Streams that are left where a run stops to ask: what the run had come to stands (facts 58, 73, 75 and 78)."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from typing import Final

import pytest
from langchain_core.runnables import Runnable, RunnablePassthrough
from langgraph.checkpoint.memory import InMemorySaver

from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG
from tests.facts.asking import ASKING
from tests.facts.graphs import NOTHING, Track, asks, calls, graph, in_parallel, says, thread, tracking
from tests.facts.stopping import PATIENCE_SECONDS, closed
from tests.facts.watching import needs_v3
from tests.support.chains import TOKENS, counts
from tests.support.models import HELLO, ScriptedChat

MODES: Final = ["values", "updates", "messages", "debug", "custom", ["updates", "messages"]]
modes = pytest.mark.parametrize("mode", MODES, ids=str)
asking = pytest.mark.parametrize(("build", "value", "tools"), ASKING.values(), ids=ASKING)
Build = Callable[[], Runnable]


@pytest.fixture
def client() -> RecordingClient:
    """A stand-in for `LDClient` that serves an AI Config for the run and one for a node."""
    return RecordingClient(dict.fromkeys(("support-bot", "writer"), FLAG))


@pytest.fixture
def track(
    config: LdAiCompletionConfig, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> Generator[Track]:
    """Handlers that are checked to leave nothing behind."""
    yield from tracking(config, reports, caplog)


@pytest.fixture
def writer(ai: LdAiClient, context) -> LdAiCompletionConfig:
    """The AI Config of a node."""
    return ai.completion_config("writer", context)


def has_asked(item: object) -> bool:
    """Whether a chunk, an event or a part of either tells of an interrupt."""
    return "__interrupt__" in str(item) or "Interrupt(" in str(item)


def leave(stream: Iterator[object], how: str) -> None:
    """Read a stream up to its interrupt, or as far as it goes without ending, and leave it."""
    for item in stream:
        if has_asked(item):
            break
    if how == "close":
        stream.close()


async def aleave(stream: AsyncIterator[object], how: str) -> None:
    """As a sync one."""
    async for item in stream:
        if has_asked(item):
            break
    if how == "close":
        await stream.aclose()


@pytest.mark.parametrize("how", ["close", "break"])
@modes
@asking
def test_a_stream_that_is_left_at_its_interrupt(
    how: str,
    mode: object,
    build: Build,
    value: object,
    tools: Mapping[str, list[int]],
    track: Track,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """The run is interrupted, as if it had been read to its end."""
    leave(build().stream(value, thread(track()), stream_mode=mode), how)

    (report,) = reports
    assert report.outcome is Outcome.INTERRUPTED
    assert counts(client, report.run_id) == {**TOKENS, **tools}


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["close", "break"])
@modes
@asking
async def test_an_async_stream_that_is_left_at_its_interrupt(
    how: str,
    mode: object,
    build: Build,
    value: object,
    tools: Mapping[str, list[int]],
    track: Track,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """As a sync one, once it is closed or collected."""
    handler = track()
    await aleave(build().astream(value, thread(handler), stream_mode=mode), how)
    await closed(handler, reports)

    (report,) = reports
    assert report.outcome is Outcome.INTERRUPTED
    assert counts(client, report.run_id) == {**TOKENS, **tools}


@pytest.mark.asyncio
@pytest.mark.filterwarnings("ignore:astream_events version='v1' is deprecated")
@pytest.mark.parametrize("version", ["v1", "v2"])
@asking
async def test_events_that_are_left_at_an_interrupt(
    version: str,
    build: Build,
    value: object,
    tools: Mapping[str, list[int]],
    track: Track,
    reports: list[RunReport],
) -> None:
    """As a stream."""
    handler = track()
    await aleave(build().astream_events(value, thread(handler), version=version), "close")
    await closed(handler, reports)

    assert [report.outcome for report in reports] == [Outcome.INTERRUPTED]

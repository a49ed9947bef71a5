"""The reader closes a stream where a run stops to ask: the run is interrupted (facts 58, 73, 75 and 78)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final

import pytest
from langchain_core.runnables import Runnable, RunnablePassthrough
from langgraph.checkpoint.memory import InMemorySaver

from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.runs.ends.asking import asking
from tests.runs.ends.stopping import PATIENCE_SECONDS, wait_until_closed
from tests.support.chains import QUESTION, TOKENS, chain, counts
from tests.support.graphs import NOTHING, State, asks, graph, in_parallel, says, thread
from tests.support.observe import needs_v3

MODES: Final = ["values", "updates", "messages", "debug", "custom", ["updates", "messages"]]
modes = pytest.mark.parametrize("mode", MODES, ids=str)
Build = Callable[[], Runnable]


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
    await wait_until_closed(handler, reports)

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
    await wait_until_closed(handler, reports)

    assert [report.outcome for report in reports] == [Outcome.INTERRUPTED]


@needs_v3
@pytest.mark.asyncio
@pytest.mark.filterwarnings("ignore:.*(is in beta|is experimental)")
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@asking
async def test_a_v3_stream_that_is_left_at_an_interrupt(
    is_async: bool,
    build: Build,
    value: object,
    tools: Mapping[str, list[int]],
    track: Track,
    reports: list[RunReport],
) -> None:
    """As a stream."""
    handler = track()
    if is_async:
        stream = await build().astream_events(value, thread(handler), version="v3")
        await aleave(aiter(stream), "break")
        await stream.abort()
    else:
        stream = build().stream_events(value, thread(handler), version="v3")
        leave(iter(stream), "break")
    del stream
    await wait_until_closed(handler, reports)

    assert [report.outcome for report in reports] == [Outcome.INTERRUPTED]


@pytest.mark.asyncio
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_chain_around_a_graph_that_is_left_at_its_interrupt(
    is_async: bool, track: Track, reports: list[RunReport]
) -> None:
    """LangChain ends its root like a success, or with the reader's error: interrupted both times (fact 72)."""
    handler, around = track(), RunnablePassthrough() | graph({"asks": asks}, checkpointer=InMemorySaver())
    if is_async:
        await aleave(around.astream(NOTHING, thread(handler)), "close")
    else:
        leave(around.stream(NOTHING, thread(handler)), "close")
    await wait_until_closed(handler, reports)

    assert [report.outcome for report in reports] == [Outcome.INTERRUPTED]


def test_a_stream_that_is_kept_at_its_interrupt_is_interrupted(track: Track, reports: list[RunReport]) -> None:
    """A run that is given up had come to what it had come to (fact 74)."""
    handler = track(run_timeout=1e-9)
    stream = graph({"asks": asks}, checkpointer=InMemorySaver()).stream(NOTHING, thread(handler))
    leave(stream, "keep")

    handler.flush()
    stream.close()

    assert [report.outcome for report in reports] == [Outcome.INTERRUPTED]


@modes
def test_a_node_that_asked_and_its_run_tell_the_same(
    mode: object, track: Track, writer: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """Both are interrupted, and the sibling that had answered is a success."""
    nodes = {"writer": asks, "critic": says()}
    paused = graph(nodes, in_parallel(*nodes), checkpointer=InMemorySaver())
    handler = track(nodes={"writer": writer, "critic": writer})

    leave(paused.stream(NOTHING, thread(handler), stream_mode=mode), "close")

    (report,) = reports
    outcomes = {name: node.outcome for name, node in report.nodes.items()}
    assert (report.outcome, outcomes["writer"]) == (Outcome.INTERRUPTED, Outcome.INTERRUPTED)
    assert outcomes["critic"] is Outcome.SUCCESS


@pytest.mark.asyncio
async def test_a_sibling_at_work_when_an_interrupted_stream_is_left_is_cancelled(
    track: Track, writer: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """The run had been asked something; the sibling had not."""
    at_work = asyncio.Event()

    async def waits(state: object) -> object:
        await chain().ainvoke(QUESTION)
        at_work.set()
        return await asyncio.Event().wait()

    async def asks_then(state: State) -> State:
        await at_work.wait()
        return asks(state)

    handler, nodes = track(nodes={"writer": writer, "critic": writer}), {"writer": asks_then, "critic": waits}
    paused = graph(nodes, in_parallel(*nodes), checkpointer=InMemorySaver())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await aleave(paused.astream(NOTHING, thread(handler), stream_mode="updates"), "close")
    await wait_until_closed(handler, reports)

    (report,) = reports
    assert {name: node.outcome for name, node in report.nodes.items()} == {
        "writer": Outcome.INTERRUPTED,
        "critic": Outcome.CANCELLED,
    }
    assert report.outcome is Outcome.INTERRUPTED


def test_an_agent_graph_that_is_left_at_an_interrupt(context, reports: list[RunReport]) -> None:
    """Neither the graph nor its agent succeeded or failed, and nothing was handed over."""
    agent = {"_ldMeta": {"enabled": True, "mode": "agent"}, "instructions": "Do it."}
    edges = {"root": "writer", "edges": {"writer": [{"key": "critic"}]}, "_ldMeta": {"enabled": True}}
    serving = RecordingClient({"desk": edges, "writer": agent, "critic": agent})
    handler = LdAiHandler(LdAiClient(serving).agent_graph("desk", context), on_run_end=reports.append)
    desk = graph({"writer": says(), "critic": asks}, checkpointer=InMemorySaver())

    leave(desk.stream(NOTHING, thread(handler)), "close")

    (report,) = reports
    assert (report.outcome, report.path) == (Outcome.INTERRUPTED, ("writer", "critic"))
    assert [node.outcome for node in report.nodes.values()] == [Outcome.SUCCESS, Outcome.INTERRUPTED]
    assert not [event for event in serving.events if "handoff" in event.name or "invocation" in event.name]

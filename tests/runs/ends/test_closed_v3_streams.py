"""Streams of the v3 protocol that end late, or that nobody reads to the end (facts 75 and 78)."""

import asyncio
import gc

import pytest

from langchain_ldai import Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.runs.ends.stopping import PATIENCE_SECONDS, CallsHeldUp, greets, is_cancelled, wait_until_closed
from tests.support.chains import DURATION, FIRST_TOKEN, SUCCESS, TOKENS, counts
from tests.support.graphs import NOTHING, graph, says
from tests.support.observe import needs_v3

pytestmark = [needs_v3, pytest.mark.filterwarnings("ignore:.*(is in beta|is experimental)")]


@pytest.mark.parametrize("ends", ["with-the-loop", "before-it"])
def test_a_v3_stream_whose_output_comes_first(
    ends: str, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`output` may be there before the model's end is told: the run succeeds, if with its loop (fact 78)."""
    handler = track()

    async def ask() -> None:
        stream = await greets().astream_events("How?", {"callbacks": [handler]}, version="v3")
        await stream.output
        if ends == "before-it":
            await wait_until_closed(handler, reports)

    asyncio.run(ask())

    (report,) = reports
    assert (report.outcome, report.model_calls) == (Outcome.SUCCESS, 1)
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}


@pytest.mark.parametrize("how", ["aclose", "loop"])
def test_an_async_v3_stream_that_is_left(
    how: str, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """It tells of no end until it is closed, or its loop is: cancelled (fact 78)."""
    handler = track()

    async def ask() -> object:
        gate = CallsHeldUp(after=2)
        stream = await greets(gate).astream_events("How?", {"callbacks": [handler]}, version="v3")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await anext(aiter(stream.text))
            await gate.reached.wait()
        assert (reports, handler.open_runs) == ([], 1)
        if how == "aclose":
            await stream.aclose()
        return stream

    asyncio.run(ask())

    (report,) = reports
    assert is_cancelled(report, model_calls=1)
    assert set(client.metrics(report.run_id)) == {DURATION, FIRST_TOKEN}


def test_a_sync_v3_stream_that_is_left(track: Track, client: RecordingClient, reports: list[RunReport]) -> None:
    """It never tells of an end, collected or not: abandoned (fact 78)."""
    handler = track(run_timeout=1e-9)
    stream = greets().stream_events("How?", {"callbacks": [handler]}, version="v3")
    next(iter(stream.text))
    del stream
    gc.collect()
    assert (reports, handler.open_runs) == ([], 1)

    handler.flush()

    (report,) = reports
    assert (report.outcome, report.model_calls) == (Outcome.ABANDONED, 1)
    assert set(client.metrics(report.run_id)) == {DURATION, FIRST_TOKEN}


@pytest.mark.asyncio
async def test_a_v3_stream_of_a_graph_that_is_aborted(
    track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The graph's root tells of it: cancelled (facts 75, 78)."""
    gate, handler = CallsHeldUp(after=2), track()
    stream = await graph({"one": says(greets(gate))}).astream_events(
        NOTHING, {"callbacks": [handler]}, version="v3"
    )
    reader = asyncio.ensure_future(stream.output())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await gate.reached.wait()

    await stream.abort()
    reader.cancel()
    await wait_until_closed(handler, reports)

    (report,) = reports
    assert is_cancelled(report, model_calls=1)
    assert set(client.metrics(report.run_id)) == {DURATION, FIRST_TOKEN}

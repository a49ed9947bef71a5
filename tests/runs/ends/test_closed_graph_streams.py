"""Streams of graphs, and HTTP responses, that nobody reads to the end; steps out of time (facts 70, 73 to 77)."""

import asyncio
from typing import Final

import pytest
from langchain_core.runnables import Runnable
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from langchain_ldai import LdAiHandler, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.runs.ends.stopping import PATIENCE_SECONDS, CallsHeldUp, greets, is_cancelled, wait_until_closed
from tests.support.chains import DURATION, ERROR, FIRST_TOKEN, TOKENS, chain, counts
from tests.support.graphs import NOTHING, NeverOpens, graph, says

MODES: Final = ["messages", "updates"]


def two_nodes(second: Runnable | None = None) -> Runnable:
    """Return a graph of two nodes, one after the other."""
    return graph({"one": says(greets()), "two": says(second or greets())})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["close", "break"])
def test_a_graph_stream_that_is_closed(
    how: str, mode: str, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Sync, the node that runs is completed, and no other begins: cancelled, with its tokens (fact 75)."""
    stream = two_nodes().stream(NOTHING, {"callbacks": [track()]}, stream_mode=mode)
    next(stream)

    if how == "close":
        stream.close()
    del stream

    (report,) = reports
    assert is_cancelled(report, model_calls=1)
    assert counts(client, report.run_id) == TOKENS


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["aclose", "break"])
async def test_an_async_graph_stream_that_is_closed_within_a_node(
    how: str, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Async, the node is cancelled and its model call never ends: cancelled, with no tokens (fact 75)."""
    handler = track()
    flow = graph({"one": says(greets(CallsHeldUp(after=2)))})
    stream = flow.astream(NOTHING, {"callbacks": [handler]}, stream_mode="messages")
    await anext(stream)

    if how == "aclose":
        await stream.aclose()
    del stream
    await wait_until_closed(handler, reports)

    (report,) = reports
    assert is_cancelled(report, model_calls=1)
    assert set(client.metrics(report.run_id)) == {DURATION, FIRST_TOKEN}


@pytest.mark.asyncio
async def test_an_async_graph_whose_reader_is_cancelled(
    track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """What the nodes before have used counts, and the call that never ends does not hold it back (fact 75)."""
    gate, handler = NeverOpens(), track()
    stream = two_nodes(greets(gate)).astream(NOTHING, {"callbacks": [handler]}, stream_mode="updates")
    await anext(stream)
    reader = asyncio.ensure_future(anext(stream))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await gate.reached.wait()

    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await wait_until_closed(handler, reports)

    (report,) = reports
    assert is_cancelled(report, model_calls=2)
    assert counts(client, report.run_id) == TOKENS


@pytest.mark.asyncio
async def test_a_graph_whose_step_takes_too_long(
    track: Track, client: RecordingClient, reports: list[RunReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`step_timeout` cancels the node, and the root's `TimeoutError` is an error like any other (fact 77)."""
    gate, handler = NeverOpens(), track()
    flow = two_nodes(greets(gate))
    flow.step_timeout = 3600
    loop = asyncio.get_running_loop()
    began, time = loop.time(), loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + 7200 * gate.reached.is_set())

    with pytest.raises(TimeoutError):
        await flow.ainvoke(NOTHING, {"callbacks": [handler]})
    assert loop.time() - began > 3600
    handler.flush()

    (report,) = reports
    assert (report.outcome, report.model_calls, report.failed_model_calls) == (Outcome.ERROR, 2, 0)
    assert counts(client, report.run_id) == {ERROR: [1], **TOKENS}


def response(handler: LdAiHandler, gate: asyncio.Event | None = None) -> StreamingResponse:
    """Return a response that streams a chain."""
    return StreamingResponse(chain(greets(gate)).astream("How?", {"callbacks": [handler]}))


def request(spec: str) -> dict[str, object]:
    """Return a request as a server of a version of ASGI passes it on."""
    return {"type": "http", "asgi": {"spec_version": spec}}


@pytest.mark.asyncio
async def test_a_client_that_leaves_while_a_model_is_called(
    track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Starlette cancels the response, and the run with it (facts 70, 73)."""
    gate, handler = CallsHeldUp(after=2), track()

    async def receive() -> dict[str, object]:
        await gate.reached.wait()
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        """Take everything."""

    async with asyncio.timeout(PATIENCE_SECONDS):
        await response(handler, gate)(request("2.3"), receive, send)
    await wait_until_closed(handler, reports)

    (report,) = reports
    assert is_cancelled(report, model_calls=1)
    assert set(client.metrics(report.run_id)) == {DURATION, FIRST_TOKEN}


@pytest.mark.asyncio
async def test_a_client_that_has_left_when_it_is_sent_to(
    track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Starlette leaves the stream where it is: the run is cancelled once that is collected (fact 73)."""
    handler = track()

    async def send(message: dict[str, object]) -> None:
        if message.get("body"):
            raise OSError

    with pytest.raises((ClientDisconnect, ExceptionGroup)):  # a group in older releases of Starlette
        await response(handler)(request("2.4"), asyncio.Event().wait, send)
    await wait_until_closed(handler, reports)

    (report,) = reports
    assert is_cancelled(report, model_calls=1)
    assert set(client.metrics(report.run_id)) == {DURATION, FIRST_TOKEN}


@pytest.mark.asyncio
async def test_a_client_that_stays_and_reads_no_further(
    track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Its run stays open, as nothing tells of it, until it is silent for too long: abandoned, once (fact 74)."""
    full, patient, handler = NeverOpens(), track(), track(run_timeout=1e-9)

    async def send(message: dict[str, object]) -> None:
        if message.get("body"):
            await full.wait()

    stream = chain(greets()).astream("How?", {"callbacks": [patient, handler]})
    task = asyncio.ensure_future(StreamingResponse(stream)(request("2.4"), asyncio.Event().wait, send))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await full.reached.wait()
    patient.flush()
    assert (reports, patient.open_runs) == ([], 1)
    handler.flush()
    (given_up,) = reports
    sent = client.metrics(given_up.run_id)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del reports[:], stream, task
    await wait_until_closed(patient, reports)

    assert (given_up.outcome, set(sent)) == (Outcome.ABANDONED, {DURATION, FIRST_TOKEN})
    assert client.metrics(given_up.run_id) == sent
    assert [is_cancelled(report, model_calls=1) for report in reports] == [True]

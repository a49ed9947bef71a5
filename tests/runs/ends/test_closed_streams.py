"""Streams that the reader closes, abandons or stops reading before their end: facts 71 to 75, 77 and 117."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_ldai import Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.runs.ends.stopping import STREAMING, CallsHeldUp, Shape, wait_until_closed
from tests.support.chains import DURATION, FIRST_TOKEN, QUESTION, SUCCESS, TOKENS, chain, counts
from tests.support.events import call_model, start_stream, stream_first_token
from tests.support.models import GREETING, ScriptedChat

INPUT_FIRST: Final = [
    AIMessageChunk("Hello", usage_metadata={"input_tokens": 10, "output_tokens": 0, "total_tokens": 10}),
    AIMessageChunk("", usage_metadata={"input_tokens": 0, "output_tokens": 3, "total_tokens": 3}),
]
"""An answer that tells of its input first and of its output last, as Anthropic's do."""
INPUT: Final = {"$ld:ai:tokens:total": [10], "$ld:ai:tokens:input": [10]}

SEQUENCES: Final = {name: STREAMING[name] for name in ("chain", "retried")}
ENDING: Final = {name: STREAMING[name] for name in ("model", "chain", "retried", "graph")}
"""The shapes of which the first chunk is the model's, and whose root tells of an end when a stream is closed."""

Leave = Callable[[Runnable, object], None]
Wanted = Callable[[object], bool]
ALeave = Callable[..., Awaitable[None]]


def close(runnable: Runnable, config: object) -> None:
    """Read one chunk of a stream and close it."""
    stream = runnable.stream("How?", config)
    next(stream)
    stream.close()


def break_out(runnable: Runnable, config: object) -> None:
    """Read one chunk of a stream in a loop and leave that."""
    for _ in runnable.stream("How?", config):
        break


async def abreak_out(stream: AsyncIterator[object], wanted: Wanted = bool) -> None:
    """Read a stream in a loop, up to what is wanted, and leave that."""
    async for item in stream:
        if wanted(item):
            break


async def aclose(stream: AsyncIterator[object], wanted: Wanted = bool) -> None:
    """Read a stream up to what is wanted and close it."""
    await abreak_out(stream, wanted)
    await stream.aclose()


each_way = pytest.mark.parametrize("leave", [close, break_out], ids=["close", "break"])
each_async_way = pytest.mark.parametrize("leave", [aclose, abreak_out], ids=["aclose", "break"])


def cancelled(reports: list[RunReport], client: RecordingClient) -> dict[str, list[float]]:
    """Return the metrics of the one run but for the times: one of a single model call, which were cancelled."""
    (report,) = reports
    assert (report.outcome, report.model_calls, report.failed_model_calls) == (Outcome.CANCELLED, 1, 0)
    assert {DURATION, FIRST_TOKEN} <= client.metrics(report.run_id).keys()
    return counts(client, report.run_id)


@each_way
def test_a_model_stream_that_is_closed(
    leave: Leave, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The run is cancelled, and what the answer had used by then counts (facts 71, 93)."""
    leave(ScriptedChat(script=[INPUT_FIRST]), {"callbacks": [track()]})

    assert cancelled(reports, client) == INPUT


@pytest.mark.asyncio
@each_async_way
async def test_an_async_model_stream_that_is_closed(
    leave: ALeave, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """As a sync one; without `aclose`, once it is collected (fact 71)."""
    handler = track()
    await leave(ScriptedChat(script=[INPUT_FIRST]).astream("How?", {"callbacks": [handler]}))
    await wait_until_closed(handler, reports)

    assert cancelled(reports, client) == INPUT


@pytest.mark.parametrize("shape", SEQUENCES.values(), ids=SEQUENCES)
@each_way
def test_a_sync_stream_that_is_closed(
    leave: Leave, shape: Shape, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """LangChain ends the root well and drains the model: the run is cancelled, with every token (fact 72)."""
    leave(shape(ScriptedChat(script=[GREETING])), {"callbacks": [track()]})

    assert cancelled(reports, client) == TOKENS


@each_way
def test_a_sync_stream_that_is_closed_after_its_whole_answer(
    leave: Leave, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Where its one chunk is the answer, the model has ended and the run has succeeded (fact 72)."""
    leave(chain() | RunnableLambda(str.upper), {"callbacks": [track()]})

    (report,) = reports
    assert (report.outcome, report.model_calls) == (Outcome.SUCCESS, 1)
    assert counts(client, report.run_id) == {SUCCESS: [1], **TOKENS}


def test_a_stream_that_is_never_read_is_no_run(track: Track, client: RecordingClient) -> None:
    """Nothing starts before the first chunk is asked for (fact 74)."""
    handler, before = track(), client.events

    for shape in STREAMING.values():
        shape(ScriptedChat(script=[GREETING])).stream("How?", {"callbacks": [handler]}).close()

    assert (handler.open_runs, client.events) == (0, before)


@pytest.mark.asyncio
@pytest.mark.parametrize("shape", ENDING.values(), ids=ENDING)
@each_async_way
async def test_an_async_stream_that_is_closed(
    leave: ALeave, shape: Shape, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The run is cancelled, at the latest once its stream is collected; its model call may never end (fact 73)."""
    handler = track()
    await leave(shape(ScriptedChat(script=[GREETING])).astream("How?", {"callbacks": [handler]}))
    await wait_until_closed(handler, reports)

    assert cancelled(reports, client).keys() <= TOKENS.keys()  # a graph's model is ahead of its reader


@pytest.mark.asyncio
@pytest.mark.parametrize("shape", STREAMING.values(), ids=STREAMING)
@each_async_way
async def test_a_stream_of_events_that_is_left(
    leave: ALeave, shape: Shape, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`astream_events` stops what it runs once it is closed, or collected: the run is cancelled (fact 73)."""
    handler, model = track(), ScriptedChat(script=[GREETING], gate=CallsHeldUp(after=2))
    await leave(
        shape(model).astream_events("How?", {"callbacks": [handler]}, version="v2"),
        lambda event: event["event"] == "on_chat_model_stream",
    )
    await wait_until_closed(handler, reports)

    assert cancelled(reports, client) == {}


def test_a_stream_that_outlives_its_loop_is_cancelled(
    track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`asyncio.run` closes the streams that it finds open (fact 73)."""
    handler = track()
    stream = chain(ScriptedChat(script=[GREETING])).astream(QUESTION, {"callbacks": [handler]})

    async def begin() -> None:
        await anext(stream)

    asyncio.run(begin())
    handler.flush()

    assert cancelled(reports, client) == {}


CLOSED_IN_ANY_ORDER = list(itertools.permutations(["call", "parser", "root"]))


@pytest.mark.parametrize("order", CLOSED_IN_ANY_ORDER, ids="-".join)
def test_a_loop_that_ends_closes_the_streams_of_a_run_in_any_order(
    order: tuple[str, ...], track: Track, reports: list[RunReport]
) -> None:
    """The run is cancelled, also where the end of its model call comes before that of its root (fact 73)."""
    handler = track()
    root = start_stream(handler)
    parser, call = start_stream(handler, root), stream_first_token(handler, root)
    ends = {
        "call": lambda: handler.on_llm_error(GeneratorExit(), run_id=call),
        "parser": lambda: handler.on_chain_error(GeneratorExit(), run_id=parser),
        "root": lambda: handler.on_chain_error(GeneratorExit(), run_id=root),
    }

    for name in order:
        ends[name]()

    assert [report.outcome for report in reports] == [Outcome.CANCELLED]


def test_a_stream_that_is_closed_before_any_call_is_no_ai_run(track: Track, reports: list[RunReport]) -> None:
    """Nothing is recorded of it, in whatever order its steps are closed."""
    handler = track()
    root = start_stream(handler)
    parser = start_stream(handler, root)

    handler.on_chain_error(GeneratorExit(), run_id=parser)
    handler.on_chain_error(GeneratorExit(), run_id=root)

    assert reports == []


def test_a_stream_that_is_closed_after_its_last_call_is_a_success(track: Track, reports: list[RunReport]) -> None:
    """A call that was given up earlier, after which something ended, is not what the reader left."""
    handler = track()
    root = start_stream(handler)
    parser = start_stream(handler, root)
    handler.on_llm_error(GeneratorExit(), run_id=stream_first_token(handler, root))
    call_model(handler, root)

    handler.on_chain_error(GeneratorExit(), run_id=parser)
    handler.on_chain_error(GeneratorExit(), run_id=root)

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


@pytest.mark.parametrize("shape", ENDING.values(), ids=ENDING)
def test_a_stream_that_is_kept_is_open_until_it_is_given_up(
    shape: Shape, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """No event tells of it: a flush leaves it alone before `run_timeout`, and gives it up after (fact 74)."""
    patient, handler = track(), track(run_timeout=1e-9)
    stream = shape(ScriptedChat(script=[GREETING])).stream("How?", {"callbacks": [patient, handler]})
    next(stream)

    patient.flush()
    assert (reports, patient.open_runs) == ([], 1)
    handler.flush()
    (given_up,) = reports
    sent = client.metrics(given_up.run_id)
    stream.close()

    assert (given_up.outcome, given_up.model_calls) == (Outcome.ABANDONED, 1)
    assert {DURATION, FIRST_TOKEN} <= sent.keys() <= {DURATION, FIRST_TOKEN, *TOKENS}
    assert (client.metrics(given_up.run_id), handler.open_runs) == (sent, 0)


@each_way
def test_a_closed_stream_with_fallbacks_is_given_up(
    leave: Leave, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """All below its root ends, and the root never does: a fact besides those numbered (facts 74, 117)."""
    handler = track(run_timeout=1e-9)
    leave(STREAMING["with-fallbacks"](ScriptedChat(script=[GREETING])), {"callbacks": [handler]})
    assert (reports, handler.open_runs) == ([], 1)

    handler.flush()

    (report,) = reports
    assert (report.outcome, counts(client, report.run_id)) == (Outcome.ABANDONED, TOKENS)

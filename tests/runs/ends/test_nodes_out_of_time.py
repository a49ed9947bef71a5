"""Named nodes that run out of time, cancel themselves, or are stopped for another's sake (facts 65, 76, 77)."""

import asyncio
from collections.abc import Callable
from concurrent import futures
from typing import Final

import pytest
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.types import Command, RetryPolicy

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.runs.ends.limits import LIMIT, NodeEnds, hanging_chain, hanging_node, pass_limits, time_is_up_after
from tests.runs.ends.stopping import outcomes
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import QUESTION, SUCCESS, chain
from tests.support.graphs import (
    NOTHING,
    State,
    graph,
    has_node_options,
    in_parallel,
    says,
    speaks,
)
from tests.support.observe import HAS_V3

pytestmark = pytest.mark.asyncio

AGAIN: Final = RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=2, retry_on=lambda error: True)


@pytest.fixture
def handler(track: Track, writer: LdAiCompletionConfig) -> LdAiHandler:
    """A handler with an AI Config for the node `a`."""
    return track(nodes={"a": writer})


@pytest.fixture
def of_both(track: Track, writer: LdAiCompletionConfig, critic: LdAiCompletionConfig) -> LdAiHandler:
    """A handler with AI Configs for the nodes `a` and `b`."""
    return track(nodes={"a": writer, "b": critic})


@pytest.fixture
def be_late(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Give what a sync node calls to be out of time."""
    return pass_limits(monkeypatch)


class ToldError(Exception):
    """An error of the caller's own, which names a node for reasons of its own."""

    node = "b"


class Tidy:
    """A node whose first attempt never comes to an end by itself, and takes its time to end when it is stopped."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self._attempts = 0

    async def __call__(self, state: State) -> State:
        """Hang at first, then answer."""
        self._attempts += 1
        if self._attempts > 1:
            return {"said": [await chain().ainvoke(QUESTION)]}
        try:
            return await hanging_chain(time_is_up_after(1))(state)
        finally:
            await self.may_end.wait()


@has_node_options
@pytest.mark.parametrize("is_nested", [False, True], ids=["node", "node-of-a-subgraph"])
async def test_an_attempt_that_ends_after_it_was_made_again_changes_nothing(
    is_nested: bool, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The node did what its last attempt did, and that was tried once more."""
    tidy = Tidy()

    async def lets_it_end(state: State) -> State:
        tidy.may_end.set()
        await asyncio.sleep(0.05)
        return {"said": []}

    again = {"timeout": LIMIT, "retry_policy": AGAIN}
    late = graph({"a": tidy}).with_config() if is_nested else tidy
    await graph(
        {("x" if is_nested else "a"): late, "then": lets_it_end}, options={("x" if is_nested else "a"): again}
    ).ainvoke(NOTHING, {"callbacks": [handler]})

    assert await outcomes(handler, reports) == {"run": Outcome.SUCCESS, "a": Outcome.SUCCESS}
    (report,) = reports
    assert client.metrics(report.nodes["a"].run_id)[SUCCESS] == [1]
    assert report.nodes["a"].retries + report.retries == 1


MODES: Final = ["values", "updates", "messages", "debug", "custom", ["values", "messages"]]


def read_in(mode: object) -> Callable[[Runnable, LdAiHandler], object]:
    """Return a reader of a stream in a mode."""

    async def read(runnable: Runnable, handler: LdAiHandler) -> object:
        return [part async for part in runnable.astream(NOTHING, {"callbacks": [handler]}, stream_mode=mode)]

    return read


def read_events(version: str) -> Callable[[Runnable, LdAiHandler], object]:
    """Return a reader of events."""

    async def read(runnable: Runnable, handler: LdAiHandler) -> object:
        stream = runnable.astream_events(NOTHING, {"callbacks": [handler]}, version=version)
        return [event async for event in (await stream if version == "v3" else stream)]

    return read


async def await_result(runnable: Runnable, handler: LdAiHandler) -> object:
    """Wait for a result."""
    return await runnable.ainvoke(NOTHING, {"callbacks": [handler]})


READERS: Final = {
    "ainvoke": await_result,
    **{str(mode): read_in(mode) for mode in MODES},
    **{version: read_events(version) for version in ("v1", "v2", *(["v3"] if HAS_V3 else []))},
}
read = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
quiet = pytest.mark.filterwarnings(
    "ignore:astream_events version='v1' is deprecated", "ignore:.*(is in beta|is experimental)"
)


@has_node_options
@quiet
@pytest.mark.parametrize("node", [hanging_chain, hanging_node], ids=lambda node: node.__name__)
@read
async def test_a_node_out_of_time_is_an_error_however_it_is_read(
    reader, node, of_both: LdAiHandler, reports: list[RunReport]
) -> None:
    """Its own limit failed it; LangGraph cancels it and whatever runs beside it (fact 77)."""
    at_work = time_is_up_after(2)
    flow = graph(
        {"a": node(at_work), "b": hanging_node(at_work)}, in_parallel("a", "b"), options={"a": {"timeout": LIMIT}}
    )

    with pytest.raises(Exception, match="exceeded its run timeout"):
        await reader(flow, of_both)

    found = await outcomes(of_both, reports)
    assert found == {"run": Outcome.ERROR, "a": Outcome.ERROR, "b": Outcome.CANCELLED}


@quiet
@read
async def test_nodes_at_work_in_a_step_out_of_time_are_errors_however_they_are_read(
    reader, of_both: LdAiHandler, reports: list[RunReport]
) -> None:
    """`step_timeout` is the limit of each; one that was through in time is a success (fact 77)."""
    at_work = time_is_up_after(2)

    async def has_said(said: State) -> State:
        at_work()
        return said

    flow = graph({"a": hanging_chain(at_work), "b": says() | RunnableLambda(has_said)}, in_parallel("a", "b"))
    flow.step_timeout = LIMIT

    with pytest.raises(TimeoutError):
        await reader(flow, of_both)

    assert await outcomes(of_both, reports) == {"run": Outcome.ERROR, "a": Outcome.ERROR, "b": Outcome.SUCCESS}


async def test_all_nodes_at_work_in_a_step_out_of_time_are_errors(
    of_both: LdAiHandler, reports: list[RunReport]
) -> None:
    """The limit is that of each, and not only of the one that was stopped last."""
    at_work = time_is_up_after(2)
    flow = graph({"a": hanging_node(at_work), "b": hanging_node(at_work)}, in_parallel("a", "b"))
    flow.step_timeout = LIMIT

    with pytest.raises(TimeoutError):
        await flow.ainvoke(NOTHING, {"callbacks": [of_both]})

    assert await outcomes(of_both, reports) == {"run": Outcome.ERROR, "a": Outcome.ERROR, "b": Outcome.ERROR}


async def test_a_node_around_a_graph_out_of_time_did_what_it_did(
    of_both: LdAiHandler, reports: list[RunReport]
) -> None:
    """The limit of a graph within a node is that of the inner nodes alone."""
    inner = graph({"b": hanging_node(time_is_up_after(1))})
    inner.step_timeout = LIMIT

    async def recovers(state: State) -> State:
        with pytest.raises(TimeoutError):
            await inner.ainvoke(NOTHING)
        return {"said": [await chain().ainvoke(QUESTION)]}

    await graph({"a": recovers}).ainvoke(NOTHING, {"callbacks": [of_both]})

    assert await outcomes(of_both, reports) == {"run": Outcome.SUCCESS, "a": Outcome.SUCCESS, "b": Outcome.ERROR}


async def test_a_node_out_of_time_is_an_error_after_a_failure_within_another(
    of_both: LdAiHandler, reports: list[RunReport]
) -> None:
    """What failed in a graph within a node is no error of the outer graph."""
    inner = graph({"b": speaks(ZeroDivisionError())})

    async def recovers(state: State) -> State:
        with pytest.raises(ZeroDivisionError):
            await inner.ainvoke(NOTHING)
        return {"said": []}

    flow = graph({"x": recovers, "a": hanging_node(time_is_up_after(1))})
    flow.step_timeout = LIMIT

    with pytest.raises(TimeoutError):
        await flow.ainvoke(NOTHING, {"callbacks": [of_both]})

    assert await outcomes(of_both, reports) == {"run": Outcome.ERROR, "a": Outcome.ERROR, "b": Outcome.ERROR}


@has_node_options
@pytest.mark.parametrize("limited", ["node", "graph"])
async def test_a_node_out_of_time_is_an_error_after_a_failure_that_its_graph_handled(
    limited: str, of_both: LdAiHandler, reports: list[RunReport]
) -> None:
    """The graph's error names the node, or means those of the last step, whatever failed before."""

    def goes_on(state: State) -> Command:
        return Command(goto="a")

    options = {"b": {"error_handler": goes_on}, "a": {"timeout": LIMIT} if limited == "node" else {}}
    flow = graph({"b": speaks(ZeroDivisionError()), "a": hanging_node(time_is_up_after(1))}, options=options)
    if limited == "graph":
        flow.step_timeout = LIMIT

    with pytest.raises(Exception, match="exceeded its run timeout" if limited == "node" else "^$"):
        await flow.ainvoke(NOTHING, {"callbacks": [of_both]})

    assert await outcomes(of_both, reports) == {"run": Outcome.ERROR, "a": Outcome.ERROR, "b": Outcome.ERROR}


@has_node_options
@pytest.mark.parametrize("error", [ZeroDivisionError, TimeoutError])
async def test_a_node_out_of_time_is_an_error_beside_a_failure_that_its_graph_handled(
    error: type[Exception], of_both: LdAiHandler, reports: list[RunReport]
) -> None:
    """What a handler took in the same step is not what the graph raised."""
    flow = graph(
        {"a": hanging_node(time_is_up_after(1)), "b": speaks(error())},
        in_parallel("a", "b"),
        options={"b": {"error_handler": says()}},
    )
    flow.step_timeout = LIMIT

    with pytest.raises(TimeoutError):
        await flow.ainvoke(NOTHING, {"callbacks": [of_both]})

    assert await outcomes(of_both, reports) == {"run": Outcome.ERROR, "a": Outcome.ERROR, "b": Outcome.ERROR}


@pytest.mark.parametrize("error", [ZeroDivisionError, TimeoutError, ToldError])
@quiet
@read
async def test_a_node_beside_one_that_fails_is_cancelled_however_it_is_read(
    reader, error: type[Exception], of_both: LdAiHandler, reports: list[RunReport]
) -> None:
    """LangGraph stops it, because of the other (fact 76)."""
    at_work = asyncio.Event()

    async def fails(state: State) -> State:
        await chain().ainvoke(QUESTION)
        await at_work.wait()
        raise error

    async def goes_on(state: State) -> State:
        await chain().ainvoke(QUESTION)
        return await hanging_chain(at_work.set)(state)

    with pytest.raises(error):
        await reader(graph({"a": fails, "b": goes_on}, in_parallel("a", "b")), of_both)

    assert await outcomes(of_both, reports) == {"run": Outcome.ERROR, "a": Outcome.ERROR, "b": Outcome.CANCELLED}


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_sync_node_out_of_time_is_an_error_however_it_is_read(
    mode: object, of_both: LdAiHandler, reports: list[RunReport], be_late: Callable[[], None]
) -> None:
    """A sync graph waits for it, and fails all the same: the one that ended last was late (fact 77)."""
    other = NodeEnds("b")

    def late(state: State) -> State:
        other.wait()
        be_late()
        return speaks()(state)

    flow = graph({"a": late, "b": says()}, in_parallel("a", "b"))
    flow.step_timeout = LIMIT

    with pytest.raises(TimeoutError):
        list(flow.stream(NOTHING, {"callbacks": [of_both, other]}, stream_mode=mode))

    assert await outcomes(of_both, reports) == {"run": Outcome.ERROR, "a": Outcome.ERROR, "b": Outcome.SUCCESS}


async def test_a_sync_attempt_out_of_time_is_an_error_after_one_that_was_cancelled(
    handler: LdAiHandler, reports: list[RunReport], be_late: Callable[[], None]
) -> None:
    """An attempt that was made again changes nothing: the last one was late."""
    attempts = iter([futures.CancelledError(), None])

    def late(state: State) -> State:
        chain().invoke(QUESTION)
        if error := next(attempts):
            raise error
        be_late()
        return NOTHING

    flow = graph({"a": late}, options={"a": {"retry_policy": AGAIN}})
    flow.step_timeout = LIMIT

    with pytest.raises(TimeoutError):
        flow.invoke(NOTHING, {"callbacks": [handler]})

    assert await outcomes(handler, reports) == {"run": Outcome.ERROR, "a": Outcome.ERROR}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("beside", [False, True], ids=["after", "beside"])
async def test_a_node_that_succeeded_stays_so_where_an_unnamed_one_is_out_of_time(
    beside: bool, is_async: bool, handler: LdAiHandler, reports: list[RunReport], be_late: Callable[[], None]
) -> None:
    """Of the nodes of the last step, the one that ended last was late, and perhaps nobody tracks it."""
    other = NodeEnds("a")

    async def hangs(state: State) -> State:
        await asyncio.to_thread(other.wait)
        return await hanging_node(time_is_up_after(1))(state)

    def late(state: State) -> State:
        other.wait()
        be_late()
        return {"said": []}

    flow = graph(
        {"a": speaks(), "slow": hangs if is_async else late}, in_parallel("a", "slow") if beside else None
    )
    flow.step_timeout, config = LIMIT, {"callbacks": [handler, other]}

    with pytest.raises(TimeoutError):
        await (flow.ainvoke(NOTHING, config) if is_async else asyncio.to_thread(flow.invoke, NOTHING, config))

    assert await outcomes(handler, reports) == {"run": Outcome.ERROR, "a": Outcome.SUCCESS}


@each({**INVOKED, **STREAMED})
async def test_a_node_that_raises_a_timeout_is_the_error_and_no_other(
    call: Call, of_both: LdAiHandler, reports: list[RunReport]
) -> None:
    """What a node's own code raises is no limit of the graph's."""
    flow = graph({"a": speaks(), "b": speaks(TimeoutError())})

    with pytest.raises(TimeoutError):
        await run(call, flow, NOTHING, {"callbacks": [of_both]})

    assert await outcomes(of_both, reports) == {"run": Outcome.ERROR, "a": Outcome.SUCCESS, "b": Outcome.ERROR}


@has_node_options
@pytest.mark.parametrize("is_nested", [False, True], ids=["graph", "subgraph"])
async def test_a_node_out_of_time_is_an_error_where_its_graph_goes_on(
    is_nested: bool, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """An error handler makes the run a success, and not the node."""
    flow = graph(
        {"a": hanging_chain(time_is_up_after(1))}, options={"a": {"timeout": LIMIT, "error_handler": says()}}
    )

    await (graph({"x": flow}) if is_nested else flow).ainvoke(NOTHING, {"callbacks": [handler]})

    assert await outcomes(handler, reports) == {"run": Outcome.SUCCESS, "a": Outcome.ERROR}


@has_node_options
@each({**INVOKED, **STREAMED})
async def test_a_node_that_cancels_itself_is_an_error(
    call: Call, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """LangGraph makes its `CancelledError` a failure of the run: nobody stopped it from outside."""
    flow = graph({"a": speaks(asyncio.CancelledError())})

    with pytest.raises(Exception, match=r"raised asyncio.CancelledError"):
        await run(call, flow, NOTHING, {"callbacks": [handler]})

    assert await outcomes(handler, reports) == {"run": Outcome.ERROR, "a": Outcome.ERROR}

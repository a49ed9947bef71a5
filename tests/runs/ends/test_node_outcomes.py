"""A named node's outcome is that of the visits that started last, however they end (facts 65, 77)."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import pytest
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, Send, interrupt

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.runs.ends.stopping import PATIENCE_SECONDS, wait_until_closed
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import QUESTION, SUCCESS, chain
from tests.support.graphs import (
    NOTHING,
    NeverOpens,
    State,
    graph,
    has_node_options,
    in_parallel,
    says,
    speaks,
    thread,
)
from tests.support.models import ScriptedChat
from tests.support.observe import HAS_V3

pytestmark = pytest.mark.asyncio

AsyncNode = Callable[[State], Awaitable[State]]

SOON: Final = 0.5
"""Seconds after which a sync node is out of time; in less, it surely begins its model call."""
LIMIT: Final = 60.0
"""Seconds after which an async node is out of time; no test waits for them, see `time_is_up_after`."""
REST_SECONDS: Final = 0.1
"""How long a node that has just answered takes at most to end."""
AGAIN: Final = RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=2, retry_on=lambda error: True)


@pytest.fixture
def handler(track: Track, writer: LdAiCompletionConfig) -> LdAiHandler:
    """A handler with an AI Config for the node `a`."""
    return track(nodes={"a": writer})


@pytest.fixture
def of_both(track: Track, writer: LdAiCompletionConfig, critic: LdAiCompletionConfig) -> LdAiHandler:
    """A handler with AI Configs for the nodes `a` and `b`."""
    return track(nodes={"a": writer, "b": critic})


async def outcomes(handler: LdAiHandler, reports: list[RunReport]) -> dict[str, Outcome]:
    """Return the outcomes of the one run and of its nodes."""
    await wait_until_closed(handler, reports)
    (report,) = reports
    return {"run": report.outcome} | {name: node.outcome for name, node in report.nodes.items()}


class Stopped(BaseException):
    """What stops a chain from outside."""


class Ends:
    """Visits of a node at once, each of which ends in its own way, in an order that is given."""

    def __init__(self, order: tuple[int, ...], ways: list[BaseException | str | None]) -> None:
        self._order = order
        self._ways = ways
        self._ended = [threading.Event() for _ in ways]
        self._begun = threading.Barrier(len(ways))

    def visit(self, state: dict[str, int]) -> State:
        """Call a model and end as this visit does, after those before it in the order."""
        chain().invoke(QUESTION)
        self._begun.wait(PATIENCE_SECONDS)
        place = self._order.index(state["visit"])
        if place:
            self._ended[self._order[place - 1]].wait(PATIENCE_SECONDS)
            time.sleep(0.02)  # until the one before has been told of
        self._ended[state["visit"]].set()
        way = self._ways[state["visit"]]
        if isinstance(way, BaseException):
            raise way
        return {"said": [interrupt(way) if way else "done"]}

    def graph(self) -> Runnable:
        """Return a graph that visits the node as often at once."""
        builder = StateGraph(State).add_node("a", self.visit)
        sends = [Send("a", {"visit": number}) for number in range(len(self._ways))]
        builder.add_conditional_edges(START, lambda state: sends, ["a"])
        return builder.compile(checkpointer=InMemorySaver())


WORST: Final = {
    "error-and-success": ([ZeroDivisionError(), None], Outcome.ERROR),
    "interrupt-and-success": (["May I?", None], Outcome.INTERRUPTED),
    "stop-and-success": ([Stopped(), None], Outcome.CANCELLED),
    "error-and-interrupt": ([ZeroDivisionError(), "May I?"], Outcome.ERROR),
}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=str)
@pytest.mark.parametrize(("ways", "outcome"), WORST.values(), ids=WORST)
async def test_of_visits_at_once_the_worst_is_told(
    order: tuple[int, ...], ways, outcome: Outcome, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Whichever ends last: an error, else an interrupt, else a cancellation."""
    config = {"callbacks": [handler], "configurable": {"thread_id": "1"}}
    with suppress(ZeroDivisionError, Stopped):
        Ends(order, ways).graph().invoke(NOTHING, config)

    assert (await outcomes(handler, reports))["a"] is outcome


async def test_visits_of_one_step_are_at_once_also_if_one_follows_the_other(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """How many may run together is no matter of how the node did."""
    ahead = [ZeroDivisionError(), None, None]
    builder = StateGraph(State).add_node("a", lambda state: speaks(ahead.pop(0))(state))
    builder.add_conditional_edges(START, lambda state: [Send("a", state)] * 3, ["a"])
    rescued = RunnableLambda(builder.compile().invoke).with_fallbacks([RunnableLambda(str)])

    rescued.invoke(NOTHING, {"callbacks": [handler], "max_concurrency": 1})

    assert await outcomes(handler, reports) == {"run": Outcome.SUCCESS, "a": Outcome.ERROR}


async def test_visits_in_branches_at_once_are_at_once(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """Of a node in a graph that is run twice at once, the failed visit is told, though it is over first."""
    inner = graph({"a": lambda state: speaks(ConnectionError() if state["said"] else None)(state)})
    failed = threading.Event()

    def fails(state: State) -> State:
        with pytest.raises(ConnectionError):
            inner.invoke({"said": ["fail"]})
        failed.set()
        return {"said": []}

    def works(state: State) -> State:
        failed.wait(PATIENCE_SECONDS)
        return inner.invoke(NOTHING)

    graph({"x": fails, "y": works}, in_parallel("x", "y")).invoke(NOTHING, {"callbacks": [handler]})

    assert await outcomes(handler, reports) == {"run": Outcome.SUCCESS, "a": Outcome.ERROR}


def loop_of(*errors: Exception | None) -> Runnable:
    """Return a graph that visits its node once for each of these, one after the other."""
    visit, left = speaks(*errors), list(errors)

    def swallows(state: State) -> State:
        left.pop()
        try:
            return RunnableLambda(graph({"a": visit}).invoke).invoke(NOTHING)
        except ConnectionError:
            return {"said": []}

    builder = StateGraph(State).add_node("loop", swallows).add_edge(START, "loop")
    builder.add_conditional_edges("loop", lambda state: "loop" if left else END)
    return builder.compile()


@pytest.mark.parametrize(
    ("errors", "outcome"),
    [([ConnectionError(), None], Outcome.SUCCESS), ([None, ConnectionError()], Outcome.ERROR)],
    ids=["recovers", "fails-at-last"],
)
@each(INVOKED)
async def test_of_visits_after_one_another_the_last_is_told(
    call: Call, errors, outcome: Outcome, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """What was before it is over, also in another run of the same graph."""
    await run(call, loop_of(*errors), NOTHING, {"callbacks": [handler]})

    assert await outcomes(handler, reports) == {"run": Outcome.SUCCESS, "a": outcome}


@pytest.mark.parametrize("earlier", [0, 1])
async def test_of_tasks_after_one_another_the_last_is_told(
    earlier: int, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """The functional API has all its tasks in one step of its graph, which has a number once there were others."""
    visit = task(name="a")(speaks(*[ConnectionError(), None] * 2))

    @entrypoint(checkpointer=InMemorySaver())
    def flow(state: State) -> State:
        with pytest.raises(ConnectionError):
            visit(state).result()
        return visit(state).result()

    for _ in range(earlier):
        flow.invoke(NOTHING, {"configurable": {"thread_id": "1"}})
    flow.invoke(NOTHING, thread(handler))

    assert await outcomes(handler, reports) == {"run": Outcome.SUCCESS, "a": Outcome.SUCCESS}


async def test_of_tasks_at_once_the_worst_is_told(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """The first fails while the second is at work, which ends well."""
    begun = {"fails": threading.Event(), "works": threading.Event()}

    @task(name="a")
    def visit(state: State, name: str) -> State:
        begun[name].set()
        begun["works"].wait(PATIENCE_SECONDS)
        return speaks(ConnectionError() if name == "fails" else None)(state)

    @entrypoint()
    def flow(state: State) -> State:
        failing = visit(state, "fails")
        begun["fails"].wait(PATIENCE_SECONDS)
        working = visit(state, "works")
        with pytest.raises(ConnectionError):
            failing.result()
        return working.result()

    flow.invoke(NOTHING, {"callbacks": [handler]})

    assert await outcomes(handler, reports) == {"run": Outcome.SUCCESS, "a": Outcome.ERROR}


def time_is_up_after(nodes: int) -> Callable[[], None]:
    """Return what so many nodes call once they are at work: then the loop's clock goes forward by `LIMIT`.

    So a node has all the time that it needs, and no test waits for its limit.
    """
    left = iter(range(nodes - 1, -1, -1))

    def at_work() -> None:
        loop = asyncio.get_running_loop()
        if next(left, None) == 0:
            loop.call_later(REST_SECONDS, go_forward, loop, loop.time)

    def go_forward(loop: asyncio.AbstractEventLoop, now: Callable[[], float]) -> None:
        loop.time = lambda: now() + LIMIT

    return at_work


class Hangs(NeverOpens):
    """The gate of a model that never answers, which tells when the model is called."""

    def __init__(self, at_work: Callable[[], None]) -> None:
        super().__init__()
        self._at_work = at_work

    async def wait(self) -> bool:
        """Tell, and wait for ever."""
        self._at_work()
        return await super().wait()


def hanging_chain(at_work: Callable[[], None]) -> AsyncNode:
    """Return a node that calls a model that never answers."""

    async def node(state: State) -> State:
        return {"said": [await chain(ScriptedChat(gate=Hangs(at_work))).ainvoke(QUESTION)]}

    return node


def hanging_node(at_work: Callable[[], None]) -> AsyncNode:
    """Return a node that calls a model, and then never ends."""

    async def node(state: State) -> State:
        await chain().ainvoke(QUESTION)
        at_work()
        return await asyncio.Event().wait()

    return node


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


@quiet
@read
async def test_a_node_beside_one_that_fails_is_cancelled_however_it_is_read(
    reader, of_both: LdAiHandler, reports: list[RunReport]
) -> None:
    """LangGraph stops it, because of the other (fact 76)."""
    at_work = asyncio.Event()

    async def fails(state: State) -> State:
        await chain().ainvoke(QUESTION)
        await at_work.wait()
        raise ZeroDivisionError

    async def goes_on(state: State) -> State:
        await chain().ainvoke(QUESTION)
        return await hanging_chain(at_work.set)(state)

    with pytest.raises(ZeroDivisionError):
        await reader(graph({"a": fails, "b": goes_on}, in_parallel("a", "b")), of_both)

    assert await outcomes(of_both, reports) == {"run": Outcome.ERROR, "a": Outcome.ERROR, "b": Outcome.CANCELLED}


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_sync_node_out_of_time_is_an_error_however_it_is_read(
    mode: object, of_both: LdAiHandler, reports: list[RunReport]
) -> None:
    """A sync graph waits for it, and fails all the same: the one that ended last was late (fact 77)."""

    def late(state: State) -> State:
        time.sleep(2 * SOON)
        return speaks()(state)

    flow = graph({"a": late, "b": says()}, in_parallel("a", "b"))
    flow.step_timeout = SOON

    with pytest.raises(TimeoutError):
        list(flow.stream(NOTHING, {"callbacks": [of_both]}, stream_mode=mode))

    assert await outcomes(of_both, reports) == {"run": Outcome.ERROR, "a": Outcome.ERROR, "b": Outcome.SUCCESS}


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

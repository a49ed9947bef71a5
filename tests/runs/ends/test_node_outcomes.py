"""A named node's outcome is that of the visits that started last, however they end (fact 65)."""

import threading
from contextlib import suppress
from typing import Final

import pytest
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, Outcome, RunReport
from tests.conftest import Track
from tests.runs.ends.limits import NodeEnds
from tests.runs.ends.stopping import PATIENCE_SECONDS, outcomes
from tests.support.calls import INVOKED, Call, each, run
from tests.support.chains import QUESTION, chain
from tests.support.graphs import (
    NOTHING,
    State,
    graph,
    in_parallel,
    speaks,
    thread,
)

pytestmark = pytest.mark.asyncio


@pytest.fixture
def handler(track: Track, writer: LdAiCompletionConfig) -> LdAiHandler:
    """A handler with an AI Config for the node `a`."""
    return track(nodes={"a": writer})


class Stopped(BaseException):
    """What stops a chain from outside."""


class Ends:
    """Visits of a node at once, each of which ends in its own way, in an order that is given."""

    def __init__(self, order: tuple[int, ...], ways: list[BaseException | str | None]) -> None:
        self._order = order
        self._ways = ways
        self._begun = threading.Barrier(len(ways))
        self.told = NodeEnds("a")

    def visit(self, state: dict[str, int]) -> State:
        """Call a model and end as this visit does, after those before it in the order."""
        chain().invoke(QUESTION)
        self._begun.wait(PATIENCE_SECONDS)
        self.told.wait(self._order.index(state["visit"]))
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
    ends = Ends(order, ways)
    config = {"callbacks": [handler, ends.told], "configurable": {"thread_id": "1"}}
    with suppress(ZeroDivisionError, Stopped):
        ends.graph().invoke(NOTHING, config)

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

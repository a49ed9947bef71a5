"""A graph is one run, whatever its shape; facts 55 to 57, 59, 61, 64, 65 and what LangGraph 1.2 adds to them."""

from collections.abc import Callable, Mapping

import pytest
from langchain_core.runnables import Runnable
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, Command, Send

from langchain_ldai import LdAiCompletionConfig, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import FIRST_TOKEN, QUESTION, SUCCESS, chain, counts
from tests.support.graphs import NOTHING, State, calls, graph, says, speaks, thread

pytestmark = pytest.mark.asyncio


def parallel() -> Runnable:
    """Return a graph that parts after its first node and meets in its last."""
    edges = [(START, "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]
    return graph(dict.fromkeys("abcd", says()), edges)


def sends() -> Runnable:
    """Return a graph that fans out to three visits of one node."""
    builder = StateGraph(State).add_node("worker", speaks())
    builder.add_conditional_edges(START, lambda state: [Send("worker", state)] * 3, ["worker"])
    return builder.compile()


def loops() -> Runnable:
    """Return a graph that visits a node until it has spoken three times."""
    builder = StateGraph(State).add_node("a", says()).add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: "a" if len(state["said"]) < 3 else END, ["a", END])
    return builder.compile()


def hands_over() -> Runnable:
    """Return a graph whose first node names the second."""

    def first(state: State) -> Command:
        return Command(goto="second", update=speaks()(state))

    builder = StateGraph(State).add_node("first", first, destinations=("second",)).add_node("second", says())
    return builder.add_edge(START, "first").compile()


def leaves_subgraph() -> Runnable:
    """Return a graph whose subgraph hands over to a node of the graph around it (fact 57)."""

    def inner(state: State) -> Command:
        return Command(goto="after", graph=Command.PARENT, update=speaks()(state))

    builder = StateGraph(State).add_node("sub", graph({"inner": inner}), destinations=("after",))
    return builder.add_node("after", says()).add_edge(START, "sub").compile()


def functional() -> Runnable:
    """Return a workflow of the functional API that runs two tasks at once and then a chain."""

    @task
    def answers(number: int) -> str:
        return chain().invoke(QUESTION)

    @entrypoint()
    def workflow(state: State) -> list[str]:
        futures = [answers(number) for number in range(2)]
        return [*(future.result() for future in futures), chain().invoke(QUESTION)]

    return workflow


def calls_a_graph(state: State) -> State:
    """Call another graph inside a node."""
    return graph({"inner": says()}).invoke(NOTHING)


SHAPES: Mapping[str, tuple[Callable[[], Runnable], int]] = {
    "line": (lambda: graph({"a": says(), "b": speaks()}), 2),
    "parallel": (parallel, 4),
    "send": (sends, 3),
    "loop-by-conditional-edge": (loops, 3),
    "handoff": (hands_over, 2),
    "handoff-out-of-a-subgraph": (leaves_subgraph, 2),
    "subgraph-as-node": (lambda: graph({"a": says(), "sub": graph({"inner": says()})}), 2),
    "subgraph-called-in-a-node": (lambda: graph({"a": says(), "b": calls_a_graph}), 2),
    "functional-api": (functional, 3),
}


@pytest.mark.parametrize(("build", "number"), SHAPES.values(), ids=SHAPES)
@each({**INVOKED, **STREAMED})
async def test_every_shape_of_graph_is_one_run(
    call: Call,
    build: Callable[[], Runnable],
    number: int,
    track: Track,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """Nodes, branches, loops, handoffs and subgraphs are steps of one run, which ends once (facts 55, 57)."""
    await run(call, build(), NOTHING, {"callbacks": [track()]})

    (report,) = reports
    assert (report.outcome, report.model_calls, report.failed_model_calls) == (Outcome.SUCCESS, number, 0)
    assert report.summary.tokens == calls(number)
    assert counts(client, report.run_id)[SUCCESS] == [1]


async def test_a_config_function_sees_the_thread_and_the_users_metadata(
    track: Track, config: LdAiCompletionConfig
) -> None:
    """The root's metadata holds `thread_id` and what the caller gave, but nothing of a node (fact 56)."""
    seen: list[Mapping[str, object]] = []
    handler = track(lambda metadata: [config, seen.append(metadata)][0])

    graph({"a": says()}).invoke(NOTHING, thread(handler, metadata={"user": "ada"}))

    (metadata,) = seen
    assert {"user": "ada", "thread_id": "1"}.items() <= metadata.items()
    assert not any(name.startswith("langgraph_") for name in metadata)


async def test_streamed_messages_name_their_run(track: Track, client: RecordingClient, reports) -> None:
    """`stream_mode="messages"` streams the model, and shows the marks of its start (facts 29, 64)."""
    config = {"callbacks": [track()], "metadata": {"user": "ada"}}

    shown = [data for _, data in graph({"a": says()}).stream(NOTHING, config, stream_mode="messages")]

    (report,) = reports
    marks = {"user": "ada", "ldai_run_id": report.run_id, "ldai_resumption_token": report.resumption_token}
    assert all(marks.items() <= metadata.items() for metadata in shown)
    assert len(client.metrics(report.run_id)[FIRST_TOKEN]) == 1


async def test_a_handler_inside_a_subgraph_takes_a_handoff_for_success(
    track: Track, reports: list[RunReport]
) -> None:
    """A `ParentCommand` that ends the handler's own root is control flow, no failure (fact 59)."""
    handler = track()

    def leave(state: State) -> Command:
        return Command(goto="after", graph=Command.PARENT, update=speaks()(state))

    subgraph = graph({"leave": leave})
    builder = StateGraph(State).add_node("after", speaks()).add_edge(START, "sub")
    builder.add_node(
        "sub", lambda state: subgraph.invoke(state, {"callbacks": [handler]}), destinations=("after",)
    )
    builder.compile().invoke(NOTHING)

    (report,) = reports
    assert (report.outcome, report.model_calls) == (Outcome.SUCCESS, 1)


async def test_a_handler_inside_a_node_has_a_run_of_its_own(track: Track, reports: list[RunReport]) -> None:
    """What the graph around it does later is none of that run's business (facts 59, 111)."""
    handler = track()

    def node(state: State) -> State:
        chain().invoke(QUESTION, {"callbacks": [handler]})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        graph({"a": node}).invoke(NOTHING)

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


async def test_a_node_from_the_cache_is_no_ai_run(track: Track, reports: list[RunReport]) -> None:
    """A node that `CachePolicy` answers does not run: no model call, so nothing is recorded.

    A fact besides those numbered: the root alone has events then.
    """
    cached = graph({"a": speaks()}, options={"a": {"cache_policy": CachePolicy()}}, cache=InMemoryCache())
    config = {"callbacks": [track()]}

    answers = [cached.invoke(NOTHING, config) for _ in range(2)]

    assert answers[0] == answers[1]
    assert len(reports) == 1


async def test_lifecycle_callbacks_beside_ours_change_nothing(track: Track, reports: list[RunReport]) -> None:
    """LangGraph's own handlers get `on_interrupt` and `on_resume`; ours needs neither (fact 61)."""
    callbacks = pytest.importorskip("langgraph.callbacks", reason="LangGraph 0.6 has no lifecycle callbacks")
    seen: list[object] = []

    class Lifecycle(callbacks.GraphCallbackHandler):
        def on_interrupt(self, event) -> None:
            seen.append(event.run_id)

        def on_resume(self, event) -> None:
            seen.append(event.run_id)

    paused = graph({"a": speaks(), "b": speaks()}, checkpointer=InMemorySaver(), interrupt_before=["b"])
    handler = track()
    for value in (NOTHING, None):
        paused.invoke(value, {**thread(handler), "callbacks": [handler, Lifecycle()]})

    assert {report.root_run_id for report in reports} >= set(seen) > set()
    assert [report.model_calls for report in reports] == [1, 1]


async def test_a_drained_graph_ends_its_run(track: Track, reports: list[RunReport]) -> None:
    """`GraphDrained`, the root's own error, is control flow: success; going on is another run (fact 59)."""
    runtime = pytest.importorskip("langgraph.runtime")
    if not hasattr(runtime, "RunControl"):
        pytest.skip("LangGraph 0.6 cannot be drained")
    control = runtime.RunControl()

    def drains(state: State) -> State:
        control.request_drain("shutdown")
        return speaks()(state)

    stopping = graph({"a": drains, "b": speaks()}, checkpointer=InMemorySaver())
    config = thread(track())

    with pytest.raises(Exception, match="Graph drained"):
        stopping.invoke(NOTHING, config, control=control)
    stopping.invoke(None, config)

    assert [(report.outcome, report.model_calls) for report in reports] == [(Outcome.SUCCESS, 1)] * 2

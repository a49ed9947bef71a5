"""A graph that fails, retries, runs out of steps or of time; facts 65, 76 and 77, and what LangGraph 1.2 adds."""

import asyncio
import threading

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.func import entrypoint, task
from langgraph.types import RetryPolicy

from langchain_ldai import Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.runs.ends.limits import LIMIT, hanging_chain, time_is_up_after
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import DURATION, ERROR, QUESTION, SUCCESS, TOKENS, chain, counts
from tests.support.graphs import (
    NOTHING,
    RETRIED,
    NeverOpens,
    State,
    calls,
    graph,
    has_node_options,
    in_parallel,
    says,
    speaks,
    thread,
)
from tests.support.models import FLAKY, HELLO, ScriptedChat

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("failures", [1, 2], ids=["one-failure", "two-failures"])
@each({**INVOKED, **STREAMED})
async def test_a_node_that_recovers_is_a_success_with_retries(
    call: Call, failures: int, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`RetryPolicy` runs the node again: each attempt's calls count, the failures are no errors (fact 65)."""
    node = speaks(*[FLAKY] * failures)

    await run(call, graph({"a": node}, options={"a": RETRIED}), NOTHING, {"callbacks": [track()]})

    (report,) = reports
    assert (report.model_calls, report.failed_model_calls, report.retries) == (failures + 1, 0, failures)
    assert report.summary.tokens == calls(failures + 1)
    assert counts(client, report.run_id)[SUCCESS] == [1]


@each({**INVOKED, **STREAMED})
async def test_a_node_that_never_recovers_is_an_error(
    call: Call, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """With its attempts used up, the node's failure is the root's, recorded once (fact 65)."""
    failing = graph({"a": says(ScriptedChat(script=[FLAKY]))}, options={"a": RETRIED})

    with pytest.raises(ConnectionError):
        await run(call, failing, NOTHING, {"callbacks": [track()]})

    (report,) = reports
    assert (report.model_calls, report.failed_model_calls, report.retries) == (3, 3, 2)
    assert counts(client, report.run_id) == {ERROR: [1]}


@pytest.mark.parametrize("kept", [False, True], ids=["without-a-checkpointer", "with-a-checkpointer"])
@each(INVOKED)
async def test_a_subgraph_that_is_run_again_is_one_retry(
    call: Call, kept: bool, track: Track, reports: list[RunReport]
) -> None:
    """The retry of a node counts once, however many nodes of its subgraph start again with it (fact 65)."""
    subgraph = graph({"first": says(), "second": speaks(FLAKY)})
    outer = graph({"sub": subgraph}, options={"sub": RETRIED}, checkpointer=InMemorySaver() if kept else None)

    await run(call, outer, NOTHING, thread(track()))

    assert [(report.retries, report.outcome) for report in reports] == [(1, Outcome.SUCCESS)]


async def test_a_task_of_the_functional_api_that_recovers_counts_its_retries(
    track: Track, reports: list[RunReport]
) -> None:
    """A task is retried like a node, but its run is tagged `seq:step:1`: only its checkpoint namespace tells.

    A fact besides those numbered.
    """
    answer = task(name="answer", retry_policy=RETRIED["retry_policy"])(speaks(FLAKY))

    entrypoint()(lambda state: answer(state).result()).invoke(NOTHING, {"callbacks": [track()]})

    assert [(report.retries, report.model_calls) for report in reports] == [(1, 2)]


@each({**INVOKED, **STREAMED})
async def test_a_graph_out_of_steps_is_an_error(
    call: Call, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`GraphRecursionError` makes the run an error, although every model call succeeded (fact 65)."""
    endless = graph({"a": says()}, [("__start__", "a"), ("a", "a")])

    with pytest.raises(GraphRecursionError):
        await run(call, endless, NOTHING, {"callbacks": [track()], "recursion_limit": 3})

    (report,) = reports
    assert (report.model_calls, report.failed_model_calls) == (3, 0)
    assert counts(client, report.run_id)[ERROR] == [1]
    assert report.summary.tokens == calls(3)


async def test_a_sync_graph_waits_for_the_failing_nodes_sibling(
    track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The run ends as an error once the other branch is through, whose tokens count (fact 76)."""
    failing, other_runs = threading.Event(), threading.Event()

    def fails(state: State) -> State:
        other_runs.wait(10)
        failing.set()
        raise ZeroDivisionError

    def speaks_late(state: State) -> State:
        other_runs.set()
        failing.wait(10)
        return {"said": [chain().invoke(QUESTION)]}

    with pytest.raises(ZeroDivisionError):
        graph({"a": fails, "b": speaks_late}, in_parallel("a", "b")).invoke(NOTHING, {"callbacks": [track()]})

    (report,) = reports
    assert counts(client, report.run_id) == {ERROR: [1], **TOKENS}


async def test_an_async_graph_cancels_the_failing_nodes_sibling(
    track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The cancelled call never ends: the error goes out at once, the duration when the wait is over (fact 76)."""
    gate, handler = NeverOpens(), track()

    async def fails(state: State) -> State:
        await gate.reached.wait()
        raise ZeroDivisionError

    parted = graph({"a": fails, "b": says(ScriptedChat(gate=gate))}, in_parallel("a", "b"))
    with pytest.raises(ZeroDivisionError):
        await parted.ainvoke(NOTHING, {"callbacks": [handler]})
    assert [event.name for event in client.events if event.name in (ERROR, DURATION)] == [ERROR]
    handler.flush()

    assert [set(client.metrics(report.run_id)) for report in reports] == [{ERROR, DURATION}]


async def test_a_step_out_of_time_is_an_error(
    track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`step_timeout` cancels the node, whose model call never ends, and fails the root (fact 77)."""
    hanging, handler = graph({"a": hanging_chain(time_is_up_after(1))}), track()
    hanging.step_timeout = LIMIT

    with pytest.raises(asyncio.TimeoutError):
        await hanging.ainvoke(NOTHING, {"callbacks": [handler]})
    handler.flush()

    (report,) = reports
    assert (report.outcome, set(client.metrics(report.run_id))) == (Outcome.ERROR, {ERROR, DURATION})


@has_node_options
async def test_a_node_out_of_time_is_an_error(track: Track, reports: list[RunReport]) -> None:
    """A node's own timeout raises `NodeTimeoutError` from the root; the node's run ends as cancelled.

    A fact besides those numbered.
    """
    node, handler = hanging_chain(time_is_up_after(1)), track()
    hanging = graph({"a": node}, options={"a": {"timeout": LIMIT}})

    with pytest.raises(Exception, match="exceeded its run timeout"):
        await hanging.ainvoke(NOTHING, {"callbacks": [handler]})
    handler.flush()

    assert [report.outcome for report in reports] == [Outcome.ERROR]


@has_node_options
async def test_a_retry_after_a_nodes_timeout_counts(track: Track, reports: list[RunReport]) -> None:
    """An attempt that ran out of time is retried like one that failed, but its run ends as cancelled."""
    policy = RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=2)
    node, handler = hanging_chain(lambda: time_is_up_after(1)()), track()
    hanging = graph({"a": node}, options={"a": {"timeout": LIMIT, "retry_policy": policy}})

    with pytest.raises(Exception, match="exceeded its run timeout"):
        await hanging.ainvoke(NOTHING, {"callbacks": [handler]})
    handler.flush()

    assert [(report.model_calls, report.retries) for report in reports] == [(2, 1)]


@has_node_options
@each(INVOKED)
async def test_an_error_handler_makes_the_run_a_success(
    call: Call, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A node's `error_handler` runs as a node `__error_handler__NAME` of the same run: no retry, no error.

    A fact besides those numbered.
    """
    rescued = graph({"a": speaks(FLAKY)}, options={"a": {"error_handler": says(ScriptedChat(script=[HELLO]))}})

    await run(call, rescued, NOTHING, {"callbacks": [track()]})

    (report,) = reports
    assert (report.outcome, report.model_calls, report.retries) == (Outcome.SUCCESS, 2, 0)
    assert counts(client, report.run_id)[SUCCESS] == [1]

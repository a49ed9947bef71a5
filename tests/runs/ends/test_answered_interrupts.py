"""An interrupt that is answered within its run neither interrupts nor repeats anything (fact 60)."""

from collections.abc import Callable, Mapping
from typing import Final

import pytest
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from langchain_ldai import LdAiCompletionConfig, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.runs.ends.asking import ASKING
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import AGENT_INPUT, QUESTION, SUCCESS, chain, counts, create_agent
from tests.support.graphs import (
    NOTHING,
    RETRIED,
    State,
    asks,
    graph,
    in_parallel,
    speaks,
    thread,
)
from tests.support.models import HELLO, ScriptedChat, tool_call

pytestmark = pytest.mark.asyncio

OWN: Final[RunnableConfig] = {"configurable": {"thread_id": "own"}}
Build = Callable[[], Runnable]
asking = pytest.mark.parametrize(("build", "value"), [shape[:2] for shape in ASKING.values()], ids=ASKING)


def answers(paused: Runnable, value: object, *, times: int = 1) -> Callable[[object], object]:
    """Return a step that asks a graph and answers what it is asked."""

    def answer(state: object) -> State:
        paused.invoke(value, OWN)
        for _ in range(times):
            paused.invoke(Command(resume="yes"), OWN)
        return {"said": ["done"]}

    return answer


def as_node(answer: Callable[[object], object]) -> Runnable:
    """Return a graph with a node that does it."""
    return graph({"work": answer})


def as_tool(answer: Callable[[object], object]) -> Runnable:
    """Return an agent with a tool that does it."""

    @tool
    def work() -> str:
        """Work."""
        return str(answer(None))

    agent = create_agent(ScriptedChat(script=[tool_call("work"), HELLO]), [work])
    return RunnableLambda(lambda state: AGENT_INPUT) | agent


PLACES: Final[Mapping[str, Callable[[Callable[[object], object]], Runnable]]] = {
    "step": RunnableLambda,
    "node": as_node,
    "tool": as_tool,
}
places = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


@asking
@places
@each({**INVOKED, **STREAMED})
async def test_an_interrupt_that_is_answered_within_the_run_leaves_no_trace(
    call: Call, place, build: Build, value: object, track: Track, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The run succeeded, and nothing was tried again because it had failed."""
    await run(call, place(answers(build(), value)), NOTHING, {"callbacks": [track()]})

    (report,) = reports
    assert (report.outcome, report.retries) == (Outcome.SUCCESS, 0)
    assert counts(client, report.run_id)[SUCCESS] == [1]


@asking
@places
@each({**INVOKED, **STREAMED})
async def test_an_interrupt_that_nobody_answers_interrupts_the_run_that_asked(
    call: Call, place, build: Build, value: object, track: Track, reports: list[RunReport]
) -> None:
    """What the graph around it makes of it does not matter."""
    await run(call, place(answers(build(), value, times=0)), NOTHING, {"callbacks": [track()]})

    assert [(report.outcome, report.retries) for report in reports] == [(Outcome.INTERRUPTED, 0)]


def asks_twice(state: State) -> State:
    """Call a model, then ask a human two things."""
    chain().invoke(QUESTION)
    return {"said": [interrupt("May I?"), interrupt("Really?")]}


@pytest.mark.parametrize(("times", "outcome"), [(1, Outcome.INTERRUPTED), (2, Outcome.SUCCESS)])
async def test_the_last_of_several_questions_counts(
    times: int, outcome: Outcome, track: Track, writer: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """A node that asks again is interrupted again, and so is the run; neither is retried."""
    paused = graph({"asks": asks_twice}, checkpointer=InMemorySaver())
    handler = track(nodes={"asks": writer})

    as_node(answers(paused, NOTHING, times=times)).invoke(NOTHING, {"callbacks": [handler]})

    (report,) = reports
    node = report.nodes["asks"]
    assert (report.outcome, node.outcome, node.retries) == (outcome, outcome, 0)


async def test_a_question_beside_an_answered_one_is_still_open(track: Track, reports: list[RunReport]) -> None:
    """Of two nodes that ask at once one is answered: the run is interrupted."""
    paused = graph({"a": asks, "b": asks}, in_parallel("a", "b"), checkpointer=InMemorySaver())

    def answers_one(state: State) -> State:
        paused.invoke(NOTHING, OWN)
        first, *_ = [asked.id for step in paused.get_state(OWN).tasks for asked in step.interrupts]
        return paused.invoke(Command(resume={first: "yes"}), OWN)

    as_node(answers_one).invoke(NOTHING, {"callbacks": [track()]})

    assert [(report.outcome, report.retries) for report in reports] == [(Outcome.INTERRUPTED, 0)]


@pytest.mark.parametrize("kept", [None, False], ids=["kept-with-the-graph", "not-kept"])
async def test_what_is_asked_in_an_answered_graph_is_answered_with_it(
    kept: bool | None, track: Track, reports: list[RunReport]
) -> None:
    """A subgraph that runs again from its beginning has other tasks than the one that asked."""
    subgraph = graph({"asks": asks}, checkpointer=kept)
    paused = graph({"sub": lambda state: subgraph.invoke(state)}, checkpointer=InMemorySaver())

    RunnableLambda(answers(paused, NOTHING)).invoke(NOTHING, {"callbacks": [track()]})

    assert [(report.outcome, report.retries) for report in reports] == [(Outcome.SUCCESS, 0)]


async def test_what_a_failed_attempt_was_asked_is_gone_with_it(track: Track, reports: list[RunReport]) -> None:
    """The attempt that worked was asked nothing: a success, with one retry."""
    attempts: list[object] = []

    def asks_and_fails(state: State) -> State:
        if not attempts:
            attempts.append(graph({"asks": asks}, checkpointer=InMemorySaver()).invoke(NOTHING, OWN))
            raise ConnectionError
        return speaks()(state)

    graph({"work": asks_and_fails}, options={"work": RETRIED}).invoke(NOTHING, {"callbacks": [track()]})

    assert [(report.outcome, report.retries) for report in reports] == [(Outcome.SUCCESS, 1)]


@pytest.mark.parametrize("counted", ["work", "rest"])
async def test_a_question_that_nobody_answers_interrupts_its_node_and_the_run_that_only_counts_nodes(
    counted: str, track: Track, writer: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """Whatever the node went on to do, and though no AI Config is counted for the run itself."""
    paused = graph({"asks": asks}, checkpointer=InMemorySaver())
    nodes = {"work": lambda state: paused.invoke(NOTHING, OWN) and NOTHING, "rest": speaks()}

    graph(nodes).invoke(NOTHING, {"callbacks": [track(None, nodes={counted: writer})]})

    (report,) = reports
    told = {"work": Outcome.INTERRUPTED, "rest": Outcome.SUCCESS}
    assert (report.outcome, report.nodes[counted].outcome) == (Outcome.INTERRUPTED, told[counted])


async def test_a_question_is_still_open_where_another_node_is_tried_again(
    track: Track, reports: list[RunReport]
) -> None:
    """Only an attempt that is made again takes along what it was asked."""
    paused = graph({"asks": asks}, checkpointer=InMemorySaver())
    nodes = {"work": lambda state: paused.invoke(NOTHING, OWN) and NOTHING, "flaky": speaks(ConnectionError())}

    graph(nodes, options={"flaky": RETRIED}).invoke(NOTHING, {"callbacks": [track()]})

    assert [(report.outcome, report.retries) for report in reports] == [(Outcome.INTERRUPTED, 1)]


async def test_a_task_that_failed_and_is_gone_on_with_is_a_retry(track: Track, reports: list[RunReport]) -> None:
    """Unlike one that was asked something: it is done again because it failed."""
    flaky = graph({"a": speaks(ConnectionError())}, checkpointer=InMemorySaver())

    def goes_on(state: State) -> State:
        with pytest.raises(ConnectionError):
            flaky.invoke(NOTHING, OWN)
        return flaky.invoke(None, OWN)

    RunnableLambda(goes_on).invoke(NOTHING, {"callbacks": [track()]})

    assert [(report.outcome, report.retries) for report in reports] == [(Outcome.SUCCESS, 1)]


@each(INVOKED)
async def test_a_resumed_task_of_a_continued_run_is_no_retry(
    call: Call, track: Track, reports: list[RunReport]
) -> None:
    """With `resume=True` the part that answers continues the run that asked."""
    paused, handler = graph({"asks": asks}, checkpointer=InMemorySaver()), track(resume=True)
    await run(call, paused, NOTHING, thread(handler))

    token = {"ldai_resumption_token": reports[0].resumption_token}
    await run(call, paused, Command(resume="yes"), thread(handler, metadata=token))

    assert len({report.run_id for report in reports}) == 1
    assert [(report.outcome, report.retries) for report in reports] == [
        (Outcome.INTERRUPTED, 0),
        (Outcome.SUCCESS, 0),
    ]


async def test_of_answered_interrupts_nothing_is_kept(track: Track) -> None:
    """A worker that asks and is answered for days, within one run, neither grows nor becomes slower."""
    handler, kept = track(), []
    build, value, *_ = next(iter(ASKING.values()))

    def work(state: State) -> State:
        paused = build()
        for number in range(3):
            own: RunnableConfig = {"configurable": {"thread_id": str(number)}}
            for given in (value, Command(resume="yes")):
                paused.invoke(given, own)
                (own_run,) = handler._recorder.table._open
                kept.append(len(own_run.interrupts))
        return {"said": ["done"]}

    await RunnableLambda(work).ainvoke(NOTHING, {"callbacks": [handler]})

    assert kept == [1, 0] * 3

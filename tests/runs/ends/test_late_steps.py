"""Steps that start late: below a step or a run that has ended, or that the handler has given up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import UUID, uuid4

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, Outcome, RunReport
from langchain_ldai._runs import lifetime as table
from langchain_ldai._runs import recently_ended as left
from langchain_ldai.testing import RecordingClient
from tests.support.chains import QUESTION, SUCCESS, chain, counts
from tests.support.events import (
    ANSWER,
    call_model,
    play_other_runs,
    start_call,
    start_chain,
    start_stream,
    stream_first_token,
)
from tests.support.graphs import calls
from tests.support.models import ScriptedChat
from tests.support.nodes import State, graph


def outcomes_and_calls(reports: list[RunReport]) -> list[tuple[Outcome, int]]:
    """Return how each run ended and how many model calls it counts."""
    return [(report.outcome, report.model_calls) for report in reports]


def test_other_runs_push_no_ended_step_out(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """The handler remembers an open run's ended steps, however many other runs come and go."""
    root = start_chain(handler)
    step = start_chain(handler, root)
    handler.on_chain_end({}, run_id=step)
    play_other_runs(handler, 2_000)

    call_model(handler, step)
    assert reports == []
    handler.on_chain_end({}, run_id=root)

    assert [(report.root_run_id, report.model_calls) for report in reports] == [(root, 1)]


def play_other_roots(handler: LdAiHandler, count: int) -> None:
    """Start and end so many other runs that have no step but the root."""
    for _ in range(count):
        handler.on_chain_end({}, run_id=start_chain(handler))


def play_run(handler: LdAiHandler, error: Exception | None = None) -> tuple[UUID, UUID]:
    """Play a run of one step and no model call; return its root and that step."""
    root = start_chain(handler)
    step = start_chain(handler, root)
    handler.on_chain_end({}, run_id=step)
    if error:
        handler.on_chain_error(error, run_id=root)
    else:
        handler.on_chain_end({}, run_id=root)
    return root, step


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of ended roots that a new handler remembers; a hundredth of it is as good for a test."""
    assert left.ROOTS == 100_000
    monkeypatch.setattr(left, "ROOTS", 1_000)
    return 1_000


def test_the_last_roots_have_no_late_runs(remembered: int, handler: LdAiHandler, reports: list[RunReport]) -> None:
    """The handler remembers so many ended roots: below them no run opens, below older ones it does (fact 112)."""
    older = play_run(handler)
    oldest_known = play_run(handler, ValueError())
    play_other_roots(handler, remembered - 1)
    handler.flush()

    for parent in oldest_known:
        call_model(handler, parent)
    assert reports == []
    play_other_roots(handler, remembered // 4 + 2)  # it may remember a quarter more
    for parent in older:
        call_model(handler, parent)
    assert len(reports) == 2


def test_while_something_below_it_is_open_an_ended_root_has_no_late_runs(
    remembered: int, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """While a step below an ended root is open, no step below that root opens a run, whatever else runs."""
    root = start_chain(handler)
    ended, ends_late, still_open = (start_chain(handler, root) for _ in range(3))
    for step in (ended, root, ends_late):
        handler.on_chain_end({}, run_id=step)
    another, its_step = play_run(handler)
    late = start_chain(handler, its_step)
    play_other_roots(handler, remembered + remembered // 4 + 2)  # as it may remember a quarter more

    for parent in (root, ended, ends_late, still_open, another, its_step, late):
        call_model(handler, start_chain(handler, parent))
    assert reports == []

    for step in (still_open, late):
        handler.on_chain_end({}, run_id=step)
    for parent in (root, another, late):
        call_model(handler, parent)
    assert reports == []


@pytest.mark.parametrize("is_given_up", [False, True], ids=["ended", "given up"])
def test_steps_that_never_end_are_forgotten_like_those_that_have(
    is_given_up: bool, config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """The handler remembers open steps of as many ended runs as may be open; then the count of roots decides."""
    handler = LdAiHandler(config, on_run_end=reports.append, max_open_runs=1)
    steps = []
    for _ in range(4):
        root = start_chain(handler)
        steps.append(start_chain(handler, start_chain(handler, root)))
        if not is_given_up:
            handler.on_chain_end({}, run_id=root)

    for step in steps:
        call_model(handler, start_chain(handler, step))
        handler.on_chain_end({}, run_id=step)

    assert reports == []
    assert handler.open_runs == is_given_up


def test_of_very_many_steps_of_a_run_the_latest_are_known(
    handler: LdAiHandler, reports: list[RunReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler forgets the oldest steps of an endless run: a model call below them is a run of its own."""
    monkeypatch.setattr(table, "STEPS_OF_RUN", 10)
    root = start_chain(handler)
    steps = [start_chain(handler, root) for _ in range(20)]
    for step in steps:
        handler.on_chain_end({}, run_id=step)

    for step in steps[-5:]:
        call_model(handler, step)
    assert reports == []
    call_model(handler, steps[0])
    handler.on_chain_end({}, run_id=root)

    assert [report.model_calls for report in reports] == [1, 5]


@pytest.mark.parametrize("root_ends", [False, True], ids=["root-open", "root-ended"])
def test_of_very_many_steps_none_that_is_open_is_forgotten(
    root_ends: bool, handler: LdAiHandler, reports: list[RunReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is the root: however many steps there were, a call that began before them ends as it would alone."""
    monkeypatch.setattr(table, "STEPS_OF_RUN", 10)
    root = start_chain(handler)
    call = start_call(handler, root)
    if root_ends:
        handler.on_chain_end({}, run_id=root)
    for _ in range(40):
        handler.on_chain_end({}, run_id=start_chain(handler, root))

    handler.on_llm_end(ANSWER, run_id=call)
    handler.on_chain_end({}, run_id=root)

    assert [(report.outcome, report.summary.tokens) for report in reports] == [("success", calls(1))]


def test_of_very_many_steps_of_ended_runs_the_latest_are_known(
    config: LdAiCompletionConfig, reports: list[RunReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler remembers roots apart from steps: the steps of other runs push no root out."""
    monkeypatch.setattr(left, "STEPS", 4)
    handler = LdAiHandler(config, on_run_end=reports.append)
    root, step = play_run(handler)
    play_other_runs(handler, 3)
    call_model(handler, step)
    assert reports == []

    play_other_runs(handler, 4)
    call_model(handler, root)
    assert reports == []
    call_model(handler, step)
    assert len(reports) == 1


def test_a_step_below_which_its_run_ends_as_it_starts_is_late(
    config: LdAiCompletionConfig, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A run may end while a node's AI Config is looked up: what is below that node is no run, and not recorded."""

    def end_the_run(metadata: object) -> LdAiCompletionConfig:
        handler.on_chain_end({}, run_id=root)
        return config

    handler = LdAiHandler(config, nodes={"late": end_the_run}, on_run_end=reports.append)
    root = start_chain(handler)
    step = start_chain(handler, root, langgraph_node="late")
    before = client.events

    handler.on_llm_end(ANSWER, run_id=stream_first_token(handler, step))

    assert (reports, client.events) == ([], before)


@pytest.mark.asyncio
async def test_what_a_node_leaves_to_the_next_is_of_the_same_run(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A task that one node begins and another awaits calls its model below a step that has ended."""
    tasks: list[asyncio.Task[object]] = []
    may_go_on = asyncio.Event()

    async def later() -> object:
        await may_go_on.wait()
        return await ScriptedChat().ainvoke("How?")

    async def first(state: State) -> State:
        tasks.append(asyncio.create_task(later()))
        return {"done": False}

    async def second(state: State) -> State:
        may_go_on.set()
        await asyncio.gather(*tasks)
        await ScriptedChat().ainvoke("How?")
        return {"done": True}

    await graph(first, second).ainvoke({"done": False}, {"callbacks": [handler]})

    assert outcomes_and_calls(reports) == [(Outcome.SUCCESS, 2)]
    assert client.metrics(reports[0].run_id)[SUCCESS] == [1]


def test_a_stream_that_the_next_step_reads_is_of_the_run_whose_token_was_shown(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A step returns a stream unread; the model starts below that step after the step has ended."""

    def lazy(value: object, config: RunnableConfig) -> object:
        return ScriptedChat().stream("How?", config)

    read = RunnableLambda(lambda parts: "".join(part.content for part in parts))
    steps = RunnableLambda(lazy) | read | ScriptedChat()

    assert steps.invoke("x", {"callbacks": [handler]}).content == "Hello, world"
    assert outcomes_and_calls(reports) == [(Outcome.SUCCESS, 2)]


def test_below_a_step_of_a_run_that_has_ended_no_run_opens(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """The handler knows the root of an ended step, however deep the step was."""
    root = start_chain(handler)
    outer = start_chain(handler, root)
    inner = start_chain(handler, outer)
    call_model(handler, inner)
    for step in (inner, outer, root):
        handler.on_chain_end({}, run_id=step)

    call_model(handler, inner)
    call_model(handler, start_chain(handler, inner))

    assert outcomes_and_calls(reports) == [(Outcome.SUCCESS, 1)]
    assert handler.open_runs == 0


def test_steps_that_name_each_other_as_parents_are_of_the_run_in_which_they_started(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Parents in a circle are below the root all the same: below them no run opens."""
    root = start_chain(handler)
    one, other = start_chain(handler, root), uuid4()
    handler.on_chain_start(None, {}, run_id=other, parent_run_id=one, metadata={})
    handler.on_chain_end({}, run_id=one)
    handler.on_chain_start(None, {}, run_id=one, parent_run_id=other, metadata={})
    for step in (one, other, root):
        handler.on_chain_end({}, run_id=step)

    call_model(handler, one)

    assert reports == []


@pytest.mark.asyncio
async def test_one_run_too_many_costs_one_run(
    config: LdAiCompletionConfig, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The later steps of a run that was given up open no runs, so that they push no other run out."""
    handler = LdAiHandler(config, on_run_end=reports.append, max_open_runs=3)
    arrived: asyncio.Queue[None] = asyncio.Queue()
    may_go_on = asyncio.Event()

    async def wait(value: object) -> object:
        arrived.put_nowait(None)
        await may_go_on.wait()
        return value

    steps = chain() | RunnableLambda(wait) | ScriptedChat() | StrOutputParser() | ScriptedChat()

    runs = []
    for _ in range(4):
        runs.append(asyncio.create_task(steps.ainvoke(QUESTION, {"callbacks": [handler]})))
        await arrived.get()
    may_go_on.set()
    await asyncio.gather(*runs)

    assert sorted(outcomes_and_calls(reports)) == [(Outcome.ABANDONED, 1), *[(Outcome.SUCCESS, 3)] * 3]
    assert all(counts(client, report.run_id) for report in reports)


def test_a_run_given_up_as_silent_opens_no_others(config: LdAiCompletionConfig, reports: list[RunReport]) -> None:
    """The handler ignores all later events of such a run, at any depth, and also after a flush."""
    handler = LdAiHandler(config, on_run_end=reports.append, run_timeout=1e-9)
    root = start_chain(handler)
    call_model(handler, root)
    step = start_chain(handler, root)
    handler.flush()

    call_model(handler, start_chain(handler, step))
    handler.flush()
    call_model(handler, root)
    handler.on_chain_end({}, run_id=root)

    assert outcomes_and_calls(reports) == [(Outcome.ABANDONED, 1)]
    assert handler.open_runs == 0


async def stream_messages(runnable: Runnable, config: RunnableConfig) -> list[object]:
    """Read a graph's messages, which has its models stream."""
    stream: AsyncIterator[object] = runnable.astream({"done": False}, config, stream_mode="messages")
    return [part async for part in stream]


@pytest.mark.asyncio
async def test_a_node_that_recovers_from_a_call_it_cancelled_is_a_success(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A streamed call that was cancelled never ends (fact 69), but the steps around it go on."""
    has_begun = asyncio.Event()

    class Stuck(ScriptedChat):
        async def _astream(self, *args: object, **kwargs: object) -> AsyncIterator[object]:
            async for chunk in super()._astream(*args, **kwargs):
                yield chunk
                has_begun.set()
                await asyncio.sleep(3600)

    async def ask(state: State) -> State:
        call = asyncio.create_task(Stuck().ainvoke("How?"))
        await has_begun.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await ScriptedChat().ainvoke("How?")
        return {"done": True}

    await stream_messages(graph(ask), {"callbacks": [handler]})
    handler.flush()

    assert outcomes_and_calls(reports) == [(Outcome.SUCCESS, 2)]


def test_a_stream_closed_early_within_steps_is_still_cancelled(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Every step around the call is still open, so the reader closed the stream before its end (fact 72)."""
    steps = RunnableLambda(lambda value: value) | chain()
    stream = steps.stream(QUESTION, {"callbacks": [handler]})
    next(stream)

    stream.close()

    assert [report.outcome for report in reports] == [Outcome.CANCELLED]


@pytest.mark.parametrize(
    ("begin", "outcome"),
    [(start_stream, Outcome.CANCELLED), (start_chain, Outcome.SUCCESS)],
    ids=["stream", "call"],
)
def test_only_a_root_that_started_as_a_stream_may_have_been_closed(
    begin: Callable[[LdAiHandler], UUID], outcome: Outcome, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A root's start says whether it is a stream; LangChain ends only a closed stream like a success (fact 72)."""
    root = begin(handler)
    call = stream_first_token(handler, start_chain(handler, root))

    handler.on_chain_end({}, run_id=root)
    handler.on_llm_end(ANSWER, run_id=call)

    assert [report.outcome for report in reports] == [outcome]


def test_a_stream_whose_step_went_on_without_a_call_was_read(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """The step around the call has ended, so the step gave the call up, and the reader did not (fact 72)."""
    root = start_stream(handler)
    step = start_chain(handler, root)
    stream_first_token(handler, step)
    handler.on_chain_end({}, run_id=step)

    handler.on_chain_end({}, run_id=root)
    handler.flush()

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


def test_steps_that_are_each_others_parents_do_not_reach_the_root(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """The handler ignores a call below a circle of steps and takes the root's end for what it says."""
    root, one, other = start_stream(handler), uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=one, parent_run_id=root, metadata={})
    handler.on_chain_start(None, {}, run_id=other, parent_run_id=one, metadata={})
    handler.on_chain_end({}, run_id=one)
    handler.on_chain_start(None, {}, run_id=one, parent_run_id=other, metadata={})
    stream_first_token(handler, one)

    handler.on_chain_end({}, run_id=root)
    handler.flush()

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


def test_an_id_that_is_used_again_is_that_of_the_new_run(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """The run before, which waited for a model call, takes nothing along when it closes."""
    root = start_stream(handler)
    late = stream_first_token(handler, root)
    handler.on_chain_end({}, run_id=root)
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_llm_end(ANSWER, run_id=late)
    call_model(handler, root)
    handler.on_chain_end({}, run_id=root)

    assert [report.model_calls for report in reports] == [1, 1]

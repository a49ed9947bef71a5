"""Steps that start late: below a step, or a run, that has ended or was given up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import UUID, uuid4

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, Outcome, RunReport
from langchain_ldai._runs import open_runs as table
from langchain_ldai._runs import recently_ended as left
from langchain_ldai.testing import RecordingClient
from tests.support.chains import QUESTION, SUCCESS, chain, counts
from tests.support.events import ANSWER, begun, called, pass_by, stream_begun, streaming
from tests.support.models import ScriptedChat
from tests.support.nodes import State, graph


def of_calls(reports: list[RunReport]) -> list[tuple[Outcome, int]]:
    """Return how each run ended and how many model calls it counts."""
    return [(report.outcome, report.model_calls) for report in reports]


def test_other_runs_push_no_ended_step_out(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """What is known of an open run's ended steps does not depend on how busy the handler is."""
    root = begun(handler)
    step = begun(handler, root)
    handler.on_chain_end({}, run_id=step)
    pass_by(handler, 2_000)

    called(handler, step)
    assert reports == []
    handler.on_chain_end({}, run_id=root)

    assert [(report.root_run_id, report.model_calls) for report in reports] == [(root, 1)]


def pass_by_alone(handler: LdAiHandler, count: int) -> None:
    """Have so many other runs come and go, with roots alone."""
    for _ in range(count):
        handler.on_chain_end({}, run_id=begun(handler))


def ended_run(handler: LdAiHandler, error: Exception | None = None) -> tuple[UUID, UUID]:
    """Play a run of one step and no model call; return its root and that step."""
    root = begun(handler)
    step = begun(handler, root)
    handler.on_chain_end({}, run_id=step)
    if error:
        handler.on_chain_error(error, run_id=root)
    else:
        handler.on_chain_end({}, run_id=root)
    return root, step


def test_the_last_hundred_thousand_roots_have_no_late_runs(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """What starts below one of them, or below its steps, opens no run; below an older one it does (fact 112)."""
    older = ended_run(handler)
    oldest_known = ended_run(handler, ValueError())
    pass_by_alone(handler, 99_999)
    handler.flush()

    for parent in oldest_known:
        called(handler, parent)
    assert reports == []
    for parent in older:
        called(handler, parent)
    assert len(reports) == 2


def test_while_something_below_it_is_open_an_ended_root_has_no_late_runs(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """However many other runs come and go meanwhile, nothing that starts anywhere below it opens one."""
    root = begun(handler)
    ended, still_open = begun(handler, root), begun(handler, root)
    for step in (ended, root):
        handler.on_chain_end({}, run_id=step)
    another, its_step = ended_run(handler)
    late = begun(handler, its_step)
    pass_by_alone(handler, 100_001)

    for parent in (root, ended, still_open, another, its_step, late):
        called(handler, begun(handler, parent))
    assert reports == []

    for step in (still_open, late):
        handler.on_chain_end({}, run_id=step)
    for parent in (root, another, late):
        called(handler, parent)
    assert reports == []


@pytest.mark.parametrize("is_given_up", [False, True], ids=["ended", "given up"])
def test_steps_that_never_end_are_forgotten_like_those_that_have(
    is_given_up: bool, config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """Of as many runs as may be open it is known what goes on below them; after that the roots count."""
    handler = LdAiHandler(config, on_run_end=reports.append, max_open_runs=1)
    steps = []
    for _ in range(4):
        root = begun(handler)
        steps.append(begun(handler, begun(handler, root)))
        if not is_given_up:
            handler.on_chain_end({}, run_id=root)

    for step in steps:
        called(handler, begun(handler, step))
        handler.on_chain_end({}, run_id=step)

    assert reports == []
    assert handler.open_runs == is_given_up


def test_of_very_many_steps_of_a_run_the_latest_are_known(
    handler: LdAiHandler, reports: list[RunReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on for ever is bounded too: below its oldest steps a call is a run of its own."""
    monkeypatch.setattr(table, "STEPS_OF_RUN", 10)
    root = begun(handler)
    steps = [begun(handler, root) for _ in range(20)]
    for step in steps:
        handler.on_chain_end({}, run_id=step)

    for step in steps[-5:]:
        called(handler, step)
    assert reports == []
    called(handler, steps[0])
    handler.on_chain_end({}, run_id=root)

    assert [report.model_calls for report in reports] == [1, 5]


def test_of_very_many_steps_of_ended_runs_the_latest_are_known(
    config: LdAiCompletionConfig, reports: list[RunReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Roots are remembered by themselves: the steps of other runs push none out."""
    monkeypatch.setattr(left, "STEPS", 3)
    handler = LdAiHandler(config, on_run_end=reports.append)
    root, step = ended_run(handler)
    pass_by(handler, 2)
    called(handler, step)
    assert reports == []

    pass_by(handler, 1)
    called(handler, root)
    assert reports == []
    called(handler, step)
    assert len(reports) == 1


def test_a_step_below_which_its_run_ends_as_it_starts_is_late(
    config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """While the AI Config of its node is looked up its run may end: what is below it opens no run either."""
    handler = LdAiHandler(
        config, nodes={"late": lambda metadata: handler.on_chain_end({}, run_id=root)}, on_run_end=reports.append
    )
    root, step = begun(handler), uuid4()
    handler.on_chain_start(None, {}, run_id=step, parent_run_id=root, metadata={"langgraph_node": "late"})

    called(handler, step)

    assert reports == []


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

    assert of_calls(reports) == [(Outcome.SUCCESS, 2)]
    assert client.metrics(reports[0].run_id)[SUCCESS] == [1]


def test_a_stream_that_the_next_step_reads_is_of_the_run_whose_token_was_shown(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A step returns a stream unread: its model starts below that step, after its end."""

    def lazy(value: object, config: RunnableConfig) -> object:
        return ScriptedChat().stream("How?", config)

    read = RunnableLambda(lambda parts: "".join(part.content for part in parts))
    steps = RunnableLambda(lazy) | read | ScriptedChat()

    assert steps.invoke("x", {"callbacks": [handler]}).content == "Hello, world"
    assert of_calls(reports) == [(Outcome.SUCCESS, 2)]


def test_below_a_step_of_a_run_that_has_ended_no_run_opens(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """A step of it that ended leads to its root as the root's own id does, however deep it was."""
    root = begun(handler)
    outer = begun(handler, root)
    inner = begun(handler, outer)
    called(handler, inner)
    for step in (inner, outer, root):
        handler.on_chain_end({}, run_id=step)

    called(handler, inner)
    called(handler, begun(handler, inner))

    assert of_calls(reports) == [(Outcome.SUCCESS, 1)]
    assert handler.open_runs == 0


def test_steps_that_name_each_other_as_parents_hold_nobody_up(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Ids that are used again in a circle lead nowhere: what starts below is a run of its own."""
    root = begun(handler)
    one, other = begun(handler, root), uuid4()
    handler.on_chain_start(None, {}, run_id=other, parent_run_id=one, metadata={})
    handler.on_chain_end({}, run_id=one)
    handler.on_chain_start(None, {}, run_id=one, parent_run_id=other, metadata={})
    for step in (one, other, root):
        handler.on_chain_end({}, run_id=step)

    called(handler, one)

    assert of_calls(reports) == [(Outcome.SUCCESS, 1)]


@pytest.mark.asyncio
async def test_one_run_too_many_costs_one_run(
    config: LdAiCompletionConfig, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The later steps of a run that was given up open no runs, which would push out others in turn."""
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

    assert sorted(of_calls(reports)) == [(Outcome.ABANDONED, 1), *[(Outcome.SUCCESS, 3)] * 3]
    assert all(counts(client, report.run_id) for report in reports)


def test_a_run_given_up_as_silent_opens_no_others(config: LdAiCompletionConfig, reports: list[RunReport]) -> None:
    """What it does once it goes on is ignored, at whatever depth, and also after a flush."""
    handler = LdAiHandler(config, on_run_end=reports.append, run_timeout=1e-9)
    root = begun(handler)
    called(handler, root)
    step = begun(handler, root)
    handler.flush()

    called(handler, begun(handler, step))
    handler.flush()
    called(handler, root)
    handler.on_chain_end({}, run_id=root)

    assert of_calls(reports) == [(Outcome.ABANDONED, 1)]
    assert handler.open_runs == 0


async def streamed(runnable: Runnable, config: RunnableConfig) -> list[object]:
    """Read a graph's messages, which has its models stream."""
    stream: AsyncIterator[object] = runnable.astream({"done": False}, config, stream_mode="messages")
    return [part async for part in stream]


@pytest.mark.asyncio
async def test_a_node_that_recovers_from_a_call_it_cancelled_is_a_success(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A call that streamed and was cancelled never ends (fact 69), but what was around it has gone on."""
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

    await streamed(graph(ask), {"callbacks": [handler]})
    handler.flush()

    assert of_calls(reports) == [(Outcome.SUCCESS, 2)]


def test_a_stream_closed_early_within_steps_is_still_cancelled(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Where every step around the call is open, too, its end was not reached (fact 72)."""
    steps = RunnableLambda(lambda value: value) | chain()
    stream = steps.stream(QUESTION, {"callbacks": [handler]})
    next(stream)

    stream.close()

    assert [report.outcome for report in reports] == [Outcome.CANCELLED]


@pytest.mark.parametrize(
    ("begin", "outcome"), [(stream_begun, Outcome.CANCELLED), (begun, Outcome.SUCCESS)], ids=["stream", "call"]
)
def test_only_a_root_that_started_as_a_stream_may_have_been_closed(
    begin: Callable[[LdAiHandler], UUID], outcome: Outcome, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """LangChain shows at its start which roots it ends like a success when they are closed (fact 72)."""
    root = begin(handler)
    call = streaming(handler, begun(handler, root))

    handler.on_chain_end({}, run_id=root)
    handler.on_llm_end(ANSWER, run_id=call)

    assert [report.outcome for report in reports] == [outcome]


def test_a_stream_whose_step_went_on_without_a_call_was_read(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A call below a step that has ended is one that the step gave up (fact 72)."""
    root = stream_begun(handler)
    step = begun(handler, root)
    streaming(handler, step)
    handler.on_chain_end({}, run_id=step)

    handler.on_chain_end({}, run_id=root)
    handler.flush()

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


def test_steps_that_are_each_others_parents_do_not_reach_the_root(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A call below a circle of steps is left as it is, and the root's end is taken for what it says."""
    root, one, other = stream_begun(handler), uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=one, parent_run_id=root, metadata={})
    handler.on_chain_start(None, {}, run_id=other, parent_run_id=one, metadata={})
    handler.on_chain_end({}, run_id=one)
    handler.on_chain_start(None, {}, run_id=one, parent_run_id=other, metadata={})
    streaming(handler, one)

    handler.on_chain_end({}, run_id=root)
    handler.flush()

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]

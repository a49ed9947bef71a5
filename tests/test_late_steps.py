"""Steps that start late: below a step, or a run, that has ended or was given up."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable
from typing import Final, TypedDict
from uuid import UUID, uuid4

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, Outcome, RunReport, left, table
from langchain_ldai.testing import RecordingClient
from tests.support.chains import QUESTION, SUCCESS, chain, counts
from tests.support.events import ANSWER, begun, called
from tests.support.models import ScriptedChat


def of_calls(reports: list[RunReport]) -> list[tuple[Outcome, int]]:
    """Return how each run ended and how many model calls it counts."""
    return [(report.outcome, report.model_calls) for report in reports]


class State(TypedDict):
    """What the nodes pass on: nothing."""

    done: bool


def graph(*nodes: object) -> Runnable:
    """Return a graph of nodes, one after the other."""
    builder, before = StateGraph(State), START
    for number, node in enumerate(nodes):
        builder.add_node(f"node-{number}", node)
        builder.add_edge(before, f"node-{number}")
        before = f"node-{number}"
    return builder.compile()


Say = Callable[[LdAiHandler, RunnableConfig], tuple[Runnable, RunnableConfig | None]]
"""What a background call says of the handler: the model that it calls and the config that it passes."""

SAID: Final[dict[str, Say]] = {
    "nothing": lambda handler, config: (ScriptedChat(), None),
    "the handler": lambda handler, config: (ScriptedChat(), {"callbacks": [handler]}),
    "the step's config": lambda handler, config: (ScriptedChat(), config),
    "bound": lambda handler, config: (ScriptedChat().with_config(callbacks=[handler]), None),
    "made with": lambda handler, config: (ScriptedChat(callbacks=[handler]), None),
    "bound and passed": lambda handler, config: (
        ScriptedChat().with_config(callbacks=[handler]),
        {"callbacks": [handler]},
    ),
    "in a fallback": lambda handler, config: (
        ScriptedChat().with_fallbacks([ScriptedChat()]),
        {"callbacks": [handler]},
    ),
}


class Background:
    """Calls models in the background, once it is told to: in a task, or on a thread with the step's context."""

    def __init__(self, say: Say, handler: LdAiHandler, calls: int = 1) -> None:
        self._say, self._handler, self._calls = say, handler, calls
        self._may_go_on = threading.Event()
        self._task: asyncio.Task[object] | None = None
        self._thread: threading.Thread | None = None

    def begin_thread(self, config: RunnableConfig) -> None:
        """Begin on a thread."""
        model, own = self._say(self._handler, config)
        context = contextvars.copy_context()

        def call() -> None:
            self._may_go_on.wait(10)
            for _ in range(self._calls):
                context.run(model.invoke, "How?", own)

        self._thread = threading.Thread(target=call)
        self._thread.start()

    def begin_task(self, config: RunnableConfig) -> None:
        """Begin in a task."""
        model, own = self._say(self._handler, config)

        async def call() -> None:
            while not self._may_go_on.is_set():  # noqa: ASYNC110  an event of asyncio would be one loop's
                await asyncio.sleep(0)
            await asyncio.gather(*(model.ainvoke("How?", own) for _ in range(self._calls)))

        self._task = asyncio.create_task(call())

    def join_thread(self) -> None:
        """Let it call, and wait until it has."""
        self._may_go_on.set()
        self._thread.join()

    async def join_task(self) -> None:
        """Let it call, and wait until it has."""
        self._may_go_on.set()
        await self._task


@pytest.mark.parametrize("say", SAID.values(), ids=SAID)
@pytest.mark.parametrize("is_async", [False, True], ids=["thread", "task"])
@pytest.mark.parametrize("in_graph", [False, True], ids=["chain", "graph"])
@pytest.mark.asyncio
async def test_a_background_call_is_of_the_run_that_is_open(
    say: Say,
    is_async: bool,
    in_graph: bool,
    handler: LdAiHandler,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """However it reaches the handler: its step has ended, its run has not; side by side they are no retries."""
    background = Background(say, handler, calls=2)

    def begin(value: object, config: RunnableConfig) -> object:
        background.begin_thread(config)
        return value

    async def abegin(value: object, config: RunnableConfig) -> object:
        background.begin_task(config)
        return value

    def finish(value: object) -> object:
        background.join_thread()
        return value

    async def afinish(value: object) -> object:
        await background.join_task()
        return value

    config: RunnableConfig = {"callbacks": [handler]}
    steps = (abegin, afinish) if is_async else (begin, finish)
    runnable = graph(*steps) if in_graph else RunnableLambda(steps[0]) | RunnableLambda(steps[1])
    await runnable.ainvoke({"done": True}, config) if is_async else runnable.invoke({"done": True}, config)

    assert [(report.outcome, report.model_calls, report.retries) for report in reports] == [
        (Outcome.SUCCESS, 2, 0)
    ]
    assert client.metrics(reports[0].run_id)["$ld:ai:tokens:total"] == [26]


@pytest.mark.asyncio
async def test_what_a_failed_attempt_left_running_is_no_further_attempt(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """The node is repeated once, and so is one retry, whatever either attempt still calls."""
    left_running: list[Background] = []

    async def fail_once(state: State, config: RunnableConfig) -> State:
        left_running.append(Background(SAID["nothing"], handler, calls=2))
        left_running[-1].begin_task(config)
        if len(left_running) == 1:
            raise ConnectionError
        return state

    async def finish(state: State) -> State:
        for background in left_running:
            await background.join_task()
        return state

    builder = StateGraph(State)
    builder.add_node("work", fail_once, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False))
    builder.add_node("finish", finish)
    builder.add_edge(START, "work")
    builder.add_edge("work", "finish")
    await builder.compile().ainvoke({"done": True}, {"callbacks": [handler]})

    assert [(report.model_calls, report.retries) for report in reports] == [(4, 1)]


@pytest.mark.asyncio
async def test_a_background_call_of_a_named_node_is_counted_for_it(
    config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """It happens in that node, whose visits are over: they keep their outcome, and the run its own figures."""
    handler = LdAiHandler(config, nodes={"node-0": config}, on_run_end=reports.append)
    background = Background(SAID["the handler"], handler)

    async def first(state: State, config: RunnableConfig) -> State:
        background.begin_task(config)
        return {"done": False}

    async def second(state: State) -> State:
        await background.join_task()
        await ScriptedChat().ainvoke("How?")
        return {"done": True}

    await graph(first, second).ainvoke({"done": False}, {"callbacks": [handler]})

    assert of_calls(reports) == [(Outcome.SUCCESS, 1)]
    assert of_calls(list(reports[0].nodes.values())) == [(Outcome.SUCCESS, 1)]


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


def pass_by(handler: LdAiHandler, count: int) -> None:
    """Have so many other runs come and go, each with a step, and no model call."""
    for _ in range(count):
        root = begun(handler)
        handler.on_chain_end({}, run_id=begun(handler, root))
        handler.on_chain_end({}, run_id=root)


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


@pytest.mark.parametrize("say", SAID.values(), ids=SAID)
@pytest.mark.asyncio
async def test_what_a_late_step_calls_is_late(say: Say, handler: LdAiHandler, reports: list[RunReport]) -> None:
    """A background step that outlives its run opens none, nor does what it calls, whatever callbacks it passes."""
    tasks: list[asyncio.Task[object]] = []
    may_go_on = asyncio.Event()

    async def work(value: object, config: RunnableConfig) -> object:
        await may_go_on.wait()
        model, own = say(handler, config)
        return await model.ainvoke("How?", own)

    async def leave(value: object) -> object:
        tasks.append(asyncio.create_task(RunnableLambda(work).ainvoke(value)))
        await asyncio.sleep(0.01)
        return await ScriptedChat().ainvoke("How?")

    await RunnableLambda(leave).ainvoke("x", {"callbacks": [handler]})
    pass_by(handler, 2_000)
    may_go_on.set()
    await asyncio.gather(*tasks)

    assert of_calls(reports) == [(Outcome.SUCCESS, 1)]
    assert handler.open_runs == 0


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
    root, outer, call = begun(handler), uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=outer, parent_run_id=root, metadata={})
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=outer, metadata={})
    handler.on_llm_new_token("Hello", run_id=call)

    stream.close()
    handler.on_chain_end({}, run_id=root)
    handler.on_llm_end(ANSWER, run_id=call)

    assert [report.outcome for report in reports] == [Outcome.CANCELLED] * 2


def test_steps_that_are_each_others_parents_do_not_reach_the_root(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A call below a circle of steps is left as it is, and the root's end is taken for what it says."""
    root, one, other, call = begun(handler), uuid4(), uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=one, parent_run_id=root, metadata={})
    handler.on_chain_start(None, {}, run_id=other, parent_run_id=one, metadata={})
    handler.on_chain_end({}, run_id=one)
    handler.on_chain_start(None, {}, run_id=one, parent_run_id=other, metadata={})
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=one, metadata={})
    handler.on_llm_new_token("Hello", run_id=call)

    handler.on_chain_end({}, run_id=root)
    handler.flush()

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]

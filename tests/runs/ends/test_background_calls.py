"""Model calls that a step leaves running, in a task or on a thread, with its callbacks or with others."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Final

import pytest
from langchain_core.callbacks import CallbackManager
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.support.events import ANSWER, play_other_runs, start_call, start_chain
from tests.support.models import ScriptedChat
from tests.support.nodes import State, graph

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
    """Its step has ended and its run has not: the call counts for the run, and two at once are no retries."""
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
    """LangGraph repeats the node once, so there is one retry, whatever either attempt still calls."""
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
    """The call counts for the node, though the node's visits are over; their outcome stays."""
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

    (report,) = reports
    told = [(each.outcome, each.model_calls) for each in (report, report.nodes["node-0"])]
    assert told == [(Outcome.SUCCESS, 1)] * 2


@pytest.mark.parametrize("say", SAID.values(), ids=SAID)
@pytest.mark.asyncio
async def test_what_a_late_step_calls_is_late(say: Say, handler: LdAiHandler, reports: list[RunReport]) -> None:
    """A step that outlives its run opens no run, and neither do its model calls, whatever callbacks they get."""
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
    play_other_runs(handler, 2_000)
    may_go_on.set()
    await asyncio.gather(*tasks)

    assert [(report.outcome, report.model_calls) for report in reports] == [(Outcome.SUCCESS, 1)]
    assert handler.open_runs == 0


@pytest.mark.parametrize(("ends", "calls"), [(False, [2]), (True, [1, 1])], ids=["open", "ended"])
def test_a_run_that_waits_takes_a_call_in_the_context_of_a_step_while_the_step_is_open(
    ends: bool, calls: list[int], handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """The context of a program's own tasks may name a step for good: once it has ended, the call is a run."""
    root = start_chain(handler)
    step, awaited = start_chain(handler, root), start_call(handler, root)
    for each in (root, step) if ends else (root,):
        handler.on_chain_end({}, run_id=each)
    context = contextvars.copy_context()
    context.run(var_child_runnable_config.set, {"callbacks": CallbackManager([], parent_run_id=step)})

    call = context.run(start_call, handler)
    for each in (call, awaited):
        handler.on_llm_end(ANSWER, run_id=each)

    assert [report.model_calls for report in reports] == calls

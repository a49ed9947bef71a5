"""What opens a run, and what belongs to one that is open (facts 111 to 115, 117)."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from langchain_core.runnables import (
    Runnable,
    RunnableBranch,
    RunnableConfig,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_core.tools import tool
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.support.calls import BATCHED, INVOKED, STREAMED, Call, each, run
from tests.support.chains import AGENT_INPUT, QUESTION, SUCCESS, TOKENS, agent, chain, counts
from tests.support.models import ScriptedChat
from tests.support.observe import summarize

pytestmark = pytest.mark.asyncio


def with_a_pool(question: object, config: RunnableConfig) -> None:
    """Call two chains on other threads, with the config."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: chain().invoke(question, config), range(2)))


def with_own_callbacks(question: object, config: RunnableConfig) -> str:
    """Call a chain with a list of callbacks in place of the config."""
    return chain().invoke(question, {"callbacks": config["metadata"]["list"]})


@tool
def ask(question: str) -> str:
    """Ask a model, without a config."""
    return chain().invoke({"question": question})


@task
def ask_in_a_task(question: object) -> str:
    """Ask a model in a task."""
    return chain().invoke(question)


@entrypoint()
def ask_twice(question: object) -> list[str]:
    """Ask in two tasks at once."""
    return [answer.result() for answer in [ask_in_a_task(question), ask_in_a_task(question)]]


def graph(*models: Runnable) -> Runnable:
    """Return a graph with a node for each of the models, which calls it without a config."""
    builder, names = StateGraph(MessagesState), [START, *(f"node-{number}" for number in range(len(models)))]
    for number, model in enumerate(models):
        builder.add_node(names[number + 1], lambda state, model=model: {"messages": [model.invoke("?")]})
        builder.add_edge(names[number], names[number + 1])
    return builder.compile()


SHAPES = {
    "chain": (chain, QUESTION, 1),
    "parallel": (lambda: RunnableParallel(a=chain(), b=chain()), QUESTION, 2),
    "branch": (lambda: RunnablePassthrough() | RunnableBranch((bool, chain()), chain()), QUESTION, 1),
    "map": (lambda: chain().map(), [QUESTION] * 3, 3),
    "lambda": (lambda: RunnableLambda(lambda question: chain().invoke(question)), QUESTION, 1),
    "own-callbacks": (lambda: RunnableLambda(with_own_callbacks), QUESTION, 1),
    "thread-pool": (lambda: RunnableLambda(with_a_pool), QUESTION, 2),
    "tool": (lambda: ask, {"question": "?"}, 1),
    "graph": (lambda: graph(ScriptedChat(), ScriptedChat()), AGENT_INPUT, 2),
    "agent": (agent, AGENT_INPUT, 2),
    "retry": (lambda: chain().with_retry(), QUESTION, 1),
}


@pytest.mark.parametrize(("shape", "value", "calls"), SHAPES.values(), ids=SHAPES)
@each(INVOKED)
async def test_every_shape_is_one_run(
    call: Call,
    shape: Callable[[], Runnable],
    value: object,
    calls: int,
    handler: LdAiHandler,
    reports: list[RunReport],
) -> None:
    """All that starts below a root, wherever it runs, is one run with it (facts 111, 113)."""
    await run(call, shape(), value, {"callbacks": [handler], "metadata": {"list": [handler]}})

    assert summarize(reports) == [("success", calls, 0, 13 * calls)]


async def test_the_functional_api_is_one_run(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """An `@entrypoint` is the root of its tasks (fact 111)."""
    ask_twice.invoke(QUESTION, {"callbacks": [handler]})

    assert summarize(reports) == [("success", 2, 0, 26)]


INNER = {
    "model-bound": lambda handler: chain(ScriptedChat().with_config(callbacks=[handler])),
    "model-made-with": lambda handler: chain(ScriptedChat(callbacks=[handler])),
    "chain-bound": lambda handler: RunnablePassthrough() | chain().with_config(callbacks=[handler]),
}


@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
@each({**INVOKED, **STREAMED, **BATCHED})
async def test_a_handler_of_an_inner_step_has_its_root_there(
    call: Call,
    inner: Callable[[LdAiHandler], Runnable],
    handler: LdAiHandler,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """The parent that it is told of is unknown to it: a run begins, and ends with that step (fact 112)."""
    await run(call, inner(handler), QUESTION, {})

    assert len(reports) == (3 if call in BATCHED.values() else 1)
    assert all(counts(client, report.run_id) == {SUCCESS: [1], **TOKENS} for report in reports)


@each({**INVOKED, **STREAMED})
async def test_a_handler_on_two_inner_models_sees_two_runs(
    call: Call, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Nothing tells it that they are of one chain (fact 113)."""
    models = [ScriptedChat().with_config(callbacks=[handler]) for _ in range(2)]

    again = RunnableLambda(lambda text: {"question": text})
    await run(call, chain(models[0]) | again | chain(models[1]), QUESTION, {})

    assert summarize(reports) == [("success", 1, 0, 13)] * 2


async def test_on_a_thread_of_its_own_a_call_is_a_run_where_it_names_the_handler(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A raw thread has no context: a call there is unseen, or a root with its callbacks (facts 113, 114)."""

    def on_threads(question: object) -> None:
        for config in ({"callbacks": [handler]}, None):
            thread = threading.Thread(target=chain().invoke, args=(question, config))
            thread.start()
            thread.join()

    RunnableLambda(on_threads).invoke(QUESTION, {"callbacks": [handler]})

    assert summarize(reports) == [("success", 1, 0, 13)]


async def test_tasks_and_to_thread_stay_in_the_run(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """They carry the context along; a raw `run_in_executor` does not, and is not seen (fact 114)."""

    async def fan_out(question: object) -> None:
        await asyncio.gather(
            chain().ainvoke(question),
            asyncio.create_task(chain().ainvoke(question)),
            asyncio.to_thread(chain().invoke, question),
            asyncio.get_running_loop().run_in_executor(None, chain().invoke, question),
        )

    await RunnableLambda(fan_out).ainvoke(QUESTION, {"callbacks": [handler]})

    assert summarize(reports) == [("success", 3, 0, 39)]


@pytest.mark.parametrize(
    ("on_graph", "expected"),
    [(False, [("success", 1, 0, 13)] * 2), (True, [("success", 2, 0, 26)])],
    ids=["models-only", "graph-too"],
)
@each(INVOKED)
async def test_a_bound_model_called_in_a_node_is_of_the_graphs_run(
    call: Call, on_graph: bool, expected: list[object], handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Its own callbacks replace the context's, so its parent is `None`; the context still names it (fact 115)."""
    bound = ScriptedChat().with_config(callbacks=[handler])

    await run(call, graph(bound, bound), AGENT_INPUT, {"callbacks": [handler]} if on_graph else {})

    assert summarize(reports) == expected


async def test_another_handlers_run_is_no_parent(
    config: LdAiCompletionConfig, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """The context may name a run that only another handler knows (fact 113)."""
    other = LdAiHandler(config, on_run_end=reports.append)
    nested = RunnableLambda(lambda question: [question, chain().invoke(question, {"callbacks": [other]})][0])

    (nested | chain()).invoke(QUESTION, {"callbacks": [handler]})

    assert summarize(reports) == [("success", 1, 0, 13)] * 2
    assert other.open_runs == 0


async def test_what_never_ends_is_bounded(config: LdAiCompletionConfig, reports: list[RunReport]) -> None:
    """Streams that are kept unread have no end: the oldest are closed, and late ends ignored (facts 74, 117)."""
    handler = LdAiHandler(config, on_run_end=reports.append, max_open_runs=10)
    streams = [chain().stream(QUESTION, {"callbacks": [handler]}) for _ in range(50)]

    for stream in streams:
        next(stream)
    assert (handler.open_runs, len(reports)) == (10, 40)
    for stream in streams:
        stream.close()

    assert [report.outcome for report in reports] == ["abandoned"] * 40 + ["cancelled"] * 10
    assert handler.flush()
    assert handler.open_runs == 0


@pytest.mark.parametrize("outcome", ["success", "error"])
async def test_a_task_that_outlives_its_run_makes_a_run_of_its_own(
    outcome: str, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """New: the context still names the run in which the task was made, which has ended (facts 113, 114)."""
    ended, tasks = asyncio.Event(), []

    async def call_later() -> None:
        await ended.wait()
        await chain().ainvoke(QUESTION, {"callbacks": [handler]})

    async def leave_behind(question: object) -> str:
        tasks.append(asyncio.create_task(call_later()))
        return {"success": await chain().ainvoke(question)}[outcome]

    with nullcontext() if outcome == "success" else pytest.raises(KeyError):
        await RunnableLambda(leave_behind).ainvoke(QUESTION, {"callbacks": [handler]})
    ended.set()
    await tasks[0]

    assert summarize(reports) == [(outcome, 1, 0, 13), ("success", 1, 0, 13)]

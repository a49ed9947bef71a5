"""One handler among threads and tasks: every run's figures are those of the same run alone (facts 43, 99)."""

import asyncio
import inspect
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple
from uuid import uuid4

import pytest
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableParallel

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.support.calls import INVOKED, STREAMED, run
from tests.support.chains import DURATION, FIRST_TOKEN, chain, create_agent, search
from tests.support.models import tool_call
from tests.support.observe import LetterCountingChat, summarize

pytestmark = [pytest.mark.asyncio, pytest.mark.no_cover]  # other tests cover these lines, which here run often

THREADS = 64
TASKS = 1_000
PATIENCE_SECONDS = 60
CALLS = {**INVOKED, **STREAMED}

# LangChain silences warnings of its own by `catch_warnings`, which threads undo for each other.
langchain_warns = pytest.mark.filterwarnings("ignore")


class AsksATool(LetterCountingChat):
    """A model that asks for a tool, and answers once it has the result."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs) -> Iterator[ChatGenerationChunk]:
        if messages[-1].type == "tool":
            yield from super()._stream(messages)
        else:
            yield from (ChatGenerationChunk(message=chunk) for chunk in tool_call("search"))


def question_of(letters: int) -> object:
    """Return a question that costs one input token a letter."""
    return {"question": "a" * letters}


def failing_question_of(letters: int) -> object:
    """Return a question that makes the model fail."""
    return {"question": "fail" + "a" * letters}


CHAIN = chain(LetterCountingChat())
FAILS = RunnableLambda(lambda value: failing_question_of(1)) | CHAIN
SHAPES: dict[str, tuple[Runnable, Callable[[int], object]]] = {
    "chain": (CHAIN, question_of),
    "model": (LetterCountingChat(), lambda letters: "a" * letters),
    "error": (CHAIN, failing_question_of),
    "parallel": (RunnableParallel(a=CHAIN, b=CHAIN), question_of),
    "fallback": (FAILS.with_fallbacks([CHAIN]), question_of),
    "retry": (CHAIN.with_retry(wait_exponential_jitter=False, stop_after_attempt=2), failing_question_of),
    "agent": (create_agent(AsksATool(), [search]), lambda letters: {"messages": [("user", "a" * letters)]}),
}
"""Runnables that all runs share, and what to ask them."""


class Case(NamedTuple):
    """One run: which shape, called how, with how long a question."""

    shape: str
    call: str
    letters: int

    def begin(self, config: RunnableConfig) -> object:
        """Run it, or return what is to be awaited."""
        runnable, question = SHAPES[self.shape]
        return CALLS[self.call](runnable, question(self.letters), config)

    async def run(self, config: RunnableConfig) -> None:
        """Run it; that it fails is no failure of the test."""
        with suppress(ConnectionError):
            result = self.begin(config)
            if inspect.isawaitable(result):
                await result


def recordings_of(client: RecordingClient, reports: Iterable[RunReport]) -> dict[object, tuple[object, ...]]:
    """Return all that was said of each run but for the times, by its LangChain id."""
    sent = defaultdict(list)
    for event in client.events:
        sent[event.data["runId"]].append((event.name, event.name in (DURATION, FIRST_TOKEN) or event.value))
    return {
        report.root_run_id: (
            *summarize([report]),
            report.retries,
            report.summary.tokens,
            report.summary.tool_calls,
            sorted(sent[report.run_id]),
        )
        for report in reports
    }


async def recordings_alone(
    cases: Iterable[Case], config: LdAiCompletionConfig, client: RecordingClient
) -> dict[Case, tuple[object, ...]]:
    """Return what is said of each case when it runs alone, on a handler of its own."""
    reports: list[RunReport] = []
    ids = {case: str(uuid4()) for case in cases}
    for case, run_id in ids.items():
        handler = LdAiHandler(config, on_run_end=reports.append)
        await case.run({"callbacks": [handler], "run_id": run_id})
        assert handler.flush()
    figures_of = recordings_of(client, reports)
    return {case: figures_of[run_id] for case, run_id in ids.items()}


@pytest.fixture
def switching_often() -> Iterator[None]:
    """Let threads give way to each other far more often than they would."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switching_often")
@langchain_warns
async def test_on_64_threads_each_run_is_as_it_is_alone(
    config: LdAiCompletionConfig, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The threads share a handler and every runnable, and begin each run together (facts 11, 43, 99)."""
    served = {
        thread: [(str(uuid4()), Case(shape, ("invoke", "stream")[thread % 2], 1 + thread % 8)) for shape in SHAPES]
        for thread in range(THREADS)
    }
    cases = {run_id: case for runs in served.values() for run_id, case in runs}
    together, failures = threading.Barrier(THREADS), []

    def serve(thread: int) -> None:
        for run_id, case in served[thread]:
            together.wait(PATIENCE_SECONDS)
            try:
                case.begin({"callbacks": [handler], "run_id": run_id})
            except ConnectionError:
                pass
            except Exception as error:  # noqa: BLE001  so that the others do not wait for this thread
                failures.append(error)

    client.clear()
    alone = await recordings_alone(cases.values(), config, client)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(serve, served))

    assert failures == []
    assert recordings_of(client, reports) == {run_id: alone[case] for run_id, case in cases.items()}


@langchain_warns
async def test_in_1000_tasks_each_run_is_as_it_is_alone(
    config: LdAiCompletionConfig, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The tasks share a handler and every runnable, and give way to each other (facts 37, 99)."""
    shapes = [*[shape for shape in SHAPES if shape != "agent"] * 4, "agent"]
    cases = {
        uuid4(): Case(shapes[task % len(shapes)], ("ainvoke", "astream")[task % 2], 1 + task % 8)
        for task in range(TASKS)
    }
    client.clear()
    alone = await recordings_alone(cases.values(), config, client)

    await asyncio.gather(*[case.run({"callbacks": [handler], "run_id": run_id}) for run_id, case in cases.items()])

    assert recordings_of(client, reports) == {run_id: alone[case] for run_id, case in cases.items()}


async def test_1000_runs_may_be_open_at_once(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """Each waits at its model while all the others start; none is mixed up or given up (fact 99)."""
    model = LetterCountingChat(gate=asyncio.Event())
    letters = {uuid4(): 1 + number for number in range(TASKS)}
    tasks = [
        asyncio.create_task(model.ainvoke("a" * number, {"callbacks": [handler], "run_id": run_id}))
        for run_id, number in letters.items()
    ]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while handler.open_runs < TASKS:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    model.gate.set()
    await asyncio.gather(*tasks)

    assert {report.root_run_id: report.summary.tokens.input for report in reports} == letters


@pytest.mark.parametrize("batch", ["batch", "abatch"])
async def test_a_runs_events_may_come_on_many_threads(
    batch: str, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Four elements meet on four threads, each step maybe on another: nothing is kept by thread (fact 43)."""
    together = threading.Barrier(4)
    meet = RunnableLambda(lambda value: [value, together.wait(PATIENCE_SECONDS)][0])

    with handler.collect_runs() as collected:
        await run(
            lambda runnable, values, config: getattr(runnable, batch)(values, config),
            meet | CHAIN | RunnableLambda(lambda text: [text, together.wait(PATIENCE_SECONDS)][0]),
            [question_of(letters) for letters in range(1, 5)],
            {"callbacks": [handler]},
        )

    assert sorted(report.summary.tokens.input for report in reports) == [1, 2, 3, 4]
    assert sorted(collected, key=id) == sorted(reports, key=id)

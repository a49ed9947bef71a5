"""A step gives up a streamed call on purpose: the run goes on, and its own end decides its outcome (fact 72)."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
from langchain_core.runnables import (
    Runnable,
    RunnableBranch,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
    RunnablePick,
)

from langchain_ldai import Outcome, RunReport
from tests.conftest import Track
from tests.runs.ends.limits import Hangs
from tests.runs.ends.stopping import PATIENCE_SECONDS, Slow, wait_until_closed
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import QUESTION, chain
from tests.support.graphs import NOTHING, State, graph, says
from tests.support.models import GREETING, ScriptedChat

pytestmark = pytest.mark.asyncio


kept: list[object] = []
"""Streams that somebody still holds."""
pool = ThreadPoolExecutor(4)


@pytest.fixture
def may_go_on() -> Generator[threading.Event]:
    """Lets the threads that were left go on, after the test."""
    event = threading.Event()
    yield event
    event.set()
    kept.clear()


def first_word(may_go_on: threading.Event) -> str:
    """Read the first word of an answer; the stream is collected."""
    return next(ScriptedChat(script=[GREETING]).stream("How?")).content


def first_word_of_a_kept_stream(may_go_on: threading.Event) -> str:
    """Read the first word of an answer, and keep the stream."""
    kept.append(stream := ScriptedChat(script=[GREETING]).stream("How?"))
    return next(stream).content


def first_word_of_a_kept_chain(may_go_on: threading.Event) -> str:
    """Read the first word of a chain's answer, and keep its stream."""
    kept.append(stream := chain(ScriptedChat(script=[GREETING])).stream("How?"))
    return next(stream)


def guarded(may_go_on: threading.Event) -> str:
    """Stop reading at a word that is not wanted, and ask again."""
    for chunk in ScriptedChat(script=[GREETING]).stream("How?"):
        if chunk.content == ", ":
            break
    return ScriptedChat().invoke("How?").content


def out_of_time(may_go_on: threading.Event) -> str:
    """Wait no longer for an answer that a thread reads."""
    begun = threading.Event()

    def read() -> None:
        for _ in Slow(script=[GREETING], may_go_on=may_go_on).stream("How?"):
            begun.set()

    pool.submit(contextvars.copy_context().run, read)
    begun.wait(PATIENCE_SECONDS)
    return "sorry"


async def afirst_word(may_go_on: threading.Event) -> str:
    """Read the first word of an answer; the stream is closed when the loop comes to it."""
    return (await anext(ScriptedChat(script=[GREETING]).astream("How?"))).content


async def afirst_word_of_a_kept_stream(may_go_on: threading.Event) -> str:
    """Read the first word of an answer, and keep the stream."""
    kept.append(stream := ScriptedChat(script=[GREETING]).astream("How?"))
    return (await anext(stream)).content


async def ahedged(may_go_on: threading.Event) -> str:
    """Take the first of two answers, and cancel the other."""

    async def read(gate: asyncio.Event | None) -> str:
        return "".join([c.content async for c in ScriptedChat(script=[GREETING], gate=gate).astream("How?")])

    calls = [asyncio.create_task(read(gate)) for gate in (None, asyncio.Event())]
    done, others = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    for call in others:
        call.cancel()
    return done.pop().result()


async def aout_of_time(may_go_on: threading.Event) -> str:
    """Give a model a time limit."""
    try:
        async with asyncio.timeout(None) as limit:
            gate = Hangs(lambda: limit.reschedule(asyncio.get_running_loop().time()))
            return (await ScriptedChat(gate=gate).ainvoke("How?")).content
    except TimeoutError:
        return "sorry"


async def aleft_behind(may_go_on: threading.Event) -> str:
    """Leave a task behind that reads a stream."""
    gate, begun = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async for _ in chain(ScriptedChat(script=[GREETING])).astream("How?"):
            begun.set()
            await gate.wait()

    kept.append(asyncio.create_task(read()))
    await begun.wait()
    return "sorry"


SYNC: Final = {
    each.__name__: each
    for each in (first_word, first_word_of_a_kept_stream, first_word_of_a_kept_chain, guarded, out_of_time)
}
ASYNC: Final = {
    each.__name__: each
    for each in (afirst_word, afirst_word_of_a_kept_stream, ahedged, aout_of_time, aleft_behind)
}


def step(give_up: Callable[[threading.Event], object], may_go_on: threading.Event) -> Runnable:
    """Return a step that gives a call up and answers."""
    if give_up in SYNC.values():
        return RunnableLambda(lambda value: give_up(may_go_on))

    async def astep(value: object) -> object:
        return await give_up(may_go_on)

    return RunnableLambda(astep)


def generator(giving_up: Runnable) -> Runnable:
    """Return a generator that calls a step."""

    def generate(values: Iterator[object]) -> Iterator[object]:
        for value in values:
            yield giving_up.invoke(value)

    async def agenerate(values: AsyncIterator[object]) -> AsyncIterator[object]:
        async for value in values:
            yield await giving_up.ainvoke(value)

    return RunnableGenerator(generate, agenerate)


def node(giving_up: Runnable) -> Callable[[State], object] | Runnable:
    """Return a node that calls a step."""
    return giving_up | (lambda answer: {"said": [answer]})


SHAPES: Final[dict[str, Callable[[Runnable], Runnable]]] = {
    "alone": lambda giving_up: giving_up,
    "in-a-chain": lambda giving_up: RunnablePassthrough() | giving_up | str,
    "at-the-end-of-a-chain": lambda giving_up: RunnablePassthrough() | giving_up,
    "parallel": lambda giving_up: RunnableParallel(a=giving_up, b=RunnablePassthrough()),
    "assigned": lambda giving_up: RunnablePassthrough.assign(answer=giving_up),
    "returned": lambda giving_up: RunnableLambda(lambda value: giving_up | str),
    "generator": generator,
    "retried": lambda giving_up: giving_up.with_retry(),
    "fallback": lambda giving_up: (RunnablePassthrough() | giving_up).with_fallbacks([giving_up]),
    "node": lambda giving_up: graph({"a": node(giving_up)}),
    "node-in-a-chain": lambda giving_up: RunnablePassthrough() | graph({"a": node(giving_up)}),
}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


async def _events(runnable: Runnable, value: object, config: object) -> object:
    return [event async for event in runnable.astream_events(value, config, version="v2")]


CALLS: Final = {**INVOKED, **STREAMED, "astream_events": _events}
ASYNC_CALLS: Final = {name: call for name, call in CALLS.items() if name.startswith("a")}


GIVEN_UP: Final = {
    f"{give_up}-{name}": (ways[give_up], CALLS[name])
    for ways, calls in ((SYNC, CALLS), (ASYNC, ASYNC_CALLS))
    for give_up in ways
    for name in calls
}


@pytest.mark.parametrize(("give_up", "call"), GIVEN_UP.values(), ids=GIVEN_UP)
@shapes
async def test_a_run_in_which_a_stream_is_given_up_is_what_its_own_end_says(
    call: Call, shape, give_up, may_go_on: threading.Event, track: Track, reports: list[RunReport]
) -> None:
    """The chain gave its answer, so the run succeeded, whatever became of the call that was given up."""
    handler = track()

    await run(call, shape(step(give_up, may_go_on)), NOTHING, {"callbacks": [handler]})
    handler.flush()

    assert {report.outcome for report in reports} == {Outcome.SUCCESS}


def streams(values: Iterator[object]) -> Iterator[object]:
    """Ask a model, for each value, and hand on what it says."""
    for _ in values:
        yield from ScriptedChat(script=[GREETING]).stream("How?")


async def astreams(values: AsyncIterator[object]) -> AsyncIterator[object]:
    """As a sync one."""
    async for _ in values:
        async for chunk in ScriptedChat(script=[GREETING]).astream("How?"):
            yield chunk


def greets() -> Runnable:
    """Return a chain of which each chunk carries something but the last."""
    return chain(ScriptedChat(script=[GREETING]))


def nodes() -> Runnable:
    """Return a graph of two nodes."""
    return graph({"a": says(), "b": says()})


READ: Final[dict[str, tuple[Runnable, Outcome]]] = {
    "chain": (greets(), Outcome.CANCELLED),
    "model-at-the-end": (RunnablePassthrough() | str | ScriptedChat(script=[GREETING]), Outcome.CANCELLED),
    "retried": (greets().with_retry(), Outcome.CANCELLED),
    "chain-in-a-chain": (RunnablePassthrough() | greets(), Outcome.CANCELLED),
    "returned": (RunnableLambda(lambda value: greets()), Outcome.CANCELLED),
    "returned-in-a-chain": (RunnablePassthrough() | RunnableLambda(lambda value: greets()), Outcome.CANCELLED),
    "generator": (RunnableGenerator(streams, astreams), Outcome.CANCELLED),
    "generator-in-a-chain": (RunnablePassthrough() | RunnableGenerator(streams, astreams), Outcome.CANCELLED),
    "parallel": (RunnableParallel(a=greets(), b=greets()), Outcome.CANCELLED),
    "picked": (RunnablePassthrough.assign(a=greets()) | RunnablePick("a"), Outcome.CANCELLED),
    "branch": (RunnableBranch((lambda value: True, greets()), greets()), Outcome.CANCELLED),
    "branch-in-a-chain": (
        RunnablePassthrough() | RunnableBranch((lambda value: True, greets()), greets()),
        Outcome.CANCELLED,
    ),
    "fallbacks-in-a-chain": (RunnablePassthrough() | greets().with_fallbacks([greets()]), Outcome.CANCELLED),
    "graph": (nodes(), Outcome.CANCELLED),
    "graph-in-a-chain": (RunnablePassthrough() | nodes().bind(stream_mode="updates"), Outcome.CANCELLED),
    "whole-answer": (chain() | RunnableLambda(str.upper), Outcome.SUCCESS),
    "whole-answer-of-a-step": (RunnableLambda(lambda value: chain().invoke(value)), Outcome.SUCCESS),
    "whole-answer-of-a-model": (chain(ScriptedChat(disable_streaming=True)), Outcome.SUCCESS),
}
"""Streams, and the outcome of one that is closed after its first chunk; of a whole answer there is but one."""
read = pytest.mark.parametrize(("runnable", "outcome"), READ.values(), ids=READ)
ASKED: Final = {**NOTHING, **QUESTION}


@read
async def test_a_stream_that_its_reader_closes(
    runnable: Runnable, outcome: Outcome, track: Track, reports: list[RunReport]
) -> None:
    """A run is cancelled if a model call is open, though LangChain ends its root like a success (fact 72)."""
    stream = runnable.stream(ASKED, {"callbacks": [track()]})
    next(stream)
    stream.close()

    assert [report.outcome for report in reports] == [outcome]


@read
async def test_an_async_stream_that_its_reader_closes(
    runnable: Runnable, outcome: Outcome, track: Track, reports: list[RunReport]
) -> None:
    """As a sync one (fact 73)."""
    handler = track()
    stream = runnable.astream(ASKED, {"callbacks": [handler]})
    await anext(stream)
    await stream.aclose()
    await wait_until_closed(handler, reports)

    assert [report.outcome for report in reports] == [outcome]


@read
@each(STREAMED)
async def test_a_stream_that_is_read_to_its_end(
    call: Call, runnable: Runnable, outcome: Outcome, track: Track, reports: list[RunReport]
) -> None:
    """The same streams succeed when they are read to the end."""
    await run(call, runnable, ASKED, {"callbacks": [track()]})

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]

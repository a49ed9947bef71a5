"""Runs that are stopped: shapes of runs, models that are held up, and ways to stop a run."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import pytest
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import Runnable, RunnableParallel

from langchain_ldai import LdAiHandler, Outcome, RunReport
from tests.support.chains import chain
from tests.support.graphs import NOTHING, NeverOpens, graph, says
from tests.support.models import GREETING, ScriptedChat

PATIENCE_SECONDS: Final = 30
"""How long a test waits at most for what is bound to happen."""

Shape = Callable[[Runnable], Runnable]
Stop = Callable[[asyncio.Future[object]], Awaitable[None]]

SHAPES: Final[dict[str, Shape]] = {
    "chain": chain,
    "retried": lambda model: chain(model).with_retry(),
    "with-fallbacks": lambda model: chain(model).with_fallbacks([chain()]),
    "parallel": lambda model: RunnableParallel(a=chain(model), b=lambda value: value),
    "graph": lambda model: (lambda value: NOTHING) | graph({"a": says(model)}),
}
STREAMING: Final[dict[str, Shape]] = {
    "model": lambda model: model,
    **SHAPES,
    "graph": lambda model: (lambda value: NOTHING) | graph({"a": says(model)}).bind(stream_mode="messages"),
}
"""The same, and a model alone; their models stream when they are streamed, in a graph by its mode alone."""


class CallsHeldUp(NeverOpens):
    """The gate of models of which the calls stop after so many chunks; `reached` tells that all calls have."""

    def __init__(self, *, after: int = 0, calls: int = 1) -> None:
        super().__init__()
        self._passing = after
        self._coming = calls

    async def wait(self) -> bool:
        """Let the first ones pass, hold the others up."""
        if self._passing:
            self._passing -= 1
            return True
        self._coming -= 1
        if self._coming:
            return await asyncio.Event.wait(self)
        return await super().wait()


class Slow(ScriptedChat):
    """A model that gives one chunk at once, and the others once its thread may go on."""

    may_go_on: threading.Event

    def _stream(self, *args: object, **kwargs: object) -> Iterator[ChatGenerationChunk]:
        for number, chunk in enumerate(super()._stream(*args, **kwargs)):
            if number:
                self.may_go_on.wait(PATIENCE_SECONDS)
            yield chunk


def greets(gate: asyncio.Event | None = None) -> ScriptedChat:
    """Return a model of which each chunk carries something but the last."""
    return ScriptedChat(script=[GREETING], gate=gate)


async def _cancel(task: asyncio.Future[object]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _time_out(task: asyncio.Future[object]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(task, 0.001)


async def _fail_beside(task: asyncio.Future[object]) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await task

    with pytest.raises(ExceptionGroup):
        await both()


STOPS: Final[dict[str, Stop]] = {"cancel": _cancel, "wait-for": _time_out, "task-group": _fail_beside}
"""The ways in which asyncio cancels a task: by itself, when its time is up, when a task beside it fails."""


async def stop_once_called(stop: Stop, gate: NeverOpens, work: Awaitable[object]) -> None:
    """Stop work in one of these ways, once its model is being called."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        task = asyncio.ensure_future(work)
        await gate.reached.wait()
        await stop(task)


async def wait_until_closed(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """Give the loop turns, and collect what nobody holds, until the handler's run has ended."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not reports:
            for _ in range(20):
                await asyncio.sleep(0)
            gc.collect()
            handler.flush()


async def outcomes(handler: LdAiHandler, reports: list[RunReport]) -> dict[str, Outcome]:
    """Return the outcomes of the one run and of its nodes."""
    await wait_until_closed(handler, reports)
    (report,) = reports
    return {"run": report.outcome} | {name: node.outcome for name, node in report.nodes.items()}


def is_cancelled(report: RunReport, model_calls: int) -> bool:
    """Whether a run was cancelled after so many model calls, none of which failed."""
    figures = (report.outcome, report.model_calls, report.failed_model_calls)
    return figures == (Outcome.CANCELLED, model_calls, 0)

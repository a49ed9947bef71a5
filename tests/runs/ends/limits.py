"""Nodes that run out of time, though no test waits for the limit: LangGraph's clock goes forward by it."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Collection
from concurrent import futures
from typing import Final
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from tests.runs.ends.stopping import PATIENCE_SECONDS
from tests.support.chains import QUESTION, chain
from tests.support.graphs import NeverOpens, State
from tests.support.models import ScriptedChat

AsyncNode = Callable[[State], Awaitable[State]]

LIMIT: Final = 60.0
"""Seconds after which a node is out of time."""
TURNS: Final = 100
"""In so many turns of the loop, of half a millisecond and more, a node that has just answered surely ends."""


def time_is_up_after(nodes: int) -> Callable[[], None]:
    """Return what so many async nodes call once they are at work: then the loop's clock goes forward by `LIMIT`.

    So a node has all the time that it needs, and no test waits for its limit.
    """
    left = iter(range(nodes - 1, -1, -1))

    def at_work() -> None:
        if next(left, None) == 0:
            go_forward(asyncio.get_running_loop(), TURNS)

    def go_forward(loop: asyncio.AbstractEventLoop, turns: int) -> None:
        if turns:
            loop.call_later(0.0005, go_forward, loop, turns - 1)
            return
        now = loop.time
        loop.time = lambda: now() + LIMIT

    return at_work


class Hangs(NeverOpens):
    """The gate of a model that never answers, which tells when the model is called."""

    def __init__(self, at_work: Callable[[], None]) -> None:
        super().__init__()
        self._at_work = at_work

    async def wait(self) -> bool:
        """Tell, and wait for ever."""
        self._at_work()
        return await super().wait()


def hanging_chain(at_work: Callable[[], None]) -> AsyncNode:
    """Return a node that calls a model that never answers."""

    async def node(state: State) -> State:
        return {"said": [await chain(ScriptedChat(gate=Hangs(at_work))).ainvoke(QUESTION)]}

    return node


def hanging_node(at_work: Callable[[], None]) -> AsyncNode:
    """Return a node that calls a model, and then never ends."""

    async def node(state: State) -> State:
        await chain().ainvoke(QUESTION)
        at_work()
        return await asyncio.Event().wait()

    return node


class NodeEnds(BaseCallbackHandler):
    """Tells how often the node of a name has ended, once the handler that stands before it in a list knows."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._steps: set[UUID] = set()
        self._ended = 0
        self._changed = threading.Condition()

    def on_chain_start(self, *given: object, run_id: UUID, name: str | None = None, **named: object) -> None:
        """Note the node's step."""
        if name == self._name:
            self._steps.add(run_id)

    def on_chain_end(self, *given: object, run_id: UUID, **named: object) -> None:
        """Count the end, if it is the node's."""
        with self._changed:
            self._ended += run_id in self._steps
            self._changed.notify_all()

    on_chain_error = on_chain_end

    def wait(self, count: int = 1) -> None:
        """Wait until it has ended so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended >= count, PATIENCE_SECONDS)


def pass_limits(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what a sync node calls to be out of time: it returns once LangGraph has given the node up."""
    passed, is_waited_for, is_given_up = [0.0], threading.Event(), threading.Event()
    clock, wait = time.monotonic, futures.wait

    def wait_for(
        nodes: Collection[futures.Future[object]], timeout: float | None = None, return_when: str = "ALL_COMPLETED"
    ) -> object:
        if timeout is None:  # it waits for the end of what it has given up
            is_given_up.set()
            return wait(nodes, None, return_when)
        ends_at = time.monotonic() + timeout
        is_waited_for.set()
        while True:
            found = wait(nodes, 0.002, return_when)
            if found.done or time.monotonic() >= ends_at:
                is_waited_for.clear()
                return found

    def be_late() -> None:
        assert is_waited_for.wait(PATIENCE_SECONDS)
        passed.append(LIMIT)
        assert is_given_up.wait(PATIENCE_SECONDS)

    monkeypatch.setattr(time, "monotonic", lambda: clock() + sum(passed))
    monkeypatch.setattr(futures, "wait", wait_for)
    return be_late

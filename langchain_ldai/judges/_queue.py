"""The queue of exchanges that judges are to score: workers exist only while there is work."""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple
from weakref import WeakSet

from langchain_ldai._base.exit import try_to_start
from langchain_ldai._base.forks import register_fork_safe
from langchain_ldai._base.loops import running_loop
from langchain_ldai._base.options import check_timeout
from langchain_ldai.judges._calls import JUDGE_THREAD

MAX_CHARACTERS: Final = 50_000_000
"""How many characters of questions and answers may wait."""

LOOP_ENDED: Final = "the event loop that was to ask the judges has ended"
NO_THREAD: Final = "no thread can be started"
PROCESS_ENDS: Final = "the process ends before the judges have answered. Call flush(seconds) before it does"
"""Why jobs are lost."""

STOPPED_SECONDS: Final = 2.0
"""How long a flush without a limit waits for event loops that do not run, although they are not closed."""

_LOOK_SECONDS: Final = 0.2
"""How often a flush looks for event loops that have ended with work left."""


class Job(NamedTuple):
    """An exchange that a judge is to score. Neither call raises.

    Args:
        score: Does it on a thread.
        score_async: Does it on an event loop.
        characters: How long the exchange is.
    """

    score: Callable[[], object]
    score_async: Callable[[], Awaitable[object]]
    characters: int


@dataclass(slots=True, eq=False)
class Lane:
    """The jobs of one event loop, or of the threads.

    Args:
        loop: The loop; `None` for threads.
        waiting: What no worker has taken yet.
        characters: How long that is.
        workers: How many workers there are.
        at_work: How many jobs a worker has taken and not done, also one that was cancelled.
        dropped: How many jobs no worker will take.
    """

    loop: asyncio.AbstractEventLoop | None
    waiting: deque[Job] = field(default_factory=deque)
    characters: int = 0
    workers: int = 0
    at_work: int = 0
    dropped: int = 0

    @property
    def left(self) -> int:
        """How many jobs are not done; all of them are lost if no worker is left."""
        return len(self.waiting) + self.at_work + self.dropped


class JudgeQueue:
    """Has jobs done in the background: on threads, or as tasks of the event loop that a job names.

    Args:
        workers: How many jobs are at work at once, on the threads and on each event loop.
        max_waiting: How many jobs may wait.
        tell_lost: Called with the reason, and how many they are, where jobs will not be done.
    """

    def __init__(self, *, workers: int, max_waiting: int, tell_lost: Callable[[str, int], None]) -> None:
        self._max_workers = workers
        self._max_waiting = max_waiting
        self._tell_lost = tell_lost
        self.reset_after_fork()
        register_fork_safe(self)
        _queues.add(self)

    def reset_after_fork(self) -> None:
        """Start empty: the jobs that wait, and the workers, are the parent's."""
        self._changed = threading.Condition()  # reentrant: Python may collect, and so end, a run at any line
        self._lanes: dict[asyncio.AbstractEventLoop | None, Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, job: Job, loop: asyncio.AbstractEventLoop | None) -> bool:
        """Take a job, without ever waiting; return `False` where too many wait.

        Args:
            job: What is to be done.
            loop: The event loop that is to do it; `None` for a thread.
        """
        self._drop_closed_loops()
        with self._changed:
            added = job.characters
            lanes = list(self._lanes.values())  # a list, since a run that is collected here puts a job, too
            waiting = sum(len(lane.waiting) for lane in lanes)
            characters = sum(lane.characters for lane in lanes)
            if waiting >= self._max_waiting or characters + added > MAX_CHARACTERS:
                return False
            lane = self._lanes.setdefault(loop, Lane(loop))
            lane.waiting.append(job)
            lane.characters += added
            needs_worker = lane.workers < self._max_workers
            lane.workers += needs_worker
        if needs_worker:
            self._start_worker(lane)
        return True

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until every job is done.

        On an event loop that has jobs this does not wait, since the loop could not do them meanwhile. Nor does it
        wait for good where only loops that are stopped have jobs.

        Args:
            timeout: Seconds to wait at most; `None` for no limit.

        Returns:
            Whether no job is left.
        """
        timeout = check_timeout(timeout)
        deadline = time.monotonic() + (STOPPED_SECONDS if timeout is None else timeout)
        while True:
            self._drop_closed_loops()
            with self._changed:
                now = time.monotonic()
                if timeout is None and any(loop is None or loop.is_running() for loop in list(self._lanes)):
                    deadline = now + STOPPED_SECONDS
                left = deadline - now
                if not self._lanes or left <= 0 or running_loop() in self._lanes.keys() - {None}:
                    return not self._lanes
                self._changed.wait(min(left, _LOOK_SECONDS))

    def _start_worker(self, lane: Lane) -> None:
        if lane.loop is None:
            worker = threading.Thread(target=self._work, args=(lane,), name=JUDGE_THREAD, daemon=True)
            if not try_to_start(worker):
                self._give_up(lane, NO_THREAD)
            return
        try:
            lane.loop.call_soon_threadsafe(self._start_task, lane, lane.loop)
        except RuntimeError:  # the loop is closed
            self._give_up(lane, LOOP_ENDED)

    def _start_task(self, lane: Lane, loop: asyncio.AbstractEventLoop) -> None:
        task = loop.create_task(self._work_async(lane), context=Context())
        self._tasks.add(task)  # a loop itself refers to its tasks weakly
        task.add_done_callback(partial(self._task_ended, lane))

    def _task_ended(self, lane: Lane, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is not None:  # the loop ends; the task may not have begun
            self._give_up(lane, LOOP_ENDED, drops_all=True)

    def _work(self, lane: Lane) -> None:
        for job in self._jobs(lane):
            job.score()

    async def _work_async(self, lane: Lane) -> None:
        for job in self._jobs(lane):
            await job.score_async()

    def _jobs(self, lane: Lane) -> Iterator[Job]:
        """Yield the jobs of a lane; where there is none, the worker has ended."""
        lost = 0
        while True:
            with self._changed:
                if not lane.waiting:
                    lost = self._worker_ended(lane)
                    break
                job = lane.waiting.popleft()
                taken = job.characters
                lane.characters -= taken
                lane.at_work += 1
            yield job
            with self._changed:
                lane.at_work -= 1
        if lost:  # with other workers of the lane, whose tasks were cancelled
            self._tell_lost(LOOP_ENDED, lost)

    def _give_up(self, lane: Lane, why: str, *, drops_all: bool = False) -> None:
        """Note that a worker was cancelled or could not be started; what no other worker will do is dropped."""
        with self._changed:
            if drops_all or lane.workers == 1:
                lane.dropped += len(lane.waiting)
                lane.waiting.clear()
                lane.characters = 0
            lost = self._worker_ended(lane)
        if lost:
            self._tell_lost(why, lost)

    def _worker_ended(self, lane: Lane) -> int:
        """Note that a worker has ended; return how many jobs are lost, if it was the last of the lane."""
        lane.workers -= 1
        self._changed.notify_all()
        if lane.workers > 0 or self._lanes.get(lane.loop) is not lane:
            return 0
        del self._lanes[lane.loop]
        return lane.left

    def _drop_closed_loops(self) -> None:
        """Drop the jobs of event loops that were closed without ending their tasks."""
        with self._changed:
            closed = [loop for loop in list(self._lanes) if loop is not None and loop.is_closed()]
            lanes = [self._lanes.pop(loop, None) for loop in closed]
            lost = sum(lane.left for lane in lanes if lane is not None)
        if lost:
            self._tell_lost(LOOP_ENDED, lost)

    def tell_at_exit(self) -> None:
        """Tell of the jobs that are lost with the process."""
        self._drop_closed_loops()
        with self._changed:
            left = sum(lane.left for lane in list(self._lanes.values()))
        if left:
            self._tell_lost(PROCESS_ENDS, left)


_queues: Final[WeakSet[JudgeQueue]] = WeakSet()


@atexit.register  # on import, so that what an application registers later, such as a flush, is called before
def tell_all_at_exit() -> None:
    """Have each queue tell of its jobs that are lost."""
    for queue in list(_queues):
        queue.tell_at_exit()

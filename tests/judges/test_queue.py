"""The queue of judges' work: bounded, in the background, and gone once it is done."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from langchain_ldai.judges import _queue
from langchain_ldai.judges._queue import (
    LOOP_ENDED,
    MAX_CHARACTERS,
    NO_THREAD,
    PROCESS_ENDS,
    Job,
    JudgeQueue,
    tell_all_at_exit,
)
from tests.support.programs import run_program
from tests.support.threads import start_no_thread, threads_named


class Work:
    """Jobs that wait for a gate, and how many were at work at once."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.has_begun = threading.Semaphore(0)
        self.done: list[int] = []
        self.at_work = 0
        self.most_at_work = 0
        self._lock = threading.Lock()

    def job(self, number: int = 0, characters: int = 1) -> Job:
        """Return a job that is noted as done once the gate is open."""

        async def score_async() -> None:
            self.done.append(number)

        return Job(lambda: self._score(number), score_async, characters)

    def _score(self, number: int) -> None:
        with self._lock:
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
        self.has_begun.release()
        self.gate.wait(10)
        with self._lock:
            self.at_work -= 1
            self.done.append(number)


@pytest.fixture
def work() -> Iterator[Work]:
    """Work whose gate is open after the test."""
    work = Work()
    yield work
    work.gate.set()


def queue_of(workers: int = 1, max_waiting: int = 100, lost: list[tuple[str, int]] | None = None) -> JudgeQueue:
    """Return a queue that notes why jobs are lost, and how many."""
    told = [] if lost is None else lost
    return JudgeQueue(
        workers=workers, max_waiting=max_waiting, tell_lost=lambda why, count: told.append((why, count))
    )


def test_a_worker_exists_while_there_is_work(work: Work) -> None:
    """Jobs are done in their order on one thread, which ends after the last."""
    queue = queue_of()
    for number in range(5):
        assert queue.put(work.job(number), None)
    (thread,) = threads_named("judge")

    work.gate.set()

    assert queue.flush(10)
    thread.join(10)
    assert (work.done, threads_named("judge")) == ([0, 1, 2, 3, 4], [])


def test_no_more_jobs_are_at_work_than_workers(work: Work) -> None:
    """Of several workers each does one job at a time."""
    queue = queue_of(workers=2)
    for _ in range(5):
        queue.put(work.job(), None)
    for _ in range(2):
        assert work.has_begun.acquire(timeout=10)

    work.gate.set()

    assert queue.flush(10)
    assert (work.most_at_work, len(work.done)) == (2, 5)


def test_a_full_queue_refuses_the_newest_job(work: Work) -> None:
    """As many jobs may wait as was said, beside those at work."""
    queue = queue_of(max_waiting=2)
    queue.put(work.job(0), None)
    assert work.has_begun.acquire(timeout=10)

    taken = [queue.put(work.job(number), None) for number in (1, 2, 3)]

    work.gate.set()
    assert queue.flush(10)
    assert (taken, work.done) == ([True, True, False], [0, 1, 2])


def test_what_waits_is_bounded_in_its_length(work: Work) -> None:
    """Few exchanges may be long, too: of more characters than may wait, the newest job is refused."""
    queue = queue_of()
    assert queue.put(work.job(0, MAX_CHARACTERS), None)
    assert work.has_begun.acquire(timeout=10)

    taken = [queue.put(work.job(number, characters), None) for number, characters in ((1, MAX_CHARACTERS), (2, 1))]

    work.gate.set()
    assert queue.flush(10)
    assert (taken, work.done) == ([True, False], [0, 1])


class CountedJob(Job):
    """A job that counts how often a queue looks how long it is."""

    looks = 0

    @property
    def characters(self) -> int:
        type(self).looks += 1
        return 1


def test_a_job_costs_as_much_however_many_wait(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends puts its jobs into the queue on the chain's own thread, and looks at no other's."""
    monkeypatch.setattr(CountedJob, "looks", 0)
    queue = queue_of(max_waiting=500)

    taken = [queue.put(CountedJob(*work.job()), None) for _ in range(500)]

    work.gate.set()
    assert queue.flush(10)
    assert all(taken)
    assert CountedJob.looks <= 3 * len(taken)


def test_what_is_lost_with_the_process_is_told(work: Work) -> None:
    """At exit, a queue that has work left says so, and one that has none says nothing."""
    lost: list[tuple[str, int]] = []
    queue, idle = queue_of(lost=lost), queue_of(lost=lost)
    for _ in range(3):
        queue.put(work.job(), None)

    tell_all_at_exit()

    assert lost == [(PROCESS_ENDS, 3)]
    assert idle.flush(0)


WITHOUT_A_FLUSH = """
from ldclient import Context
from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.judges import Judges
from langchain_ldai.testing import RecordingClient
from tests.judges.judge_models import JudgeModel, flags_with
from tests.support.models import ScriptedChat
from threading import Event

ai = LdAiClient(RecordingClient(flags_with()))
judges = Judges(ai, model=lambda config: JudgeModel(gate=Event()))
handler = LdAiHandler(ai.completion_config("support-bot", Context.create("user-1")), judges=judges)
ScriptedChat().invoke("How?", {"callbacks": [handler]})
"""


def test_a_program_that_ends_without_a_flush_says_what_it_lost() -> None:
    """It ends at once, and names the remedy."""
    ended = run_program(WITHOUT_A_FLUSH)

    assert ended.returncode == 0
    (line,) = ended.stderr.splitlines()
    assert "(scores that are lost: 1): the process ends before the judges have answered. Call flush(sec" in line


def test_a_flush_waits_no_longer_than_it_may(work: Work) -> None:
    """A job that hangs does not hold who waits for it."""
    queue = queue_of()
    queue.put(work.job(), None)

    assert not queue.flush(0.01)
    assert not queue.flush(0)


def test_a_flush_without_a_limit_waits_for_the_work(work: Work) -> None:
    """Without a time-out it returns once all is done."""
    queue = queue_of()
    queue.put(work.job(), None)
    threading.Timer(0.01, work.gate.set).start()

    assert queue.flush()
    assert work.done == [0]


def test_jobs_are_lost_where_no_thread_can_start(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process may have no thread to spare: that is told, and holds nobody who waits."""
    lost: list[tuple[str, int]] = []
    queue = queue_of(lost=lost)
    monkeypatch.setattr(threading.Thread, "start", start_no_thread)

    assert queue.put(work.job(), None)

    assert queue.flush(10)
    assert lost == [(NO_THREAD, 1)]


def test_jobs_wait_for_another_worker_where_no_further_one_can_start(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is done by the worker that there is, and nothing is lost."""
    lost: list[tuple[str, int]] = []
    queue = queue_of(workers=2, lost=lost)
    queue.put(work.job(0), None)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_no_thread)
        queue.put(work.job(1), None)

    work.gate.set()

    assert queue.flush(10)
    assert (work.done, lost) == ([0, 1], [])


@pytest.mark.asyncio
async def test_an_event_loop_does_its_jobs_in_tasks(work: Work) -> None:
    """A job of a loop is done on the loop, without a thread."""
    queue, before = queue_of(), threads_named("judge")

    queue.put(work.job(1), asyncio.get_running_loop())
    queue.put(work.job(2), asyncio.get_running_loop())

    assert threads_named("judge") == before
    assert await asyncio.to_thread(queue.flush, 10)
    assert work.done == [1, 2]


@pytest.mark.asyncio
async def test_a_flush_does_not_hold_the_loop_that_has_jobs(work: Work) -> None:
    """On the loop itself it returns at once, and says that something is left."""
    queue = queue_of()
    queue.put(work.job(), asyncio.get_running_loop())

    assert not queue.flush()
    assert await asyncio.to_thread(queue.flush, 10)
    assert queue.flush()


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_end_with_their_loop(workers: int, work: Work) -> None:
    """A loop that ends cancels its jobs: they are lost, and that is told once for all of them."""
    lost: list[tuple[str, int]] = []
    queue = queue_of(workers, lost=lost)

    async def main() -> None:
        has_begun = asyncio.Event()

        async def hang() -> None:
            has_begun.set()
            await asyncio.Event().wait()

        for _ in range(3):
            queue.put(Job(lambda: None, hang, 1), asyncio.get_running_loop())
        await has_begun.wait()

    asyncio.run(main())

    assert queue.flush(10)
    assert (work.done, lost) == ([], [(LOOP_ENDED, 3)])


@pytest.mark.parametrize("steps", [1, 2], ids=["before it began", "at work"])
@pytest.mark.asyncio
async def test_jobs_end_with_their_task(steps: int) -> None:
    """Who cancels the tasks of a loop that goes on has cancelled the jobs, and nobody waits for them."""
    lost: list[tuple[str, int]] = []
    queue = queue_of(lost=lost)
    queue.put(Job(lambda: None, asyncio.Event().wait, 1), asyncio.get_running_loop())
    for _ in range(steps):
        await asyncio.sleep(0)
    (task,) = asyncio.all_tasks() - {asyncio.current_task()}

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert queue.flush(10)
    assert lost == [(LOOP_ENDED, 1)]


@pytest.mark.asyncio
async def test_a_cancelled_task_costs_only_its_own_job_and_those_that_wait() -> None:
    """Another worker ends its job, and then it is told what was lost."""
    lost: list[tuple[str, int]] = []
    queue, gate, loop = queue_of(2, lost=lost), asyncio.Event(), asyncio.get_running_loop()
    for _ in range(5):
        queue.put(Job(lambda: None, gate.wait, 1), loop)
    await asyncio.sleep(0)
    task = min(asyncio.all_tasks() - {asyncio.current_task()}, key=asyncio.Task.get_name)

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gate.set()

    assert await asyncio.to_thread(queue.flush, 10)
    assert lost == [(LOOP_ENDED, 4)]


def test_jobs_of_a_closed_loop_are_lost(work: Work) -> None:
    """A loop that was closed before, or before it came to its jobs, does none."""
    lost: list[tuple[str, int]] = []
    queue = queue_of(lost=lost)
    late, closed = asyncio.new_event_loop(), asyncio.new_event_loop()
    closed.close()

    queue.put(work.job(), late)
    late.close()
    assert queue.flush(10)
    queue.put(work.job(), closed)

    assert queue.flush(10)
    assert (work.done, lost) == ([], [(LOOP_ENDED, 1), (LOOP_ENDED, 1)])


def test_a_flush_does_not_wait_for_an_event_loop_that_is_stopped(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody may ever run it again. Until it is closed its jobs are left, and are done if it does run."""
    monkeypatch.setattr(_queue, "STOPPED_SECONDS", 0.05)
    queue, loop = queue_of(), asyncio.new_event_loop()
    queue.put(work.job(1), loop)
    rescue = threading.Timer(20, loop.close)  # a flush that waits finds nothing left, and does not hang
    rescue.start()

    assert not queue.flush()
    rescue.cancel()
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    assert queue.flush()
    assert work.done == [1]


@pytest.mark.asyncio
@pytest.mark.parametrize("does_on_loop", [False, True], ids=["thread", "loop"])
async def test_a_flush_without_a_limit_waits_for_work_that_goes_on(
    does_on_loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge's model may take longer than a flush waits for an event loop that is stopped."""
    monkeypatch.setattr(_queue, "STOPPED_SECONDS", 0.05)
    queue = queue_of()
    queue.put(
        Job(lambda: time.sleep(0.5), lambda: asyncio.sleep(0.5), 1),
        asyncio.get_running_loop() if does_on_loop else None,
    )

    assert await asyncio.to_thread(queue.flush)


class Collecting(Job):
    """A job that calls a function where its length is read, as Python may collect a run at any line."""

    collected: Callable[[], object]

    @property
    def characters(self) -> int:
        """How long it is said to be."""
        self.collected()
        return 1


def test_a_job_may_come_while_another_is_put_or_taken(work: Work) -> None:
    """Python may collect a run in any line, also here, and that run has judges, too: all are counted."""
    queue, others = queue_of(max_waiting=5), [work.job(number, MAX_CHARACTERS // 4) for number in (3, 1)]
    queue.put(work.job(0), None)
    assert work.has_begun.acquire(timeout=10)
    coming = Collecting(*work.job(2))
    coming.collected = lambda: others and queue.put(others.pop(), None)

    assert queue.put(coming, None)
    work.gate.set()

    assert queue.flush(10)
    assert work.done == [0, 1, 2, 3]
    assert queue.put(work.job(4, MAX_CHARACTERS), None)
    assert queue.flush(10)


def test_a_job_may_come_while_closed_loops_are_dropped(work: Work) -> None:
    """Each loop's jobs are lost, and told, once."""
    lost: list[tuple[str, int]] = []
    queue, loops, others = queue_of(lost=lost), [asyncio.new_event_loop() for _ in range(2)], [work.job(1)]
    for loop in loops:
        queue.put(work.job(), loop)
    for loop in loops:
        loop.close()

    def is_closed() -> bool:
        if others:
            queue.put(others.pop(), None)
        return True

    loops[1].is_closed = is_closed

    assert queue.put(work.job(2), None)

    work.gate.set()
    assert queue.flush(10)
    assert (work.done, sum(count for _, count in lost)) == ([1, 2], 2)


def test_a_forked_process_starts_with_an_empty_queue(work: Work) -> None:
    """What waits stays with the parent."""
    queue = queue_of()
    queue.put(work.job(), None)

    queue.reset_after_fork()

    assert queue.flush(0)
    work.gate.set()
    assert queue.put(work.job(1), None)
    assert queue.flush(10)
    assert 1 in work.done

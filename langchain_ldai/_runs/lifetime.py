"""The life of a handler's runs, under one lock: which are open, what steps each has, and when each is closed.

A run closes itself once its root has ended and none of its model calls is open; see `Run`. The table closes a run
that has waited five seconds for a model call, was silent for too long, or is the oldest of too many. `flush` and
the end of the process close every run that waits; `close` closes every run.
"""

from __future__ import annotations

import atexit
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import Final

from langchain_ldai._base.forks import register_fork_safe
from langchain_ldai._base.garbage import collect_garbage
from langchain_ldai._base.timer import shared_timer
from langchain_ldai._runs.recently_ended import RecentlyEnded
from langchain_ldai._runs.run import Outbox, Run
from langchain_ldai._runs.steps import NOTHING_READ, ModelCall, Step, StepResult

WAIT_SECONDS: Final = 5.0
"""How long a run whose root has ended waits for its model calls."""

STEPS_OF_RUN: Final = 50_000
"""How many steps an open run may have; then the older half of those that have ended is forgotten."""

LOOK_SECONDS: Final = 1.0
"""The shortest time between two searches of all open runs for those that are silent."""


class RunTable:
    """Owns every run of a handler until it is closed, and remembers the keys of those closed lately.

    It reads the time under the lock, so that times are in the order of the events. The lock is reentrant: Python
    may collect an abandoned generator at any line, and that ends the generator's run in the same thread.

    Args:
        deliver: Sends what is in an outbox.
        max_open_runs: Where one more run would be too many, the oldest is closed.
        run_timeout: Seconds of silence after which a run is closed as abandoned.

    Attributes:
        lock: Held by whoever changes a run.
        outbox: What its runs have to send; it is emptied when the lock is released.
        recently_ended: Remembers the keys of closed runs; used under the lock.
        step_of: Returns the step of a key, open or ended; `None` if the table does not hold its run.
        awaiting: The model calls whose first token has not come, by their keys.
    """

    def __init__(self, deliver: Callable[[Outbox], None], *, max_open_runs: int, run_timeout: float) -> None:
        self._deliver = deliver
        self._max_open_runs = max_open_runs
        self._run_timeout = run_timeout
        self._steps: dict[object, Step] = {}
        self.step_of = self._steps.get
        self._open: OrderedDict[Run, None] = OrderedDict()
        self._waiting: OrderedDict[Run, float] = OrderedDict()  # and when each wait ends
        self.awaiting: dict[object, Step] = {}
        self.outbox: Outbox = deque()
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Forget every run: all are the parent's, of which another thread may hold the old lock."""
        self.lock = threading.RLock()
        for held in (self._steps, self._open, self._waiting, self.awaiting, self.outbox):
            held.clear()  # not replaced, as the handler and the recorder use some of them
        self.recently_ended = RecentlyEnded(self._max_open_runs)
        self._next_look = 0.0

    def __len__(self) -> int:
        """How many runs are open, or wait for a model call."""
        return len(self._open) + len(self._waiting)

    def start(self, step: Step) -> bool:
        """Hold a step that starts, and a run whose root it is.

        Returns:
            `False` if the step is open already, or its run has been closed meanwhile.
        """
        key, run = step.key, step.scope.run
        with self.lock:
            if run.state == "closed":
                self.recently_ended.take_late(key, run.key)
                return False
            known = self._steps.setdefault(key, step)
            if known is not step:
                if self.note_repeat(known):
                    return False
                known.scope.run.steps.pop(key)  # the id is used again
                self._steps[key] = step
            run.steps[key] = step
            step.started = run.last_event = now = monotonic()
            if step.parent is None:
                if self._waiting or now >= self._next_look or len(self._open) >= self._max_open_runs:
                    self._make_room(now)
                self._open[run] = None
                run.most_steps = STEPS_OF_RUN
            elif len(run.steps) > run.most_steps:
                self._forget_oldest(run)
            if step.is_plain:
                return True
            run.started(step)
            if step.call is not None:
                self.awaiting[key] = step
            outbox = self._take_outbox() if self.outbox else None
        if outbox:
            self._deliver(outbox)
        return True

    def note_repeat(self, step: Step) -> bool:
        """Return whether a step that starts again is open: each of its events comes once more (facts 96, 97)."""
        with self.lock:
            if step.call is not None:
                step.call.copies += 1
            return step.is_open

    def first_token(self, step: Step, call: ModelCall) -> None:
        """Note a model call's first chunk that carries something."""
        with self.lock:
            if self.awaiting.pop(step.key, None) is not None:
                step.scope.run.first_token(step, call, monotonic())
            outbox = self._take_outbox() if self.outbox else None
        if outbox:
            self._deliver(outbox)

    def end(self, step: Step, error: BaseException | None, result: StepResult = NOTHING_READ) -> None:
        """End a step, and with the root its run; the second end of a step is ignored."""
        with self.lock:
            if not step.is_open:
                self.recently_ended.end(step.key)
                return
            step.is_open, run = False, step.scope.run
            run.last_event = now = monotonic()
            if step.is_plain and error is None and not run.notes_every_end:
                return
            self.awaiting.pop(step.key, None)
            run.ended(step, error, result, now)
            if step.parent is None and run.state == "waiting" and not self._wait(run, now):
                run.close()
            if run.state == "closed":
                self._drop(run)
            outbox = self._take_outbox() if self.outbox else None
        if outbox:
            self._deliver(outbox)

    def flush(self, timeout: float | None = None, *, closes_all: bool = False) -> bool:
        """Let Python end the streams that were dropped, then close the runs that wait or are silent for too long.

        Args:
            timeout: Seconds to wait at most for the streams.
            closes_all: Whether to close every other run too, as abandoned.

        Returns:
            Whether all such streams have ended, or their runs are closed.
        """
        called_at = monotonic()
        is_collected = not self._open or collect_garbage(timeout)
        self._close_waiting(float("inf") if closes_all else called_at)
        return is_collected or closes_all

    def _close_waiting(self, silent_at: float | None = None) -> None:
        """Close the runs that wait for a model call, and those silent for too long.

        Args:
            silent_at: The time by which a run's silence is too long, in seconds; `None` for now, infinity to close
                every run.
        """
        with self.lock:
            now = monotonic()
            self._give_up(self._waiting, now)
            self._give_up_silent(now if silent_at is None else silent_at, now)
            outbox = self._take_outbox()
        self._deliver(outbox)

    def _take_outbox(self) -> Outbox:
        taken: Outbox = deque()
        with suppress(IndexError):  # the outbox raises it once it is empty
            # In one step: at any line Python may collect a run, whose end then takes from the outbox too.
            taken.extend(iter(self.outbox.popleft, None))
        return taken

    def _forget_oldest(self, run: Run) -> None:
        """Forget the older half of a long run's ended steps, and what is known of them alone."""
        ended = [step for step in list(run.steps.values()) if not step.is_open and step.parent is not None]
        for step in ended[: len(ended) // 2]:
            step.parent = step.lineage()[-1]  # so that it keeps no other step in memory
            run.steps.pop(step.key, None)  # at any line Python may collect, and so end, the run
            self._steps.pop(step.key, None)
        run.forget_what_lost_its_step()
        run.most_steps = len(run.steps) + STEPS_OF_RUN // 2

    def _wait(self, run: Run, now: float) -> bool:
        """Let a run wait for its model calls; return `False` if no timer can close it later."""
        if not self._waiting:
            if not shared_timer.schedule(now + WAIT_SECONDS, self._wait_is_over):
                return False
            atexit.register(self._close_waiting)
        del self._open[run]
        self._waiting[run] = now + WAIT_SECONDS
        return True

    def _wait_is_over(self) -> None:
        with self.lock:
            self._give_up_waiting(monotonic())
            if self._waiting:
                shared_timer.schedule(next(iter(self._waiting.values())), self._wait_is_over)
            outbox = self._take_outbox()
        self._deliver(outbox)

    def _make_room(self, now: float) -> None:
        """Close the runs that have waited or been silent for too long, and the oldest of too many."""
        self._give_up_waiting(now)
        if now >= self._next_look:
            self._give_up_silent(now, now)
        if len(self._open) >= self._max_open_runs:
            self._give_up([next(iter(self._open))], now)

    def _give_up_waiting(self, now: float) -> None:
        """Close the runs that have waited long enough, or are too many."""
        while self._waiting:
            first, until = next(iter(self._waiting.items()))
            if until > now and len(self._waiting) <= self._max_open_runs:
                break
            self._give_up([first], now)

    def _give_up_silent(self, silent_at: float, now: float) -> None:
        """Close the open runs whose silence is too long by `silent_at`, and note when the next one's may be."""
        self._give_up([run for run in list(self._open) if run.last_event + self._run_timeout <= silent_at], now)
        oldest_event = min([run.last_event for run in list(self._open)], default=now)
        self._next_look = max(oldest_event + self._run_timeout, now + min(LOOK_SECONDS, self._run_timeout))

    def _give_up(self, runs: Iterable[Run], now: float) -> None:
        for run in list(runs):
            run.abandon(now)
            self._drop(run)

    def _drop(self, run: Run) -> None:
        """Forget a closed run, all but the keys of its steps."""
        self._open.pop(run, None)
        if run in self._waiting:
            del self._waiting[run]
            if not self._waiting:
                shared_timer.cancel(self._wait_is_over)
                atexit.unregister(self._close_waiting)
        open_steps: list[object] = []
        for key, step in list(run.steps.items()):
            self._steps.pop(key, None)
            if step.is_open:
                step.is_open = False
                self.awaiting.pop(key, None)
                open_steps.append(key)
                run.steps.pop(key, None)  # at any line Python may collect, and so end, the run
        run.steps.pop(run.key, None)
        self.recently_ended.add(run.key, run.steps, open_steps)
        run.steps.clear()  # these three refer to the run, which would otherwise wait for the garbage collector
        run.tasks.clear()
        run.interrupts.clear()

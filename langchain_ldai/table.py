"""The open runs of one handler: which LangChain run belongs to which run, under the one lock."""

import atexit
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from langchain_ldai.account import Account, Due
from langchain_ldai.metrics import TokenUsage
from langchain_ldai.outcome import Outcome
from langchain_ldai.run import Run, Step

WAIT_SECONDS: Final = 5.0
"""How long a run that ended waits for model calls that did not, and how long its ids stay known."""

LOOK_SECONDS: Final = 1.0
"""The shortest time between two looks at every open run."""


@dataclass(slots=True)
class Batch:
    """What became due at one event, and the runs that were closed by it; delivered outside the lock."""

    due: list[Due] = field(default_factory=list)
    closed: list[Run] = field(default_factory=list)


class RunTable:
    """Owns every open run of a handler, and remembers the ids of those that have just ended.

    The lock is reentrant: collecting an abandoned generator, which Python may do at any line, ends that
    generator's run in the same thread.

    Args:
        deliver: Records what is due and reports the runs closed.
        max_open_runs: Where one more run would be too many, the oldest is closed.
        run_timeout: Seconds of silence after which a run is closed as abandoned.
    """

    def __init__(self, deliver: Callable[[Batch], None], *, max_open_runs: int, run_timeout: float) -> None:
        self._deliver = deliver
        self._max_open_runs = max_open_runs
        self._run_timeout = run_timeout
        self._lock = threading.RLock()
        self._steps: dict[object, Step] = {}
        self._runs: OrderedDict[Run, None] = OrderedDict()
        self._waiting: set[Run] = set()
        self._timer: threading.Timer | None = None
        self._next_look = float("inf")

    def get(self, run_id: object) -> Step | None:
        """Return the step of a LangChain run; `None` where it is not known, or no longer."""
        return self._steps.get(run_id)

    def is_open(self, run_id: object) -> bool:
        """Whether a LangChain run is known and its run has not ended."""
        step = self._steps.get(run_id)
        return step is not None and step.run.ended_at is None

    def start(
        self, run: Run, run_id: object, parent: Step | None, node: str | None, task: str, now: float
    ) -> Step | None:
        """Add a step to its run, opening the run where the step is its root.

        Returns:
            The step, or `None` where it is known already, or its run has been given up meanwhile.
        """
        batch = Batch()
        with self._lock:
            if self.is_open(run_id) or (parent is not None and run not in self._runs):
                return None
            if parent is None:
                self._make_room(now, batch)
                self._runs[run] = None
                self._next_look = min(self._next_look, now + self._run_timeout)
            step = self._steps[run_id] = run.add(run_id, parent, node, task, now)
        self._deliver(batch)
        return step

    def add_node(self, run: Run, node: str, account: Account | None) -> None:
        """Give a run's named node its account, unless another thread has."""
        with self._lock:
            run.nodes.setdefault(node, account)

    def note(self, change: Callable[[], Due | None]) -> None:
        """Apply a change to a run under the lock, and deliver what became due by it."""
        with self._lock:
            due = change()
        if due:
            self._deliver(Batch(due=[due]))

    def end(self, run_id: object, error: BaseException | None, usage: TokenUsage | None) -> None:
        """End a step, and with the root its run; an id that is not known is ignored."""
        batch = Batch()
        with self._lock:
            step = self._steps.get(run_id)
            if step is None or run_id not in step.run.steps:
                return
            del self._steps[run_id]
            run, now = step.run, monotonic()
            was_closed = run.closed
            batch.due += run.end(step, error, usage, now)
            if run.closed and not was_closed:
                batch.closed.append(run)
            if run.ended_at is not None:
                self._settle(run, step, now)
        self._deliver(batch)

    def flush(self) -> None:
        """Close every run that has ended or is silent for too long, and forget the ids of ended ones."""
        batch = Batch()
        with self._lock:
            self._look(monotonic(), 0.0, batch)
        self._deliver(batch)

    def _settle(self, run: Run, step: Step, now: float) -> None:
        """Drop an ended run, but keep it where it waits, or where more may start below its ids."""
        if run.closed and not run.steps and run.outcome is Outcome.SUCCESS:
            self._drop(run)
        elif step.run_id == run.root_run_id:
            self._steps[step.run_id] = step
            self._next_look = min(self._next_look, now + WAIT_SECONDS)
        if run.closed:
            self._waiting.discard(run)
        else:
            self._waiting.add(run)
        self._keep_timer(now)

    def _make_room(self, now: float, batch: Batch) -> None:
        if now >= self._next_look:
            self._look(now, WAIT_SECONDS, batch)
        while len(self._runs) >= self._max_open_runs:
            self._give_up(next(iter(self._runs)), now, batch)

    def _look(self, now: float, patience: float, batch: Batch) -> None:
        """Give up every run that has ended, or been silent, for long enough."""
        self._next_look = float("inf")
        for run in list(self._runs):
            ended = run.ended_at
            expiry = run.last_event + self._run_timeout if ended is None else ended + patience
            if expiry <= now:
                self._give_up(run, now, batch)
            else:
                self._next_look = min(self._next_look, expiry)
        self._next_look = max(self._next_look, now + min(LOOK_SECONDS, self._run_timeout))
        self._keep_timer(now)

    def _give_up(self, run: Run, now: float, batch: Batch) -> None:
        if not run.closed:
            batch.due += run.abandon(now)
            batch.closed.append(run)
        self._drop(run)

    def _drop(self, run: Run) -> None:
        del self._runs[run]
        self._waiting.discard(run)
        for run_id in (*run.steps, run.root_run_id):
            step = self._steps.get(run_id)
            if step is not None and step.run is run:
                del self._steps[run_id]

    def _keep_timer(self, now: float) -> None:
        """Have a timer, and an exit hook, just while a run waits."""
        if self._waiting and self._timer is None:
            first = min(run.ended_at or now for run in self._waiting)
            self._timer = threading.Timer(first + WAIT_SECONDS - now, self._close_waiting)
            self._timer.name = "langchain_ldai-wait"
            self._timer.daemon = True
            self._timer.start()
            atexit.register(self.flush)
        elif not self._waiting and self._timer is not None:
            self._stop_timer(self._timer)

    def _stop_timer(self, timer: threading.Timer) -> None:
        timer.cancel()
        atexit.unregister(self.flush)
        self._timer = None

    def _close_waiting(self) -> None:
        batch = Batch()
        with self._lock:
            now = monotonic()
            for run in [run for run in self._waiting if (run.ended_at or now) + WAIT_SECONDS <= now]:
                self._waiting.remove(run)
                batch.due += run.close()
                batch.closed.append(run)
            if self._timer is not None:
                self._stop_timer(self._timer)
            self._keep_timer(now)
        self._deliver(batch)

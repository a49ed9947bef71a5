"""The runs of one handler that are open or wait, and which of them each step belongs to, under the one lock."""

from __future__ import annotations

import atexit
import threading
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from time import monotonic
from typing import cast

from langchain_ldai._base.process import collect_garbage, register_fork_safe
from langchain_ldai._runs.close_timer import close_timer
from langchain_ldai._runs.recently_ended import LOOK_SECONDS, STEPS_OF_RUN, WAIT_SECONDS, RecentlyEnded
from langchain_ldai._runs.run import NOTHING_READ, Run, RunState, StepResult
from langchain_ldai._runs.steps import ModelCall, Scope, Step
from langchain_ldai._runs.totals import MetricTotals, Recording

Outbox = list[Recording | Run]
"""What is to be done outside the lock: what is to be sent, and the closed runs that are to be reported."""


class RunTable:
    """Owns every run of a handler until it is closed, and remembers the keys of those closed lately.

    It reads the time under the lock, so that times are in the order of the events. The lock is reentrant: Python
    may collect an abandoned generator at any line, and that ends the generator's run in the same thread.

    Args:
        deliver: Empties an outbox.
        max_open_runs: Where one more run would be too many, the oldest is closed.
        run_timeout: Seconds of silence after which a run is closed as abandoned.

    Attributes:
        scope_of: Returns where a step is, by its key, also once it has ended, while the table holds its run; else
            `None`.
        step_of: Returns the step of a key that has started and not ended; else `None`.
        awaiting: The model calls that await their first token, by their keys; to any other a token is no news.
        seen_nodes: The names of LangGraph's nodes that have been seen, in their order.
    """

    def __init__(self, deliver: Callable[[Outbox], None], *, max_open_runs: int, run_timeout: float) -> None:
        self._deliver = deliver
        self._max_open_runs = max_open_runs
        self._run_timeout = run_timeout
        self._scopes: dict[object, Scope] = {}
        self._steps: dict[object, Step] = {}
        self.scope_of = self._scopes.get
        self.step_of = self._steps.get
        self._open: OrderedDict[Run, None] = OrderedDict()
        self._waiting: OrderedDict[Run, None] = OrderedDict()
        self.awaiting: dict[object, Step] = {}
        self.seen_nodes: dict[str, None] = {}
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Let go of every run: after a fork they are the parent's, of which another thread may hold the lock."""
        self._lock = threading.RLock()
        for held in (self._scopes, self._steps, self._open, self._waiting, self.awaiting):
            held.clear()
        self._recently_ended = RecentlyEnded(self._max_open_runs)
        self._next_look = float("inf")

    def __len__(self) -> int:
        """How many runs are open, or wait for a model call."""
        return len(self._open) + len(self._waiting)

    def outlives_run(self, key: object) -> bool:
        """Whether a step is open whose run is closed."""
        with self._lock:
            return self._recently_ended.goes_on(key)

    def is_late(self, key: object, parent: object) -> bool:
        """Whether a step starts below the root of a closed run."""
        with self._lock:
            return self._recently_ended.covers(key, parent)

    def is_in_decision(self, key: object) -> bool:
        """Whether a step is a decision model's call, or is in one."""
        with self._lock:
            scope = self._scopes.get(key)
            return scope is not None and scope.run.decision_above(key) is not None

    def start(self, step: Step) -> bool:
        """Hold a step that starts, and a run whose root it is; send what is final by it.

        Returns:
            `False`, where the step is open already, or its run has been closed meanwhile.
        """
        key, run = step.key, step.scope.run
        with self._lock:
            if run.state is RunState.CLOSED:
                self._recently_ended.covers(key, step.parent)
                return False
            if key in self._steps:
                self.note_repeat(key)
                return False
            step.started = run.last_event = now = monotonic()
            self._scopes[key] = step.scope
            self._steps[key] = run.steps[key] = step
            if step.is_plain:
                return True
            outbox: Outbox = []
            if key == run.key and run.state is RunState.OPEN:
                if self._waiting or now >= self._next_look or len(self._open) >= self._max_open_runs:
                    outbox += self._make_room(now)
                self._open[run] = None
                self._next_look = min(self._next_look, now + self._run_timeout)
            if step.call is not None:
                self.awaiting[key] = step
            outbox += run.started(step)
        if outbox:
            self._deliver(outbox)
        return True

    def note_repeat(self, key: object) -> None:
        """Note that the start of an open step came once more, as each event of it does (facts 96, 97)."""
        with self._lock:
            step = self._steps.get(key)
            if step is not None and step.call is not None:
                step.call.copies += 1

    def retried(self, key: object) -> None:
        """Count a repeated attempt within a model call."""
        with self._lock:
            step = self._steps.get(key)
            if step is None or step.call is None or step.scope.totals is None:
                return
            step.call.retries += 1
            if step.call.retries % step.call.copies == 0:
                step.scope.totals.retries += 1

    def attempted(self, run: Run, totals: MetricTotals, attempt: tuple[object, str]) -> None:
        """Count a repeated attempt, known by its parent and its tag, which LangChain may give to several steps."""
        with self._lock:
            if attempt not in run.attempts:
                run.attempts.add(attempt)
                totals.retries += 1

    def see_node(self, node: str) -> None:
        """Remember that LangGraph has a node of this name."""
        with self._lock:
            self.seen_nodes[node] = None

    def add_node(self, run: Run, node: str, totals: MetricTotals | None) -> None:
        """Give a run's named node its totals."""
        with self._lock:
            run.nodes[node] = totals
            run.heeds_good_ends = True
            if totals is not None:
                run.all_totals.append(totals)

    def chunk_came(self, step: Step) -> None:
        """Note that a model call is streamed."""
        with self._lock:
            cast(ModelCall, step.call).streamed = True

    def first_token(self, step: Step) -> None:
        """Note a model call's first chunk that carries something, and send what is final by it."""
        with self._lock:
            if self.awaiting.pop(step.key, None) is None:
                return
            outbox: Outbox = [*step.scope.run.first_token(step, monotonic())]
        if outbox:
            self._deliver(outbox)

    def end(self, key: object, error: BaseException | None, result: StepResult = NOTHING_READ) -> None:
        """End a step, and with the root its run; a key that is not known is ignored."""
        with self._lock:
            step = self._steps.pop(key, None)
            if step is None:
                if key not in self._scopes:
                    self._recently_ended.end(key)
                return
            run = step.scope.run
            del run.steps[key]
            run.last_event = now = monotonic()
            if step.is_plain and error is None and not run.heeds_good_ends:
                self._remember(run, step)
                return
            self.awaiting.pop(key, None)
            is_root = key == run.key and run.state is RunState.OPEN
            outbox: Outbox = [*run.ended(step, error, result, now)]
            if not is_root:
                self._remember(run, step)
            elif run.state is RunState.WAITING and not self._wait(run, now):
                outbox += run.close()
            if run.state is RunState.CLOSED:
                self._drop(run)
                outbox.append(run)
        if outbox:
            self._deliver(outbox)

    def flush(self, timeout: float | None = None) -> bool:
        """Let Python end the streams that were dropped, then close the runs that wait or are silent for too long.

        Args:
            timeout: Seconds to wait at most for the former.

        Returns:
            Whether all such streams have ended.
        """
        called_at = monotonic()
        is_collected = not self._open or collect_garbage(timeout)
        self._close_waiting(called_at)
        return is_collected

    def close(self, timeout: float | None = None) -> None:
        """Flush, then close every open run as abandoned."""
        self.flush(timeout)
        outbox: Outbox = []
        with self._lock:
            now = monotonic()
            for run in list(self._open):
                outbox += self._give_up(run, now)
        self._deliver(outbox)

    def _close_waiting(self, silent_at: float | None = None) -> None:
        """Close the runs that wait for a model call, and those silent for too long, now or at the given time."""
        outbox: Outbox = []
        with self._lock:
            now = monotonic()
            for run in list(self._waiting):
                outbox += self._give_up(run, now)
            outbox += self._give_up_silent(now if silent_at is None else silent_at)
        self._deliver(outbox)

    def _remember(self, run: Run, step: Step) -> None:
        """Remember the parent of a step that has ended; of a long run, forget half of such steps."""
        run.ended_steps[step.key] = step.parent
        if len(run.ended_steps) > STEPS_OF_RUN:
            for oldest in list(islice(run.ended_steps, STEPS_OF_RUN // 2)):
                del run.ended_steps[oldest]
                self._scopes.pop(oldest, None)

    def _wait(self, run: Run, now: float) -> bool:
        """Have a run wait for its model calls; `False` where nobody could close it after that."""
        if not self._waiting:
            if not close_timer.schedule(now + WAIT_SECONDS, self._wait_is_over):
                return False
            atexit.register(self._close_waiting)
        del self._open[run]
        self._waiting[run] = None
        return True

    def _wait_is_over(self) -> None:
        with self._lock:
            now = monotonic()
            outbox = self._give_up_waiting(now)
            if self._waiting:
                close_timer.schedule(next(iter(self._waiting)).ended_at + WAIT_SECONDS, self._wait_is_over)
        self._deliver(outbox)

    def _make_room(self, now: float) -> Outbox:
        outbox = self._give_up_waiting(now)
        if now >= self._next_look:
            outbox += self._give_up_silent(now)
        while len(self._open) >= self._max_open_runs:
            outbox += self._give_up(next(iter(self._open)), now)
        return outbox

    def _give_up_waiting(self, now: float) -> Outbox:
        """Close the runs that have waited long enough, or are too many."""
        outbox: Outbox = []
        while self._waiting:
            first = next(iter(self._waiting))
            if first.ended_at + WAIT_SECONDS > now and len(self._waiting) <= self._max_open_runs:
                break
            outbox += self._give_up(first, now)
        return outbox

    def _give_up_silent(self, now: float) -> Outbox:
        """Close the open runs that have been silent for too long, and note when the next may be."""
        outbox: Outbox = []
        self._next_look = float("inf")
        for run in list(self._open):
            expiry = run.last_event + self._run_timeout
            if expiry <= now:
                outbox += self._give_up(run, now)
            else:
                self._next_look = min(self._next_look, expiry)
        self._next_look = max(self._next_look, now + min(LOOK_SECONDS, self._run_timeout))
        return outbox

    def _give_up(self, run: Run, now: float) -> Outbox:
        outbox: Outbox = [*run.abandon(now), run]
        self._drop(run)
        return outbox

    def _drop(self, run: Run) -> None:
        """Let go of a closed run, but for the keys of its steps."""
        self._open.pop(run, None)
        if run in self._waiting:
            del self._waiting[run]
            if not self._waiting:
                close_timer.cancel(self._wait_is_over)
                atexit.unregister(self._close_waiting)
        for key in (*run.ended_steps, *run.steps, run.key):
            known = self._scopes.get(key)
            if known is not None and known.run is run:  # an id may be used again
                del self._scopes[key]
        for key in run.steps:
            self._steps.pop(key, None)
            self.awaiting.pop(key, None)
        self._recently_ended.add(run)
        run.forget_steps()

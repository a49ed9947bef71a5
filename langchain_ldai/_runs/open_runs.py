"""The open runs of one handler: which LangChain run belongs to which run, under the one lock."""

from __future__ import annotations

import atexit
import threading
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Final

from langchain_ldai._base.process import collect_garbage, is_ending, register_fork_safe
from langchain_ldai._runs.recently_ended import LOOK_SECONDS, STEPS_OF_RUN, WAIT_SECONDS, RecentlyEnded
from langchain_ldai._runs.run import Batch, Run
from langchain_ldai._runs.steps import ModelCall, Scope, Step, key_of, parent_of
from langchain_ldai._runs.totals import Account, Due
from langchain_ldai._tracking.values import TokenUsage

if TYPE_CHECKING:
    from langchain_ldai._runs.run import Run


class Waits:
    """Calls back once a time has come."""

    def __init__(self) -> None:
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Forget who waits: after a fork it is the parent's thread that calls back."""
        self._lock = threading.RLock()  # Python may collect, and so end, a run in the thread that holds it
        self._times: dict[Callable[[], object], float] = {}
        self._timer: threading.Timer | None = None

    def until(self, time: float, callback: Callable[[], object]) -> bool:
        """Have something called at a time, in seconds of `monotonic()`, unless it is forgotten before.

        Returns:
            `False` where that is not possible, as the process ends or no thread can be started.
        """
        with self._lock:
            self._times[callback] = time
            is_possible = self._have_timer()
            if not is_possible:
                del self._times[callback]
            return is_possible

    def forget(self, callback: Callable[[], object]) -> None:
        """Call something no more; where nothing is left to call, the thread ends."""
        with self._lock:
            if self._times.pop(callback, None) is not None and not self._times and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _have_timer(self) -> bool:
        if self._timer is not None:
            return True
        if is_ending():
            return False  # a thread would be started and never run
        timer = threading.Timer(max(0.0, min(self._times.values()) - monotonic()), self._is_time)
        timer.name = "langchain_ldai-wait"
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # the process may have no more threads
            return False
        self._timer = timer
        return True

    def _is_time(self) -> None:
        now = monotonic()
        with self._lock:
            self._timer = None
            due = [callback for callback, time in list(self._times.items()) if time <= now]
            for callback in due:
                del self._times[callback]
            if self._times:
                self._have_timer()
        for callback in due:
            callback()


waits: Final = Waits()
"""Those of this process."""


class WaitingRuns:
    """The runs of one table that have ended and wait for their model calls; changed under the table's lock.

    Args:
        is_over: Called once they have waited long enough.
        at_exit: Called where the interpreter ends before that.
    """

    __slots__ = ("_at_exit", "_is_over", "_runs")

    def __init__(self, is_over: Callable[[], object], at_exit: Callable[[], object]) -> None:
        self._is_over = is_over
        self._at_exit = at_exit
        self._runs: set[Run] = set()

    def add(self, run: Run, now: float) -> bool:
        """Have a run wait; `False` where nobody could end that."""
        if not self._runs:
            if not waits.until(now + WAIT_SECONDS, self._is_over):
                return False
            atexit.register(self._at_exit)
        self._runs.add(run)
        return True

    def discard(self, run: Run) -> None:
        """Have a run wait no more, if it does."""
        if run in self._runs:
            self._runs.discard(run)
            if not self._runs:
                waits.forget(self._is_over)
                atexit.unregister(self._at_exit)

    def go_on(self, now: float) -> None:
        """Wait for those that are left."""
        if self._runs:
            first = min(run.ended_at or now for run in list(self._runs))
            waits.until(first + WAIT_SECONDS, self._is_over)


Deliver = Callable[[list[Due], list[Run]], None]
"""Takes what has become due, and the runs that were closed by it."""


class RunTable:
    """Owns every open run of a handler, and remembers the ids of those that ended lately.

    Times are read under the lock, so that they are in the order of the events. It is reentrant: collecting an
    abandoned generator, which Python may do at any line, ends that generator's run in the same thread.

    Args:
        deliver: Records what is due and reports the runs closed.
        max_open_runs: Where one more run would be too many, the oldest is closed.
        run_timeout: Seconds of silence after which a run is closed as abandoned.

    Attributes:
        scope_of: Returns where a step is, by its key, also once it has ended, while its run is held; else `None`.
        awaiting: The model calls that await their first token, by their keys; to any other a token is no news.
    """

    def __init__(self, deliver: Deliver, *, max_open_runs: int, run_timeout: float) -> None:
        self._deliver = deliver
        self._max_open_runs = max_open_runs
        self._run_timeout = run_timeout
        self._scopes: dict[object, Scope] = {}
        self.scope_of = self._scopes.get
        self._runs: OrderedDict[Run, None] = OrderedDict()
        self._ended: OrderedDict[Run, None] = OrderedDict()
        self.awaiting: dict[object, Step] = {}
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Let go of every run: after a fork they are the parent's, of which another thread may hold the lock."""
        self._lock = threading.RLock()
        for held in (self._scopes, self._runs, self._ended, self.awaiting):
            held.clear()
        self._waiting = WaitingRuns(self._wait_is_over, self._close_waiting)
        self._recently_ended = RecentlyEnded(self._max_open_runs)
        self._next_look = float("inf")

    def __len__(self) -> int:
        """How many runs are open, or have ended and wait for a model call."""
        return len(self._runs) + len(self._ended)

    def step(self, run_id: object) -> Step | None:
        """Return an open step that is a `Step`, as a model call is; `None` where there is none of that id."""
        scope = self._scopes.get(key := key_of(run_id))
        step = None if scope is None else scope.run.steps.get(key)
        return step if isinstance(step, Step) else None

    def is_open(self, key: object) -> bool:
        """Whether the step of a key has started and not ended."""
        scope = self._scopes.get(key)
        return scope is not None and key in scope.run.steps

    def goes_on(self, key: object) -> bool:
        """Whether a step is open whose run has ended or was given up."""
        with self._lock:
            return self._recently_ended.goes_on(key)

    def is_late(self, key: object, parent: object) -> bool:
        """Whether a step starts below the root of a run that has ended or was given up."""
        with self._lock:
            return self._recently_ended.covers(key, parent)

    def is_in_decision(self, key: object) -> bool:
        """Whether a step is a decision model's call, or is in one."""
        with self._lock:
            scope = self._scopes.get(key)
            return scope is not None and scope.run.decision_above(key) is not None

    def open(self, scope: Scope, call: ModelCall | None, defers_inputs: bool) -> bool:
        """Hold a new run.

        Args:
            scope: Where its root is.
            call: The model call that its root is, if it is one.
            defers_inputs: Whether its root does.

        Returns:
            `False`, where the root's id is open already.
        """
        run = scope.run
        with self._lock:
            if run.key in self._scopes and self.is_open(run.key):
                self.seen_again(run.key)
                return False
            now = monotonic()
            is_full = self._ended or now >= self._next_look or len(self._runs) >= self._max_open_runs
            batch = self._make_room(now) if is_full else None
            self._runs[run] = None
            if now + self._run_timeout < self._next_look:
                self._next_look = now + self._run_timeout
            run.last_event = now
            self._add(run.key, Step(scope, None, now, call, defers_inputs))
        if batch is not None:
            self._deliver(batch.due, batch.closed)
        return True

    def start(
        self, key: object, parent: object, scope: Scope, call: ModelCall | None, defers_inputs: bool
    ) -> bool:
        """Add a step to a run, and deliver what became due by it.

        Args:
            key: What it is known by.
            parent: What the step above it is known by.
            scope: Where it is.
            call: The model call that it is, if it is one.
            defers_inputs: Whether it does.

        Returns:
            `False`, where the step is known already, or its run has been given up meanwhile.
        """
        run = scope.run
        with self._lock:
            if not run.is_held:
                self._recently_ended.covers(key, parent)
                return False
            if key in self._scopes and key in self._scopes[key].run.steps:
                self.seen_again(key)
                return False
            run.last_event = now = monotonic()
            if call is None and scope.key != key:
                self._scopes[key] = scope
                run.steps[key] = parent, defers_inputs
                return True
            due = self._add(key, Step(scope, parent, now, call, defers_inputs))
        if due:
            self._deliver(due, [])
        return True

    def seen_again(self, key: object) -> None:
        """Note that an open step's start came once more: each of its events does (facts 96, 97)."""
        with self._lock:
            step = self.step(key)
            if step is not None and step.call is not None:
                step.call.copies += 1

    def retried(self, run_id: object) -> None:
        """Count a repeated attempt within a model call."""
        with self._lock:
            step = self.step(run_id)
            if step is None or step.call is None or step.scope.account is None:
                return
            step.call.retries += 1
            if step.call.retries % step.call.copies == 0:
                step.scope.account.retries += 1

    def attempted(self, run: Run, account: Account, attempt: tuple[object, str]) -> None:
        """Count a repeated attempt, known by its parent and its tag, which LangChain may give to several steps."""
        with self._lock:
            if attempt not in run.attempts:
                run.attempts |= {attempt}
                account.retries += 1

    def add_node(self, run: Run, node: str, account: Account | None) -> None:
        """Give a run's named node its account, unless another thread has."""
        with self._lock:
            run.add_node(node, account)

    def tool_started(self, run: Run, step: object, account: Account, key: str) -> bool:
        """Note that a tool started, and return whether its call is to be recorded at once."""
        with self._lock:
            return run.tool_started(step, account, key)

    def tool_ended(self, run: Run, step: object, *, is_handoff: bool) -> tuple[Account, str] | None:
        """Note that a tool of an agent graph ended, and return its call where that is to be recorded at once."""
        with self._lock:
            return run.tool_ended(step, is_handoff=is_handoff)

    def first_token(self, run_id: object, step: Step) -> None:
        """Note a model call's first chunk that carries something, and deliver what became due by it."""
        with self._lock:
            if self.awaiting.pop(key_of(run_id), None) is None:
                return
            due = step.scope.run.first_token(step, monotonic())
        if due:
            self._deliver(due, [])

    def end(self, run_id: object, error: BaseException | None, usage: TokenUsage | None) -> None:
        """End a step, and with the root its run; an id that is not known is ignored."""
        key = getattr(run_id, "int", run_id)
        with self._lock:
            scope = self._scopes.get(key)
            if scope is None:
                self._recently_ended.end(key)
                return
            run = scope.run
            step = run.steps.pop(key, None)
            if step is None:
                return
            run.last_event = now = monotonic()
            if type(step) is tuple and error is None and run.ended_at is None and not run.nodes:
                self._remember(run, key, step[0])
                return
            self.awaiting.pop(key, None)
            is_root = key == run.key and run.ended_at is None
            due = run.ended(key, step, scope, error, usage, now)
            if is_root:
                del self._runs[run]
                self._ended[run] = None
            else:
                self._remember(run, key, parent_of(step))
            if run.ended_at is None:
                return
            if not (run.closed or self._waiting.add(run, now)):
                due += run.close()
            is_closed = run.closed
            if is_closed:
                self._drop(run)
        if due or is_closed:
            self._deliver(due, [run] if is_closed else [])

    def flush(self, timeout: float | None = None) -> bool:
        """Let Python end the streams that were dropped, then close the runs that wait or are silent for too long.

        Args:
            timeout: Seconds to wait at most for the former.

        Returns:
            Whether all such streams have ended.
        """
        called_at = monotonic()
        is_collected = not self._runs or collect_garbage(timeout)
        self._close_waiting(called_at)
        return is_collected

    def close(self, timeout: float | None = None) -> None:
        """Flush, then close every open run as abandoned."""
        self.flush(timeout)
        batch = Batch()
        with self._lock:
            now = monotonic()
            for run in list(self._runs):
                self._give_up(run, now, batch)
        self._deliver(batch.due, batch.closed)

    def _close_waiting(self, silent_at: float | None = None) -> None:
        """Close the runs that wait for a model call, and those silent for too long, now or at the given time."""
        batch = Batch()
        with self._lock:
            now = monotonic()
            for run in list(self._ended):
                self._give_up(run, now, batch)
            self._give_up_silent(now if silent_at is None else silent_at, batch)
        self._deliver(batch.due, batch.closed)

    def _add(self, key: object, step: Step) -> list[Due]:
        scope = step.scope
        self._scopes[key] = scope
        scope.run.steps[key] = step
        if step.call is not None:
            self.awaiting[key] = step
        return scope.run.started(key, step)

    def _remember(self, run: Run, key: object, parent: object) -> None:
        """Remember below which step a step was that has ended; of a long run, forget half of such steps."""
        run.ended_steps[key] = parent
        if len(run.ended_steps) > STEPS_OF_RUN:
            for oldest in list(islice(run.ended_steps, STEPS_OF_RUN // 2)):
                del run.ended_steps[oldest]
                self._scopes.pop(oldest, None)

    def _make_room(self, now: float) -> Batch:
        batch = Batch()
        self._give_up_ended(now, batch)
        if now >= self._next_look:
            self._give_up_silent(now, batch)
        while len(self._runs) >= self._max_open_runs:
            self._give_up(self._runs.popitem(last=False)[0], now, batch)
        return batch

    def _give_up_ended(self, now: float, batch: Batch) -> None:
        """Close the runs that have waited long enough, or are too many."""
        while self._ended:
            run, _ = self._ended.popitem(last=False)
            if (run.ended_at or 0.0) + WAIT_SECONDS > now and len(self._ended) < self._max_open_runs:
                self._ended[run] = None
                self._ended.move_to_end(run, last=False)
                break
            self._give_up(run, now, batch)

    def _give_up_silent(self, now: float, batch: Batch) -> None:
        """Close the open runs that have been silent for too long, and note when the next may be."""
        self._next_look = float("inf")
        for run in list(self._runs):
            expiry = run.last_event + self._run_timeout
            if expiry <= now:
                self._give_up(run, now, batch)
            else:
                self._next_look = min(self._next_look, expiry)
        self._next_look = max(self._next_look, now + min(LOOK_SECONDS, self._run_timeout))

    def _give_up(self, run: Run, now: float, batch: Batch) -> None:
        batch.due += run.abandon(now)
        batch.closed.append(run)
        self._drop(run)

    def _drop(self, run: Run) -> None:
        """Let go of a closed run, but for the ids of its steps."""
        self._runs.pop(run, None)
        self._ended.pop(run, None)
        self._waiting.discard(run)
        scopes = self._scopes
        for key in (*run.ended_steps, *run.steps, run.key):
            known = scopes.get(key)
            if known is not None and known.run is run:  # an id may be used again
                del scopes[key]
        for key in run.steps:
            self.awaiting.pop(key, None)
        self._recently_ended.add(run)
        run.let_go()

    def _wait_is_over(self) -> None:
        batch = Batch()
        with self._lock:
            now = monotonic()
            self._give_up_ended(now, batch)
            self._waiting.go_on(now)
        self._deliver(batch.due, batch.closed)

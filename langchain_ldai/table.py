"""The open runs of one handler: which LangChain run belongs to which run, under the one lock."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Final

from langchain_ldai.account import Account, Due
from langchain_ldai.left import LEFT_STEPS, LOOK_SECONDS, WAIT_SECONDS, LeftRoots, Recent
from langchain_ldai.metrics import TokenUsage
from langchain_ldai.outcome import Outcome
from langchain_ldai.process import renew_in_forks
from langchain_ldai.run import Batch, Run
from langchain_ldai.steps import ModelCall, Scope, Step, key_of, parent_of
from langchain_ldai.waits import WaitingRuns

_SUCCESS: Final = Outcome.SUCCESS
_MAX_DEPTH: Final = 1000  # steps that name each other as parents are no reason to look for ever

Deliver = Callable[[list[Due], list[Run]], None]
"""Takes what has become due, and the runs that were closed by it."""


class RunTable:
    """Owns every open run of a handler, and remembers the ids of those that have just ended.

    Times are read under the lock, so that they are in the order of the events. It is reentrant: collecting an
    abandoned generator, which Python may do at any line, ends that generator's run in the same thread.

    Args:
        deliver: Records what is due and reports the runs closed.
        max_open_runs: Where one more run would be too many, the oldest is closed.
        run_timeout: Seconds of silence after which a run is closed as abandoned.

    Attributes:
        scope_of: Returns where a step is that has started, by its key; `None` where it is not known, or no longer.
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
        self.renew()
        renew_in_forks(self)

    def renew(self) -> None:
        """Let go of every run: after a fork they are the parent's, of which another thread may hold the lock."""
        self._lock = threading.RLock()
        for held in (self._scopes, self._runs, self._ended, self.awaiting):
            held.clear()
        self._waiting = WaitingRuns(self._wait_is_over, self.flush)
        self._left = LeftRoots(self._max_open_runs, self._run_timeout)
        self._parents: Recent[object] = Recent(LEFT_STEPS)
        self._next_look = float("inf")

    def __len__(self) -> int:
        """How many runs are open, wait, or have ended so lately that their ids are remembered."""
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

    def nearest(self, key: object) -> tuple[Scope | None, object]:
        """Return where the step of a key is, or the closest of those above it that has not ended, and its key."""
        with self._lock:
            for _ in range(_MAX_DEPTH):
                scope, above = self._scopes.get(key), self._parents.get(key)
                if scope is not None or above is None:
                    return scope, key
                key = above
            return None, key

    def is_late(self, key: object, parent: object) -> bool:
        """Whether a step starts below a root that was let go: ended well just now, or given up."""
        with self._lock:
            return self._left.is_late(key, parent, monotonic())

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
            if not run.is_held or (key in self._scopes and self.is_open(key)):
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

    def add_node(self, run: Run, node: str, account: Account | None) -> None:
        """Give a run's named node its account, unless another thread has."""
        with self._lock:
            run.add_node(node, account)

    def tool_started(self, run: Run, account: Account, name: str) -> bool:
        """Note a call of a tool, and return whether it is to be recorded at once."""
        with self._lock:
            return run.tool_started(account, name)

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
            scope = self._scopes.pop(key, None)
            if scope is None:
                return
            run = scope.run
            step = run.steps.pop(key, None)
            if step is None:
                self._scopes[key] = scope  # a root that has ended, kept for what may start below it
                return
            run.last_event = now = monotonic()
            if type(step) is tuple and error is None and run.ended_at is None and not run.nodes:
                self._parents.add(key, step[0])
                return
            self.awaiting.pop(key, None)
            was_closed, is_root = run.closed, key == run.key and run.ended_at is None
            due = run.ended(key, step, scope, error, usage, now)
            if not isinstance(step, Step) or step.call is None:  # nothing starts below a model call
                self._parents.add(key, parent_of(step))
            if run.ended_at is None:
                return
            if not (run.closed or self._waiting.add(run, now)):
                due += run.close()
            is_closed = run.closed and not was_closed
            self._settle(run, scope if is_root else None, now)
        if due or is_closed:
            self._deliver(due, [run] if is_closed else [])

    def flush(self) -> None:
        """Close every run that has ended or is silent for too long, and forget the ids of ended ones."""
        batch = Batch()
        with self._lock:
            now = monotonic()
            for run in list(self._ended):
                self._give_up(run, now, batch)
            self._give_up_silent(now, batch)
            self._left.forget_ended()
        self._deliver(batch.due, batch.closed)

    def _add(self, key: object, step: Step) -> list[Due]:
        scope = step.scope
        self._scopes[key] = scope
        scope.run.steps[key] = step
        if step.call is not None:
            self.awaiting[key] = step
        return scope.run.started(key, step)

    def _settle(self, run: Run, root: Scope | None, now: float) -> None:
        """Keep an ended run where it waits, or where more may start below its ids; else drop it.

        Where its root is, is given if that has just ended.
        """
        if root is not None:
            del self._runs[run]
            if run.closed and not run.steps and run.outcome is _SUCCESS:
                run.let_go()
                self._left.run_ended(run.key, now)
                return
            self._ended[run] = None
            self._scopes[run.key] = root
        if not run.closed:
            return
        if run.steps or run.outcome is not _SUCCESS:
            self._waiting.discard(run)
        else:
            self._drop(run)
            self._left.run_ended(run.key, now)

    def _make_room(self, now: float) -> Batch:
        batch = Batch()
        self._give_up_ended(now, batch)
        if now >= self._next_look:
            self._give_up_silent(now, batch)
        while len(self._runs) >= self._max_open_runs:
            self._give_up(self._runs.popitem(last=False)[0], now, batch)
        return batch

    def _give_up_ended(self, now: float, batch: Batch) -> None:
        """Close and forget the runs that ended long enough ago, or are too many."""
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
        if run.ended_at is None:
            for key in (*run.steps, run.key):
                self._left.given_up(key, now)
        if not run.closed:
            batch.due += run.abandon(now)
            batch.closed.append(run)
        self._drop(run)

    def _drop(self, run: Run) -> None:
        self._runs.pop(run, None)
        self._ended.pop(run, None)
        self._waiting.discard(run)
        for key in (*run.steps, run.key):
            known = self._scopes.get(key)
            if known is not None and known.run is run:
                del self._scopes[key]
                self.awaiting.pop(key, None)
        run.let_go()

    def _wait_is_over(self) -> None:
        batch = Batch()
        with self._lock:
            now = monotonic()
            self._give_up_ended(now, batch)
            self._waiting.go_on(now)
        self._deliver(batch.due, batch.closed)

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
from langchain_ldai.steps import ModelCall, Place, key_of

WAIT_SECONDS: Final = 5.0
"""How long a run that ended waits for model calls that did not, and how long its ids stay known."""

LEFT_IDS: Final = 256
"""Of at least how many runs that ended well the roots' ids stay known."""

LOOK_SECONDS: Final = 1.0
"""The shortest time between two looks at every open run."""

Deliver = Callable[[list[Due], list[Run]], None]
"""Takes what has become due, and the runs that were closed by it."""


@dataclass(slots=True)
class Batch:
    """What becomes due as runs are given up, and those runs; delivered outside the lock."""

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

    Attributes:
        awaited: How many model calls await their first token; where none does, a token is no news to any.
    """

    def __init__(self, deliver: Deliver, *, max_open_runs: int, run_timeout: float) -> None:
        self._deliver = deliver
        self._max_open_runs = max_open_runs
        self._run_timeout = run_timeout
        self._lock = threading.RLock()
        self._steps: dict[object, Step] = {}
        self._runs: OrderedDict[Run, None] = OrderedDict()
        self._ended: OrderedDict[Run, None] = OrderedDict()
        self._waiting: set[Run] = set()
        self._left: dict[object, float] = {}
        self._left_before: dict[object, float] = {}
        self._timer: threading.Timer | None = None
        self._next_look = float("inf")
        self.awaited = 0

    def __len__(self) -> int:
        """How many runs are open, wait, or have ended so lately that their ids are remembered."""
        return len(self._runs) + len(self._ended)

    def get(self, run_id: object) -> Step | None:
        """Return the step of a LangChain run; `None` where it is not known, or no longer."""
        return self._steps.get(getattr(run_id, "int", run_id))  # `key_of`, in place for each streamed token

    def is_open(self, run_id: object) -> bool:
        """Whether a LangChain run has started and not ended."""
        step = self.get(run_id)
        return step is not None and step.is_open

    def is_late(self, run_id: object, parent_run_id: object, now: float) -> bool:
        """Whether a step starts below a root that ended well and was let go, just now; so is what is below it."""
        parent = key_of(parent_run_id)
        with self._lock:
            left_at = self._left.get(parent) or self._left_before.get(parent)
            if left_at is None or now - left_at >= WAIT_SECONDS:
                return False
            self._leave(key_of(run_id), now)
            return True

    def open(self, run: Run, place: Place, call: ModelCall | None, now: float) -> Step | None:
        """Hold a new run and return its root; `None` where its id is open already."""
        key = key_of(run.root_run_id)
        with self._lock:
            known = self._steps.get(key)
            if known is not None and known.is_open:
                return None
            is_full = self._ended or now >= self._next_look or len(self._runs) >= self._max_open_runs
            batch = self._make_room(now) if is_full else None
            self._runs[run] = None
            if now + self._run_timeout < self._next_look:
                self._next_look = now + self._run_timeout
            root = self._steps[key] = run.add(key, None, place, call, now)
            self.awaited += call is not None
        if batch is not None:
            self._deliver(batch.due, batch.closed)
        return root

    def start(self, run_id: object, parent: Step, place: Place, call: ModelCall | None, now: float) -> Step | None:
        """Add a step to its parent's run and return it.

        Returns:
            The step, or `None` where it is known already, or its run has been given up meanwhile.
        """
        run, key = parent.run, key_of(run_id)
        with self._lock:
            known = self._steps.get(key)
            if (known is not None and known.is_open) or not run.is_held:
                return None
            step = self._steps[key] = run.add(key, parent, place, call, now)
            due = None
            if call is not None:
                self.awaited += 1
                due = run.tools_due()
        if due:
            self._deliver(due, [])
        return step

    def add_node(self, run: Run, node: str, account: Account | None) -> None:
        """Give a run's named node its account, unless another thread has."""
        with self._lock:
            run.nodes.setdefault(node, account)

    def note(self, change: Callable[[], list[Due]]) -> None:
        """Apply a change to a run under the lock, and deliver what became due by it."""
        with self._lock:
            due = change()
        if due:
            self._deliver(due, [])

    def first_token(self, step: Step, now: float) -> None:
        """Note a model call's first chunk that carries something, and deliver what became due by it."""
        with self._lock:
            if not step.awaits_token:
                return
            self._await_no_more(step)
            due = step.run.first_token(step, now)
        if due:
            self._deliver(due, [])

    def end(self, run_id: object, error: BaseException | None = None, usage: TokenUsage | None = None) -> None:
        """End a step, and with the root its run; an id that is not known is ignored."""
        key = key_of(run_id)
        with self._lock:
            step = self._steps.pop(key, None)
            if step is None:
                return
            if not step.is_open:
                self._steps[key] = step
                return
            if step.awaits_token:
                self._await_no_more(step)
            run, now = step.run, monotonic()
            was_closed = run.closed
            due = run.end(step, error, usage, now)
            if run.ended_at is None:
                return
            is_closed = run.closed and not was_closed
            self._settle(run, step, now)
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
            self._left, self._left_before = {}, {}
            self._keep_timer(now)
        self._deliver(batch.due, batch.closed)

    def _await_no_more(self, step: Step) -> None:
        self.awaited -= 1
        step.awaits_token = False

    def _settle(self, run: Run, step: Step, now: float) -> None:
        """Keep an ended run where it waits, or where more may start below its ids; else drop it."""
        if step is run.root:
            del self._runs[run]
            if run.closed and not run.steps and run.outcome is Outcome.SUCCESS:
                run.let_go()
                self._leave(step.key, now)
                return
            self._ended[run] = None
            self._steps[step.key] = step
        if not run.closed:
            self._waiting.add(run)
        elif run.steps or run.outcome is not Outcome.SUCCESS:
            self._waiting.discard(run)
        else:
            self._drop(run)
            self._leave(key_of(run.root_run_id), now)
        self._keep_timer(now)

    def _leave(self, key: object, now: float) -> None:
        if len(self._left) >= LEFT_IDS:
            self._left_before, self._left = self._left, {}
        self._left[key] = now

    def _make_room(self, now: float) -> Batch:
        batch = Batch()
        self._give_up_ended(now, batch)
        if now >= self._next_look:
            self._give_up_silent(now, batch)
        while len(self._runs) >= self._max_open_runs:
            self._give_up(next(iter(self._runs)), now, batch)
        return batch

    def _give_up_ended(self, now: float, batch: Batch) -> None:
        """Close and forget the runs that ended long enough ago, or are too many."""
        while self._ended:
            run = next(iter(self._ended))
            if (run.ended_at or 0.0) + WAIT_SECONDS > now and len(self._ended) <= self._max_open_runs:
                break
            self._give_up(run, now, batch)
        self._keep_timer(now)

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
        if not run.closed:
            batch.due += run.abandon(now)
            batch.closed.append(run)
        self._drop(run)

    def _drop(self, run: Run) -> None:
        self._runs.pop(run, None)
        self._ended.pop(run, None)
        self._waiting.discard(run)
        for step in run.steps:
            if step.awaits_token:
                self._await_no_more(step)
        for key in (*(step.key for step in run.steps), key_of(run.root_run_id)):
            known = self._steps.get(key)
            if known is not None and known.run is run:
                del self._steps[key]
        run.let_go()

    def _keep_timer(self, now: float) -> None:
        """Have a timer, and an exit hook, just while a run waits."""
        if self._waiting and self._timer is None:
            first = min(run.ended_at or now for run in self._waiting)
            self._timer = threading.Timer(first + WAIT_SECONDS - now, self._wait_is_over)
            self._timer.name = "langchain_ldai-wait"
            self._timer.daemon = True
            self._timer.start()
            atexit.register(self.flush)
        elif not self._waiting:
            self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            atexit.unregister(self.flush)
            self._timer = None

    def _wait_is_over(self) -> None:
        batch = Batch()
        with self._lock:
            self._stop_timer()
            self._give_up_ended(monotonic(), batch)
        self._deliver(batch.due, batch.closed)

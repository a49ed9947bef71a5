"""What a handler with `spans="mark"` remembers of its runs, for whoever exports the spans of another package."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, UserDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from langchain_ldai._base.forks import register_fork_safe
from langchain_ldai._runs.metadata import RUN_ROOT_KEY
from langchain_ldai._runs.observing import NO_TRACE, RunEnd
from langchain_ldai._runs.steps import Step, StepResult
from langchain_ldai._runs.trackers import RunTracker, Served, served_by

MAX_ENDED: Final = 10_000
"""How many ended runs, and named nodes, are remembered."""

ENDED_SECONDS: Final = 300.0
"""How long an ended run is remembered: an exporter gets its spans some seconds after their ends."""


class RootMarks(UserDict[str, str]):
    """The marks of a run, and one that tells the root from other steps: the root reads it first, and gets "true".

    Args:
        marks: What the start events of every run get into their metadata.
    """

    def __init__(self, marks: Mapping[str, str]) -> None:
        self.data = {**marks, RUN_ROOT_KEY: "false"}
        self._root = iter(["true"])

    def __getitem__(self, key: str) -> str:
        # Visits of a node may begin in several threads: an iterator gives its item to one of them.
        return next(self._root, "false") if key == RUN_ROOT_KEY else self.data[key]


@dataclass(slots=True, eq=False)
class MarkedRun:
    """One run, or one named node of a run, whose spans another package makes."""

    lost: ClassVar = "A run could not be remembered, its spans are exported without its context"
    trace: ClassVar = NO_TRACE

    runs: MarkedRuns
    served: Served

    def marks(self, marks: Mapping[str, str]) -> RootMarks:
        """Return the marks of a run, and whether a step is its root: see `RunSpan`."""
        return RootMarks(marks)

    def step_started(self, step: Step, told: Mapping[str, Any]) -> None:
        """See `RunObserver`; the other package makes the step's span."""

    def step_ended(self, step: Step, output: object, error: BaseException | None, result: StepResult) -> None:
        """See `RunObserver`; the other package ends the step's span."""

    def run_closed(self, end: RunEnd) -> None:
        """See `RunObserver`; the run is remembered for a while."""
        self.runs.ended(self.served)


class MarkedRuns:
    """Remembers what the open runs, and those that ended lately, were served."""

    def __init__(self) -> None:
        self._open: dict[str, list[Served]] = {}  # a continued run may be open several times at once
        self._ended: OrderedDict[str, tuple[float, Served]] = OrderedDict()
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Take a new lock, and count the open runs as ended: they end in the parent."""
        self._lock = threading.RLock()  # Python may collect, and so end, a run in the thread that holds it
        for parts in list(self._open.values()):
            for served in list(parts):
                self.ended(served)

    def begin(
        self, config: object, tracker: RunTracker, metadata: Mapping[str, object], parent: object
    ) -> MarkedRun:
        """Remember a run, or a named node, that starts now: see `RunSpans`."""
        served = served_by(tracker)
        with self._lock:
            self._open.setdefault(served.run_id, []).append(served)
        return MarkedRun(self, served)

    def ended(self, served: Served) -> None:
        """Note that a run, or a part of one, has ended, and forget those that ended long ago or are too many."""
        now = time.monotonic()
        with self._lock:
            parts = self._open.get(served.run_id, [served])
            parts.remove(served)
            if not parts:
                self._open.pop(served.run_id, None)
            self._ended.pop(served.run_id, None)
            self._ended[served.run_id] = now, served
            self._forget(now)

    def served(self, run_id: str) -> Served | None:
        """Return what a run was served; `None` where it is not known, or no longer."""
        with self._lock:
            self._forget(time.monotonic())
            if run_id in self._open:
                return self._open[run_id][-1]
            return self._ended[run_id][1] if run_id in self._ended else None

    def _forget(self, now: float) -> None:
        while self._ended and (
            len(self._ended) > MAX_ENDED or next(iter(self._ended.values()))[0] + ENDED_SECONDS <= now
        ):
            self._ended.popitem(last=False)

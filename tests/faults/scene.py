"""One case on one side: a LaunchDarkly, workers, and the count of what arrived."""

import json
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from tests.faults.launchdarkly import Arrival, FaultyLaunchDarkly, arrival_of
from tests.faults.loads import OVER, SHARED, Target, deliver_rest, events_of, load
from tests.faults.progress import read_progress
from tests.support.fork_server import ForkServer, Worker

Figure = TypeVar("Figure", int, float)

FLAT_KIB: Final = 32 << 10
"""How much memory may grow: 10,000 events in memory are less."""

_PATIENCE: Final = 60.0
"""Seconds without any progress after which a scene gives up."""


@dataclass(frozen=True)
class Outcome:
    """What became of the events of a case.

    Attributes:
        events: How many were sent, by calls that returned.
        lost: How many of them neither arrived nor were set aside.
        doubled: How many arrivals were one too many.
        dead: How many the journal set aside, as LaunchDarkly refused them.
        disordered: How many arrived after a later one of the same lane.
        grown_kib: By how much a process's peak of memory was higher in the second half of its work than in the
            first; of several processes, the largest.
    """

    events: int
    lost: int
    doubled: int
    dead: int = 0
    disordered: int = 0
    grown_kib: int = 0

    @property
    def is_perfect(self) -> bool:
        """Whether each event arrived once and in order, and the memory stayed flat."""
        return self.lost == self.doubled == self.disordered == 0 < self.events and self.grown_kib < FLAT_KIB


class WorkerFailedError(Exception):
    """A worker ended with an error that the case did not ask for."""


class Scene:
    """A LaunchDarkly and workers for one case, within a `with` block.

    Args:
        forks: Starts the workers.
        folder: Where everything lies; removed at the end.
        is_durable: Whether workers use `DurableEvents`.
        is_full: Whether the case is played at full size.

    Attributes:
        launchdarkly: The service.
        target: What workers are told.
        folder: Where everything lies.
    """

    def __init__(self, forks: ForkServer, folder: Path, *, is_durable: bool, is_full: bool) -> None:
        self.is_durable = is_durable
        self.is_full = is_full
        self.launchdarkly = FaultyLaunchDarkly()
        self._forks = forks
        self.folder = folder
        self._lanes = folder / "lanes"
        self._log = folder / "log"
        self._lanes.mkdir(parents=True)
        self._workers: list[Worker] = []
        self.target = Target(
            self.launchdarkly.url,
            self._lanes,
            folder / "journal" if is_durable else None,
            flush_interval=self.size(full=5.0, small=0.2),
        )

    def __enter__(self) -> "Scene":
        self.launchdarkly.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.kill()
        self.launchdarkly.__exit__(*error)
        shutil.rmtree(self.folder)

    def size(self, *, full: Figure, small: Figure) -> Figure:
        """Return the figure for the size that is played."""
        return full if self.is_full else small

    def change_target(self, **changes: object) -> None:
        """Give the workers that start from now on another target."""
        self.target = replace(self.target, **changes)

    def start(self, function: Callable[..., None] = load, **arguments: object) -> Worker:
        """Start a worker."""
        worker = self._forks.start(self._log, function, target=self.target, **arguments)
        self._workers.append(worker)
        return worker

    def finish(self, *workers: Worker) -> None:
        """Wait until workers have ended well.

        Raises:
            WorkerFailedError: If one has not; the error holds what it wrote.
        """
        for worker in workers:
            worker.wait(600)
        self._check_workers()

    def _check_workers(self) -> None:
        for worker in self._workers:
            if worker.has_failed:
                raise WorkerFailedError(f"a worker failed:\n{self._log.read_text('utf-8')[-4000:]}")

    def say_over(self) -> None:
        """Let the workers go that wait for the end."""
        (self._lanes / OVER).touch()

    def wait_until_done(self, lane: str, number: int) -> None:
        """Wait until a lane is done with so many numbers."""
        self._wait(lambda: self.done(lane) >= number, f"{lane} has not sent {number}")

    def done(self, lane: str) -> int:
        """Return how many numbers a lane is done with."""
        path = self._lanes / lane
        return read_progress(path).done if path.exists() else 0

    def play_next_process(self) -> None:
        """Start the program again, and let it deliver what earlier processes left."""
        self.change_target(flush_interval=0.2)
        heir = self.start(deliver_rest)
        self.wait_until_arrived()
        self.say_over()
        self.finish(heir)

    def wait_until_arrived(self) -> None:
        """Wait until nothing is lost, or nothing more arrives; without durable delivery, do not wait."""
        if self.is_durable:
            with suppress(TimeoutError):
                self._wait(lambda: self.outcome().lost == 0, "some events do not arrive")

    def _wait(self, is_so: Callable[[], bool], else_say: str) -> None:
        last, since = None, time.monotonic()
        while not is_so():
            self._check_workers()
            state = len(self.launchdarkly.arrivals), sum(map(self.done, self._lane_names()))
            if state != last:
                last, since = state, time.monotonic()
            if time.monotonic() - since > _PATIENCE:
                raise TimeoutError(f"{else_say}:\n{self._log.read_text('utf-8')[-4000:]}")
            time.sleep(0.02)

    def outcome(self) -> Outcome:
        """Count what became of the events."""
        lanes = {name: read_progress(self._lanes / name) for name in self._lane_names()}
        expected = {
            Arrival(lane, number, name)
            for lane, progress in lanes.items()
            for number in range(progress.done)
            for name in events_of(lane)
        }
        arrivals = self.launchdarkly.arrivals
        arrived = Counter(arrivals)
        dead = self._dead() - arrived.keys()
        return Outcome(
            events=len(expected),
            lost=len(expected - arrived.keys() - dead),
            doubled=sum(arrived.values()) - len(arrived),
            dead=len(dead),
            disordered=_disordered(arrivals),
            grown_kib=max((lane.grown_kib for lane in lanes.values()), default=0),
        )

    def _lane_names(self) -> list[str]:
        return [path.name for path in self._lanes.iterdir() if path.name != OVER]

    def _dead(self) -> set[Arrival]:
        """Return the events in the dead-letter file."""
        found = set()
        for path in self.folder.rglob("dead.jsonl"):
            for line in path.read_text("utf-8").splitlines():
                event = json.loads(line)["event"]
                found.update(filter(None, map(arrival_of, event if isinstance(event, list) else [event])))
        return found


def _disordered(arrivals: list[Arrival]) -> int:
    latest: dict[str, int] = defaultdict(int)
    count = 0
    for lane, number, _ in dict.fromkeys(arrivals):
        if lane == SHARED:
            continue
        count += number < latest[lane]
        latest[lane] = max(latest[lane], number)
    return count

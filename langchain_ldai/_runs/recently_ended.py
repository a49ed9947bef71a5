"""What a table remembers of closed runs: below which steps no run is opened any more; pure."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from langchain_ldai._runs.run import Run

WAIT_SECONDS: Final = 5.0
"""How long a run whose root has ended waits for its model calls."""

LOOK_SECONDS: Final = 1.0
"""The shortest time between two looks at every open run."""

ROOTS: Final = 100_000
"""How many roots of closed runs are remembered."""

STEPS: Final = 4 * ROOTS
"""How many steps of closed runs are remembered, each with its parent."""

STEPS_OF_RUN: Final = 50_000
"""How many ended steps of an open run are remembered at most; half of them are forgotten at a time."""

MAX_DEPTH: Final = 1000
"""How many parents are followed upwards, so that steps that name each other as parents end the search, too."""

_FIRST_ROOM: Final = 64
_FIRST_BUCKETS: Final = 16


class RecentIds:
    """Remembers the latest ids, exactly so many, and the parent of each.

    An id is stored as its hash and takes 27 bytes in all; a dictionary would take a hundred. The ids are numbered
    from one and lie in a ring. Each bucket holds the number of its latest id, and each id holds the number of the
    one before it in its bucket. A number that the ring has overwritten ends the search. When the buckets are
    doubled, both halves start with the old numbers.

    Args:
        count: How many ids.
    """

    __slots__ = ("_added", "_before", "_count", "_ids", "_latest", "_parents")

    def __init__(self, count: int) -> None:
        self._count = count
        self._added = 0
        self._latest = array("q", [0])
        self._ids = array("q")
        self._parents = array("q")
        self._before = array("q")

    def add(self, known_by: int, parent: int) -> None:
        """Remember an id; where there are more than `count`, the oldest is forgotten."""
        place = self._added % self._count
        if place == len(self._ids):
            self._make_room(place)
        bucket = known_by % len(self._latest)
        self._added += 1
        self._ids[place] = known_by
        self._parents[place] = parent
        self._before[place] = self._latest[bucket]
        self._latest[bucket] = self._added

    def parent_of(self, known_by: int) -> int | None:
        """Return the parent of an id; `None` where the id is not known, or no longer."""
        number, forgotten = self._latest[known_by % len(self._latest)], max(0, self._added - self._count)
        while number > forgotten:
            place = (number - 1) % self._count
            if self._ids[place] == known_by:
                return self._parents[place]
            number = self._before[place]
        return None

    def _make_room(self, room: int) -> None:
        self._latest *= 2 if room else _FIRST_BUCKETS
        more = bytes(8 * min(room or _FIRST_ROOM, self._count - room))
        for each in (self._ids, self._parents, self._before):
            each.frombytes(more)


class Remains:
    """What is left of a closed run while steps below its root are open.

    Args:
        root: The hash of the root's key.
        started: The open steps and the parent of each, both as the hashes of their keys.
    """

    __slots__ = ("root", "started")

    def __init__(self, root: int, started: dict[int, int]) -> None:
        self.root = root
        self.started = started


class RecentlyEnded:
    """Remembers closed runs, so that a late step below one of them opens no run of its own.

    It remembers a run while a step below its root is open, and after that as one of the last 100,000.

    Args:
        max_remains: Of how many closed runs the open steps are remembered at most.
    """

    __slots__ = ("_max_remains", "_remains", "_remains_of", "_roots", "_steps")

    def __init__(self, max_remains: int) -> None:
        self._max_remains = max_remains
        self._roots = RecentIds(ROOTS)
        self._steps = RecentIds(STEPS)
        self._remains: OrderedDict[Remains, None] = OrderedDict()
        self._remains_of: dict[int, Remains] = {}

    def add(self, run: Run) -> None:
        """Remember a run that is closed."""
        for key, parent in run.ended_steps.items():
            self._steps.add(hash(key), hash(parent))
        if run.steps:
            started = {hash(key): hash(step.parent) for key, step in run.steps.items()}
            self._keep(Remains(hash(run.key), started))
        else:
            self._roots.add(hash(run.key), 0)

    def covers(self, key: object, parent: object) -> bool:
        """Whether a step starts below the root of a closed run; then its children do, too."""
        above = hash(parent)
        remains = self._remains_above(above)
        if remains is None:
            return False
        remains.started[hash(key)] = above
        self._remains_of[hash(key)] = remains
        return True

    def goes_on(self, key: object) -> bool:
        """Whether a step is open whose run is closed."""
        remains = self._remains_of.get(hash(key))
        return remains is not None and hash(key) in remains.started

    def end(self, key: object) -> None:
        """Note the end of a step, if it is one of a closed run."""
        known_by = hash(key)
        remains = self._remains_of.get(known_by)
        parent = remains.started.pop(known_by, None) if remains is not None else None
        if remains is None or parent is None:
            return
        if known_by != remains.root:
            del self._remains_of[known_by]
        self._steps.add(known_by, parent)
        if not remains.started:
            self._let_go(remains)

    def _remains_above(self, known_by: int) -> Remains | None:
        """Return what is left of the closed run that a step belongs to, by the step's hash; `None` if to none."""
        for _ in range(MAX_DEPTH):
            remains = self._remains_of.get(known_by)
            if remains is not None:
                return remains
            if self._roots.parent_of(known_by) is not None:
                return self._keep(Remains(known_by, {}))
            parent = self._steps.parent_of(known_by)
            if parent is None:
                return None
            known_by = parent
        return None

    def _keep(self, remains: Remains) -> Remains:
        if len(self._remains) >= self._max_remains:
            self._let_go(next(iter(self._remains)))
        self._remains[remains] = None
        for known_by in (remains.root, *remains.started):
            self._remains_of[known_by] = remains
        return remains

    def _let_go(self, remains: Remains) -> None:
        del self._remains[remains]
        for known_by, parent in remains.started.items():
            self._remains_of.pop(known_by, None)
            self._steps.add(known_by, parent)
        self._remains_of.pop(remains.root, None)
        if self._roots.parent_of(remains.root) is None:  # each late step would take the place of another root
            self._roots.add(remains.root, 0)

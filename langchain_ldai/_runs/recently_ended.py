"""What a table remembers of closed runs: below which steps no run is opened any more; pure."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from langchain_ldai._runs.run import Run

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

    def add(self, parents: Mapping[Any, object]) -> None:
        """Remember ids, each with its parent; where there are more than `count`, the oldest are forgotten."""
        count, ids, latest = self._count, self._ids, self._latest
        for key, parent in parents.items():
            place = self._added % count
            if place == len(ids):
                self._make_room(place)
            known_by = hash(key)
            bucket = known_by % len(latest)
            self._added += 1
            ids[place] = known_by
            self._parents[place] = hash(parent)
            self._before[place] = latest[bucket]
            latest[bucket] = self._added

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


class RecentlyEnded:
    """Remembers closed runs, so that a late step below one of them opens no run of its own.

    It remembers a run while a step below its root is open, and after that as one of the last 100,000. It
    knows ids by their hashes.

    Args:
        max_open: Of how many closed runs the open steps are remembered at most.
    """

    __slots__ = ("_ended_steps", "_max_open", "_open", "_root_of", "_roots")

    def __init__(self, max_open: int) -> None:
        self._max_open = max_open
        self._roots = RecentIds(ROOTS)
        self._ended_steps = RecentIds(STEPS)
        self._open: OrderedDict[int, dict[int, int]] = OrderedDict()  # by root: the open steps, and their parents
        self._root_of: dict[int, int] = {}  # of each open step

    def add(self, run: Run) -> None:
        """Remember a run that is closed."""
        self._ended_steps.add(run.ended_steps)
        if run.steps:
            self._keep(hash(run.key), {hash(key): hash(step.parent) for key, step in run.steps.items()})
        else:
            self._roots.add({run.key: None})

    def covers(self, key: object, parent: object) -> bool:
        """Whether a step starts below the root of a closed run; then its children do, too."""
        root = self._root_above(hash(parent))
        if root is not None:
            self._keep(root, {hash(key): hash(parent)})
        return root is not None

    def goes_on(self, key: object) -> bool:
        """Whether a step is open whose run is closed."""
        return hash(key) in self._root_of

    def end(self, key: object) -> None:
        """Note the end of a step, if it is one of a closed run."""
        step = hash(key)
        root = self._root_of.pop(step, None)
        steps = self._open.get(root) if root is not None else None
        if root is None or steps is None:
            return
        self._ended_steps.add({step: steps.pop(step)})
        if not steps:
            self._let_go(root)

    def _root_above(self, step: int) -> int | None:
        """Return the root of the closed run that a step belongs to; `None` if to none."""
        for _ in range(MAX_DEPTH):
            if step in self._root_of:
                return self._root_of[step]
            if step in self._open or self._roots.parent_of(step) is not None:
                return step
            parent = self._ended_steps.parent_of(step)
            if parent is None:
                return None
            step = parent
        return None

    def _keep(self, root: int, steps: dict[int, int]) -> None:
        if root not in self._open and len(self._open) >= self._max_open:
            self._let_go(next(iter(self._open)))
        self._open.setdefault(root, {}).update(steps)
        self._root_of.update(dict.fromkeys(steps, root))

    def _let_go(self, root: int) -> None:
        steps = self._open.pop(root)
        self._ended_steps.add(steps)
        for step in steps:
            self._root_of.pop(step, None)
        if self._roots.parent_of(root) is None:  # each late step would take the place of another root
            self._roots.add({root: None})

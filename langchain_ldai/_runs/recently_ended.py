"""What a table remembers of closed runs: below which steps no run is opened any more; pure."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from math import inf
from typing import Final

ROOTS: Final = 100_000
"""How many roots of closed runs are remembered."""

STEPS: Final = 4 * ROOTS
"""How many steps of closed runs are remembered, each with its root."""

_FIRST_ROOM: Final = 64
_FIRST_BUCKETS: Final = 16


class RecentIds:
    """Remembers the latest ids, exactly so many, and the root of each.

    An id is stored as its hash and takes 27 bytes in all; a dictionary would take a hundred. The ids are numbered
    from one and lie in a ring. Each bucket holds the number of its latest id, and each id holds the number of the
    one before it in its bucket. A number that the ring has overwritten ends the search. When the buckets are
    doubled, both halves start with the old numbers.

    Args:
        count: How many ids.
    """

    __slots__ = ("_added", "_before", "_count", "_ids", "_latest", "_room", "_roots")

    def __init__(self, count: int) -> None:
        self._count = count
        self._added = 0
        self._room: float = 0  # so many ids may be added until the ring is to grow
        self._latest = array("q", bytes(8 * _FIRST_BUCKETS))
        self._ids = array("q")
        self._roots = array("q")
        self._before = array("q")

    def add(self, ids: Sequence[int], root: int) -> None:
        """Remember ids, by their hashes, each with its root; of more than `count` the oldest are forgotten."""
        more = len(ids)
        while self._added + more > self._room:
            self._make_room(len(self._ids))
        count, stored, roots, before, latest = self._count, self._ids, self._roots, self._before, self._latest
        first = self._added
        self._added = first + more  # first: at any later line Python may collect a run, whose ids are added, too
        for number, known_by in enumerate(ids, first + 1):
            place, bucket = (number - 1) % count, known_by % len(latest)
            stored[place] = known_by
            roots[place] = root
            before[place] = latest[bucket]
            latest[bucket] = number

    def root_of(self, known_by: int) -> int | None:
        """Return the root of an id; `None` where the id is not known, or no longer."""
        number, forgotten = self._latest[known_by % len(self._latest)], max(0, self._added - self._count)
        while number > forgotten:
            place = (number - 1) % self._count
            if self._ids[place] == known_by:
                return self._roots[place]
            number = self._before[place]
        return None

    def _make_room(self, room: int) -> None:
        self._latest *= 2 if room else 1
        more = bytes(8 * min(room or _FIRST_ROOM, self._count - room))
        for each in (self._ids, self._roots, self._before):
            each.frombytes(more)
        self._room = inf if len(self._ids) == self._count else len(self._ids)


class RecentlyEnded:
    """Remembers closed runs, so that a late step below one of them opens no run of its own.

    It remembers a run while a step below its root is open, and after that as one of the last 100,000. It
    knows ids by their hashes.

    Args:
        max_open: Of how many closed runs the open steps are remembered at most.
    """

    __slots__ = ("_max_open", "_open", "_root_of", "_roots", "_steps")

    def __init__(self, max_open: int) -> None:
        self._max_open = max_open
        self._roots = RecentIds(ROOTS)
        self._steps = RecentIds(STEPS)
        self._open: OrderedDict[int, set[int]] = OrderedDict()  # by root: the open steps
        self._root_of: dict[int, int] = {}  # of each open step

    def add(self, root: object, ended_steps: Collection[object], open_steps: Collection[object]) -> None:
        """Remember a run that is closed, by the keys of its root and of its steps."""
        known_by = hash(root)
        self._steps.add(list(map(hash, ended_steps)), known_by)
        if open_steps:
            self._keep(known_by, map(hash, open_steps))
        else:
            self._roots.add([known_by], known_by)

    def take_late(self, key: object, parent: object) -> bool:
        """Remember a step that starts below a closed run, and later its children; `False` for any other."""
        above = hash(parent)
        root = self._root_of.get(above, self._steps.root_of(above)) or above
        is_known = root in self._open or self._roots.root_of(root) is not None
        if is_known:
            self._keep(root, [hash(key)])
        return is_known

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
        steps.discard(step)
        self._steps.add([step], root)
        if not steps:
            self._let_go(root)

    def _keep(self, root: int, steps: Iterable[int]) -> None:
        if root not in self._open and len(self._open) >= self._max_open:
            self._let_go(next(iter(self._open)))
        for step in steps:
            self._open.setdefault(root, set()).add(step)
            self._root_of[step] = root

    def _let_go(self, root: int) -> None:
        steps = self._open.pop(root)
        self._steps.add(list(steps), root)
        for step in steps:
            self._root_of.pop(step, None)
        if self._roots.root_of(root) is None:  # each late step would take the place of another root
            self._roots.add([root], root)

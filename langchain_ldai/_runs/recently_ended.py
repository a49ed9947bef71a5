"""The closed runs that a table remembers, so that a late step of one of them opens no run; pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable
from typing import Final

ROOTS: Final = 100_000
"""How many closed runs are remembered at least, by their roots."""

STEPS: Final = 100_000
"""How many steps of closed runs are remembered at least, each with its root."""

_PARTS: Final = 4
"""How many parts the keys are kept in. The oldest part is forgotten as a whole."""


class RecentKeys:
    """Remembers the latest keys, and the root of each: at least `count`, and up to about a quarter more.

    Args:
        count: How many keys to remember at least.
    """

    __slots__ = ("_most", "_parts")

    def __init__(self, count: int) -> None:
        self._most = -(-count // _PARTS)
        self._parts: deque[dict[object, object]] = deque([{}], maxlen=_PARTS + 1)  # the latest first

    def add(self, keys: Iterable[object], root: object) -> None:
        """Remember keys, each with its root; the oldest of too many are forgotten."""
        latest = self._parts[0]
        latest.update(dict.fromkeys(keys, root))
        if len(latest) >= self._most:
            self._parts.appendleft({})

    def root_of(self, key: object) -> object:
        """Return the root of a key; `None` where the key is not known, or no longer."""
        return next((part[key] for part in list(self._parts) if key in part), None)


class RecentlyEnded:
    """Remembers closed runs, so that a late step below one of them opens no run of its own.

    It remembers a run while a step below its root is open, and after that as one of the last 100,000.

    Args:
        max_open: The most closed runs whose open steps are remembered.
    """

    __slots__ = ("_max_open", "_open", "_root_of", "_roots", "_steps")

    def __init__(self, max_open: int) -> None:
        self._max_open = max_open
        self._roots = RecentKeys(ROOTS)
        self._steps = RecentKeys(STEPS)
        self._open: OrderedDict[object, set[object]] = OrderedDict()  # by root: the open steps
        self._root_of: dict[object, object] = {}  # of each open step

    def add(self, root: object, ended_steps: Iterable[object], open_steps: Collection[object]) -> None:
        """Remember a run that is closed, by the keys of its root and of its steps."""
        self._steps.add(ended_steps, root)
        if open_steps:
            self._keep(root, open_steps)
        else:
            self._roots.add([root], root)

    def take_late(self, key: object, parent: object) -> bool:
        """Remember a step that starts below a closed run; return `False` for any other step.

        A child of a remembered step is late too.
        """
        known = self._root_of.get(parent, self._steps.root_of(parent))
        root = parent if known is None else known
        is_known = root in self._open or self._roots.root_of(root) is not None
        if is_known:
            self._keep(root, [key])
        return is_known

    def is_open(self, key: object) -> bool:
        """Whether a step of a closed run is still open."""
        return key in self._root_of

    def end(self, key: object) -> None:
        """Note the end of a step, if it is one of a closed run."""
        root = self._root_of.pop(key, None)
        steps = self._open.get(root)
        if steps is not None:
            steps.discard(key)
            self._steps.add([key], root)
            if not steps:
                self._let_go(root)

    def _keep(self, root: object, steps: Iterable[object]) -> None:
        if root not in self._open and len(self._open) >= self._max_open:
            self._let_go(next(iter(self._open)))
        self._open.setdefault(root, set()).update(steps)
        self._root_of.update(dict.fromkeys(steps, root))

    def _let_go(self, root: object) -> None:
        steps = self._open.pop(root)
        self._steps.add(list(steps), root)
        for step in steps:
            self._root_of.pop(step, None)
        if self._roots.root_of(root) is None:  # a root that was added twice would push out another
            self._roots.add([root], root)

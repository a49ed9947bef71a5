"""The runs that ended well and were let go a moment ago; pure, the time passed in."""

from typing import Final

WAIT_SECONDS: Final = 5.0
"""How long a run that ended waits for model calls that did not, and how long its ids stay known."""

LEFT_IDS: Final = 256
"""Of at least how many runs that ended well the roots' ids stay known."""


class LeftRoots:
    """Remembers by their keys the roots of runs that ended well, and what started below them since."""

    __slots__ = ("_before", "_latest")

    def __init__(self) -> None:
        self._latest: dict[object, float] = {}
        self._before: dict[object, float] = {}

    def add(self, key: object, now: float) -> None:
        """Note a root that has ended; where there are many, the oldest are forgotten."""
        if len(self._latest) >= LEFT_IDS:
            self._before, self._latest = self._latest, {}
        self._latest[key] = now

    def has(self, key: object, now: float) -> bool:
        """Whether that root ended just now."""
        left_at = self._latest.get(key) or self._before.get(key)
        return left_at is not None and now - left_at < WAIT_SECONDS

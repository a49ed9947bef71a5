"""What a table remembers of steps that it no longer holds; pure."""

from typing import Final, Generic, TypeVar

WAIT_SECONDS: Final = 5.0
"""How long a run that ended waits for model calls that did not, and how long its ids stay known."""

LOOK_SECONDS: Final = 1.0
"""The shortest time between two looks at every open run."""

LEFT_IDS: Final = 256
"""Of at least how many runs that ended well the roots' ids stay known."""

LEFT_STEPS: Final = 512
"""Of at least how many steps that ended it stays known whose children they were."""

ValueT = TypeVar("ValueT")


class Recent(Generic[ValueT]):
    """Remembers the latest values by their keys: at least so many, and at most twice as many.

    Args:
        count: How many.
    """

    __slots__ = ("_before", "_count", "_latest")

    def __init__(self, count: int) -> None:
        self._count = count
        self._latest: dict[object, ValueT] = {}
        self._before: dict[object, ValueT] = {}

    def add(self, key: object, value: ValueT) -> None:
        """Remember a value; where there are many, the oldest are forgotten."""
        if len(self._latest) >= self._count:
            self._before, self._latest = self._latest, {}
        self._latest[key] = value

    def get(self, key: object) -> ValueT | None:
        """Return the value of a key; `None` where there is none, or no longer."""
        value = self._latest.get(key)
        return self._before.get(key) if value is None else value


class LeftRoots:
    """Remembers below which steps no run is opened any more.

    Those are the roots of runs that ended well, for some seconds, and the steps of runs that were given up.

    Args:
        max_open_runs: How many runs may be open, and so be given up one after the other.
        run_timeout: Seconds of silence after which a run is given up.
    """

    __slots__ = ("_ended", "_given_up", "_run_timeout")

    def __init__(self, max_open_runs: int, run_timeout: float) -> None:
        self._run_timeout = max(run_timeout, WAIT_SECONDS)
        self._given_up: Recent[float] = Recent(max(max_open_runs, LEFT_IDS))
        self.forget_ended()

    def run_ended(self, key: object, now: float) -> None:
        """Note the root of a run that ended well."""
        self._ended.add(key, now + WAIT_SECONDS)

    def given_up(self, key: object, now: float) -> None:
        """Note a step of a run that was given up."""
        self._given_up.add(key, now + self._run_timeout)

    def forget_ended(self) -> None:
        """Forget the roots of runs that ended well."""
        self._ended: Recent[float] = Recent(LEFT_IDS)

    def is_late(self, key: object, parent: object, now: float) -> bool:
        """Whether a step starts below such a one; then what starts below it does, too."""
        for known in (self._ended, self._given_up):
            until = known.get(parent)
            if until is not None and now < until:
                known.add(key, until)
                return True
        return False

"""Forks: a child process resets what cannot go on there, and no thread uses what parent and child cannot share."""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Final, NoReturn, ParamSpec, Protocol, Self, TypeVar
from weakref import WeakSet, ref

P = ParamSpec("P")
T = TypeVar("T")

FORK_SECONDS: Final = 1.0
"""How long a fork waits for the threads that are in `PausesForForks.use`."""


class ForkSafe(Protocol):
    """An object whose locks or threads do not survive a fork: a thread of the parent may hold its lock."""

    def reset_after_fork(self) -> None:
        """Replace locks and drop the parent's work, as in a process that has just started."""
        ...


_fork_safe: Final[WeakSet[ForkSafe]] = WeakSet()


def register_fork_safe(owner: ForkSafe) -> None:
    """Call `owner.reset_after_fork()` in each process that is forked from this one, while `owner` exists."""
    _fork_safe.add(owner)


class OfOneProcess:
    """What holds locks, threads or connections of its process: a copy is itself, and no other process has it."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        raise TypeError(
            f"{name} belongs to its process and cannot be pickled; make one in the process that uses it"
        )


class PausesForForks(OfOneProcess):
    """A resource that no thread uses during a fork: the fork waits for its users, and they wait for the fork."""

    def __init__(self) -> None:
        self.reset_after_fork()
        register_fork_safe(self)
        _pausing.append(ref(self, _pausing.remove))

    def reset_after_fork(self) -> None:
        """Forget the users: they are threads of the parent, and not here."""
        self._users: set[object] = set()

    def use(self, call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Call a function that uses the resource, and return its result."""
        user = object()
        while True:
            try:
                self._users.add(user)  # before the look at `_forks`: either the fork sees us, or we see the fork
                if not _forks:
                    return call(*args, **options)
            finally:
                self._users.discard(user)
            time.sleep(0.001)

    def close_for_fork(self) -> None:
        """Close what parent and child cannot share. No thread uses it now."""

    def prepare_fork(self, latest: float) -> None:
        """Wait until no thread uses the resource, and close it; give up at a `monotonic()` time."""
        while self._users and time.monotonic() < latest:
            time.sleep(0.001)
        if not self._users:
            self.close_for_fork()


_pausing: Final[list[ref[PausesForForks]]] = []
_forks: Final[list[None]] = []
"""One entry for each thread that forks the process at this moment."""


def _prepare_all() -> None:
    latest = time.monotonic() + FORK_SECONDS
    for owner in filter(None, [reference() for reference in _pausing.copy()]):
        owner.prepare_fork(latest)


def _reset_all() -> None:
    _forks.clear()
    for owner in list(_fork_safe):
        owner.reset_after_fork()


if hasattr(os, "register_at_fork"):
    # Python calls the `before` that was registered last first. `_forks.append` and `_forks.pop` are not Python:
    # an interrupt could stop such code halfway, and every later user would wait for ever.
    os.register_at_fork(before=_prepare_all)
    os.register_at_fork(before=partial(_forks.append, None), after_in_parent=_forks.pop, after_in_child=_reset_all)

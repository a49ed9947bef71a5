"""The one place where an exception is caught on its way into a chain."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar, TypeVarTuple

from langchain_ldai.errors import without_message

_log = logging.getLogger(__name__)
_Ts = TypeVarTuple("_Ts")
_T = TypeVar("_T")
_A = TypeVar("_A")
_B = TypeVar("_B")
_C = TypeVar("_C")
_D = TypeVar("_D")

Delivery = tuple[Callable[..., object], tuple[object, ...]]
"""A call that delivers something, and its arguments."""


class Boundary:
    """Keeps what fails in a handler, or in what it calls, from the chain: logs it once, and goes on.

    Once is once for each action and type of exception.
    """

    __slots__ = ("_logged",)

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def run(self, run_id: object, action: Callable[[*_Ts], _T], *args: *_Ts) -> _T | None:
        """Return the action's result; where it raises, `None`, and log that once, with the run's id."""
        try:
            return action(*args)
        except Exception as error:  # noqa: BLE001
            self._caught(error, run_id, action)
            return None

    async def run_async(self, run_id: object, action: Callable[[*_Ts], Awaitable[_T]], *args: *_Ts) -> _T | None:
        """Do what `run` does, with an action that is awaited."""
        try:
            return await action(*args)
        except Exception as error:  # noqa: BLE001
            self._caught(error, run_id, action)
            return None

    # What follows does what `run` does, for the events of a chain: to pack their arguments takes longer.

    def start(
        self, action: Callable[[_A, _B, _C, _D], object], run_id: _A, parent_run_id: _B, metadata: _C, tags: _D
    ) -> None:
        """Run what a start event asks for."""
        try:
            action(run_id, parent_run_id, metadata, tags)
        except Exception as error:  # noqa: BLE001
            self._caught(error, run_id, action)

    def end(self, action: Callable[[_A, _B, _C], object], run_id: _A, error: _B, result: _C) -> None:
        """Run what an end event asks for."""
        try:
            action(run_id, error, result)
        except Exception as failure:  # noqa: BLE001
            self._caught(failure, run_id, action)

    def run_each(self, run_id: object, find: Callable[[], Iterable[Delivery]]) -> None:
        """Run each of the calls found by itself, as `run` does, so that one that fails keeps no other back."""
        for action, args in self.run(run_id, find) or ():
            try:
                action(*args)
            except Exception as error:  # noqa: BLE001
                self._caught(error, run_id, action)

    def _caught(self, error: Exception, run_id: object, action: object) -> None:
        place = getattr(action, "__qualname__", type(action).__qualname__)
        kind = place, type(error).__name__
        if kind not in self._logged:
            self._logged.add(kind)
            _log.error(
                "%s failed for run %s; further such failures there are not logged: %s",
                place,
                run_id,
                without_message(error),
            )

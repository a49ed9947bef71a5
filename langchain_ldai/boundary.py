"""The one place where an exception is caught on its way into a chain."""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from langchain_ldai.errors import without_message

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Boundary:
    """Keeps what fails in a handler, or in what it calls, from the chain: logs it once a place, and goes on."""

    __slots__ = ("_logged",)

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def run(self, run_id: object, action: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        """Return the action's result; where it raises, `None`, and log it with the run's id, once an action."""
        try:
            return action(*args, **kwargs)
        except Exception as error:  # noqa: BLE001
            place = getattr(action, "__qualname__", type(action).__qualname__)
            if place not in self._logged:
                self._logged.add(place)
                _log.error(
                    "%s failed for run %s; further failures there are not logged: %s",
                    place,
                    run_id,
                    without_message(error),
                )
            return None

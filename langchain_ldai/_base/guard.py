"""Catches what other people's code raises, and logs a repeated message once."""

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar, TypeVarTuple

from langchain_ldai._base.forks import register_fork_safe
from langchain_ldai.errors import without_message

_log = logging.getLogger(__name__)
_Ts = TypeVarTuple("_Ts")
_T = TypeVar("_T")

REPEAT_SECONDS: Final = 60.0
"""How long after a failure its repetitions are only counted, before the next is logged."""

MAX_NOTICES: Final = 1_000
"""How many notices are remembered. Beyond that, the one that recurred longest ago is forgotten."""

NOT_SENT: Final = "A metric could not be sent and is lost"
"""The log message if the client or the delivery raises."""


class Ids(NamedTuple):
    """Two ids for the log: LangChain's id of a run's root, or of a step, and LaunchDarkly's `runId`."""

    lc_run_id: object = None
    run_id: str | None = None

    def __str__(self) -> str:
        return f"lc_run_id={self.lc_run_id or 'unknown'}, run_id={self.run_id or 'unknown'}"


class Notices:
    """Logs a message once, or again after a minute with the number of its repetitions."""

    def __init__(self) -> None:
        self._told: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Take a new lock: a thread of the forked process's parent may hold the old one."""
        self._lock = threading.RLock()  # Python may collect, and so end, a run in the thread that holds it

    def once(
        self, log: logging.Logger, level: int, key: Hashable, message: str, *args: object, every: float = math.inf
    ) -> None:
        """Log a message once for each key, or with `every` again after so many seconds."""
        now = time.monotonic()
        with self._lock:
            told_at, count = self._told.pop(key, (-math.inf, 0))
            is_due = now - told_at >= every
            self._told[key] = (now, 0) if is_due else (told_at, count + 1)
            if len(self._told) > MAX_NOTICES:
                self._told.popitem(last=False)  # one step: a run that Python collects cannot come between
        if told_at == -math.inf:
            log.log(level, message, *args)
        elif is_due:
            log.log(level, "%d more since this was last logged: " + message, count + 1, *args)  # noqa: G003

    def each_minute(self, log: logging.Logger, level: int, key: Hashable, message: str, *args: object) -> None:
        """Log a message for a key; for a minute after that only count its repetitions, then log their number."""
        self.once(log, level, key, message, *args, every=REPEAT_SECONDS)


class Guard:
    """Calls other people's code, and logs what it raises.

    Attributes:
        notices: Logs failures. Two failures are the same if consequence and type of the exception are.
    """

    __slots__ = ("notices",)

    def __init__(self) -> None:
        self.notices: Notices = Notices()

    def call(self, consequence: str, run_id: str | Ids, action: Callable[[*_Ts], _T], *args: *_Ts) -> _T | None:
        """Return the action's result; if it raises, log the consequence and return `None`.

        Args:
            consequence: What failed and what that means, in words.
            run_id: LaunchDarkly's id of the run, or both ids.
            action: What to call.
            args: Its arguments.
        """
        try:
            return action(*args)
        except Exception as error:  # noqa: BLE001
            self.caught(error, run_id, consequence)
            return None

    async def call_async(
        self, consequence: str, run_id: str | Ids, action: Callable[[*_Ts], Awaitable[_T]], *args: *_Ts
    ) -> _T | None:
        """Do what `call` does, with an action that is awaited."""
        try:
            return await action(*args)
        except Exception as error:  # noqa: BLE001
            self.caught(error, run_id, consequence)
            return None

    def caught(self, error: Exception, run_id: str | Ids, consequence: str, remedy: str = "") -> None:
        """Log an exception that was caught, its consequence and a remedy; of a group, each exception."""
        if isinstance(error, ExceptionGroup):
            for each in error.exceptions:
                self.caught(each, run_id, consequence, remedy)
            return
        known_by = consequence, type(error).__name__
        ids = run_id if isinstance(run_id, Ids) else Ids(run_id=run_id)
        said = consequence, remedy, ids, without_message(error)
        self.notices.each_minute(_log, logging.ERROR, known_by, "%s%s [%s]: %s", *said)


def call_each(calls: Iterable[Sequence[Any]]) -> None:
    """Make all calls, also after one has failed; then raise what they raised.

    Args:
        calls: Each is a function, followed by its arguments.

    Raises:
        ExceptionGroup: If several failed; `Guard.caught` logs each of them.
    """
    failures = []
    for function, *arguments in calls:
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001
            failures.append(error)
    if failures:
        raise failures[0] if len(failures) == 1 else ExceptionGroup("several calls failed", failures)

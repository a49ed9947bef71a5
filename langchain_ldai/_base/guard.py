"""Catches what other people's code raises, and logs each thing once instead of each time."""

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
"""How long a repeated failure is only counted before it is logged again."""

MAX_NOTICES: Final = 1_000
"""How many notices are remembered; of more, the one that has not recurred for longest is forgotten."""

NOT_SENT: Final = "A metric could not be sent and is lost"
"""What the log says where the client or the delivery raises."""


class Ids(NamedTuple):
    """The two ids of a run, for the log: LangChain's, of its root or of a step, and LaunchDarkly's `runId`."""

    lc_run_id: object = None
    run_id: str | None = None

    def __str__(self) -> str:
        return f"lc_run_id={self.lc_run_id or 'unknown'}, run_id={self.run_id or 'unknown'}"


class Notices:
    """Logs each thing once; a repeated failure again after a minute, with a count."""

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
        """Log a message unless one was logged for its key before; where `every` says so, in so many seconds."""
        now = time.monotonic()
        with self._lock:
            told_at, count = self._told.pop(key, (-math.inf, 0))
            is_due = now - told_at >= every
            self._told[key] = (now, 0) if is_due else (told_at, count + 1)
            if len(self._told) > MAX_NOTICES:
                self._told.popitem(last=False)  # in one step, between whose parts nothing else is told
        if is_due and told_at == -math.inf:
            log.log(level, message, *args)
        elif is_due:
            log.log(level, "%d more since this was last logged: " + message, count + 1, *args)  # noqa: G003

    def each_minute(self, log: logging.Logger, level: int, key: Hashable, message: str, *args: object) -> None:
        """Log a message for a key at once; for a minute only count its repetitions, then log their number."""
        self.once(log, level, key, message, *args, every=REPEAT_SECONDS)


class Guard:
    """Calls other people's code: logs what it raises, and goes on.

    Attributes:
        notices: What has been logged; failures are known by what failed and the type of the exception.
    """

    __slots__ = ("notices",)

    def __init__(self) -> None:
        self.notices: Notices = Notices()

    def call(self, consequence: str, run_id: str | Ids, action: Callable[[*_Ts], _T], *args: *_Ts) -> _T | None:
        """Return the action's result; if it raises, log what that means and return `None`.

        Args:
            consequence: What failed and what that means, in words, for the log.
            run_id: LaunchDarkly's id of the run, or both.
            action: What is done.
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
        """Log an exception that was caught, what it means and what helps; of a group, each one."""
        if isinstance(error, ExceptionGroup):
            for each in error.exceptions:
                self.caught(each, run_id, consequence, remedy)
            return
        known_by = consequence, type(error).__name__
        ids = run_id if isinstance(run_id, Ids) else Ids(run_id=run_id)
        said = consequence, remedy, ids, without_message(error)
        self.notices.each_minute(_log, logging.ERROR, known_by, "%s%s [%s]: %s", *said)


def call_each(calls: Iterable[Sequence[Any]]) -> None:
    """Make each call, so that one that fails keeps no other back, and then raise what they raised.

    Args:
        calls: Of each the function, and behind it its arguments.

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

"""The claims that a queue gave up: logs them, and remembers which of their slots it sent all the same."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from traceback import extract_tb
from typing import Final

_log = logging.getLogger(__name__)

MAX_SENT_UNCLAIMED: Final = 100_000
"""How many slots the queue remembers that it has sent without a claim."""

LOG_AGAIN_SECONDS: Final = 60.0
"""How long after an error the queue only counts what it gives up, before it logs the next error."""


class GivenUp:
    """The claims that the queue gave up: how many are not logged yet, and which slots it sent without a claim."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # Python may collect a run, and so put a claim, in the thread that holds it
        self._sent: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._first: list[str] = []
        self._count = 0
        self._next_log_at = -math.inf

    def was_sent(self, run: str, slot: str) -> bool:
        """Return whether this process has sent the slot of a run without a claim."""
        return (run, slot) in self._sent

    def add(self, run: str, slot: str, reason: str, *, is_sent: bool) -> bool:
        """Count a claim that is given up; return whether to send its events now."""
        key = run, slot
        with self._lock:
            self._count += 1
            if self._count == 1:
                done = "sent without a claim" if is_sent else "dropped"
                self._first = [done, reason, slot, run]
            if not is_sent or key in self._sent:
                return False
            self._sent[key] = None
            if len(self._sent) > MAX_SENT_UNCLAIMED:
                self._sent.popitem(last=False)
            return True

    def log(self, now: float = math.inf) -> None:
        """Log how many claims were given up, at most once a minute; without a time, log them now."""
        with self._lock:
            if not self._count or now < self._next_log_at:
                return
            count, first, self._count = self._count, self._first, 0
            self._next_log_at = time.monotonic() + LOG_AGAIN_SECONDS
        metrics = "1 metric" if count == 1 else f"{count:,} metrics"
        _log.error("%s %s: the ledger %s. The first is %s of LaunchDarkly run %s", metrics, *first)


TOO_MANY: Final = "cannot keep up, and too many claims wait for it"
DID_NOT_RETURN: Final = "did not answer in time, it may be locked or out of reach"

_REASONS: Final = (
    ("SQLITE_BUSY SQLITE_LOCKED", "is locked by another process"),
    ("SQLITE_FULL OutOfMemoryError", "is full"),
    ("SQLITE_READONLY ReadOnlyError", "takes no writes"),
    ("ClosedLedgerError", "was closed before: close it after ai.close()"),
    ("ConnectionError TimeoutError OSError BusyLoadingError", "cannot be reached"),
)
"""What the log says of a ledger, by SQLite's name of the error or the name of its class."""


def reason_of(error: BaseException | None) -> str:
    """Return what is wrong with the ledger, and where the error was raised, without the error's own message."""
    if error is None:
        return DID_NOT_RETURN
    names = {kind.__name__ for kind in type(error).__mro__} | {getattr(error, "sqlite_errorname", "")}
    what = next((what for known, what in _REASONS if names & set(known.split())), "failed")
    frames = extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{what}: {type(error).__name__}{place}"

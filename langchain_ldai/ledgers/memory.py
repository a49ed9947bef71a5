"""A ledger for the trackers of one process."""

import threading
from collections import OrderedDict
from collections.abc import Collection

from langchain_ldai._base.options import check_count
from langchain_ldai._base.process import register_fork_safe


class MemoryLedger:
    """Claims slots in this process's memory, and forgets the runs that were claimed longest ago.

    Args:
        max_runs: How many runs are remembered.

    Raises:
        TypeError: If `max_runs` is no whole number.
        ValueError: If `max_runs` is less than 1.
    """

    def __init__(self, max_runs: int = 100_000) -> None:
        self._max_runs = check_count("max_runs", max_runs)
        self._claimants: OrderedDict[str, dict[str, str]] = OrderedDict()
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Have a lock that no other thread holds, as one of a forked process's parent may."""
        self._lock = threading.Lock()

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        with self._lock:
            claimants = self._claimants.setdefault(run, {})
            self._claimants.move_to_end(run)
            if len(self._claimants) > self._max_runs:
                self._claimants.popitem(last=False)
            return {slot for slot in slots if claimants.setdefault(slot, claimant) == claimant}

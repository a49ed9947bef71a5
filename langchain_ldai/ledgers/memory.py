"""A ledger for the trackers of one process."""

import threading
from collections import OrderedDict
from collections.abc import Collection

from langchain_ldai._base.forks import OfOneProcess, register_fork_safe
from langchain_ldai._base.options import check_count


class MemoryLedger(OfOneProcess):
    """Remembers claims in this process. It forgets the runs whose last claim is longest ago.

    Args:
        max_runs: How many runs it remembers.

    Raises:
        TypeError: If `max_runs` is no whole number.
        ValueError: If `max_runs` is less than 1.

    Example:
        Two trackers of one run, in one process or after a resumption, record one feedback.

            >>> from langchain_ldai.testing import RecordingClient
            >>> ai = LdAiClient(RecordingClient(), ledger=MemoryLedger())
            >>> token = resumption_token_of({"runId": "run-1", "configKey": "support-bot"})
            >>> first, second = (ai.create_tracker(token, context) for _ in range(2))
            >>> first.record_feedback("positive").result(timeout=10)
            True
            >>> second.record_feedback("negative").result(timeout=10)
            False
    """

    def __init__(self, max_runs: int = 100_000) -> None:
        self._max_runs = check_count("max_runs", max_runs)
        self._claimants: OrderedDict[str, dict[str, str]] = OrderedDict()
        self.reset_after_fork()
        register_fork_safe(self)

    def __repr__(self) -> str:
        return f"MemoryLedger({self._max_runs})"

    def reset_after_fork(self) -> None:
        """Replace the lock: a thread of the parent may hold it."""
        self._lock = threading.Lock()

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        with self._lock:
            claimants = self._claimants.setdefault(run, {})
            self._claimants.move_to_end(run)
            if len(self._claimants) > self._max_runs:
                self._claimants.popitem(last=False)
            return {slot for slot in slots if claimants.setdefault(slot, claimant) == claimant}

"""Ledgers: in which several trackers, also of several processes, agree on what has been recorded of a run.

`langchain_ldai.ledgers.redis` has one for several hosts, with the extra `redis`.
"""

from typing import TYPE_CHECKING

from langchain_ldai.ledgers._claims import Ledger
from langchain_ldai.ledgers.memory import MemoryLedger

if TYPE_CHECKING:
    from langchain_ldai.ledgers.sqlite import SqliteLedger

__all__ = ["Ledger", "MemoryLedger", "SqliteLedger"]


if not TYPE_CHECKING:  # for which any name would exist

    def __getattr__(name: str) -> object:
        """Import what needs SQLite once it is used, so that nobody waits for it without."""
        if name != "SqliteLedger":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from langchain_ldai.ledgers.sqlite import SqliteLedger

        return SqliteLedger

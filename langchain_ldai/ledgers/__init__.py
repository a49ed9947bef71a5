"""Ledgers, in which the trackers of several processes agree on what has been recorded of a run.

Give a client a ledger with `LdAiClient(ld, ledger=...)`. `MemoryLedger` serves one process, `SqliteLedger` the
processes of one host. `langchain_ldai.ledgers.redis` has `RedisLedger` for several hosts, with the extra `redis`.
"""

from typing import TYPE_CHECKING

from langchain_ldai.ledgers._protocol import Ledger
from langchain_ldai.ledgers.memory import MemoryLedger

if TYPE_CHECKING:
    from langchain_ldai.ledgers.sqlite import SqliteLedger

__all__ = ["Ledger", "MemoryLedger", "SqliteLedger"]


if not TYPE_CHECKING:  # to a type checker any name would exist

    def __getattr__(name: str) -> object:
        """Import `SqliteLedger` once it is used: only who uses it waits for SQLite."""
        if name != "SqliteLedger":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from langchain_ldai.ledgers.sqlite import SqliteLedger

        return SqliteLedger

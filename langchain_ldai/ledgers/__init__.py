"""Ledgers: in which several trackers, also of several processes, agree on what has been recorded of a run.

`langchain_ldai.ledgers.redis` has one for several hosts, with the extra `redis`.
"""

from langchain_ldai.claims import Ledger
from langchain_ldai.ledgers.memory import MemoryLedger
from langchain_ldai.ledgers.sqlite import SqliteLedger

__all__ = ["Ledger", "MemoryLedger", "SqliteLedger"]

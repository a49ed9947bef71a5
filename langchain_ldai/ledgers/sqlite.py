"""A ledger for the processes of one host, in a file."""

import os
import sqlite3
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from langchain_ldai.checks import check_seconds
from langchain_ldai.ledgers.lifetime import THIRTY_DAYS
from langchain_ldai.process import renew_in_forks

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS claims (
    run TEXT, slot TEXT, claimant TEXT NOT NULL, expires REAL NOT NULL, PRIMARY KEY (run, slot)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS claims_by_expiry ON claims (expires);
"""
_CLAIM: Final = """
INSERT INTO claims VALUES (?, ?, ?, ?) ON CONFLICT (run, slot) DO UPDATE
SET claimant = excluded.claimant, expires = excluded.expires WHERE claims.expires <= ?
"""
_GRANTED: Final = "SELECT slot FROM claims WHERE run = ? AND claimant = ?"
_FORGET: Final = "DELETE FROM claims WHERE expires <= ?"

_SECONDS_BETWEEN_CLEANINGS: Final = 3600.0


class SqliteLedger:
    """Claims slots in a SQLite file that the processes of one host share, in WAL mode.

    The file must be on a disk of that host: SQLite's locks do not hold on network file systems.

    Args:
        path: The file; made where it does not exist.
        ttl: Seconds for which a claim is remembered.
        busy_timeout: Seconds to wait for another process's claim.

    Raises:
        sqlite3.Error: If the file cannot be opened, or is no SQLite database.
        TypeError: If `ttl` is no number.
        ValueError: If `ttl` is not above 0, or the path is ":memory:".
    """

    def __init__(self, path: str | Path, *, ttl: float = THIRTY_DAYS, busy_timeout: float = 10.0) -> None:
        if str(path) == ":memory:":
            raise ValueError("a SqliteLedger is a file that processes share, not ':memory:'; use MemoryLedger")
        self._path = Path(path).absolute()
        self._ttl = check_seconds("ttl", ttl)
        self._busy_timeout = busy_timeout
        self._next_cleaning = 0.0
        self.renew()
        self._open()
        renew_in_forks(self)

    def renew(self) -> None:
        """Have a lock that no other thread holds, as one of a forked process's parent may."""
        self._lock = threading.Lock()

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        now = time.time()
        with self._lock:
            if self._process != os.getpid():
                self._inherited = self._connection  # a fork may neither use nor close it
                self._open()
            with self._connection as transaction:
                transaction.execute("BEGIN IMMEDIATE")
                if now >= self._next_cleaning:
                    self._next_cleaning = now + _SECONDS_BETWEEN_CLEANINGS
                    transaction.execute(_FORGET, (now,))
                rows = [(run, slot, claimant, now + self._ttl, now) for slot in slots]
                transaction.executemany(_CLAIM, rows)
                return {slot for (slot,) in transaction.execute(_GRANTED, (run, claimant))} & set(slots)

    def close(self) -> None:
        """Close the file; a later claim raises `sqlite3.ProgrammingError`."""
        with self._lock:
            self._connection.close()

    def _open(self) -> None:
        self._process = os.getpid()
        connection = None
        try:
            connection = sqlite3.connect(
                self._path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            error.add_note(f"The ledger's file is {self._path}")
            if connection is not None:
                connection.close()
            raise
        self._connection = connection

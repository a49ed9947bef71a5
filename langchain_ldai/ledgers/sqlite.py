"""A ledger for the processes of one host, in a file."""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Collection
from pathlib import Path
from reprlib import repr as short_repr
from typing import Final

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from langchain_ldai._base.forks import PausesForForks
from langchain_ldai._base.options import check_seconds
from langchain_ldai.ledgers._lifetime import THIRTY_DAYS, check_lifetime

_log = logging.getLogger(__name__)

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

_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_PERMISSION: Final = "this process must be allowed to write to it and to its directory"
_REMEDIES: Final = {
    sqlite3.SQLITE_CANTOPEN: f"it must be a file, and {_PERMISSION}",
    sqlite3.SQLITE_READONLY: _PERMISSION,
    sqlite3.SQLITE_NOTADB: "give the ledger a file of its own",
    sqlite3.SQLITE_BUSY: "another process has kept it locked for longer than busy_timeout",
}

_FORKED: Final = (
    "this process was forked while a SqliteLedger had its file open, and can claim nothing in SQLite; "
    "make the ledger after the fork"
)
_inherited: Final[list[sqlite3.Connection | None]] = []
"""Connections that were open at a fork. SQLite can neither use nor close them here, nor open others."""


class _TryAgainError(sqlite3.OperationalError):
    """The claim failed, and may succeed in a moment."""

    sqlite_errorcode = sqlite3.SQLITE_BUSY


class ClosedLedgerError(sqlite3.ProgrammingError):
    """A claim came after the ledger was closed for good."""


def _code(error: BaseException) -> int:
    """Return SQLite's primary code of an error; 0 if it has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_busy(error: BaseException) -> bool:
    return _code(error) in _BUSY


def _identity(path: str | Path) -> tuple[int, int] | None:
    """Return a file's device and inode, which its replacement does not have; `None` if there is no file."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class SqliteLedger(PausesForForks):
    """Remembers claims in a SQLite file that the processes of one host share.

    The file must be on a disk of that host: SQLite's locks do not hold on network file systems. SQLite writes two
    more files beside it (WAL mode).

    The process may be forked and may become a daemon: the ledger closes the file before each fork, and opens it
    for the next claim. If the file was removed or replaced, the ledger opens the new one, and what was claimed in
    the old one can be claimed again. The host's clock decides when a claim is forgotten: if it jumps ahead by more
    than `ttl`, all are.

    Args:
        path: The file. The ledger makes it if it does not exist.
        ttl: Seconds for which a claim is remembered, up to 100 years.
        busy_timeout: Seconds to wait while another process has the file locked.

    Raises:
        sqlite3.Error: If the file cannot be opened or written to, or is no SQLite database.
        TypeError: If `ttl` or `busy_timeout` is no number.
        ValueError: If `ttl` is out of bounds, `busy_timeout` is below 0, or the path is ":memory:".

    Example:
        Two processes, here two clients, record one feedback on a run.

            >>> from tempfile import TemporaryDirectory
            >>> from langchain_ldai.testing import RecordingClient
            >>> token = resumption_token_of({"runId": "run-1", "configKey": "support-bot"})
            >>> def record(path, kind):
            ...     ledger = SqliteLedger(path)
            ...     with LdAiClient(RecordingClient(), ledger=ledger) as ai:
            ...         recorded = ai.create_tracker(token, context).record_feedback(kind).result(timeout=10)
            ...     ledger.close()
            ...     return recorded
            >>> with TemporaryDirectory() as folder:
            ...     [record(f"{folder}/claims.db", kind) for kind in ("positive", "negative")]
            [True, False]
    """

    def __init__(self, path: str | Path, *, ttl: float = THIRTY_DAYS, busy_timeout: float = 10.0) -> None:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"path is the path of a file, not {short_repr(path)}")
        if str(path) == ":memory:":
            raise ValueError("a SqliteLedger is a file that processes share, not ':memory:'; use MemoryLedger")
        self._path = Path(path).absolute()
        self._ttl = check_lifetime(ttl)
        # Not SQLite's own timeout: some statements ignore it, and a fork would have to wait for it.
        self._attempts = Retrying(
            retry=retry_if_exception(_is_busy),
            wait=wait_random_exponential(multiplier=0.001, max=0.05),
            stop=stop_after_delay(busy_timeout and check_seconds("busy_timeout", busy_timeout)),
            reraise=True,
        )
        self._next_cleaning = 0.0
        self._is_closed = False
        self._is_open = False
        self._connection: sqlite3.Connection | None = None
        super().__init__()
        try:
            SqliteLedger.claim(self, "", (), "")  # raises if the file cannot be opened or written to
        finally:
            self.use(self.close_for_fork)  # so that a fork that Python does not see finds nothing open

    def __repr__(self) -> str:
        return f"SqliteLedger({str(self._path)!r})"

    def reset_after_fork(self) -> None:
        """Replace the lock, and drop the connection, which the parent uses."""
        if self._is_open:
            _inherited.append(self._connection)
            _log.error("%s: %s", self._path, _FORKED)
        self._is_open = False
        self._connection = None
        self._files: list[tuple[int, int] | None] = []
        self._lock = threading.Lock()
        super().reset_after_fork()

    def close_for_fork(self) -> None:
        """Close the file. The next claim opens it."""
        with self._lock:  # another thread may be closing it
            self._disconnect()

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        try:
            return self._attempts(self.use, self._claim, run, slots, claimant)
        except sqlite3.Error as error:
            remedy = _REMEDIES.get(_code(error))
            if _code(error) == sqlite3.SQLITE_CANTOPEN and _identity(self._path.parent) is None:
                remedy = f"the directory {self._path.parent} does not exist, make it first"
            if remedy:
                error.args = (f"{error}: {remedy}",)
            error.add_note(f"The ledger's file is {self._path}")
            raise

    def close(self) -> None:
        """Close the file for good. A later claim raises `sqlite3.ProgrammingError`."""
        self._is_closed = True
        self.use(self.close_for_fork)

    def _claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        now = time.time()
        with self._lock:
            try:
                with self._opened() as transaction:
                    transaction.execute("BEGIN IMMEDIATE")
                    if now >= self._next_cleaning:
                        self._next_cleaning = now + _SECONDS_BETWEEN_CLEANINGS
                        transaction.execute(_FORGET, (now,))
                    rows = [(run, slot, claimant, now + self._ttl, now) for slot in slots]
                    transaction.executemany(_CLAIM, rows)
                    return {slot for (slot,) in transaction.execute(_GRANTED, (run, claimant))} & set(slots)
            except sqlite3.Error as error:
                if not _is_busy(error):
                    self._disconnect()  # a new connection may succeed
                raise

    def _opened(self) -> sqlite3.Connection:
        """Return a connection to the file that is at the path now."""
        if self._is_closed:
            raise ClosedLedgerError("the ledger is closed")
        if self._connection is None or self._files != self._identities():
            self._disconnect()
            return self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        if _inherited:
            raise sqlite3.ProgrammingError(_FORKED)
        before = _identity(self._path)
        self._real_path = os.path.realpath(self._path)
        self._is_open = True
        self._connection = sqlite3.connect(
            self._real_path, timeout=0, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        files = self._identities()
        if before not in (None, files[0]):
            raise _TryAgainError("the file was replaced while it was opened")
        self._files = files
        return self._connection

    def _disconnect(self) -> None:
        self._files = []
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                connection.close()
        finally:
            self._is_open = False

    def _identities(self) -> list[tuple[int, int] | None]:
        """Return the identities of the file and of the two that SQLite writes beside it."""
        return [_identity(path) for path in (self._path, f"{self._real_path}-wal", f"{self._real_path}-shm")]

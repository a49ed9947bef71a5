"""The SQLite file of the runs: its tables, and how it is opened."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

from langchain_ldai.dev.tallies import BANDED, TABLES, Tally

_log = logging.getLogger(__name__)

_VERSION: Final = 17_003
_BEFORE: Final = 17_002
"""The version whose files are upgraded; in it triggers kept `counts`, by value and not by time."""

_SECONDS_TO_WAIT: Final = 10.0
"""How long another process may keep the file locked."""

_KEPT: Final = f"""
{TABLES}
CREATE INDEX runs_by_time ON runs (variation, started, outcome, {", ".join(BANDED)});
PRAGMA user_version = {_VERSION}
"""

_SCHEMA: Final = f"""
CREATE TABLE payloads (id TEXT PRIMARY KEY);
CREATE TABLE variations (
    id INTEGER PRIMARY KEY, config TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (config, name)
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL,
    variation INTEGER NOT NULL REFERENCES variations (id),
    version INTEGER NOT NULL,
    graph TEXT NOT NULL,
    model TEXT NOT NULL,
    context TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    outcome TEXT,
    feedback INTEGER,
    duration,
    first_token,
    tokens,
    tokens_in,
    tokens_out,
    tool_calls,
    UNIQUE (run_id, variation)
);
CREATE TABLE metrics (
    run INTEGER NOT NULL, name TEXT NOT NULL, detail TEXT NOT NULL, scored INTEGER NOT NULL,
    value NOT NULL, count INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (run, name, detail)
) WITHOUT ROWID;
CREATE INDEX durations ON runs (variation, duration, started, outcome);
CREATE INDEX first_tokens ON runs (variation, first_token, started, outcome);
CREATE INDEX token_counts ON runs (variation, tokens, started, outcome);
{_KEPT}
"""

_UPGRADE: Final = f"""
DROP TRIGGER IF EXISTS count_new;
DROP TRIGGER IF EXISTS count_gone;
DROP TRIGGER IF EXISTS count_changed;
DROP TABLE IF EXISTS counts;
DROP INDEX IF EXISTS runs_in_time;
DROP INDEX IF EXISTS scores;
ALTER TABLE metrics DROP COLUMN variation;
{_KEPT}
"""
_LONGEST_LOG: Final = 64 << 20
_MILLISECONDS_FOR_READERS: Final = 1000
_RUNS_AT_ONCE: Final = 10_000


def code_of(error: BaseException) -> int:
    """Return SQLite's primary code of an error; 0 for an error of another kind."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


# SQLite itself does not wait for the lock that the change to write-ahead logging needs.
@retry(
    retry=retry_if_exception(lambda error: code_of(error) == sqlite3.SQLITE_BUSY),
    stop=stop_after_delay(_SECONDS_TO_WAIT),
    wait=wait_random(0.01, 0.1),
    reraise=True,
)
def prepare(path: Path) -> None:
    """Make the file and its tables where there are none; other processes may do the same at the same time.

    Raises:
        OSError: If the file cannot be made.
        sqlite3.Error: If it cannot be opened, or is another program's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _make_file(path)
    with closing(sqlite3.connect(path.absolute(), timeout=_SECONDS_TO_WAIT, isolation_level=None)) as connection:
        is_ready = _version(connection) == _VERSION
        path.chmod(0o600)  # SQLite gives the files beside it the same mode
        if not is_ready:
            connection.execute("PRAGMA journal_mode = WAL")
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                _make_tables(connection)


def _make_file(path: Path) -> None:
    """Make the file, empty, if there is none.

    Raises:
        OSError: If it cannot be made, or is a device or a pipe, whose mode is not ours to change.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is no regular file")
    finally:
        os.close(descriptor)


def _version(connection: sqlite3.Connection) -> int:
    """Return the version of the tables, 0 if there are none.

    Raises:
        sqlite3.DatabaseError: If they are none of ours.
    """
    # In this order: whoever makes the tables at this moment sets the version with them.
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    if tables and version not in (_VERSION, _BEFORE):
        raise sqlite3.DatabaseError("it is a database of another program or version")
    return int(version) if tables else 0


def _make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables, or upgrade those of the version before, unless another process was faster."""
    version = _version(connection)
    if version == _VERSION:
        return
    if version == _BEFORE:
        _log.warning("the file of runs is of an older version; it is upgraded now: a gigabyte takes two minutes")
    for statement in (_UPGRADE if version == _BEFORE else _SCHEMA).split(";"):
        connection.execute(statement)
    ((last,),) = connection.execute("SELECT coalesce(max(id), 0) FROM runs").fetchall()
    tally = Tally(connection)
    for first in range(0, last + 1, _RUNS_AT_ONCE):
        tally.count(first, first + _RUNS_AT_ONCE - 1)
        tally.write()


def check(path: Path) -> None:
    """Do what `prepare` does with a file that cannot be written: look whether it is one of this version.

    Raises:
        sqlite3.Error: If it cannot be opened, or is another program's or version's.
    """
    with closing(connect(path, is_read_only=True)) as connection:
        if _version(connection) != _VERSION:
            raise sqlite3.DatabaseError("it has no tables of this version, and cannot be written")


def connect(path: Path, *, is_read_only: bool = False) -> sqlite3.Connection:
    """Return a connection to a file that is prepared; any thread may use it, one at a time.

    Args:
        path: The file.
        is_read_only: Whether it is opened as one that nobody can write, and nothing is made beside it.

    Raises:
        sqlite3.Error: If the file cannot be opened.
    """
    address = path.absolute().as_uri()  # SQLite takes ":memory:" for no file at all
    if is_read_only:
        address += "?mode=ro" if _log_of(path).exists() else "?mode=ro&immutable=1"
    connection = sqlite3.connect(
        address, uri=True, timeout=_SECONDS_TO_WAIT, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -65536")
    return connection


def identity(path: Path) -> object:
    """Return what is another value once the path names another file, `None` where it names none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _log_of(path: Path) -> Path:
    return path.resolve().with_name(f"{path.resolve().name}-wal")


class WriteAheadLog:
    """The log that SQLite keeps beside the file.

    SQLite starts it anew once nobody reads in it. While one reader always begins before another ends, as those of
    several pages may, that moment never comes, and the log grows without end.

    Args:
        path: The file.
        writer: A connection to it.
    """

    def __init__(self, path: Path, writer: sqlite3.Connection) -> None:
        self._path = _log_of(path)
        self._writer = writer
        self._longest = _LONGEST_LOG

    def shorten(self) -> None:
        """Empty a log that is too long, once those who read in it now are done; waits a second at most."""
        with suppress(OSError, sqlite3.Error):  # what is in the log is stored
            length = self._path.stat().st_size
            if length > self._longest:
                self._longest = 2 * length  # a reader that never ends is waited for a few times, not always
                self._writer.execute(f"PRAGMA busy_timeout = {_MILLISECONDS_FOR_READERS}")
                try:
                    ((is_busy, *_),) = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                finally:
                    self._writer.execute(f"PRAGMA busy_timeout = {_SECONDS_TO_WAIT * 1000:.0f}")
                self._longest = self._longest if is_busy else _LONGEST_LOG


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return how many bytes of the file hold something."""
    pages = "SELECT (page_count - freelist_count) * page_size"
    query = f"{pages} FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
    ((used,),) = connection.execute(query).fetchall()
    return int(used)

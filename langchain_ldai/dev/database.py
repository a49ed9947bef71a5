"""The SQLite file of the runs: its tables, and how it is opened."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

_VERSION: Final = 17_002
_SECONDS_TO_WAIT: Final = 10.0
"""How long another process may keep the file locked."""

_COUNTED: Final = ("duration", "first_token", "tokens", "feedback", "tool_calls")


def _triggers() -> str:
    """Return what keeps `counts`: how many runs of a variation, by outcome, have each value of a column.

    `outcome` is "none" where a run has none. The measure "run" counts runs: each has the value 1.
    """
    added, removed = [], []
    for measure, new, old in [("run", "1", "1"), *((name, f"new.{name}", f"old.{name}") for name in _COUNTED)]:
        added.append(
            f"INSERT INTO counts SELECT new.variation, '{measure}', {new}, coalesce(new.outcome, 'none'), 1"
            f" WHERE {new} IS NOT NULL ON CONFLICT DO UPDATE SET runs = runs + 1;"
        )
        removed.append(
            f"UPDATE counts SET runs = runs - 1 WHERE variation = old.variation AND measure = '{measure}'"  # noqa: S608
            f" AND value = {old} AND outcome = coalesce(old.outcome, 'none');"
        )
    changed = " OR ".join(f"old.{name} IS NOT new.{name}" for name in ("outcome", *_COUNTED))
    return f"""
CREATE TRIGGER IF NOT EXISTS count_new AFTER INSERT ON runs BEGIN {"".join(added)} END;
CREATE TRIGGER IF NOT EXISTS count_gone AFTER DELETE ON runs BEGIN {"".join(removed)} END;
CREATE TRIGGER IF NOT EXISTS count_changed AFTER UPDATE ON runs WHEN {changed}
BEGIN {"".join(removed)} {"".join(added)} END;
"""


_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS payloads (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS variations (
    id INTEGER PRIMARY KEY, config TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (config, name)
);
CREATE TABLE IF NOT EXISTS runs (
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
CREATE TABLE IF NOT EXISTS metrics (
    run INTEGER NOT NULL, name TEXT NOT NULL, detail TEXT NOT NULL, scored INTEGER NOT NULL,
    variation INTEGER NOT NULL, value NOT NULL, count INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (run, name, detail)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (
    variation INTEGER NOT NULL, measure TEXT NOT NULL, value NOT NULL, outcome TEXT NOT NULL,
    runs INTEGER NOT NULL,
    PRIMARY KEY (variation, measure, value, outcome)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_in_time ON runs (variation, started, outcome, feedback, duration, tool_calls);
CREATE INDEX IF NOT EXISTS durations ON runs (variation, duration, started, outcome);
CREATE INDEX IF NOT EXISTS first_tokens ON runs (variation, first_token, started, outcome);
CREATE INDEX IF NOT EXISTS token_counts ON runs (variation, tokens, started, outcome);
CREATE INDEX IF NOT EXISTS scores ON metrics (variation, detail, name, value, count, scored) WHERE scored;
{_triggers()}
PRAGMA user_version = {_VERSION};
"""


def _is_locked(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


# SQLite itself does not wait for the lock that the change to write-ahead logging needs.
@retry(
    retry=retry_if_exception(_is_locked),
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
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    with closing(sqlite3.connect(path, timeout=_SECONDS_TO_WAIT, isolation_level=None)) as connection:
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        if tables and version != _VERSION:
            raise sqlite3.DatabaseError("it is a database of another program or version")
        path.chmod(0o600)  # SQLite gives the files beside it the same mode
        if not tables:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT")


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection to a file that is prepared; any thread may use it, one at a time.

    Raises:
        sqlite3.Error: If the file cannot be opened.
    """
    connection = sqlite3.connect(path, timeout=_SECONDS_TO_WAIT, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -65536")
    return connection


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return how many bytes of the file hold something."""
    used: list[int] = []
    for name in ("page_count", "freelist_count", "page_size"):
        ((value,),) = connection.execute(f"PRAGMA {name}").fetchall()
        used.append(value)
    return (used[0] - used[1]) * used[2]

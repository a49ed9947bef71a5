"""The runs that have arrived, in a SQLite file."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from langchain_ldai._protocol.flags import Json
from langchain_ldai.dev.arrivals import ADDED, Arrival, arrivals

MAX_BYTES: Final = 1 << 30
"""How large a file becomes before the oldest runs are deleted."""

_VERSION: Final = 17_001
_REMEMBERED_PAYLOADS: Final = 100_000
_PART_TO_DELETE: Final = 20
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
    run INTEGER NOT NULL, name TEXT NOT NULL, detail TEXT NOT NULL, value NOT NULL, count INTEGER NOT NULL,
    at INTEGER NOT NULL, PRIMARY KEY (run, name, detail)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_in_time ON runs (variation, started, outcome, feedback, duration, tool_calls);
CREATE INDEX IF NOT EXISTS durations ON runs (variation, duration, started, outcome);
CREATE INDEX IF NOT EXISTS first_tokens ON runs (variation, first_token, started, outcome);
CREATE INDEX IF NOT EXISTS token_counts ON runs (variation, tokens, started, outcome);
PRAGMA user_version = {_VERSION};
"""

_FIRST: Final = ("outcome", "feedback", "first_token")
_SUMS: Final = tuple(dict.fromkeys(ADDED.values()))
_COLUMNS: Final = (*_FIRST, *_SUMS)
_RUN: Final = f"""
INSERT INTO runs (run_id, variation, version, graph, model, context, started, ended, {", ".join(_COLUMNS)})
VALUES (?, ?, ?, ?, ?, ?, ?, ?, {", ".join("?" * len(_COLUMNS))})
ON CONFLICT (run_id, variation) DO UPDATE SET
    started = min(started, excluded.started), ended = max(ended, excluded.ended),
    {", ".join(f"{name} = coalesce({name}, excluded.{name})" for name in _FIRST)},
    {", ".join(f"{name} = coalesce({name} + excluded.{name}, {name}, excluded.{name})" for name in _SUMS)}
RETURNING id
"""  # noqa: S608
_METRIC: Final = """
INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    value = value + excluded.value, count = count + excluded.count, at = max(at, excluded.at)
"""


class StoreError(Exception):
    """The file cannot be used; the message says why and what to do."""


class Store:
    """Keeps runs in a SQLite file that only its owner can read.

    Args:
        path: The file. The store makes it if it does not exist.
        max_bytes: How large the file may become; the oldest runs make room.

    Raises:
        StoreError: If the file cannot be opened, or is another program's.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._variations: dict[tuple[str, str], int] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            _check_is_ours(path)
            path.chmod(0o600)  # SQLite gives the files beside it the same mode
            self._writer = _connect(path)
            self._reader = _connect(path)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path} cannot be opened: {error}; name another file with --db") from error

    def close(self) -> None:
        """Close the file."""
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()

    def accept(self, payload_id: str | None, batch: list[Json]) -> int:
        """Store a batch of events, and return how many runs it touched; a batch that came before touches none.

        Args:
            payload_id: The batch's id, if it has one.
            batch: The events.

        Raises:
            StoreError: If the batch cannot be stored; then nothing of it is.
        """
        found = arrivals(batch, int(time.time() * 1000))
        with self._transaction() as writer:
            if payload_id and not self._is_new(writer, payload_id):
                return 0
            for arrival in found:
                self._add(writer, arrival)
            self._make_room(writer)
        return len(found)

    def add_feedback(self, run: int, name: str, feedback: int) -> bool:
        """Record feedback on a run, and return whether it is the run's first.

        Args:
            run: Number of the run in this file.
            name: Name of the event.
            feedback: 1 for positive, -1 for negative.

        Raises:
            KeyError: If there is no such run.
            StoreError: If the feedback cannot be stored.
        """
        now = int(time.time() * 1000)
        with self._transaction() as writer:
            found = writer.execute("SELECT feedback FROM runs WHERE id = ?", (run,)).fetchone()
            if found is None:
                raise KeyError(run)
            if found[0] is not None:
                return False
            writer.execute(
                "UPDATE runs SET feedback = ?, ended = max(ended, ?) WHERE id = ?", (feedback, now, run)
            )
            writer.execute(_METRIC, (run, name, "", 1, 1, now))
        return True

    def select(self, query: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self._reading:
            return self._reader.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except sqlite3.Error as error:
                self._variations.clear()  # some may be among what is undone
                raise StoreError(f"{self.path}: {error}; nothing of the batch was stored") from error
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    def _is_new(self, writer: sqlite3.Connection, payload_id: str) -> bool:
        added = writer.execute("INSERT OR IGNORE INTO payloads VALUES (?)", (payload_id,))
        if not added.rowcount:
            return False
        oldest = (added.lastrowid or 0) - _REMEMBERED_PAYLOADS
        writer.execute("DELETE FROM payloads WHERE rowid <= ?", (oldest,))
        return True

    def _add(self, writer: sqlite3.Connection, arrival: Arrival) -> None:
        described = (arrival.version, arrival.graph, arrival.model, arrival.context)
        columns = (arrival.columns.get(name) for name in _COLUMNS)
        variation = self._variation(writer, arrival.config, arrival.variation)
        row = (arrival.run_id, variation, *described, arrival.first_ms, arrival.last_ms, *columns)
        ((run,),) = writer.execute(_RUN, row).fetchall()
        writer.executemany(_METRIC, [(run, *key, *values) for key, values in arrival.metrics.items()])

    def _variation(self, writer: sqlite3.Connection, config: str, name: str) -> int:
        key = config, name
        if key not in self._variations:
            writer.execute("INSERT OR IGNORE INTO variations (config, name) VALUES (?, ?)", key)
            query = "SELECT id FROM variations WHERE config = ? AND name = ?"
            ((self._variations[key],),) = writer.execute(query, key).fetchall()
        return self._variations[key]

    def _make_room(self, writer: sqlite3.Connection) -> None:
        """Delete the oldest runs where the file is larger than it may be."""
        if _used_bytes(writer) <= self._max_bytes:
            return
        ((first, last),) = writer.execute("SELECT min(id), max(id) FROM runs").fetchall()
        if first is not None:
            until = first + (last - first) // _PART_TO_DELETE
            writer.execute("DELETE FROM runs WHERE id <= ?", (until,))
            writer.execute("DELETE FROM metrics WHERE run <= ?", (until,))


def _check_is_ours(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    if tables and version != _VERSION:
        raise sqlite3.DatabaseError("it is a database of another program or version")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -65536")
    connection.executescript(_SCHEMA)
    return connection


def _used_bytes(connection: sqlite3.Connection) -> int:
    used: list[int] = []
    for name in ("page_count", "freelist_count", "page_size"):
        ((value,),) = connection.execute(f"PRAGMA {name}").fetchall()
        used.append(value)
    return (used[0] - used[1]) * used[2]

"""The runs that have arrived, in a SQLite file."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from langchain_ldai._protocol.flags import Json
from langchain_ldai.dev import database
from langchain_ldai.dev.arrivals import ADDED, Arrival, MetricRow, arrivals

_log = logging.getLogger(__name__)

MAX_BYTES: Final = 1 << 30
"""How large a file becomes before the oldest runs are deleted."""

READERS: Final = 2
"""How many questions are answered at once; each reader keeps up to 64 MB of the file in memory."""

_REMEMBERED_PAYLOADS: Final = 100_000
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
INSERT INTO metrics (run, variation, name, detail, scored, value, count, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    value = value + excluded.value, count = count + excluded.count, at = max(at, excluded.at)
"""


_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "free some space, and what comes then is stored",
    sqlite3.SQLITE_BUSY: "another process has kept the file locked",
}


class StoreError(Exception):
    """The file cannot be used; the message says why and what to do."""


class Store:
    """Keeps runs in a SQLite file that only its owner can read.

    Args:
        path: The file. The store makes it if it does not exist.
        max_bytes: How large the file may become; the oldest runs make room.

    Raises:
        StoreError: If the file cannot be opened, or is another program's.

    Attributes:
        problem: Why the last batch could not be stored; "" if it was.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self.problem: str = ""
        self._max_bytes = max_bytes
        self._writing = threading.Lock()
        self._readers = queue.SimpleQueue[sqlite3.Connection]()
        self._variations: dict[tuple[str, str], int] = {}
        try:
            database.prepare(path)
            self._writer = database.connect(path)
            self._watcher = database.connect(path)
            for _ in range(READERS):
                self._readers.put(database.connect(path))
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path} cannot be opened: {error}; name another file with --db") from error

    def close(self) -> None:
        """Close the file, once it is neither read nor written."""
        readers = [self._readers.get() for _ in range(READERS)]
        with self._writing:
            for connection in (*readers, self._watcher, self._writer):
                connection.close()
        for reader in readers:
            self._readers.put(reader)  # whoever comes too late gets an error, and does not wait

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
            found = writer.execute("SELECT variation, feedback FROM runs WHERE id = ?", (run,)).fetchone()
            if found is None:
                raise KeyError(run)
            if found[1] is not None:
                return False
            writer.execute(
                "UPDATE runs SET feedback = ?, ended = max(ended, ?) WHERE id = ?", (feedback, now, run)
            )
            writer.execute(_METRIC, (run, found[0], *MetricRow(name, "", scored=False), 1, 1, now))
        return True

    def select(self, query: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Return the rows of a query.

        Raises:
            StoreError: If the file cannot be read.
        """
        reader = self._readers.get()
        try:
            return reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error
        finally:
            self._readers.put(reader)

    def version(self) -> int:
        """Return a number that is another one after the file has changed, whichever process changed it.

        Raises:
            StoreError: If the file cannot be read.
        """
        try:
            ((version,),) = self._watcher.execute("PRAGMA data_version").fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error
        return int(version)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    yield self._writer
                    self._writer.execute("COMMIT")
                    self.problem = ""
                except BaseException:
                    self._variations.clear()  # some may be among what is undone
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> StoreError:
        """Return the error of a batch that cannot be stored; the first of several alike is logged."""
        remedy = _REMEDIES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        problem = "; ".join(filter(None, (f"{self.path}: {error}", remedy, "nothing of the batch was stored")))
        if problem != self.problem:
            _log.error("%s", problem)
        self.problem = problem
        return StoreError(problem)

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
        writer.executemany(_METRIC, [(run, variation, *row, *values) for row, values in arrival.metrics.items()])

    def _variation(self, writer: sqlite3.Connection, config: str, name: str) -> int:
        key = config, name
        if key not in self._variations:
            writer.execute("INSERT OR IGNORE INTO variations (config, name) VALUES (?, ?)", key)
            query = "SELECT id FROM variations WHERE config = ? AND name = ?"
            ((self._variations[key],),) = writer.execute(query, key).fetchall()
        return self._variations[key]

    def _make_room(self, writer: sqlite3.Connection) -> None:
        """Delete the oldest runs, and the oldest batches' ids, where the file is larger than it may be."""
        if database.used_bytes(writer) <= self._max_bytes:
            return
        run, payload = (
            writer.execute(f"SELECT min({number}) + (max({number}) - min({number})) / 20 FROM {table}").fetchone()  # noqa: S608
            for table, number in (("runs", "id"), ("payloads", "rowid"))
        )
        writer.execute("DELETE FROM runs WHERE id <= ?", run)
        writer.execute("DELETE FROM metrics WHERE run <= ?", run)
        writer.execute("DELETE FROM counts WHERE runs = 0")
        writer.execute("DELETE FROM payloads WHERE rowid <= ?", payload)

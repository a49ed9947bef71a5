"""The runs that have arrived, in a SQLite file."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from langchain_ldai._protocol.flags import Json
from langchain_ldai.dev import database
from langchain_ldai.dev.arrivals import ADDED, TAKEN_ONCE, Arrival, MetricRow, arrivals
from langchain_ldai.dev.errors import DevError
from langchain_ldai.dev.tallies import Tally

_log = logging.getLogger(__name__)

MAX_BYTES: Final = 1 << 30
"""How large a file becomes before the oldest runs are deleted."""

READERS: Final = 2
"""How many questions are answered at once; each reader keeps up to 64 MB of the file in memory."""

_SECONDS_TO_MAKE_ROOM: Final = 1.0
"""How long a batch deletes old runs, or twice as long as it took itself, so that no flood outgrows it."""

_REMEMBERED_PAYLOADS: Final = 100_000
_FIRST: Final = tuple(dict.fromkeys(column for column, _ in TAKEN_ONCE.values()))
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
INSERT INTO metrics (run, name, detail, scored, value, count, at) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    value = value + excluded.value, count = count + excluded.count, at = max(at, excluded.at)
"""


Select = Callable[[str, Mapping[str, object]], list[tuple[Any, ...]]]
"""Returns the rows of a query."""

_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "free some space, and what comes then is stored",
    sqlite3.SQLITE_BUSY: "another process has kept the file locked",
}
_REMEDIES_TO_OPEN: Final = {
    sqlite3.SQLITE_FULL: "free some space",
    sqlite3.SQLITE_BUSY: "another process uses it, or upgrades it, which may take minutes; try again then",
}


class StoreError(DevError):
    """The file cannot be used; the message says why and what to do."""


class Store:
    """Keeps runs in a SQLite file that only its owner can read.

    Args:
        path: The file. The store makes it if it does not exist.
        max_bytes: How large the file may become; the oldest runs make room.
        is_read_only: Whether the file can only be read, as on a read-only disk. Then it stays as it is.

    Raises:
        StoreError: If the file cannot be opened, or is another program's.

    Attributes:
        problem: Why the last batch could not be stored; "" if it was.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, is_read_only: bool = False) -> None:
        self.path = path
        self.problem: str = ""
        self._max_bytes = max_bytes
        self._writing = threading.Lock()
        self._readers = queue.SimpleQueue[sqlite3.Connection]()
        self._variations: dict[tuple[str, str], int] = {}
        try:
            (database.check if is_read_only else database.prepare)(path)
            connect = partial(database.connect, path, is_read_only=is_read_only)
            self._writer = connect()
            self._file = path.absolute()
            self._identity = database.identity(self._file)
            self._write_ahead = database.WriteAheadLog(path, self._writer)
            self._watcher = connect()
            for _ in range(READERS):
                self._readers.put(connect())
        except (OSError, sqlite3.Error, UnicodeDecodeError) as error:  # the last of damaged names of tables
            remedy = _REMEDIES_TO_OPEN.get(database.code_of(error), "name another file with --db")
            raise StoreError(f"{path} cannot be opened: {error}; {remedy}") from error

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
        with self._transaction() as tally:
            if payload_id and not self._is_new(payload_id):
                return 0
            began = time.monotonic()
            for arrival in found:
                self._add(arrival, tally)
            now = time.monotonic()
            self._make_room(tally, now + max(_SECONDS_TO_MAKE_ROOM, 2 * (now - began)))
        return len(found)

    def add_feedback(self, run: int, name: str) -> bool:
        """Record feedback on a run, and return whether it is the run's first.

        Args:
            run: Number of the run in this file.
            name: Name of the event, which says whether the feedback is positive.

        Raises:
            KeyError: If there is no such run.
            StoreError: If the feedback cannot be stored.
        """
        _, feedback = TAKEN_ONCE[name]
        now = int(time.time() * 1000)
        with self._transaction() as tally:
            found = self._writer.execute("SELECT feedback FROM runs WHERE id = ?", (run,)).fetchone()
            if found is None:
                raise KeyError(run)
            if found[0] is not None:
                return False
            tally.count(run, run, -1)
            self._writer.execute(
                "UPDATE runs SET feedback = ?, ended = max(ended, ?) WHERE id = ?", (feedback, now, run)
            )
            self._writer.execute(_METRIC, (run, *MetricRow(name, "", scored=False), 1, 1, now))
            tally.count(run, run)
        return True

    def select(self, query: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Return the rows of a query.

        Raises:
            StoreError: If the file cannot be read.
        """
        with self.reading() as select:
            return select(query, values)

    @contextmanager
    def reading(self) -> Iterator[Select]:
        """Have all questions within the block answered from the file as it is at the first.

        Raises:
            StoreError: If the file cannot be read.
        """
        reader = self._readers.get()
        try:
            with reader:
                reader.execute("BEGIN")
                yield lambda query, values: reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error
        finally:
            self._readers.put(reader)

    def data_version(self) -> int:
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
    def _transaction(self) -> Iterator[Tally]:
        """Let the block write, and give it what counts the runs; on an error nothing of it stays."""
        with self._writing:
            try:
                if database.identity(self._file) != self._identity:
                    raise sqlite3.OperationalError("the file was deleted or replaced; start this command again")
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    tally = Tally(self._writer)
                    yield tally
                    tally.write()
                    self._writer.execute("COMMIT")
                    self.problem = ""
                    self._write_ahead.shorten()
                except BaseException:
                    self._variations.clear()  # some may be among what is undone
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> StoreError:
        """Return the error of a batch that cannot be stored; the first of several alike is logged."""
        remedy = _REMEDIES.get(database.code_of(error))
        problem = "; ".join(filter(None, (f"{self.path}: {error}", remedy, "nothing of the batch was stored")))
        if problem != self.problem:
            _log.error("%s", problem)
        self.problem = problem
        return StoreError(problem)

    def _is_new(self, payload_id: str) -> bool:
        added = self._writer.execute("INSERT OR IGNORE INTO payloads VALUES (?)", (payload_id,))
        if not added.rowcount:
            return False
        oldest = (added.lastrowid or 0) - _REMEMBERED_PAYLOADS
        self._writer.execute("DELETE FROM payloads WHERE rowid <= ?", (oldest,))
        return True

    def _add(self, arrival: Arrival, tally: Tally) -> None:
        writer = self._writer
        described = (arrival.version, arrival.graph, arrival.model, arrival.context)
        columns = (arrival.columns.get(name) for name in _COLUMNS)
        key = arrival.run_id, self._variation(arrival.config, arrival.variation)
        for (run,) in writer.execute("SELECT id FROM runs WHERE run_id = ? AND variation = ?", key).fetchall():
            tally.count(run, run, -1)
        row = (*key, *described, arrival.first_ms, arrival.last_ms, *columns)
        ((run,),) = writer.execute(_RUN, row).fetchall()
        writer.executemany(_METRIC, [(run, *metric, *values) for metric, values in arrival.metrics.items()])
        tally.count(run, run)

    def _variation(self, config: str, name: str) -> int:
        key = config, name
        if key not in self._variations:
            self._writer.execute("INSERT OR IGNORE INTO variations (config, name) VALUES (?, ?)", key)
            query = "SELECT id FROM variations WHERE config = ? AND name = ?"
            ((self._variations[key],),) = self._writer.execute(query, key).fetchall()
        return self._variations[key]

    def _make_room(self, tally: Tally, until: float) -> None:
        """Delete the oldest runs, and the oldest batches' ids, while the file is larger than it may be.

        Args:
            tally: What counts the runs out.
            until: When to leave the rest to the batches that follow: an SDK waits for the answer.
        """
        writer = self._writer
        while database.used_bytes(writer) > self._max_bytes and time.monotonic() < until:
            run, payload = (
                writer.execute(f"SELECT min({key}) + (max({key}) - min({key})) / 100 FROM {table}").fetchone()  # noqa: S608
                for table, key in (("runs", "id"), ("payloads", "rowid"))
            )
            if run == payload == (None,):
                return
            tally.count(0, run[0] or 0, -1)
            writer.execute("DELETE FROM runs WHERE id <= ?", run)
            writer.execute("DELETE FROM metrics WHERE run <= ?", run)
            tally.write()
            writer.execute("DELETE FROM payloads WHERE rowid <= ?", payload)

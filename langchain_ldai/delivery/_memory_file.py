"""Stands in for a journal's file, in memory, while the disk takes none."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final
from uuid import uuid4, uuid5

from langchain_ldai.delivery._journal_file import RECORD_HEAD, Batch, Record, parse

MAX_RECORDS: Final = 10_000
"""How many records are kept in memory, as many as LaunchDarkly's SDK keeps events by default."""

MAX_BYTES: Final = 32 << 20
"""How many bytes their bodies may have, as an event may be large."""


class MemoryFile:
    """A file and its writer in one. What it holds dies with the process.

    Attributes:
        is_complete: Whether it takes no more records.
    """

    is_own = True
    size = 0
    position = 0

    def __init__(self) -> None:
        self.is_complete = False
        self._id = uuid4()
        self._acknowledged = 0
        self._records: deque[Record] = deque()
        self._written_bytes = self._acknowledged_bytes = 0  # the writer counts the one, the sender the other
        self._batch: Batch | None = None

    @property
    def writer(self) -> MemoryFile:
        """The file itself."""
        return self

    def complete(self) -> None:
        """Take no more records: they go into another file, or nothing more is appended."""
        self.is_complete = True

    def write(self, record: bytes) -> bool:
        """Append a record; return `False` if there is no room for it."""
        waiting_bytes = self._written_bytes - self._acknowledged_bytes
        if self.is_complete or len(self._records) >= MAX_RECORDS or waiting_bytes + len(record) > MAX_BYTES:
            return False
        self._records += parse(record)[0]
        self._written_bytes += len(record)
        return True

    def next_batch(self, max_bytes: int) -> Batch | None:
        """Return the next batch: the same until it is acknowledged or halved; `None` if there is none."""
        if self._batch is None and self._records:
            records: list[Record] = []
            size = 0
            for record in self.waiting():
                size += len(record.body)
                if records and size > max_bytes:
                    break
                records.append(record)
            self._batch = self._make_batch(records)
        return self._batch

    def _make_batch(self, records: list[Record]) -> Batch:
        end = self._acknowledged + len(records)
        return Batch(uuid5(self._id, f"{self._acknowledged}-{end}"), records, end)

    def acknowledge(self, batch: Batch) -> None:
        """Never return the batch again."""
        for record in batch.records:
            self._records.popleft()
            self._acknowledged_bytes += RECORD_HEAD.size + len(record.body)
        self._acknowledged, self._batch = batch.end, None

    def halve(self, batch: Batch) -> None:
        """Make the first half of a batch the next one, under another id. Nothing of the batch has arrived."""
        self._batch = self._make_batch(batch.records[: len(batch.records) // 2])

    def waiting(self) -> Iterator[Record]:
        """Return the records that are not acknowledged."""
        return iter(list(self._records))

    def close(self) -> None:
        """Do nothing."""

    def remove(self) -> None:
        """Do nothing."""

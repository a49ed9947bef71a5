"""Keeps the events that LaunchDarkly refuses in a file beside the journal, each with the reason."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from pathlib import Path
from typing import Final

from langchain_ldai._base.guard import Notices
from langchain_ldai.delivery._owners import locks

_log = logging.getLogger(__name__)

NAME: Final = "dead.jsonl"
OLDER_NAME: Final = "dead.older.jsonl"
LOCK_NAME: Final = "dead.lock"

MAX_BYTES: Final = 16 << 20
"""How large the file may grow. Then it becomes the older file, in the place of the one before, which is lost."""


class DeadLetters:
    """Keeps the events that are never sent again.

    Args:
        directory: Where the file is.

    Attributes:
        count: How many events are dead, with those that could not be written as JSON.
    """

    def __init__(self, directory: Path) -> None:
        self.directory: Final = directory
        self._notices = Notices()
        self.count = 0

    def add(self, event: str, reason: str) -> None:
        """Keep an event, as JSON, with the reason."""
        self.count += 1
        place: object = self.directory / NAME
        try:
            self._write(f'{{"at":{int(time.time())},"reason":{json.dumps(reason)},"event":{event}}}\n')
        except OSError as error:
            place = f"nowhere, as no file can be written ({error.strerror})"
        self._notices.each_minute(
            _log, logging.ERROR, "dead", "LaunchDarkly refuses an event (%s); it is kept in %s", reason, place
        )

    def refuse(self, key: str, reason: str) -> None:
        """Note that an event cannot be written as JSON, and so is dropped."""
        self.count += 1
        self._notices.each_minute(
            _log, logging.ERROR, ("refused", key), "The event %s cannot be sent and is dropped: %s", key, reason
        )

    def _write(self, line: str) -> None:
        path = self.directory / NAME
        if _is_full(path):
            self._rotate(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            _write_all(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def _rotate(self, path: Path) -> None:
        """Make the file the older one, unless another process has just done so, or is doing it."""
        lock = locks.take(self.directory / LOCK_NAME)
        if lock is None:
            return
        try:
            if _is_full(path):
                path.replace(self.directory / OLDER_NAME)
        finally:
            locks.release(lock)


def _write_all(descriptor: int, line: bytes) -> None:
    """Write a line, or nothing of it.

    Raises:
        OSError: If the disk is full.
    """
    written = os.write(descriptor, line)
    if written == len(line):
        return
    end = os.lseek(descriptor, 0, os.SEEK_CUR)
    if os.fstat(descriptor).st_size == end:  # else another process has gone on behind it
        os.ftruncate(descriptor, end - written)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_full(path: Path) -> bool:
    return path.exists() and path.stat().st_size > MAX_BYTES

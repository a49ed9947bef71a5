"""The journal of one process: the files that it appends to, and that its sender empties."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Final

from langchain_ldai._base.forks import register_fork_safe
from langchain_ldai._base.guard import Notices
from langchain_ldai.delivery._inheritance import Inheritance
from langchain_ldai.delivery._journal_file import (
    HEAD_SIZE,
    DamagedFileError,
    JournalFile,
    MappedWriter,
    OwnFile,
    Record,
    as_record,
)
from langchain_ldai.delivery._memory_file import MemoryFile
from langchain_ldai.delivery._owners import FILE_SUFFIX, Owner, living_key_hashes

_log = logging.getLogger(__name__)

FILE_BYTES: Final = 4 << 20
"""The size of a file, in bytes. A record that is larger gets a file of its own."""

RETRY_DISK_SECONDS: Final = 5.0
"""How long after the disk has failed it is tried again. Until then, events are kept in memory."""

OTHER_KEY_SECONDS: Final = 0.75
"""For how long another SDK key must be seen. A dead process seems to live while somebody else looks at it."""

LOOK_AGAIN_SECONDS: Final = 0.05
"""How soon it is looked for again."""

RENEW_SECONDS: Final = 3_600.0
"""How often the files get the present date: some systems remove old files."""

_FOREIGN: Final = (
    "%s holds events in files that this process may not open, as another user's: it will not send them"
)
_SET_ASIDE: Final = "%s: %s. %d records of it are sent all the same; the file %s"
_UNREADABLE: Final = "A file of events in %s cannot be read, and is tried again later: %s"
_IN_MEMORY: Final = "%s takes no files, so events are kept in memory and die with the process: %s"
_REMOVED: Final = "Somebody removes files from %s although their process lives; it puts them back"


class Journal:
    """Takes records from any thread, and keeps them until one thread, the sender, has sent them.

    `append` makes a system call only when a file is full.

    Args:
        directory: Where the files lie.
        key_hash: A hash of the SDK key with which they are sent.
        max_bytes: How many bytes the files of all processes may have.
        wake: Called when the sender is to call `prepare_next_file`. It must not wait.

    Attributes:
        inherited: What dead processes left.
        appended: How many records this process has appended.
        spooled: How many events they hold.
        dropped: How many events found no room.

    Raises:
        ValueError: If a living process sends the directory's files with another SDK key.
    """

    def __init__(self, directory: Path, key_hash: str, max_bytes: int, wake: Callable[[], None]) -> None:
        self.directory: Final = directory
        self.inherited: Final = Inheritance(directory)
        self._key_hash = key_hash
        self._max_bytes = max_bytes
        self._file_bytes = min(FILE_BYTES, max_bytes // 4)
        self._wake = wake
        self._notices = Notices()
        self._numbers = count(1)
        self._owner: Owner | None = None
        self._files: deque[OwnFile | MemoryFile] = deque()
        self._spare: OwnFile | None = None
        self.reset_after_fork()
        self._open()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Start empty: the files are the parent's."""
        # The child closes its own descriptors. The parent keeps the locks.
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.close()
        self.inherited.close()
        for file in (*self._files, *([] if self._spare is None else [self._spare])):
            with contextlib.suppress(OSError):  # a thread of the parent was about to close the same
                file.close()
                if not file.is_complete:
                    file.writer.close()  # and not `complete`, which cuts the file
        self._files = deque()
        self._spare = None
        self._is_disk_failing = False
        self._retry_disk_at = self._renew_at = 0.0
        self.appended = self.spooled = self.dropped = 0
        # What follows changes under `_lock` alone.
        self._lock = threading.RLock()  # Python may collect a run, and so append, in the thread that holds it
        self._is_writing = False
        self._handed_over: deque[tuple[bytes, int]] = deque()
        self._current: OwnFile | MemoryFile | None = None

    def append(self, body: bytes, events: int = 1) -> bool:
        """Write a record: once this returns, the end of the process does not lose it.

        Args:
            body: Events as JSON, joined by commas.
            events: How many they are.

        Returns:
            `False` if there was no room for it.
        """
        record = as_record(body, events)
        with self._lock:
            if self._is_writing:  # this very thread is, further up its stack: there it writes this record next
                self._handed_over.append((record, events))
                return True
            try:
                self._is_writing = True
                is_kept = self._write(record, events)
                while self._handed_over:
                    self._write(*self._handed_over.popleft())
            finally:
                self._is_writing = False
        return is_kept

    # What follows, up to `_create`, is called under the lock.

    def _write(self, record: bytes, events: int) -> bool:
        file = self._current
        is_disk_back = self._spare is not None and isinstance(file, MemoryFile)
        if file is None or is_disk_back or not file.writer.write(record):
            file = self._roll(len(record))
            if file is None or not file.writer.write(record):
                self.dropped += events
                self._tell_dropped(len(record))
                return False
        self.appended += 1
        self.spooled += events
        if self._spare is None and file.writer.position * 2 > file.size:
            self._wake()
        return True

    def _roll(self, needed: int) -> OwnFile | MemoryFile | None:
        """Go on with another file, if there is one; return the file to write to, `None` if there is no room."""
        file = self._next_file(max(self._file_bytes, HEAD_SIZE + needed))
        if file is not None and file is not self._current:
            self._complete_current()
            self._current = file  # before it can be the oldest, which is complete if it is not current
            self._files.append(file)
        return file

    def _next_file(self, size: int) -> OwnFile | MemoryFile | None:
        spare, self._spare = self._spare, None
        if spare is not None:
            if size <= spare.size:
                return spare
            spare.complete()
            spare.remove()
        if not self._is_disk_failing:
            if self._is_full(size):
                return None
            try:
                return self._create(size)
            except OSError as error:
                self._tell_disk_fails(error)
        return self._current if isinstance(self._current, MemoryFile) else MemoryFile()

    def _complete_current(self) -> None:
        current, self._current = self._current, None
        if current is not None:
            current.complete()

    # The sender calls what follows, and `append` at times.

    def _create(self, size: int) -> OwnFile:
        if self._owner is None or not self.directory.is_dir():
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            before, self._owner = self._owner, None
            if before is not None:
                before.release()
            self._owner = Owner.create(self.directory, self._key_hash)
        return self._create_for(self._owner, size)

    def _create_for(self, owner: Owner, size: int) -> OwnFile:
        return OwnFile(self.directory / f"{owner.name}.{next(self._numbers):08d}{FILE_SUFFIX}", size)

    def _is_full(self, size: int) -> bool:
        """Return whether there is no room for a file of a certain size.

        The files of other living processes do not count against a second file: they may be almost empty, and
        without a second file this process would drop events for ever, although all in its first one is sent.
        """
        files = self._files.copy()
        others = self.inherited.others_bytes if len(files) > 1 else 0
        own = sum(file.size for file in files)
        return own + self.inherited.left_bytes + others + size > self._max_bytes

    def _tell_dropped(self, size: int) -> None:
        most = f"{self._max_bytes:,}"
        if self._is_disk_failing:
            key, limit = "disk", f"{self.directory} takes no files, and the memory for events is full"
        elif HEAD_SIZE + size > self._file_bytes:
            key, limit = "large", f"one takes {size:,} bytes of the {most} of {self.directory}, its max_bytes"
        else:
            key, limit = "full", f"{self.directory} holds {most} bytes, its max_bytes"
        self._notices.each_minute(_log, logging.ERROR, ("dropped", key), "Events are dropped: %s", limit)

    def _tell_disk_fails(self, error: OSError) -> None:
        self._is_disk_failing = True
        self._retry_disk_at = time.monotonic() + RETRY_DISK_SECONDS
        told = error.strerror or type(error).__name__
        self._notices.each_minute(_log, logging.ERROR, "memory", _IN_MEMORY, self.directory, told)

    def _open(self) -> None:
        """Make the first file, so that no caller waits for it."""
        try:
            self._check_key()
            self._current = self._create(self._file_bytes)
            self._files.append(self._current)
        except OSError as error:
            self._tell_disk_fails(error)

    def _check_key(self) -> None:
        latest = time.monotonic() + OTHER_KEY_SECONDS
        while not {"", self._key_hash}.issuperset(living_key_hashes(self.directory)):
            if time.monotonic() > latest:
                raise ValueError(
                    f"another process sends the events in {self.directory} with another SDK key; give each "
                    "environment a directory of its own"
                )
            time.sleep(LOOK_AGAIN_SECONDS)

    def oldest_written_at(self) -> int | None:
        """Return when the oldest waiting record was written, in Unix seconds; `None` if none waits."""
        for file in (*self.inherited.files, *self._files.copy()):
            view = JournalFile(file.path, file.size) if isinstance(file, JournalFile) else file
            first = next(view.waiting(), None)
            view.close()
            if first is not None:
                return first.written_at
        return None

    # The sender alone calls what follows.

    def prepare_next_file(self) -> None:
        """Make the next file ahead of need."""
        current = self._current
        if self._spare is not None or current is None or self._is_full(self._file_bytes):
            return
        if isinstance(current, MemoryFile):
            is_due = time.monotonic() >= self._retry_disk_at
        else:
            # Not if it was moved: `_create` would release its lock, and an heir put a copy in its place.
            is_due = current.writer.position * 2 > current.size and current.path.exists()
        if not is_due:
            return
        try:
            spare = self._create(self._file_bytes)
        except OSError as error:
            self._tell_disk_fails(error)
            return
        if isinstance(spare.writer, MappedWriter):
            spare.writer.populate()
        self._is_disk_failing = False
        with self._lock:
            is_in_time = self._current is current
            if is_in_time:  # even if events are in memory now: the next record goes into this file
                self._spare = spare
        if not is_in_time:  # a caller has made a file meanwhile, whose name comes after this one's
            spare.complete()
            spare.remove()

    def keep_in_place(self) -> None:
        """Renew the dates of the files, so that nobody removes them as old, and put back what was removed.

        Raises:
            OSError: If the directory cannot be looked at, or takes no file.
        """
        if time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + RENEW_SECONDS
            self._renew()
        if self._removed_file() is None and self._is_owner():
            return
        self._notices.each_minute(_log, logging.ERROR, "removed", _REMOVED, self.directory)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        in_memory: list[MemoryFile] = []
        with self._lock:
            removed, owner = self._removed_file(), self._owner
            if removed is not None:
                removed.restore()
                self.complete()
            if owner is not None and not self._is_owner() and not owner.retake():  # now an heir sends the files
                self.complete()
                in_memory = self._leave_files(None)
        for file in in_memory:
            self._append_again(file.waiting())

    def _removed_file(self) -> OwnFile | None:
        """Return the current file if somebody has removed it."""
        current = self._current
        return current if isinstance(current, OwnFile) and not current.path.exists() else None

    def _is_owner(self) -> bool:
        """Return whether other processes see that this one owns its files, if it has any."""
        return self._owner is None or self._owner.is_in_place()

    def _renew(self) -> None:
        for file in (*self._files.copy(), self._spare):
            if isinstance(file, OwnFile):
                with contextlib.suppress(OSError):
                    os.utime(file.path)
        if self._owner is not None:
            with contextlib.suppress(OSError):
                self._owner.renew()

    def inherit(self) -> None:
        """Take over the files of processes that have died."""
        self.inherited.take_over(self._owner_names())
        if self.inherited.has_foreign:
            self._notices.once(_log, logging.WARNING, "foreign", _FOREIGN, self.directory)

    def _owner_names(self) -> list[str]:
        return [] if self._owner is None else [self._owner.name]

    def oldest(self) -> JournalFile | MemoryFile | None:
        """Return the file to be sent first: what dead processes left, then what this one has written."""
        return self.inherited.oldest() or (self._files[0] if self._files else None)

    @property
    def is_open(self) -> bool:
        """Whether records were appended since `complete`."""
        return self._current is not None

    @property
    def has_complete_file(self) -> bool:
        """Whether there is a file that the sender can send and remove."""
        oldest = self.oldest()
        return oldest is not None and self.is_complete(oldest)

    @property
    def has_waiting_files(self) -> bool:
        """Whether something waits that other processes can send."""
        files = (*self.inherited.files, *(file for file in self._files if isinstance(file, OwnFile)))
        return any(True for file in files for _ in file.waiting())

    @property
    def events_in_memory(self) -> int:
        """How many events wait that no other process can send."""
        files = [file for file in self._files.copy() if isinstance(file, MemoryFile)]
        return sum(record.events for file in files for record in file.waiting())

    def is_complete(self, file: JournalFile | MemoryFile) -> bool:
        """Return whether a file that `oldest` returned gets no more records."""
        return file is not self._current  # `file.is_complete` stays false if an interrupt hits `file.complete`

    def remove_oldest(self) -> None:
        """Remove the file that `oldest` returned: all of it is sent."""
        with self._lock:  # waits for the thread that completes the file
            file = self._take_oldest()
        file.remove()

    def leave_oldest(self, error: OSError) -> None:
        """Leave a dead process's file, which `oldest` returned, to a later look: it cannot be read."""
        told = error.strerror or type(error).__name__
        self._notices.each_minute(_log, logging.ERROR, "unreadable", _UNREADABLE, self.directory, told)
        self.inherited.leave_oldest()

    def set_aside_oldest(self, damage: DamagedFileError) -> None:
        """Rename the damaged file that `oldest` returned, and append again what can be read of it."""
        self._take_oldest()
        file = damage.file
        with self._lock:
            records = list(file.waiting())
            if file is self._current:
                self.complete()
        aside = file.set_aside()
        kept = "is gone" if aside is None else f"is kept as {aside}"
        _log.error(_SET_ASIDE, file.path, damage, len(records), kept)
        self._append_again(records)

    def _append_again(self, records: Iterable[Record]) -> None:
        for record in records:
            with self._lock:
                self.spooled -= record.events
                self.append(record.body, record.events)

    def sync(self) -> None:
        """Wait until what was appended is on the disk."""
        for file in self._files.copy():
            if isinstance(file, OwnFile) and not file.is_synced:
                file.sync()

    def complete(self) -> None:
        """Go on with another file at the next record, so that the sender can remove the current one."""
        with self._lock:
            self._complete_current()
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.complete()
            spare.remove()

    def release(self) -> None:
        """Leave what is not sent to other processes, unless this one has appended again."""
        self.inherited.release()
        with self._lock:
            if self._current is None:
                self._files.extend(self._leave_files(None))

    def hand_over(self) -> None:
        """Leave what has been appended to other processes, and go on with new files, if there is room.

        Raises:
            OSError: If the disk takes no file.
        """
        self.inherited.release()
        if not any(True for file in self._files.copy() for _ in file.waiting()):
            return
        self.inherited.measure(
            self._owner_names(), self._max_bytes - sum(file.size for file in self._files.copy())
        )
        if self._is_full(0):
            return
        owner = Owner.create(self.directory, self._key_hash)
        try:
            first = self._create_for(owner, self._file_bytes)
        except BaseException:
            owner.remove()
            raise
        with self._lock:  # around all of it: in between, a caller would make a file that stays open
            self.complete()
            in_memory = self._leave_files(owner)
            self._current = first
            self._files.append(first)
        for file in in_memory:
            self._append_again(file.waiting())

    def _leave_files(self, owner: Owner | None) -> list[MemoryFile]:
        """Leave the present owner's files to other processes, and become another owner.

        Returns:
            The files in memory, which no other process can send.
        """
        before, self._owner = self._owner, owner
        in_memory = [file for file in self._files if isinstance(file, MemoryFile)]
        is_empty = len(in_memory) == len(self._files)
        for file in self._files:
            file.close()
        self._files.clear()
        if before is not None and is_empty:
            before.remove()
        elif before is not None:
            before.release()
        return in_memory

    def _take_oldest(self) -> JournalFile | MemoryFile:
        return self.inherited.take_oldest() if self.inherited.oldest() else self._files.popleft()

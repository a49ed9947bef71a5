"""One file of a journal: how records are written into it, and read as batches.

A file begins with a head: what kind of file it is, its id, the byte up to which its records are acknowledged, and
the byte at which the batch ends that is in flight. Records follow. The length and the checksum of a record come
before its body, so that a reader sees whether all of it was written. The rest of the file is zeros.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID, uuid4, uuid5
from zlib import crc32

HEAD_SIZE: Final = 64
_HEAD: Final = struct.Struct("<8s16sQQ")
_MAGIC: Final = b"LDAIEVT1"
_OFFSET: Final = struct.Struct("<Q")
_ACKNOWLEDGED_AT: Final = 24
_IN_FLIGHT_AT: Final = 32

RECORD_HEAD: Final = struct.Struct("<IIII")
"""Length and checksum of a record's body, the number of its events, and when it was written, in Unix seconds."""

DAMAGED_SUFFIX: Final = ".corrupt"
"""How the name of a file ends that is no journal's, or is damaged, and was set aside."""

_COPY_SUFFIX: Final = ".copy"

_CLOSED: Final = -1
_BINARY: Final = getattr(os, "O_BINARY", 0)
_POPULATE_WRITE: Final = 23
_POPULATED_AT_ONCE: Final = 256 << 10


def as_record(body: bytes, events: int) -> bytes:
    """Return a body with its head before it."""
    return RECORD_HEAD.pack(len(body), crc32(body), events, int(time.time())) + body


class DamagedFileError(Exception):
    """A file is no journal's, or not as a journal writes it.

    Args:
        file: The file.
        damage: What is wrong with it.
    """

    def __init__(self, file: JournalFile, damage: str) -> None:
        super().__init__(damage)
        self.file: Final = file


class Record(NamedTuple):
    """What was handed over at once: events as JSON, joined by commas."""

    body: bytes
    events: int
    written_at: int


class Batch(NamedTuple):
    """Records that are sent together, each time under the same id.

    Args:
        payload_id: The id.
        records: Oldest first.
        end: The byte of the file at which the batch ends.
    """

    payload_id: UUID
    records: list[Record]
    end: int

    @property
    def events(self) -> int:
        """How many events the records hold."""
        return sum(record.events for record in self.records)


class MappedWriter:
    """Writes into mapped memory, without a system call. The kernel owns it, so what was written is safe."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._map = mmap.mmap(descriptor, size)
        self._map[: _HEAD.size] = _new_head()
        self._descriptor = descriptor
        self.size = size
        self.position = HEAD_SIZE

    def populate(self) -> None:
        """Have the kernel provide the memory now, so that `write` need not wait for it."""
        for start in range(0, self.size, _POPULATED_AT_ONCE):
            with contextlib.suppress(OSError):  # Linux before 5.14, and other systems
                self._map.madvise(_POPULATE_WRITE, start, min(_POPULATED_AT_ONCE, self.size - start))
            time.sleep(0)  # lets threads write in between

    def write(self, record: bytes) -> bool:
        """Append a record; return `False`, and write nothing, if there is no room for it."""
        start = self.position
        end = start + len(record)
        if end > self.size:
            return False
        self._map[start:end] = record
        self.position = end
        return True

    def written(self) -> bytes:
        """Return all records."""
        return self._map[HEAD_SIZE : self.position]

    def content(self) -> bytes:
        """Return the head and all records."""
        return self._map[: self.position]

    def end(self) -> None:
        """Write no more, and give back the space that is not used."""
        self._map.close()
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self.position)
        os.close(self._descriptor)

    def close(self) -> None:
        """Write no more here; another process may go on."""
        self._map.close()
        os.close(self._descriptor)


class PlainWriter:
    """Writes with system calls, if no space can be allocated ahead: a mapped file kills when the disk is full."""

    def __init__(self, descriptor: int, size: int) -> None:
        os.write(descriptor, _new_head().ljust(HEAD_SIZE, b"\0"))
        self._descriptor = descriptor
        self.size = size
        self.position = HEAD_SIZE

    def write(self, record: bytes) -> bool:
        """Append a record; return `False`, and write nothing, if there is no room for it."""
        end = self.position + len(record)
        if end > self.size:
            return False
        try:
            is_written = os.write(self._descriptor, record) == len(record)
        except OSError:
            is_written = False
        if not is_written:  # a full disk: the file takes no more
            self.size = self.position
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.position)
            return False
        self.position = end
        return True

    def written(self) -> bytes:
        """Return nothing: reading would move the place where the next record is written."""
        return b""

    def content(self) -> bytes:
        """Return the head and all records. After that, the next record is written behind them, as before."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return os.read(self._descriptor, self.position)

    def end(self) -> None:
        """Write no more."""
        os.close(self._descriptor)

    close = end


def _new_head() -> bytes:
    return _HEAD.pack(_MAGIC, uuid4().bytes, HEAD_SIZE, HEAD_SIZE)


def _allocate(descriptor: int, size: int) -> bool:
    """Give a file its space on the disk; return `False` if the system or the file system cannot."""
    allocate = getattr(os, "posix_fallocate", None)
    if allocate is None:
        return False
    try:
        allocate(descriptor, 0, size)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            return False
        raise
    return True


class JournalFile:
    """What the sender sees of a file: its records in batches, from the first one that is not acknowledged.

    Args:
        path: Where the file is.
        size: How many bytes of the disk it has.

    Attributes:
        is_complete: Whether no more records will be written.
        is_synced: Whether all of it is on the disk.
    """

    is_own = False

    def __init__(self, path: Path, size: int) -> None:
        self.path: Final = path
        self.size = size
        self.is_complete = True
        self.is_synced = False
        self._descriptor = _CLOSED

    def next_batch(self, max_bytes: int) -> Batch | None:
        """Return the next batch: the same until it is acknowledged or halved; `None` if there is none.

        Args:
            max_bytes: How large a batch of several records may be.

        Raises:
            DamagedFileError: If the file is not as this package writes it.
        """
        written = self._written()
        self._open()
        start, end = self._acknowledged, self._in_flight
        if end > start:  # it was tried before, perhaps by another process, and may have arrived
            records, found = parse(self._read(start, end - start))
            if found != end - start:
                raise DamagedFileError(self, "the batch in flight has changed")
        else:
            records, found = self._new_records(max_bytes)
            if not records:
                self._check_end(written)
                return None
            end = start + found
            self._set_in_flight(end)
        return Batch(uuid5(self._id, f"{start}-{end}"), records, end)

    def acknowledge(self, batch: Batch) -> None:
        """Never return the batch again."""
        self._acknowledged = batch.end
        self._write_at(_ACKNOWLEDGED_AT, batch.end)

    def halve(self, batch: Batch) -> None:
        """Make the first half of a batch the next one, under another id. Nothing of the batch has arrived."""
        half = batch.records[: len(batch.records) // 2]
        self._set_in_flight(self._acknowledged + sum(RECORD_HEAD.size + len(record.body) for record in half))

    def waiting(self) -> Iterator[Record]:
        """Return the sound records that are not acknowledged, also those that follow a damaged one."""
        with contextlib.suppress(DamagedFileError, OSError):  # whoever sends the file says what is wrong with it
            self._open()
            data = self._read(self._acknowledged, self._length())
            start = 0
            while start >= 0:
                records, end = parse(data, start)
                yield from records
                following = data.find(b'{"', end + RECORD_HEAD.size + 1)
                start = following - RECORD_HEAD.size if following >= 0 else -1

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        is_complete = self.is_complete
        descriptor = os.open(self.path, os.O_RDWR | _BINARY)
        try:
            getattr(os, "fdatasync", os.fsync)(descriptor)
        finally:
            os.close(descriptor)
        self.is_synced = is_complete

    def shrink(self) -> None:
        """Close the file, and put a copy in its place without the space behind what was written.

        The file itself is not cut: a process that has lost its lock may still write, and would die of writing
        behind the end of its mapped file.
        """
        try:
            self._open()
            written = self._read(0, self._length()).rstrip(b"\0")
            used, length = max(HEAD_SIZE, self._in_flight, len(written)), self._length()
        except DamagedFileError:  # whoever sends the file says what is wrong with it
            return
        finally:
            self.close()
        copy = self.path.with_suffix(_COPY_SUFFIX)
        try:
            if used < length:
                with copy.open("wb") as file:
                    copy.chmod(0o600)
                    file.write(written.ljust(used, b"\0"))
                    file.flush()
                    os.fsync(file.fileno())
                copy.replace(self.path)
        except OSError:
            copy.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Close the file; the sender opens it again when it reads it."""
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor != _CLOSED:
            os.close(descriptor)

    def remove(self) -> None:
        """Remove the file, of which every record is acknowledged."""
        self.close()
        self.path.unlink(missing_ok=True)

    def set_aside(self) -> Path | None:
        """Give the file another name, under which nobody sends it; return its path, `None` if it is gone."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            return self.path.rename(self.path.with_suffix(DAMAGED_SUFFIX))
        return None

    def _open(self) -> None:
        if self._descriptor != _CLOSED:
            return
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | _BINARY)
        except FileNotFoundError:
            raise DamagedFileError(self, "somebody has removed it") from None
        length = self._length()
        head = self._read(0, _HEAD.size)
        if len(head) < _HEAD.size or not head.strip(b"\0"):  # its process died before it had written anything
            self._id, self._acknowledged, self._in_flight = uuid4(), length, length
            return
        magic, raw_id, self._acknowledged, self._in_flight = _HEAD.unpack(head)
        if magic != _MAGIC or not HEAD_SIZE <= self._acknowledged <= self._in_flight <= length:
            self.close()
            raise DamagedFileError(self, "its head is not one that this package writes")
        self._id = UUID(bytes=raw_id)

    def _new_records(self, max_bytes: int) -> tuple[list[Record], int]:
        start = self._acknowledged
        data = self._read(start, max(max_bytes, RECORD_HEAD.size))
        if len(data) >= RECORD_HEAD.size:
            first = RECORD_HEAD.size + RECORD_HEAD.unpack_from(data)[0]
            if len(data) < first <= self._length() - start:
                data = self._read(start, first)
        return parse(data)

    def _check_end(self, written: int) -> None:
        """Raise `DamagedFileError` if what follows the last sound record is more than one unfinished record."""
        is_damaged = self._acknowledged < written
        rest = b"" if self.is_own else self._read(self._acknowledged, self._length())
        if len(rest) > RECORD_HEAD.size:
            end = RECORD_HEAD.size + RECORD_HEAD.unpack_from(rest)[0]
            is_damaged = bool(rest[end:].rstrip(b"\0")) or any(True for _ in self.waiting())
        if is_damaged:
            raise DamagedFileError(self, "a record is not as it was written")

    def _written(self) -> int:
        """Return the byte up to which this process has written records; 0 if another wrote the file."""
        return 0

    def _length(self) -> int:
        return os.fstat(self._descriptor).st_size

    def _read(self, start: int, size: int) -> bytes:
        os.lseek(self._descriptor, start, os.SEEK_SET)
        return os.read(self._descriptor, size)

    def _set_in_flight(self, end: int) -> None:
        self._in_flight = end
        self._write_at(_IN_FLIGHT_AT, end)

    def _write_at(self, place: int, offset: int) -> None:
        os.lseek(self._descriptor, place, os.SEEK_SET)
        os.write(self._descriptor, _OFFSET.pack(offset))


class OwnFile(JournalFile):
    """A file that this process writes.

    Args:
        path: Where no file is yet.
        size: How many bytes it may grow to.

    Attributes:
        writer: Appends its records.

    Raises:
        OSError: If the disk is full, or takes no file for another reason.
    """

    is_own = True

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(path, size)
        self.is_complete = False
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
        try:
            make_writer = MappedWriter if _allocate(descriptor, size) else PlainWriter
            self.writer: Final = make_writer(descriptor, size)
        except BaseException:
            os.close(descriptor)
            path.unlink()
            raise

    def restore(self) -> None:
        """Write a removed file again, as it was. What is appended from now on does not go into it.

        Raises:
            OSError: If the disk takes no file.
        """
        content = self.writer.content()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        except BaseException:  # a full disk: half a file would pass for the whole
            self.path.unlink(missing_ok=True)
            raise
        self.close()
        self._open()

    def waiting(self) -> Iterator[Record]:
        """Return what waits, even if somebody has removed the file before it was read."""
        if self._descriptor == _CLOSED and not self.is_complete and not self.path.exists():
            yield from parse(self.writer.written())[0]
        else:
            yield from super().waiting()

    def complete(self) -> None:
        """Write no more, so that the sender may remove the file, and give back the space that is not used."""
        self.writer.end()
        self.is_complete = True
        self.size = self.writer.position

    def _written(self) -> int:
        return self.writer.position


def parse(data: bytes, position: int = 0) -> tuple[list[Record], int]:
    """Return the sound records at a position of some bytes, and where they end."""
    records = []
    while position + RECORD_HEAD.size <= len(data):
        length, checksum, events, written_at = RECORD_HEAD.unpack_from(data, position)
        start = position + RECORD_HEAD.size
        # Before the body is copied: in a damaged file this is tried at many positions.
        if not 0 < length <= len(data) - start:
            break
        body = data[start : start + length]
        if crc32(body) != checksum:
            break
        records.append(Record(body, events, written_at))
        position = start + length
    return records, position

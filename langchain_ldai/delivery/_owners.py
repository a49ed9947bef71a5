"""Who may send a directory's files: a process owns those it writes, and holds a lock on them while it lives."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

from langchain_ldai._base.forks import PausesForForks, register_fork_safe
from langchain_ldai.delivery._journal_file import JournalFile

with contextlib.suppress(ImportError):  # not later: Python imports nothing as it ends, and events may still come
    import fcntl
with contextlib.suppress(ImportError):
    import msvcrt

SUFFIX: Final = ".owner"

FILE_SUFFIX: Final = ".events"

_NO_KEY: Final = b"\n"
"""What stands in a lock until its heir has shrunk the files. If the heir dies first, the next one shrinks them."""

_NAME: Final = re.compile(r"\d{20}-[0-9a-f]{12}-\d{8}")

_LOCKED_BYTE: Final = 1 << 20
"""The byte that is locked on Windows, where nobody can read a locked byte: so it is far behind the text."""


class Owner:
    """Who may send the files whose names begin with the owner's name.

    Attributes:
        name: The owner's name. Names of owners in one process sort in the order in which they were made.
    """

    def __init__(self, directory: Path, name: str, descriptor: int, key_hash: str = "") -> None:
        self.name: Final = name
        self._key_hash = key_hash
        self._path = directory / f"{name}{SUFFIX}"
        self._descriptor = descriptor

    @classmethod
    def create(cls, directory: Path, key_hash: str) -> Owner:
        """Make an owner that nobody else can be while this process lives.

        Args:
            directory: Where its files will lie.
            key_hash: A hash of the SDK key with which it sends them.

        Raises:
            OSError: If the directory takes no files.
        """
        while True:
            name = _names.next()
            path = directory / f"{name}{SUFFIX}"
            try:
                descriptor = locks.take(path)
            except OSError:
                # A file system without locks. This is tried again and again, and so must leave nothing behind.
                path.unlink(missing_ok=True)
                raise
            if descriptor is not None:
                owner = cls(directory, name, descriptor, key_hash)
                try:
                    os.write(descriptor, key_hash.encode())
                except BaseException:  # a full disk, which also must leave nothing behind
                    owner.remove()
                    raise
                return owner

    @classmethod
    def inherit(cls, directory: Path, name: str) -> Owner | None:
        """Take an owner's place; return `None` if its process or another heir lives, or its lock cannot be opened.

        The first heir takes the hash of the SDK key, which is not the heir's, out of the lock, shrinks the dead
        process's files, and empties the lock. An empty lock may also be new, if somebody has removed the lock of a
        living process.
        """
        try:
            descriptor = locks.take(directory / f"{name}{SUFFIX}")
        except OSError:  # another user's, or no file that this package has made
            return None
        if descriptor is None:
            return None
        with contextlib.suppress(OSError):
            if os.fstat(descriptor).st_size:
                os.write(descriptor, _NO_KEY)
                os.ftruncate(descriptor, len(_NO_KEY))
                for path in directory.glob(f"{name}.*{FILE_SUFFIX}"):
                    with contextlib.suppress(OSError):  # there may be no room for the copy
                        JournalFile(path, 0).shrink()
                os.ftruncate(descriptor, 0)
        return cls(directory, name, descriptor)

    def is_in_place(self) -> bool:
        """Return whether the lock's file is still there, so that other processes see it."""
        return _is_at(self._path, self._descriptor)

    def retake(self) -> bool:
        """Lock again, as somebody has removed the lock's file; return `False` if another process has done so."""
        descriptor = locks.take(self._path)
        if descriptor is None:
            return False
        before, self._descriptor = self._descriptor, descriptor
        locks.release(before)
        os.write(descriptor, self._key_hash.encode())
        return True

    def renew(self) -> None:
        """Give the file of the lock the present date."""
        os.utime(self._path)

    def release(self) -> None:
        """Let others inherit the files."""
        locks.release(self._descriptor)

    def close(self) -> None:
        """Leave the lock to the parent process, which holds it too."""
        locks.close(self._descriptor)

    def remove(self) -> None:
        """Remove the owner, who has no files any more."""
        if sys.platform == "win32":  # Windows removes no file that is open
            self.release()
            self._path.unlink(missing_ok=True)
        else:
            if self.is_in_place():  # else it is another's
                self._path.unlink(missing_ok=True)
            self.release()


def owner_name_of(file_name: str) -> str:
    """Return the name of the owner of a file, or of a lock; "" if it is another program's."""
    name = file_name.partition(".")[0]
    return name if file_name.endswith((SUFFIX, FILE_SUFFIX)) and _NAME.fullmatch(name) else ""


def living_key_hashes(directory: Path) -> Iterator[str]:
    """Return the hash of the SDK key of each owner that lives; "" for one that was just made, or inherited.

    This takes a dead owner's lock for a moment. That owner seems to live to another process that looks just then.
    """
    for path in directory.glob(f"*{SUFFIX}"):
        if not _NAME.fullmatch(path.stem) or not path.is_file():  # another program's, or just removed
            continue
        with contextlib.suppress(OSError):  # another user's, or it has just ended
            descriptor = locks.take(path)
            if descriptor is None:
                yield path.read_text("ascii", errors="replace").strip()
            else:
                locks.release(descriptor)


class _Names:
    """Names for owners: the clock orders those of different processes, a counter those of one."""

    def __init__(self) -> None:
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Take a name of its own."""
        self._process = f"{time.time_ns():020d}-{uuid4().hex[:12]}"
        self._count = itertools.count(1)

    def next(self) -> str:
        """Return a name that no owner has."""
        return f"{self._process}-{next(self._count):08d}"


_names: Final = _Names()


class Locks(PausesForForks):
    """The locks of this process. A child closes them, or it would keep heirs out after its parent's death."""

    def __init__(self) -> None:
        self._descriptors: set[int] = set()
        super().__init__()

    def reset_after_fork(self) -> None:
        """Close them all: they are the parent's."""
        super().reset_after_fork()
        for descriptor in self._descriptors.copy():
            self.close(descriptor)

    def take(self, path: Path) -> int | None:
        """Lock a file and return its descriptor; `None` if another process has locked or removed it."""
        return self.use(self._take, path)

    def _take(self, path: Path) -> int | None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        self._descriptors.add(descriptor)
        try:
            if _try_lock(descriptor) and _is_at(path, descriptor):
                return descriptor
        except BaseException:
            self.close(descriptor)
            raise
        self.close(descriptor)
        return None

    def release(self, descriptor: int) -> None:
        """Let others take a lock."""
        _unlock(descriptor)
        self.close(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a lock, unless that was done."""
        if descriptor in self._descriptors:
            self._descriptors.discard(descriptor)
            os.close(descriptor)


locks: Final = Locks()


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _unlock(descriptor: int) -> None:
    """Unlock a file, also for child processes that have it open."""
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False

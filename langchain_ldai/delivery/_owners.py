"""Who may send a directory's files: each process owns its files, and holds a lock on them while it lives."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

from langchain_ldai._base.process import register_fork_safe

SUFFIX: Final = ".owner"

FILE_SUFFIX: Final = ".events"

_LOCKED_BYTE: Final = 1 << 20
"""Windows locks a byte, which nobody can read meanwhile: one far behind the text."""


class Owner:
    """The one that may send certain files: those whose names begin with the owner's name.

    Attributes:
        name: The owner's name. Names of owners in one process sort in the order in which they were made.
    """

    def __init__(self, directory: Path, name: str, descriptor: int) -> None:
        self.name: Final = name
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
            descriptor = _lock(directory / f"{name}{SUFFIX}")
            if descriptor is not None:
                os.write(descriptor, key_hash.encode())
                return cls(directory, name, descriptor)

    @classmethod
    def inherit(cls, directory: Path, name: str) -> Owner | None:
        """Take an owner's place, unless its process or another heir lives, or it is another user's."""
        try:
            descriptor = _lock(directory / f"{name}{SUFFIX}")
        except PermissionError:
            return None
        return None if descriptor is None else cls(directory, name, descriptor)

    def release(self) -> None:
        """Let others inherit the files."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Remove the owner, who has no files any more."""
        if sys.platform == "win32":  # removes no file that is open
            self.release()
            self._path.unlink(missing_ok=True)
        else:
            self._path.unlink(missing_ok=True)
            self.release()


def owner_names(directory: Path) -> list[str]:
    """Return the names of a directory's owners, oldest first."""
    paths = (*directory.glob(f"*{SUFFIX}"), *directory.glob(f"*{FILE_SUFFIX}"))
    return sorted({path.name.split(".")[0] for path in paths})


def living_key_hashes(directory: Path) -> Iterator[str]:
    """Return the hash of the SDK key of each owner in the directory whose process lives; "" for one just made."""
    for path in directory.glob(f"*{SUFFIX}"):
        owner = Owner.inherit(directory, path.stem)
        if owner is not None:
            owner.release()
        else:
            with contextlib.suppress(PermissionError, FileNotFoundError):  # another user's, or it has just ended
                yield path.read_text("ascii")


class _Names:
    """Names for owners: the clock orders those of different processes, a counter those of one."""

    def __init__(self) -> None:
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Begin as a process of its own."""
        self._process = f"{time.time_ns():020d}-{uuid4().hex[:12]}"
        self._count = itertools.count(1)

    def next(self) -> str:
        """Return a name that no owner has."""
        return f"{self._process}-{next(self._count):08d}"


_names: Final = _Names()


def _lock(path: Path) -> int | None:
    """Return the descriptor of a file that this process has locked; `None` if another has, or has removed it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    try:
        if _try_lock(descriptor) and _is_at(path, descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False

"""The files that dead processes left in a directory, and who may send them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from langchain_ldai.delivery._journal_file import JournalFile
from langchain_ldai.delivery._owners import FILE_SUFFIX, Owner, owner_name_of

MAX_HELD: Final = 64
"""How many dead processes' files are held at once. Each takes a descriptor for its lock. A process may have only
1,024, and the program needs them too."""


class Inheritance:
    """The files that this process has taken over from dead ones: the oldest process first, its oldest file first.

    Args:
        directory: Where the files lie.

    Attributes:
        others_bytes: The size of the files whose processes lived when `take_over` was called last.
        has_foreign: Whether `take_over` found files then that this process may not open.
    """

    def __init__(self, directory: Path) -> None:
        self._directory: Final = directory
        self._left: list[tuple[Owner, deque[JournalFile]]] = []
        self._more: deque[str] = deque()
        self.others_bytes = self._more_bytes = 0
        self.has_foreign = False

    @property
    def files(self) -> list[JournalFile]:
        """The files, oldest first."""
        return [file for _, files in self._left.copy() for file in files.copy()]

    @property
    def left_bytes(self) -> int:
        """The size of the files that dead processes have left, also of those that are not taken over yet."""
        return sum(file.size for file in self.files) + self._more_bytes

    def take_over(self, mine: Collection[str]) -> None:
        """Take over the files of processes that have died.

        Args:
            mine: The names of owners whose files this process has already.
        """
        held = {*mine, *(owner.name for owner, _ in self._left)}
        self._more = deque(name for name in self._paths_by_owner() if name not in held)
        others = self._take_over_more()
        self.has_foreign = not all(map(may_open, others))
        self.others_bytes = sum(map(_size_of, others))

    def measure(self, mine: Collection[str], room: int) -> None:
        """See how much dead processes have left, without taking it over.

        Args:
            mine: The names of owners whose files are this process's.
            room: How many bytes are free. Only if all files take more, this finds out which processes are dead: it
                takes each lock for a moment, which keeps other heirs from it.
        """
        paths = {name: paths for name, paths in self._paths_by_owner().items() if name not in mine}
        self._more_bytes = _size_of_all(paths.values())
        if self._more_bytes > room:
            self._more_bytes = _size_of_all([paths[name] for name in paths if self._is_left(name)])

    def _is_left(self, name: str) -> bool:
        owner = Owner.inherit(self._directory, name)
        if owner is not None:
            owner.release()
        return owner is not None

    def _paths_by_owner(self) -> dict[str, list[Path]]:
        """Return the names of the owners, oldest first, and the files of each. The directory is read once."""
        try:
            names = sorted(path.name for path in self._directory.iterdir())
        except OSError:  # it cannot be read, or is gone; events may be in memory all the same
            names = []
        found: dict[str, list[Path]] = {}
        for name in names:
            if owner_name := owner_name_of(name):
                paths = found.setdefault(owner_name, [])
                if name.endswith(FILE_SUFFIX):
                    paths.append(self._directory / name)
        return found

    def _take_over_more(self) -> list[Path]:
        """Take over files of the dead processes that `take_over` has found, up to `MAX_HELD`.

        Returns:
            The files of the living processes among them.
        """
        taken: list[Owner] = []
        living: list[str] = []
        while self._more and len(self._left) + len(taken) < MAX_HELD:
            name = self._more.popleft()
            owner = Owner.inherit(self._directory, name)
            if owner is None:
                living.append(name)
            else:
                taken.append(owner)
        # Only now: before this process had the lock, another heir may have sent and removed files.
        paths = self._paths_by_owner()
        for owner in taken:
            if files := deque(JournalFile(path, _size_of(path)) for path in paths.get(owner.name, ())):
                self._left.append((owner, files))
            else:
                owner.remove()
        self._more_bytes = sum(_size_of(path) for name in self._more for path in paths.get(name, ()))
        return [path for name in living for path in paths.get(name, ())]

    def oldest(self) -> JournalFile | None:
        """Return the file to be sent first; `None` for none."""
        while self._left or self._more:
            if not self._left:
                self._take_over_more()
                continue
            owner, files = self._left[0]
            if files:
                return files[0]
            del self._left[0]
            owner.remove()
        return None

    def take_oldest(self) -> JournalFile:
        """Take out the file that `oldest` returned."""
        return self._left[0][1].popleft()

    def leave_oldest(self) -> None:
        """Leave the files of the oldest process to a later look, of this process or another."""
        self._close_oldest().release()

    def release(self) -> None:
        """Leave the files to others."""
        self._more.clear()
        while self._left:
            self.leave_oldest()

    def close(self) -> None:
        """Leave the files to the parent process, which has them open too."""
        self._more.clear()
        while self._left:
            self._close_oldest().close()

    def _close_oldest(self) -> Owner:
        owner, files = self._left.pop(0)
        for file in files:
            file.close()
        return owner


def may_open(path: Path) -> bool:
    """Return whether this process may send a file, or the file is gone."""
    return not path.exists() or os.access(path, os.R_OK | os.W_OK)


def _size_of_all(paths: Iterable[Iterable[Path]]) -> int:
    return sum(_size_of(path) for group in paths for path in group)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # its owner has just removed it, or it is no file
        return 0

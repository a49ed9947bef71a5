"""The files that dead processes left in a directory, and who may send them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from pathlib import Path
from typing import Final

from langchain_ldai.delivery._journal_file import JournalFile
from langchain_ldai.delivery._owners import FILE_SUFFIX, Owner, owner_names


class Inheritance:
    """The files that this process has taken over from dead ones: oldest process first, each one's in its order.

    Args:
        directory: Where the files lie.

    Attributes:
        others_bytes: The size of the files whose processes lived when `look` was called last.
    """

    def __init__(self, directory: Path) -> None:
        self._directory: Final = directory
        self._left: list[tuple[Owner, deque[JournalFile]]] = []
        self.others_bytes = 0

    @property
    def files(self) -> list[JournalFile]:
        """The files, oldest first."""
        return [file for _, files in self._left.copy() for file in files.copy()]

    def look(self, mine: Collection[str]) -> None:
        """Take over the files of processes that have died.

        Args:
            mine: The names of owners whose files this process has already.
        """
        others_bytes = 0
        for name in owner_names(self._directory):
            if name in mine or any(name == owner.name for owner, _ in self._left):
                continue
            owner = Owner.inherit(self._directory, name)
            files = deque(
                JournalFile(path, _size_of(path))
                for path in sorted(self._directory.glob(f"{name}.*{FILE_SUFFIX}"))
            )
            if owner is None:
                others_bytes += sum(file.size for file in files)
            elif files:
                self._left.append((owner, files))
            else:
                owner.remove()
        self.others_bytes = others_bytes

    def oldest(self) -> JournalFile | None:
        """Return the file to be sent first; `None` for none."""
        while self._left:
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
        owner, files = self._left.pop(0)
        for file in files:
            file.close()
        owner.release()

    def release(self) -> None:
        """Leave the files to others."""
        while self._left:
            self.leave_oldest()

    def close(self) -> None:
        """Leave the files to the parent process, which has them open too."""
        left, self._left = self._left, []
        for owner, files in left:
            for file in files:
                file.close()
            owner.close()


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # its owner has just removed it, or it is no file
        return 0

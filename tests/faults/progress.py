"""How far a worker got, also if it was killed: numbers in a mapped file."""

import mmap
import struct
from pathlib import Path
from typing import Final, NamedTuple

_FIELDS: Final = struct.Struct("<QQQ")
_SAMPLE_EVERY: Final = 256


class Progress(NamedTuple):
    """What the file of a lane says.

    Attributes:
        done: How many numbers, from 0 on, the lane is done with: the call that sent the last one has returned.
        early_kib: The most memory the process held in the first half.
        late_kib: The same for the second half.
    """

    done: int = 0
    early_kib: int = 0
    late_kib: int = 0

    @property
    def grown_kib(self) -> int:
        """By how much it held more in the second half; 0 where one half was too short to tell."""
        return self.late_kib - self.early_kib if self.early_kib and self.late_kib else 0


class ProgressFile:
    """The file of one lane: a sequence of numbers that one thread after the other sends.

    Args:
        folder: Where all lanes have their files.
        lane: Its name.
        total: How many numbers it is going to send.
    """

    def __init__(self, folder: Path, lane: str, total: int) -> None:
        path = folder / lane
        if not path.exists():
            path.write_bytes(bytes(_FIELDS.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _FIELDS.size)
        self._half = total // 2

    def note(self, done: int) -> None:
        """Say that the first `done` numbers are sent. This makes no system call but for every 256th."""
        if done % _SAMPLE_EVERY:
            self._map[:8] = done.to_bytes(8, "little")
            return
        _, early, late = _FIELDS.unpack_from(self._map)
        if done < self._half:
            early = max(early, _memory_kib())
        else:
            late = max(late, _memory_kib())
        _FIELDS.pack_into(self._map, 0, done, early, late)


def read_progress(path: Path) -> Progress:
    """Return what a lane's file says."""
    return Progress(*_FIELDS.unpack(path.read_bytes().ljust(_FIELDS.size, b"\0")))


def _memory_kib() -> int:
    """Return what the process holds in memory of its own; 0 where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
    except FileNotFoundError:
        return 0

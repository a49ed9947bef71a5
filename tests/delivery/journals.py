"""Journals for tests, what is done with them, and processes that die over them."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from langchain_ldai.delivery import _owners
from langchain_ldai.delivery._journal import Journal
from langchain_ldai.delivery._journal_file import DamagedFileError
from tests.support.programs import run_program

KEY = "hash-of-a-key"
NOBODYS = "00000000000000000001-00000000000a-00000001"
"""The name of an owner that has died."""
SMALL = 64 << 10
LARGE = 1 << 20


def make_journal(directory: Path, *, max_bytes: int = SMALL, key: str = KEY) -> Journal:
    """Return a journal of small files."""
    return Journal(directory, key, max_bytes, lambda: None)


def take_all(journal: Journal) -> list[bytes]:
    """Do what the sender does: return all that the journal holds, and acknowledge it."""
    found = []
    while (file := journal.oldest()) is not None:
        is_complete = journal.is_complete(file)
        try:
            batch = file.next_batch(LARGE)
        except DamagedFileError as damage:
            journal.set_aside_oldest(damage)
            continue
        if batch is not None:
            found += [record.body for record in batch.records]
            file.acknowledge(batch)
        elif is_complete:
            journal.remove_oldest()
        else:
            break
    return found


def numbered(count: int, size: int = 0) -> list[bytes]:
    """Return bodies that tell their order."""
    return [json.dumps({"n": n, "filling": "x" * size}).encode() for n in range(count)]


def write(journal: Journal, bodies: list[bytes]) -> None:
    """Append each body."""
    for body in bodies:
        journal.append(body)


def run_child(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, which ends itself."""
    head = "import os, sys, threading, signal\nfrom pathlib import Path\n" + (
        "from tests.delivery.journals import make_journal, numbered, write\n"
    )
    return run_program(head + code, *arguments)


def files_in(directory: Path, suffix: str = "") -> list[str]:
    """Return the names of the files in a directory."""
    return sorted(path.name for path in directory.iterdir() if path.name.endswith(suffix))


def break_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full."""

    def allocate(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", allocate)


def be_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer what Windows offers: a way to lock a byte of a file, and none to allocate space."""
    windows = ModuleType("msvcrt")
    windows.LK_NBLCK = 2

    def lock(descriptor: int, mode: int, count: int) -> None:
        assert (mode, count) == (2, 1)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) > 1000
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(13, "locked") from error

    windows.locking = lock
    monkeypatch.setattr(_owners, "msvcrt", windows, raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delattr(os, "posix_fallocate")

"""Who may send a directory's files."""

import fcntl
import os
import time
from pathlib import Path

import pytest

from langchain_ldai.delivery._inheritance import Inheritance
from langchain_ldai.delivery._journal_file import JournalFile
from langchain_ldai.delivery._owners import Owner, living_key_hashes, locks
from tests.delivery.journals import NOBODYS, be_on_windows, files_in, make_journal

KEY = "hash-of-a-key"


@pytest.fixture(params=["linux", "win32"], autouse=True)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The system's name, with a stand-in for Windows' way to lock a file."""
    if request.param == "win32":
        be_on_windows(monkeypatch)
    return request.param


def test_an_owner_has_no_heir_while_it_lives(tmp_path: Path) -> None:
    """Once it is released it has one, and no second one beside that."""
    owner = Owner.create(tmp_path, KEY)
    assert Owner.inherit(tmp_path, owner.name) is None

    owner.release()
    heir = Owner.inherit(tmp_path, owner.name)
    assert heir is not None
    assert Owner.inherit(tmp_path, owner.name) is None

    heir.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_keys_of_living_owners_are_known_by_their_hash(tmp_path: Path) -> None:
    """A dead owner's is of no interest, and that of one that is just being made is not known yet."""
    living, dead, new = Owner.create(tmp_path, KEY), Owner.create(tmp_path, "old"), Owner.create(tmp_path, "")
    dead.release()

    assert sorted(living_key_hashes(tmp_path)) == ["", KEY]
    assert len(list(tmp_path.iterdir())) == 3
    living.release()
    new.release()


def test_an_heir_shows_no_key_of_a_dead_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that starts meanwhile with a new key would take the heir for one that sends with the old key."""
    owner = Owner.create(tmp_path, "old")
    (tmp_path / f"{owner.name}.00000001.events").write_bytes(b"")
    owner.release()
    seen: list[str] = []
    monkeypatch.setattr(JournalFile, "shrink", lambda file: seen.extend(living_key_hashes(tmp_path)))
    heir = Owner.inherit(tmp_path, owner.name)

    assert heir is not None
    assert seen == [""]
    heir.remove()


def test_processes_that_start_together_with_a_new_key_do_not_keep_each_other_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each looks at what a dead process left, and seems to be that process to the others while it looks."""
    dead = Owner.create(tmp_path, "old")
    dead.release()
    looks = [locks.take(tmp_path / f"{dead.name}.owner")]
    monkeypatch.setattr(time, "sleep", lambda seconds: locks.release(looks.pop()))
    journal = make_journal(tmp_path, key="new")

    assert looks == []
    journal.complete()


@pytest.mark.parametrize("first", ["removed", "locked"])
def test_a_lock_that_somebody_takes_while_it_is_made_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Another process that looks for dead owners may take it for one."""
    original = os.open
    taken: list[int] = []

    def open_and_interfere(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = original(path, flags, mode)
        if not taken:
            taken.append(original(path, os.O_RDWR))
            if first == "removed":
                Path(path).unlink()
            else:
                fcntl.flock(taken[0], fcntl.LOCK_EX)
        return descriptor

    monkeypatch.setattr(os, "open", open_and_interfere)
    owner = Owner.create(tmp_path, KEY)
    os.close(taken[0])

    assert list(living_key_hashes(tmp_path)) == [KEY]
    owner.remove()


def test_a_lock_that_cannot_be_looked_at_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the caller's, and no descriptor is left open."""
    closed: list[int] = []
    original = os.close
    monkeypatch.setattr(os, "close", lambda descriptor: (closed.append(descriptor), original(descriptor)))

    def fail(first: object, second: object) -> bool:
        raise OSError(5, "broken")

    monkeypatch.setattr(os.path, "samestat", fail)
    with pytest.raises(OSError, match="broken"):
        Owner.create(tmp_path, KEY)
    assert len(closed) == 1


def test_another_users_owner_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files cannot be opened."""
    owner = Owner.create(tmp_path, KEY)
    owner.release()
    original = os.open

    def open_own(path: Path, flags: int, mode: int = 0o777) -> int:
        if Path(path).parent == tmp_path:
            raise PermissionError(13, "Permission denied")
        return original(path, flags, mode)

    monkeypatch.setattr(os, "open", open_own)
    Inheritance(tmp_path).take_over([])

    assert Owner.inherit(tmp_path, owner.name) is None
    assert [path.stem for path in tmp_path.iterdir()] == [owner.name]


def test_files_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    """Whatever they are called, nobody inherits them, and nothing is removed."""
    (tmp_path / "project.owner").write_text("mine")
    (tmp_path / "folder.owner").mkdir()
    (tmp_path / "folder.1.events").mkdir()
    (tmp_path / f"{NOBODYS}.owner").mkdir()
    Inheritance(tmp_path).take_over([])

    assert list(living_key_hashes(tmp_path)) == []
    assert files_in(tmp_path) == [f"{NOBODYS}.owner", "folder.1.events", "folder.owner", "project.owner"]


def test_a_full_disk_takes_no_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried every few seconds, so neither a file nor a descriptor may be left."""

    def write(descriptor: int, text: bytes) -> int:
        raise OSError(28, "No space left on device")

    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space"):
        Owner.create(tmp_path, KEY)

    assert files_in(tmp_path) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_owner_without_files_is_removed(tmp_path: Path) -> None:
    """Its process died before it wrote any, or its heir before it removed the lock."""
    Owner.create(tmp_path, KEY).release()
    Inheritance(tmp_path).take_over([])

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_its_owner_removes_meanwhile_has_no_size(tmp_path: Path) -> None:
    """The owner lives, and has just sent it."""
    owner = Owner.create(tmp_path, KEY)
    (tmp_path / f"{owner.name}.1.events").symlink_to(tmp_path / "gone")
    inheritance = Inheritance(tmp_path)
    inheritance.take_over([])

    assert inheritance.others_bytes == 0
    assert inheritance.oldest() is None
    owner.release()


def test_a_file_system_without_locks_takes_no_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network folders have none; it is tried every few seconds, so no file may be left."""

    def lock(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", lock)
    with pytest.raises(OSError, match="No locks"):
        Owner.create(tmp_path, KEY)

    assert files_in(tmp_path) == []

"""Somebody removes the files of a process that lives."""

import os
import resource
import shutil
from pathlib import Path

import pytest

from langchain_ldai.delivery._journal import Journal
from langchain_ldai.delivery._owners import Owner, living_key_hashes
from tests.delivery.journals import (
    KEY,
    LARGE,
    SMALL,
    break_disk,
    files_in,
    make_journal,
    numbered,
    take_all,
    write,
)


@pytest.mark.parametrize("is_mapped", [True, False], ids=["mapped", "plain"])
@pytest.mark.parametrize("whole", [True, False], ids=["the directory", "its files"])
def test_files_that_are_removed_while_their_process_lives_are_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_mapped: bool, whole: bool
) -> None:
    """As they were: a batch on its way stays the same, and the death of the process loses nothing."""
    if not is_mapped:
        monkeypatch.delattr(os, "posix_fallocate")
    journal, bodies = make_journal(tmp_path / "events"), numbered(3)
    write(journal, bodies[:2])
    file = journal.oldest()
    assert file is not None
    on_its_way = file.next_batch(1)
    if whole:
        shutil.rmtree(journal.directory)
    else:
        for path in journal.directory.iterdir():
            path.unlink()

    journal.keep_in_place()
    journal.keep_in_place()
    journal.append(bodies[2])

    found = [path.read_bytes() for path in sorted(journal.directory.glob("*.events"))]
    assert [[body in content for body in bodies] for content in found] == [
        [True, True, False],
        [False, False, True],
    ]
    assert file.next_batch(LARGE) == on_its_way
    assert take_all(journal) == bodies
    assert list(living_key_hashes(journal.directory)) == [KEY]
    assert caplog.text.count("Somebody removes files") == 1
    assert journal.spooled == 3
    journal.complete()
    take_all(journal)
    journal.release()


def test_what_an_heir_has_taken_meanwhile_is_left_to_it(journal: Journal) -> None:
    """Without its file the lock kept nobody out, so both would send it."""
    heir = make_journal(journal.directory)
    journal.append(b"1")
    (journal.directory / files_in(journal.directory, ".owner")[0]).unlink()
    heir.inherit()

    journal.keep_in_place()
    journal.append(b"2")

    assert take_all(heir) == [b"1"]
    assert take_all(journal) == [b"2"]
    heir.complete()
    take_all(heir)
    heir.release()


def test_a_disk_that_takes_no_file_back_loses_nothing(journal: Journal) -> None:
    """What is still mapped is sent by the process that lives."""
    journal.append(b"1")
    shutil.rmtree(journal.directory)
    journal.directory.write_text("no directory")

    with pytest.raises(OSError, match="exists"):
        journal.keep_in_place()

    journal.directory.unlink()
    assert take_all(journal) == [b"1"]


def test_half_a_file_does_not_pass_for_the_whole(journal: Journal) -> None:
    """A disk that becomes full leaves no part of the file: it is put back at the next look."""
    write(journal, numbered(10, 1000))
    (file,) = journal.directory.glob("*.events")
    file.unlink()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limit[1]))
    try:
        with pytest.raises(OSError, match="large"):
            journal.keep_in_place()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    assert not file.exists()
    journal.keep_in_place()
    assert take_all(journal) == numbered(10, 1000)


def test_what_is_in_memory_when_an_heir_comes_goes_on(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """No heir can send it."""
    with monkeypatch.context() as patch:
        break_disk(patch)
        journal.complete()
        take_all(journal)
        journal.append(b"1")
    [name] = files_in(journal.directory, ".owner")
    (journal.directory / name).unlink()
    heir = Owner.inherit(journal.directory, name.removesuffix(".owner"))
    assert heir is not None

    journal.keep_in_place()

    assert take_all(journal) == [b"1"]
    assert heir.is_in_place()
    heir.remove()


def test_a_directory_that_is_moved_is_nobody_elses_while_its_process_writes_there(tmp_path: Path) -> None:
    """An heir puts a copy in the place of what it inherits, and what is written after that would be lost."""
    journal, moved = make_journal(tmp_path / "events"), tmp_path / "moved"
    write(journal, [b"y" * (SMALL // 6)])
    (name,) = files_in(journal.directory, ".owner")
    journal.directory.rename(moved)

    journal.prepare_next_file()
    heir = Owner.inherit(moved, name.removesuffix(".owner"))
    assert heir is None
    write(journal, [b"2"])
    journal.keep_in_place()
    journal.prepare_next_file()
    write(journal, [b"3"])
    assert take_all(journal) == [b"y" * (SMALL // 6), b"2", b"3"]
    journal.complete()
    take_all(journal)
    journal.release()


def test_the_files_of_a_process_that_lives_never_look_old(journal: Journal) -> None:
    """Systems remove what nobody has written for days; once an hour is enough against that."""
    journal.append(b"y" * (SMALL // 6))
    journal.prepare_next_file()
    paths = [path for path in journal.directory.iterdir() if path.is_file()]
    for path in paths:
        os.utime(path, (0, 0))

    journal.keep_in_place()
    renewed = [path.stat().st_mtime > 0 for path in paths]
    for path in paths:
        os.utime(path, (0, 0))
    journal.keep_in_place()

    assert renewed == [True] * 3
    assert {path.stat().st_mtime for path in paths} == {0}

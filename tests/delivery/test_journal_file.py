"""One file of a journal: what is written into it is read as batches."""

import errno
import os
import stat
import time
from pathlib import Path

import pytest

from langchain_ldai.delivery._journal_file import (
    HEAD_SIZE,
    DamagedFileError,
    JournalFile,
    MappedWriter,
    OwnFile,
    PlainWriter,
    as_record,
)

SIZE = 4096
LARGE = 1 << 20


def refuse_to_allocate(number: int):
    """Return a `posix_fallocate` that fails."""

    def allocate(descriptor: int, offset: int, size: int) -> None:
        raise OSError(number, os.strerror(number))

    return allocate


@pytest.fixture(params=["mapped", "plain", "plain_file_system"])
def file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A new file that this process writes: mapped, or where no space can be allocated."""
    if request.param == "plain":
        monkeypatch.delattr(os, "posix_fallocate")
    elif request.param == "plain_file_system":
        monkeypatch.setattr(os, "posix_fallocate", refuse_to_allocate(errno.EOPNOTSUPP))
    created = OwnFile(tmp_path / "a.events", SIZE)
    assert isinstance(created.writer, MappedWriter if request.param == "mapped" else PlainWriter)
    yield created
    if not created.is_complete:
        created.complete()
    created.close()


def write(file: OwnFile, *bodies: bytes) -> bool:
    """Write records of one event each, and return whether all had room."""
    return all(file.writer.write(as_record(body, 1)) for body in bodies)


def bodies(file: JournalFile, max_bytes: int = LARGE) -> list[bytes]:
    """Return the bodies of the next batch."""
    batch = file.next_batch(max_bytes)
    return [] if batch is None else [record.body for record in batch.records]


def test_records_are_read_in_the_order_in_which_they_were_written(file: OwnFile) -> None:
    """A batch holds all that is not acknowledged, oldest first."""
    assert write(file, b'{"a":1}', b'{"a":2}')
    batch = file.next_batch(LARGE)
    assert batch is not None
    assert [record.body for record in batch.records] == [b'{"a":1}', b'{"a":2}']
    assert batch.events == 2

    file.acknowledge(batch)
    assert file.next_batch(LARGE) is None

    assert write(file, b'{"a":3}')
    assert bodies(file) == [b'{"a":3}']


def test_a_batch_has_a_limit(file: OwnFile) -> None:
    """It ends before the record that would make it too large; a single record may be larger."""
    assert write(file, b"x" * 100, b"y" * 50, b"z" * 50)
    found = []
    while batch := file.next_batch(140):
        found.append([record.body[:1] for record in batch.records])
        file.acknowledge(batch)

    assert found == [[b"x"], [b"y", b"z"]]
    assert not bodies(file, 10)


def test_a_record_may_be_larger_than_the_limit(file: OwnFile) -> None:
    """It is a batch by itself."""
    assert write(file, b"x" * 100, b"y")
    assert bodies(file, 20) == [b"x" * 100]


def test_a_batch_stays_the_same_for_an_heir(file: OwnFile) -> None:
    """What was tried once is tried again with the same records under the same id, whatever was written since."""
    write(file, b"1", b"2")
    first = file.next_batch(LARGE)
    write(file, b"3")
    again = file.next_batch(LARGE)
    by_heir = JournalFile(file.path, SIZE).next_batch(1)

    assert first is not None
    assert first == again == by_heir


def test_a_narrowed_batch_is_halved_under_another_id(file: OwnFile) -> None:
    """An heir sees the half too; the other half comes with what was written since."""
    write(file, b"1", b"2", b"3")
    whole = file.next_batch(LARGE)
    assert whole is not None
    file.halve(whole)
    write(file, b"4")
    half = file.next_batch(LARGE)
    assert half is not None
    by_heir = JournalFile(file.path, SIZE).next_batch(LARGE)
    file.acknowledge(half)

    assert half == by_heir
    assert half.payload_id != whole.payload_id
    assert [record.body for record in half.records] == [b"1"]
    assert bodies(file) == [b"2", b"3", b"4"]


def test_what_is_acknowledged_is_not_read_again(file: OwnFile) -> None:
    """An heir begins where its predecessor ended."""
    write(file, b"1", b"2")
    batch = file.next_batch(1)
    assert batch is not None
    file.acknowledge(batch)

    assert bodies(JournalFile(file.path, SIZE)) == [b"2"]


def test_a_full_file_takes_no_more(file: OwnFile) -> None:
    """It holds what had room."""
    half = b"x" * (SIZE // 2)

    assert write(file, half)
    assert not write(file, half)
    assert bodies(file) == [half]


def test_a_record_that_was_not_finished_is_no_damage(file: OwnFile) -> None:
    """Its process died while it wrote: what came before is read."""
    write(file, b"1")
    assert file.writer.write(as_record(b"22222222", 1)[:-3])
    heir = JournalFile(file.path, SIZE)
    batch = heir.next_batch(LARGE)
    assert batch is not None
    heir.acknowledge(batch)

    assert batch.events == 1
    assert heir.next_batch(LARGE) is None


@pytest.mark.parametrize("content", [b"", b"\0" * 10, b"\0" * SIZE])
def test_a_file_whose_process_died_before_its_head_was_written_is_empty(tmp_path: Path, content: bytes) -> None:
    """There is nothing to send."""
    path = tmp_path / "a.events"
    path.write_bytes(content)

    assert JournalFile(path, SIZE).next_batch(LARGE) is None


@pytest.mark.parametrize(
    ("place", "rubbish"),
    [
        pytest.param(0, b"rubbish", id="no journal's"),
        pytest.param(24, b"\xff" * 8, id="acknowledged beyond the end"),
        pytest.param(24, b"\0" * 8, id="acknowledged before the first record"),
        pytest.param(32, b"\0" * 8, id="in flight before the acknowledged"),
    ],
)
def test_a_head_that_no_journal_writes_is_damage(tmp_path: Path, place: int, rubbish: bytes) -> None:
    """Nothing of the file is sent."""
    file = OwnFile(tmp_path / "a.events", SIZE)
    write(file, b"1")
    file.complete()
    overwrite(file.path, place, rubbish)
    heir = JournalFile(file.path, SIZE)

    with pytest.raises(DamagedFileError):
        heir.next_batch(LARGE)
    assert not list(heir.waiting())


def overwrite(path: Path, place: int, content: bytes) -> None:
    """Change a file's bytes."""
    with path.open("r+b") as opened:
        opened.seek(place)
        opened.write(content)


@pytest.mark.parametrize("is_own", [True, False], ids=["own", "inherited"])
def test_the_records_around_a_damaged_one_can_be_read(tmp_path: Path, is_own: bool) -> None:
    """The damage is told once what came before is acknowledged, and then what follows is found."""
    written = OwnFile(tmp_path / "a.events", SIZE)
    write(written, b'{"a":1}', b'{"a":2}', b'{"a":3}', b'{"a":4}')
    overwrite(written.path, HEAD_SIZE + 23, b"rubbish all over")
    file = written if is_own else JournalFile(written.path, SIZE)
    batch = file.next_batch(LARGE)
    assert batch is not None
    file.acknowledge(batch)

    with pytest.raises(DamagedFileError):
        file.next_batch(LARGE)
    assert [record.body for record in file.waiting()] == [b'{"a":3}', b'{"a":4}']
    file.close()
    written.complete()


def test_a_batch_that_changed_in_flight_is_damage(tmp_path: Path) -> None:
    """It is not sent under the id of another."""
    file = OwnFile(tmp_path / "a.events", SIZE)
    write(file, b'{"a":1}')
    file.next_batch(LARGE)
    overwrite(file.path, HEAD_SIZE + 18, b"x")

    with pytest.raises(DamagedFileError):
        file.next_batch(LARGE)
    file.complete()
    file.close()


def test_a_file_that_somebody_removed_is_damage(tmp_path: Path) -> None:
    """It cannot be set aside, and this is no error."""
    file = JournalFile(tmp_path / "a.events", SIZE)

    with pytest.raises(DamagedFileError, match="removed"):
        file.next_batch(LARGE)
    file.set_aside()


def test_a_file_is_its_users_alone(file: OwnFile) -> None:
    """Nobody else can read it."""
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_no_file_is_left_where_the_disk_takes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Space that cannot be allocated is no space that can be mapped."""
    monkeypatch.setattr(os, "posix_fallocate", refuse_to_allocate(number))

    with pytest.raises(OSError, match=os.strerror(number)):
        OwnFile(tmp_path / "a.events", SIZE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("full", ["raises", "writes a part"])
def test_a_disk_that_is_full_ends_a_plain_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str) -> None:
    """What had room is read, and nothing is written after it."""
    monkeypatch.delattr(os, "posix_fallocate")
    file = OwnFile(tmp_path / "a.events", SIZE)
    write(file, b"1")

    def write_on_full_disk(descriptor: int, data: bytes) -> int:
        if full == "raises":
            raise OSError(errno.ENOSPC, "full")
        return original(descriptor, data[:5])

    original = os.write
    monkeypatch.setattr(os, "write", write_on_full_disk)
    assert not write(file, b"2")
    monkeypatch.undo()

    assert not write(file, b"3")
    file.complete()
    assert bodies(JournalFile(file.path, SIZE)) == [b"1"]


def test_memory_that_the_kernel_does_not_provide_ahead_is_mapped_all_the_same(tmp_path: Path) -> None:
    """To populate a file is a help, not a need."""
    file = OwnFile(tmp_path / "a.events", SIZE + 1)
    assert isinstance(file.writer, MappedWriter)
    file.writer.populate()

    assert write(file, b"1")
    assert bodies(file) == [b"1"]
    file.sync()
    assert not file.is_synced
    file.complete()
    file.sync()
    assert file.is_synced
    file.close()


def test_a_large_record_that_was_not_finished_is_soon_passed(tmp_path: Path) -> None:
    """Its process was killed meanwhile. Records are looked for at each object in it, of which it may have many."""
    body = b",".join([b'{"kind":"index","context":{"kind":"user","key":"u"}}'] * 80_000)
    file = OwnFile(tmp_path / "1.events", len(body) + 1_000)
    file.writer.write(as_record(body, 80_000)[:-10_000])
    file.complete()
    started = time.monotonic()

    assert JournalFile(file.path, 0).next_batch(1_000) is None
    assert time.monotonic() - started < 5

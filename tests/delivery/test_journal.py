"""The journal of one process."""

import gc
import logging
import os
import shutil
import stat
import threading
from pathlib import Path

import pytest

from langchain_ldai.delivery import _journal, _memory_file
from langchain_ldai.delivery._journal import Journal
from langchain_ldai.delivery._journal_file import RECORD_HEAD, JournalFile
from langchain_ldai.delivery._memory_file import MAX_RECORDS
from tests.delivery.journals import (
    KEY,
    LARGE,
    NOBODYS,
    SMALL,
    break_disk,
    files_in,
    make_journal,
    numbered,
    take_all,
    write,
)


def test_records_are_kept_in_order_over_many_files(journal: Journal) -> None:
    """A full file is followed by the next; what is sent is removed."""
    bodies = numbered(100, 400)
    write(journal, bodies)

    assert len(files_in(journal.directory, ".events")) > 2
    assert take_all(journal) == bodies
    assert len(files_in(journal.directory, ".events")) == 1
    assert journal.appended == journal.spooled == 100


def test_a_record_that_is_larger_than_a_file_gets_one_of_its_own(journal: Journal) -> None:
    """It keeps its place, also where the next file is ready."""
    bodies = [b"1", b"2" * (SMALL // 2 - 1000), b"3"]
    journal.append(b"0" * (SMALL // 8 + 1000))
    journal.prepare_next_file()
    write(journal, bodies)

    assert take_all(journal)[1:] == bodies


def test_a_process_that_has_sent_all_leaves_nothing(tmp_path: Path) -> None:
    """Its lock goes too."""
    journal = make_journal(tmp_path)
    write(journal, numbered(3))
    journal.complete()
    take_all(journal)
    journal.release()

    assert files_in(tmp_path) == []


def test_after_the_end_records_go_into_new_files(journal: Journal) -> None:
    """Whoever appends after the journal was left is not lost either."""
    journal.complete()
    journal.append(b"1")
    journal.release()
    assert take_all(journal) == [b"1"]

    journal.complete()
    take_all(journal)
    journal.release()
    journal.append(b"2")
    assert take_all(journal) == [b"2"]


def test_the_directory_is_its_users_alone(journal: Journal) -> None:
    """Nobody else reads what lies there."""
    assert stat.S_IMODE(journal.directory.stat().st_mode) == 0o700
    for name in files_in(journal.directory):
        assert stat.S_IMODE((journal.directory / name).stat().st_mode) == 0o600


def test_more_than_the_limit_is_dropped_and_told(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    """The newest is dropped; once there is room again, events are taken again."""
    bodies = numbered(200, 1000)
    write(journal, bodies)
    kept = take_all(journal)

    assert kept == bodies[: len(kept)]
    assert journal.dropped == 200 - len(kept) > 0
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "Events are dropped" in caplog.text
    assert str(journal.directory) in caplog.text

    journal.append(b"later")
    assert take_all(journal) == [b"later"]


def test_an_event_that_is_larger_than_the_limit_is_told_with_its_size(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """The directory is not full, and others are taken."""
    bodies = [b"1", b"2" * SMALL, b"3"]
    write(journal, bodies)

    assert take_all(journal) == [b"1", b"3"]
    (record,) = caplog.records
    assert (
        f"one takes {SMALL + RECORD_HEAD.size:,} bytes of the {SMALL:,} of {journal.directory}" in record.message
    )


def test_the_limit_counts_the_files_of_all_processes(journal: Journal) -> None:
    """Also those of living ones."""
    other = make_journal(journal.directory)
    write(other, numbered(30, 1000))
    journal.inherit()
    write(journal, numbered(60, 1000))

    assert journal.dropped > 0
    journal.prepare_next_file()
    assert take_all(other) == numbered(30, 1000)
    other.complete()
    take_all(other)
    other.release()


def test_a_full_disk_leaves_events_in_memory(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are sent in order with those before and after; one error says what it means."""
    monkeypatch.setattr(_journal, "RETRY_DISK_SECONDS", 0.0)
    bodies = numbered(90, 1000)
    break_disk(monkeypatch)
    write(journal, bodies[:60])
    journal.prepare_next_file()
    monkeypatch.undo()
    journal.prepare_next_file()
    journal.sync()
    write(journal, bodies[60:])

    assert any(bodies[-1] in path.read_bytes() for path in journal.directory.iterdir())
    assert take_all(journal) == bodies
    assert len(caplog.records) == 1
    assert "events are kept in memory and die with the process: No space left on device" in caplog.text


def test_a_disk_that_has_room_again_for_small_files_alone_drops_nothing(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that is too large for it, and those that follow, stay in memory."""
    monkeypatch.setattr(_journal, "RETRY_DISK_SECONDS", 0.0)
    bodies = [*numbered(60, 1000), *numbered(1, SMALL // 2), *numbered(2)]
    break_disk(monkeypatch)
    write(journal, bodies[:60])
    monkeypatch.undo()
    journal.prepare_next_file()
    break_disk(monkeypatch)
    write(journal, bodies[60:])

    assert journal.dropped == 0
    assert take_all(journal) == bodies


def test_memory_has_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is more is dropped and told; nothing looks at the disk for each event."""
    break_disk(monkeypatch)
    journal = make_journal(tmp_path)
    journal.prepare_next_file()
    bodies = numbered(MAX_RECORDS + 2)
    write(journal, bodies)

    assert journal.dropped == 2
    assert "the memory for events is full" in caplog.text
    assert take_all(journal) == bodies[:MAX_RECORDS]


def test_memory_has_a_limit_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few large events do not fill it up for good: what was sent makes room."""
    monkeypatch.setattr(_memory_file, "MAX_BYTES", 5_000)
    break_disk(monkeypatch)
    journal = make_journal(tmp_path)
    bodies = numbered(12, 1_000)

    write(journal, bodies[:6])
    first = take_all(journal)
    write(journal, bodies[6:])

    assert [*first, *take_all(journal)] == bodies[:4] + bodies[6:10]
    assert journal.dropped == 4


def test_a_batch_in_memory_has_a_limit_and_stays_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a file."""
    break_disk(monkeypatch)
    journal = make_journal(tmp_path)
    write(journal, [b"1" * 50, b"2" * 50, b"3" * 50])
    memory = journal.oldest()
    assert memory is not None
    first = memory.next_batch(100)
    again = memory.next_batch(LARGE)
    assert first is not None
    memory.halve(first)
    half = memory.next_batch(LARGE)
    assert half is not None
    memory.acknowledge(half)

    assert first == again
    assert [first.events, half.events] == [2, 1]
    assert first.payload_id != half.payload_id
    assert take_all(journal) == [b"2" * 50, b"3" * 50]


@pytest.mark.parametrize("kind", ["a file", "below a file"])
def test_a_path_that_cannot_be_used_leaves_events_in_memory(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """To make the journal does not fail."""
    path = tmp_path / "taken"
    path.write_text("")
    journal = make_journal(path if kind == "a file" else path / "events")
    write(journal, numbered(3))
    journal.keep_in_place()

    assert take_all(journal) == numbered(3)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_directory_that_vanishes_is_made_again(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    """What lay there is still in mapped memory, and arrives too; the log tells of it."""
    journal.append(b"1")
    shutil.rmtree(journal.directory)
    assert take_all(journal) == [b"1"]
    journal.append(b"2")

    assert take_all(journal) == [b"2"]
    assert "somebody has removed it. 1 records of it are sent all the same; the file is gone" in caplog.text
    assert len(files_in(journal.directory, ".owner")) == 1


def test_without_mapped_memory_what_vanishes_unread_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells of it; the rest arrives."""
    monkeypatch.delattr(os, "posix_fallocate")
    journal = make_journal(tmp_path / "events")
    journal.append(b"1")
    shutil.rmtree(journal.directory)
    assert take_all(journal) == []
    journal.append(b"2")

    assert take_all(journal) == [b"2"]
    assert "somebody has removed it" in caplog.text
    journal.complete()
    take_all(journal)
    journal.release()


def test_of_a_damaged_file_all_that_can_be_read_is_sent(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """The file itself is kept, for whoever wants to look at it."""
    write(journal, [b'{"n":1}', b'{"n":2}', b'{"n":3}'])
    [name] = files_in(journal.directory, ".events")
    path = journal.directory / name
    content = path.read_bytes()
    path.write_bytes(content.replace(b'{"n":2}', b'{"n":9}'))
    found = take_all(journal)
    journal.append(b"4")

    assert found == [b'{"n":1}', b'{"n":3}']
    assert take_all(journal) == [b"4"]
    assert files_in(journal.directory, ".corrupt")
    assert "a record is not as it was written" in caplog.text
    assert '"n"' not in caplog.text
    assert journal.spooled == 4


def test_a_file_that_is_no_journals_is_set_aside(journal: Journal) -> None:
    """It keeps nobody's events back."""
    (journal.directory / f"{NOBODYS}.00000001.events").write_bytes(b"rubbish" * 100)
    (journal.directory / "notes.txt").write_text("mine")
    journal.append(b"1")
    journal.inherit()

    assert take_all(journal) == [b"1"]
    assert files_in(journal.directory, ".corrupt") == [f"{NOBODYS}.00000001.corrupt"]
    assert "notes.txt" in files_in(journal.directory)


@pytest.mark.parametrize("can_allocate", [True, False])
def test_the_next_file_is_made_ahead_of_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_allocate: bool
) -> None:
    """Once the current one is half full, the sender is asked to make it; the caller then takes it."""
    if not can_allocate:
        monkeypatch.delattr(os, "posix_fallocate")
    wake = threading.Event()
    journal = Journal(tmp_path, KEY, SMALL, wake.set)
    journal.append(b"x" * 1000)
    journal.prepare_next_file()
    assert not wake.is_set()
    assert len(files_in(tmp_path, ".events")) == 1

    journal.append(b"y" * (SMALL // 8))
    assert wake.is_set()
    journal.prepare_next_file()
    journal.prepare_next_file()
    made = files_in(tmp_path, ".events")
    write(journal, [b"z" * 3000] * 4)

    assert len(made) == 2
    assert files_in(tmp_path, ".events") == made
    journal.complete()
    take_all(journal)
    journal.release()
    assert files_in(tmp_path) == []


def test_a_file_that_is_made_too_late_does_not_change_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller may need the next file while the sender still makes it; records stay in order for an heir."""
    journal = make_journal(tmp_path)
    bodies = numbered(40, 1000)
    write(journal, bodies[:10])
    allocate = os.posix_fallocate

    def be_overtaken(*arguments: int) -> None:
        monkeypatch.setattr(os, "posix_fallocate", allocate)
        write(journal, bodies[10:20])
        allocate(*arguments)

    monkeypatch.setattr(os, "posix_fallocate", be_overtaken)
    journal.prepare_next_file()
    write(journal, bodies[20:])
    journal.complete()
    journal.release()
    heir = make_journal(tmp_path)
    heir.inherit()

    assert take_all(heir) == bodies


def test_a_journal_that_is_left_has_no_file_ahead(journal: Journal) -> None:
    """It would be nobody's."""
    journal.append(b"y" * (SMALL // 6))
    journal.prepare_next_file()
    journal.complete()
    take_all(journal)

    assert files_in(journal.directory, ".events") == []


def test_a_process_that_only_writes_hands_its_files_over(journal: Journal) -> None:
    """Others send them while it goes on."""
    other = make_journal(journal.directory)
    other.hand_over()
    write(other, numbered(2))
    other.hand_over()
    other.append(b"3")
    journal.inherit()
    assert take_all(journal) == numbered(2)

    other.complete()
    other.release()
    journal.inherit()
    assert take_all(journal) == [b"3"]


def test_what_was_appended_can_be_brought_to_the_disk(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is synced until it is complete; where the system knows `fsync` alone, with that."""
    synced = []
    for name in ("fdatasync", "fsync"):
        original = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda descriptor, name=name, sync=original: (synced.append(name), sync(descriptor))
        )
    write(journal, numbered(20, 1000))
    journal.sync()
    journal.sync()
    monkeypatch.delattr(os, "fdatasync")
    journal.sync()

    assert synced == ["fdatasync", "fdatasync", "fdatasync", "fsync"]


def test_a_record_that_python_hands_in_while_one_is_written_is_kept(journal: Journal) -> None:
    """Python may collect a run in the thread that writes, and so append in the middle of an append."""

    class Dropped:
        def __del__(self) -> None:
            journal.append(b"inner")

    original = journal._write

    def write_and_collect(record: bytes, events: int) -> None:
        nonlocal cycle
        cycle = None
        gc.collect()
        original(record, events)

    cycle: list[object] | None = [Dropped()]
    cycle.append(cycle)
    journal._write = write_and_collect
    journal.append(b"outer")

    assert take_all(journal) == [b"outer", b"inner"]


def test_threads_append_beside_each_other(journal: Journal) -> None:
    """Nothing is lost, and each thread's records stay in order."""
    threads = [
        threading.Thread(target=write, args=(journal, [b"%d:%d" % (thread, n) for n in range(500)]))
        for thread in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [tuple(map(int, body.split(b":"))) for body in take_all(journal)]

    assert len(found) == 2000
    for thread in range(4):
        assert [n for each, n in found if each == thread] == list(range(500))


def test_waiting_records_can_be_read_beside_the_sender(journal: Journal) -> None:
    """To look changes nothing."""
    write(journal, numbered(3))
    [name] = files_in(journal.directory, ".events")
    seen = [record.body for record in JournalFile(journal.directory / name, 0).waiting()]

    assert seen == numbered(3)
    assert take_all(journal) == numbered(3)


def test_a_file_that_is_complete_takes_no_more_space_than_it_needs(journal: Journal) -> None:
    """Many processes that end in an outage leave many files; their empty rest would take all the room."""
    journal.append(b"1")
    journal.complete()
    journal.release()

    (left,) = journal.directory.glob("*.events")
    assert left.stat().st_size < 100
    journal.inherit()
    assert take_all(journal) == [b"1"]


def test_a_process_that_only_writes_keeps_to_the_limit(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    """Also while nobody sends what it hands over; once there is room again, events are taken again."""
    kept = 0
    for body in numbered(200, 1000):
        kept += journal.append(body)
        journal.hand_over()

    assert sum(path.stat().st_size for path in journal.directory.glob("*.events")) <= SMALL * 1.5
    assert journal.dropped == 200 - kept > 0
    assert "Events are dropped" in caplog.text

    other = make_journal(journal.directory, max_bytes=LARGE)
    other.inherit()
    taken = take_all(other)
    journal.hand_over()
    other.inherit()
    taken += take_all(other)
    assert taken == numbered(kept, 1000)
    assert journal.append(b"later")
    other.complete()
    take_all(other)
    other.release()


def test_files_of_living_processes_do_not_keep_one_from_its_second(tmp_path: Path) -> None:
    """They are as good as empty, and so is its first: without another it would drop events for ever."""
    others = [make_journal(tmp_path) for _ in range(8)]
    journal = make_journal(tmp_path)
    for body in numbered(100, 1000):
        journal.inherit()
        assert journal.append(body)
        assert take_all(journal) == [body]

    for each in (*others, journal):
        each.complete()
        take_all(each)
        each.release()

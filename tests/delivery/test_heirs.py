"""What becomes of a journal when its process dies, forks or leaves it to others."""

import contextlib
import errno
import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

from langchain_ldai.delivery import _inheritance
from langchain_ldai.delivery._journal import Journal
from langchain_ldai.delivery._journal_file import JournalFile
from langchain_ldai.delivery._owners import Locks, Owner, living_key_hashes
from tests.delivery.journals import (
    KEY,
    LARGE,
    NOBODYS,
    SMALL,
    break_disk,
    files_in,
    make_journal,
    numbered,
    run_child,
    take_all,
    write,
)


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)", "raise SystemExit"])
def test_what_a_process_appended_survives_it(journal: Journal, end: str) -> None:
    """The next process sends it, and before its own."""
    code = f"write(make_journal(Path(sys.argv[1])), numbered(5)); {end}"
    run_child(code, journal.directory)
    journal.append(b"mine")
    journal.inherit()

    assert take_all(journal) == [*numbered(5), b"mine"]
    assert len(files_in(journal.directory)) == 2


def test_processes_that_died_are_followed_in_their_order(journal: Journal) -> None:
    """The one that started first comes first, each one's files in their order."""
    for filling in (0, 2000):
        run_child(
            f"write(make_journal(Path(sys.argv[1])), numbered(30, {filling})); os._exit(0)", journal.directory
        )
    journal.inherit()

    assert take_all(journal) == [*numbered(30), *numbered(30, 2000)]


def test_the_files_of_a_living_process_are_its_own(journal: Journal) -> None:
    """Nobody else sends them, until it leaves them."""
    other = make_journal(journal.directory)
    other.append(b"1")
    journal.inherit()
    assert take_all(journal) == []

    other.complete()
    other.release()
    journal.inherit()
    assert take_all(journal) == [b"1"]


def test_a_file_whose_owner_has_no_lock_is_inherited(journal: Journal) -> None:
    """Somebody has removed the lock of a process that died."""
    run_child("write(make_journal(Path(sys.argv[1])), numbered(2)); os._exit(0)", journal.directory)
    for name in files_in(journal.directory, ".owner")[1:]:
        (journal.directory / name).unlink()
    journal.inherit()

    assert take_all(journal) == numbered(2)


def test_an_heir_that_is_left_leaves_the_rest(journal: Journal) -> None:
    """The next heir goes on behind what was acknowledged."""
    run_child("write(make_journal(Path(sys.argv[1])), numbered(60, 1000)); os._exit(0)", journal.directory)
    journal.inherit()
    file = journal.oldest()
    assert file is not None
    batch = file.next_batch(1)
    assert batch is not None
    file.acknowledge(batch)
    journal.complete()
    journal.release()
    heir = make_journal(journal.directory)
    heir.inherit()

    assert take_all(heir) == numbered(60, 1000)[1:]
    heir.complete()
    take_all(heir)
    heir.release()


@pytest.mark.parametrize("filling", [0, 3000], ids=["one file", "many files"])
def test_a_fork_leaves_the_files_to_the_parent(journal: Journal, filling: int) -> None:
    """The child writes its own, and the parent's are neither written nor sent by it."""
    before = numbered(20, filling)
    write(journal, before)
    pid = os.fork()
    if not pid:
        try:
            journal.append(b"child")
            journal.inherit()
            journal.append(b"child too")
            is_right = take_all(journal) == [b"child", b"child too"] and journal.appended == 2
            os._exit(0 if is_right else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    journal.append(b"parent")
    journal.inherit()
    assert take_all(journal) == [*before, b"parent"]


def test_a_child_closes_what_it_shares_with_its_parent(journal: Journal) -> None:
    """As long as it had a file open, the parent's lock would outlive the parent."""
    write(journal, [*numbered(20, 1000), b"x" * (SMALL // 6)])
    journal.prepare_next_file()
    oldest = journal.oldest()
    assert oldest is not None
    assert oldest.next_batch(LARGE)
    assert open_in(journal.directory)
    journal.reset_after_fork()

    assert open_in(journal.directory) == []


def test_a_child_closes_what_its_parent_has_inherited(journal: Journal) -> None:
    """It stays with the parent, or with whoever comes after it."""
    run_child("write(make_journal(Path(sys.argv[1])), numbered(2)); os._exit(0)", journal.directory)
    journal.inherit()
    oldest = journal.oldest()
    assert oldest is not None
    assert oldest.next_batch(LARGE)
    journal.reset_after_fork()
    assert open_in(journal.directory) == []
    assert journal.oldest() is None
    journal.inherit()

    assert take_all(journal) == numbered(2)


def open_in(directory: Path) -> list[Path]:
    """Return the files in a directory that this process has open."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found.append(link.readlink())
    return [path for path in found if path.parent == directory]


def test_a_fork_of_the_child_does_not_hold_the_parents_lock(tmp_path: Path) -> None:
    """Once the parent is dead, its files are inherited although a child of it lives."""
    code = """
journal = make_journal(Path(sys.argv[1]))
write(journal, numbered(2))
here, there = os.pipe()
pid = os.fork()
if not pid:
    os.write(there, b"!")
    signal.pause()
os.read(here, 1)
print(pid, flush=True)
os._exit(0)
"""
    child = int(run_child(code, tmp_path).stdout)
    journal = make_journal(tmp_path)
    try:
        journal.inherit()
        assert take_all(journal) == numbered(2)
    finally:
        os.kill(child, signal.SIGKILL)
    journal.complete()
    take_all(journal)
    journal.release()


def test_a_child_keeps_no_lock_of_its_parent(tmp_path: Path) -> None:
    """Not even one that another thread of the parent took just before the fork."""
    path = tmp_path / "lock"
    parent, child, heir = Locks(), Locks(), Locks()
    assert child.take(path) is not None
    child.reset_after_fork()
    locked = parent.take(path)
    assert locked is not None
    copy = os.dup(locked)  # as a child has it
    assert heir.take(path) is None
    parent.release(locked)
    inherited = heir.take(path)
    assert inherited is not None

    os.close(copy)
    heir.close(inherited)
    heir.close(inherited)


def test_a_directory_in_use_under_another_key_is_refused(journal: Journal) -> None:
    """The error says what to do; nothing says the key."""
    with pytest.raises(ValueError, match="give each environment a directory of its own") as caught:
        make_journal(journal.directory, key="another")

    assert "another SDK key" in str(caught.value)
    assert KEY not in str(caught.value)


def test_an_heir_does_not_keep_others_out_with_the_dead_process_s_key(tmp_path: Path) -> None:
    """After a change of the key, several workers start over what the old ones have left."""
    run_child("write(make_journal(Path(sys.argv[1]), key='old'), numbered(2)); os._exit(0)", tmp_path)
    heir = make_journal(tmp_path)
    heir.inherit()
    make_journal(tmp_path).complete()

    assert sorted(living_key_hashes(tmp_path)) == ["", KEY, KEY]
    assert take_all(heir) == numbered(2)
    heir.complete()


def test_what_a_killed_process_has_not_used_of_its_file_is_given_back(tmp_path: Path) -> None:
    """Else a process that is killed again and again during an outage takes a whole file of the disk each time."""
    code = "write(make_journal(Path(sys.argv[1])), numbered(2)); os.kill(os.getpid(), signal.SIGKILL)"
    for _ in range(3):
        run_child(code, tmp_path)
    damaged = tmp_path / f"{NOBODYS}.00000001.events"
    damaged.write_bytes(b"no journal".ljust(80, b"\0"))
    (tmp_path / f"{NOBODYS}.owner").write_text(KEY)
    journal = make_journal(tmp_path)
    journal.inherit()

    assert sum(path.stat().st_size for path in tmp_path.glob("*.events")) < 2 * SMALL // 4
    assert damaged.stat().st_size == 80
    assert take_all(journal) == numbered(2) * 3
    journal.complete()


def test_what_an_heir_did_not_come_to_give_back_the_next_one_gives_back(tmp_path: Path) -> None:
    """Heirs are killed too."""
    run_child("write(make_journal(Path(sys.argv[1])), numbered(2)); os._exit(0)", tmp_path)
    code = (
        "from langchain_ldai.delivery._journal_file import JournalFile\n"
        "JournalFile.shrink = lambda file: os._exit(0)\n"
        "make_journal(Path(sys.argv[1])).inherit()"
    )
    run_child(code, tmp_path)
    journal = make_journal(tmp_path)
    journal.inherit()

    assert sum(path.stat().st_size for path in tmp_path.glob("*.events")) < 2 * SMALL // 4
    assert take_all(journal) == numbered(2)
    journal.complete()


def test_a_start_and_a_look_leave_dead_processes_files_as_they_are(tmp_path: Path) -> None:
    """To read and copy them takes time: the sender's thread does that, and not whoever makes the client."""
    run_child("write(make_journal(Path(sys.argv[1])), numbered(2)); os._exit(0)", tmp_path)
    before = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert list(living_key_hashes(tmp_path)) == []
    make_journal(tmp_path).complete()

    assert {name: (tmp_path / name).stat().st_size for name in before} == before


def test_a_cut_leaves_what_may_be_written_still_and_what_may_have_arrived(tmp_path: Path) -> None:
    """A process whose lock somebody removes goes on; a crash of the machine may have lost a batch in flight."""
    living = make_journal(tmp_path)
    living.append(b"1")
    path = next(tmp_path.glob("*.events"))
    next(tmp_path.glob("*.owner")).unlink()
    heir = Owner.inherit(tmp_path, path.name.partition(".")[0])
    assert heir is not None
    assert path.stat().st_size == SMALL // 4
    living.append(b"2")

    file = living.oldest()
    assert file is not None
    batch = file.next_batch(LARGE)
    assert batch is not None
    with path.open("r+b") as content:
        content.seek(batch.end - 1)
        content.write(b"\0")
    file.shrink()
    assert path.stat().st_size == batch.end
    heir.release()
    living.complete()


def test_what_was_written_under_another_key_is_sent_once_its_process_is_dead(tmp_path: Path) -> None:
    """Keys are rotated."""
    run_child("write(make_journal(Path(sys.argv[1]), key='old'), numbered(2)); os._exit(0)", tmp_path)
    journal = make_journal(tmp_path)
    journal.inherit()

    assert take_all(journal) == numbered(2)
    journal.complete()
    take_all(journal)
    journal.release()


def test_a_hand_over_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may append just when the current file has been completed."""
    journal = make_journal(tmp_path)
    journal.append(b"1")
    complete = journal.complete
    others: list[threading.Thread] = []

    def complete_and_be_interrupted() -> None:
        complete()
        others.append(threading.Thread(target=journal.append, args=[b"2"]))
        others[0].start()
        others[0].join(0.2)

    descriptors = len([*Path("/proc/self/fd").iterdir()])
    monkeypatch.setattr(journal, "complete", complete_and_be_interrupted)
    journal.hand_over()
    others[0].join()

    assert len([*Path("/proc/self/fd").iterdir()]) == descriptors
    heir = make_journal(tmp_path)
    heir.inherit()
    assert take_all(heir) == [b"1"]
    assert take_all(journal) == [b"2"]


def test_what_is_in_memory_is_handed_over_once_the_disk_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else could send it from there."""
    break_disk(monkeypatch)
    journal = make_journal(tmp_path)
    write(journal, numbered(2))
    with pytest.raises(OSError, match="No space"):
        journal.hand_over()
    assert files_in(tmp_path, ".events") == []
    monkeypatch.undo()
    journal.hand_over()
    journal.complete()
    journal.release()
    heir = make_journal(tmp_path)
    heir.inherit()

    assert take_all(heir) == numbered(2)
    assert journal.spooled == 2


def test_names_do_not_follow_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that jumps back changes no order within a process."""
    first = make_journal(tmp_path)
    monkeypatch.setattr(time, "time_ns", lambda: 1)
    second = make_journal(tmp_path)
    for number, journal in enumerate((first, second)):
        write(journal, numbered(number + 1))
        journal.complete()
        journal.release()
    heir = make_journal(tmp_path)
    heir.inherit()

    assert take_all(heir) == [*numbered(1), *numbered(2)]


def test_heirs_of_many_keep_descriptors_for_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage in which workers die again and again leaves more locks than a process may have open."""
    monkeypatch.setattr(_inheritance, "MAX_HELD", 4)
    for number in range(20):
        dead = make_journal(tmp_path)
        dead.append(b"%d" % number)
        dead.complete()
        dead.release()
    before = len(list(Path("/proc/self/fd").iterdir()))
    heir = make_journal(tmp_path, max_bytes=LARGE)
    heir.inherit()

    assert len(list(Path("/proc/self/fd").iterdir())) - before < 10
    assert heir.inherited.left_bytes > 20 * 64
    assert take_all(heir) == [b"%d" % number for number in range(20)]
    assert heir.inherited.left_bytes == 0
    heir.complete()
    take_all(heir)
    heir.release()
    assert files_in(tmp_path) == []


def test_of_many_that_died_unreadable_ones_are_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the sender would turn in circles."""
    monkeypatch.setattr(_inheritance, "MAX_HELD", 4)
    for _ in range(10):
        dead = make_journal(tmp_path)
        dead.append(b"1")
        dead.complete()
        dead.release()
    heir = make_journal(tmp_path, max_bytes=LARGE)
    heir.inherit()
    count = 0
    while heir.inherited.oldest() is not None:
        heir.leave_oldest(PermissionError(13, "Permission denied"))
        count += 1

    assert count == 10
    heir.complete()
    heir.release()


def test_files_of_another_user_are_told_once(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody sends them once its process has ended, and whether that lives does not show."""
    (journal.directory / f"{NOBODYS}.1.events").write_bytes(b"1")
    monkeypatch.setattr(Owner, "inherit", lambda directory, name: None)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    journal.inherit()
    journal.inherit()

    (record,) = caplog.records
    assert str(journal.directory) in record.getMessage()
    assert "another user's" in record.getMessage()


def test_what_another_heir_has_just_sent_is_not_missed(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may remove a file at any time before this one has the lock."""
    dead = make_journal(journal.directory)
    dead.append(b"1")
    dead.complete()
    dead.release()
    inherit = Owner.inherit

    def be_overtaken(directory: Path, name: str) -> Owner | None:
        for path in directory.glob(f"{name}.*.events"):
            path.unlink()
        return inherit(directory, name)

    monkeypatch.setattr(Owner, "inherit", be_overtaken)
    journal.inherit()

    assert take_all(journal) == []
    assert caplog.records == []


def test_a_shrunk_file_is_another_file(tmp_path: Path) -> None:
    """A process may have lost its lock, as on a network file system; a file that is cut under it would kill it."""
    living = make_journal(tmp_path)
    living.append(b"1")
    path = next(tmp_path.glob("*.events"))
    before = path.stat()

    JournalFile(path, 0).shrink()

    after = path.stat()
    assert after.st_size < before.st_size
    assert after.st_ino != before.st_ino
    assert stat.S_IMODE(after.st_mode) == 0o600
    living.append(b"y" * (SMALL // 6))  # pages behind the end of the shrunk file
    living.complete()
    living.release()


def test_where_there_is_no_room_for_a_copy_the_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the copy is left, and the dead process's key is nobody's any more."""
    journal = make_journal(tmp_path)
    journal.append(b"1")
    path = next(tmp_path.glob("*.events"))

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        JournalFile(path, 0).shrink()
    (tmp_path / f"{NOBODYS}.owner").write_text(KEY)
    dead = tmp_path / f"{NOBODYS}.00000001.events"
    dead.write_bytes(path.read_bytes())
    heir = Owner.inherit(tmp_path, NOBODYS)

    assert heir is not None
    assert (tmp_path / f"{NOBODYS}.owner").read_text() == ""
    assert path.stat().st_size == dead.stat().st_size == SMALL // 4
    dead.unlink()
    heir.remove()
    assert list(tmp_path.glob("*.copy")) == []
    journal.complete()
    take_all(journal)
    journal.release()

"""The thread that empties a journal."""

import logging
import math
import os
import threading
import time
from pathlib import Path

import pytest

from langchain_ldai.delivery import _sender
from langchain_ldai.delivery._journal_file import Batch, MappedWriter, OwnFile
from langchain_ldai.delivery._sender import BatchOutcome
from tests.delivery.journals import NOBODYS, break_disk, files_in, numbered, write
from tests.delivery.lines import Line, Scripted
from tests.support.threads import start_no_thread


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long."""
    monkeypatch.setattr(_sender, "_AFTER_ERROR_SECONDS", 0.01)
    monkeypatch.setattr(_sender, "_GRACE_SECONDS", 0.05)


def test_what_is_appended_is_sent_at_each_interval(tmp_path: Path) -> None:
    """Nobody need ask for it."""
    courier = Scripted()
    line = Line(tmp_path, courier, flush_seconds=0.01)
    line.sender.start()
    line.journal.append(b"1")
    assert courier.was_called.wait(10)
    line.sender.stop()

    assert courier.taken == [b"1"]


def test_a_file_that_is_full_is_sent_at_once(tmp_path: Path) -> None:
    """It would take up the space."""
    courier = Scripted()
    line = Line(tmp_path, courier)
    line.sender.start()
    write(line.journal, numbered(40, 1000))
    assert courier.was_called.wait(10)
    line.sender.stop()

    assert courier.taken == numbered(40, 1000)


def test_a_batch_that_is_refused_is_halved(tmp_path: Path) -> None:
    """Until its parts are taken."""
    courier = Scripted(BatchOutcome.REFUSED, BatchOutcome.REFUSED)
    line = Line(tmp_path, courier)
    write(line.journal, numbered(5))
    assert line.sender.flush(10)
    line.sender.stop()

    assert courier.taken == numbered(5)


def test_an_error_that_nobody_expects_does_not_end_the_sender(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the batch is tried again."""
    courier = Scripted(ValueError("this message quotes a secret"))
    line = Line(tmp_path, courier)
    line.journal.append(b"1")
    assert line.sender.flush(10)
    line.sender.stop()

    assert courier.taken == [b"1"]
    assert "Events cannot be sent now, and wait" in caplog.text
    assert "secret" not in caplog.text


def test_an_error_that_ends_the_thread_ends_delivery_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a flush is told, and another thread goes on."""
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    courier = Scripted(SystemExit())
    line = Line(tmp_path, courier)
    line.journal.append(b"1")
    assert not line.sender.flush(None)
    assert line.sender.flush(10)
    line.sender.stop()

    assert courier.taken == [b"1"]


@pytest.mark.parametrize("has_begun", [False, True])
def test_an_interrupt_at_the_start_of_the_thread_leaves_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_begun: bool
) -> None:
    """Whether the thread has begun by then or not."""
    start = threading.Thread.start
    before = set(threading.enumerate())

    def interrupt(thread: threading.Thread) -> None:
        if has_begun:
            start(thread)
        raise KeyboardInterrupt

    courier = Scripted()
    line = Line(tmp_path, courier)
    line.journal.append(b"1")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            line.sender.start()
    assert line.sender.flush(10)
    threads = set(threading.enumerate()) - before
    line.sender.stop()

    assert len(threads) == 1
    assert courier.taken == [b"1"]


def test_a_thread_that_comes_too_late_leaves_the_work_to_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt had hit its start."""
    start = threading.Thread.start
    late: list[threading.Thread] = []

    def interrupt(thread: threading.Thread) -> None:
        late.append(thread)
        raise KeyboardInterrupt

    courier = Scripted()
    line = Line(tmp_path, courier)
    line.journal.append(b"1")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            line.sender.start()
    assert line.sender.flush(10)
    start(late[0])
    late[0].join(10)
    assert not late[0].is_alive()
    line.journal.append(b"2")
    line.sender.stop()

    assert courier.taken == [b"1", b"2"]


def test_an_interrupt_while_a_file_is_completed_keeps_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is appended afterwards is sent."""
    courier = Scripted()
    line = Line(tmp_path, courier)
    write(line.journal, numbered(15, 1000))

    def interrupt(writer: MappedWriter) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MappedWriter, "end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            line.journal.append(b"x" * 2000)
    line.journal.append(b"2")
    assert line.sender.flush(10)
    line.sender.stop()

    assert courier.taken == [*numbered(15, 1000), b"2"]


def test_an_interrupted_flush_leaves_nobody_in_a_hurry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry waits as long as before."""
    line = Line(tmp_path, courier := Scripted())

    def interrupt() -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_no_thread)
        with pytest.raises(KeyboardInterrupt):
            line.sender.flush(10, interrupt)
        patch.setattr(time, "monotonic", lambda: 60.0 * courier.kept_up)
        line.sender.wake()
        line.sender.pause(90.0, 0.0)

    assert courier.kept_up > 1
    line.sender.stop()


def test_a_flush_may_wait_for_any_time(tmp_path: Path) -> None:
    """Also longer than Python can wait."""
    line = Line(tmp_path, Scripted())
    line.journal.append(b"1")

    assert line.sender.flush(math.inf)
    line.sender.stop()


def test_a_damaged_file_keeps_no_other_back(tmp_path: Path) -> None:
    """It is set aside, and the flush ends."""
    courier = Scripted()
    line = Line(tmp_path, courier)
    line.journal.append(b"1")
    [name] = files_in(tmp_path, ".events")
    (tmp_path / name).write_bytes(b"rubbish" * 100)
    line.journal.append(b"2")
    assert line.sender.flush(10)
    line.journal.append(b"3")
    line.sender.stop()

    assert courier.taken[-1] == b"3"
    assert files_in(tmp_path, ".events") == []


def test_a_file_that_cannot_be_read_keeps_no_other_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is left to a later look, and the log says so."""
    (tmp_path / f"{NOBODYS}.00000001.events").mkdir()
    courier = Scripted()
    line = Line(tmp_path, courier)
    line.journal.append(b"1")
    assert line.sender.flush(10)
    line.sender.stop()

    assert courier.taken == [b"1"]
    assert "cannot be read, and is tried again later: Is a directory" in caplog.text


def test_a_service_that_takes_nothing_ends_the_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is left waits for the next process."""
    line = Line(tmp_path, Scripted(BatchOutcome.KEPT))
    line.journal.append(b"1")
    line.sender.stop()

    assert files_in(tmp_path, ".events")
    assert f"Events are left in {tmp_path}" in caplog.text


def test_a_call_that_does_not_return_holds_up_neither_flush_nor_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread ends with the process, if not before."""
    monkeypatch.setattr(_sender, "CLOSE_SECONDS", 0.05)
    gate = threading.Event()

    def hang() -> BatchOutcome:
        gate.wait(60)
        return BatchOutcome.KEPT

    line = Line(tmp_path, Scripted(hang, BatchOutcome.KEPT))
    line.journal.append(b"1")
    assert not line.sender.flush(0.05)
    line.sender.stop()
    assert line.sender.is_started

    flushed: list[bool] = []
    waiting = threading.Thread(target=lambda: flushed.append(line.sender.flush(None)))
    waiting.start()
    while not line.sender._waiting_flushes:
        time.sleep(0.001)
    gate.set()
    waiting.join(10)
    assert flushed == [False]


def test_a_stop_goes_on_as_long_as_batches_are_taken(tmp_path: Path) -> None:
    """However many there are; each one that is taken gives it time again."""
    courier = Scripted()
    line = Line(tmp_path, courier)
    write(line.journal, numbered(40, 1000))
    line.sender.stop(1e-9)

    assert len(courier.taken) == 40


def test_whoever_appends_while_the_sender_ends_is_served(tmp_path: Path) -> None:
    """Another thread takes over."""

    def append_more() -> BatchOutcome:
        line.journal.append(b"2")
        return BatchOutcome.SETTLED

    courier = Scripted(append_more)
    line = Line(tmp_path, courier)
    line.journal.append(b"1")
    line.sender.stop()
    assert line.sender.is_started
    assert line.sender.flush(10)
    line.sender.stop(10)

    assert courier.taken == [b"1", b"2"]
    assert files_in(tmp_path) == []


def test_without_a_thread_to_spare_events_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush says so at once, and the stop sends them."""
    courier = Scripted()
    line = Line(tmp_path, courier)
    line.journal.append(b"1")
    monkeypatch.setattr(threading.Thread, "start", start_no_thread)
    assert not line.sender.flush(None)
    assert not line.sender.is_started
    line.sender.stop()

    assert courier.taken == [b"1"]


def test_without_a_thread_one_caller_of_stop_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one, such as a signal's handler, leaves it to the first."""

    def stop_too() -> BatchOutcome:
        answers.append(line.sender.stop())
        return BatchOutcome.SETTLED

    answers: list[bool] = []
    courier = Scripted(stop_too)
    line = Line(tmp_path, courier)
    line.journal.append(b"1")
    monkeypatch.setattr(threading.Thread, "start", start_no_thread)

    assert line.sender.stop()
    assert answers == [False]
    assert courier.taken == [b"1"]


def test_a_file_of_ones_own_that_cannot_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process may have too many files open for a moment."""
    failures = [OSError(24, "Too many open files")]
    next_batch = OwnFile.next_batch

    def fail_once(file: OwnFile, max_bytes: int) -> Batch | None:
        if failures:
            raise failures.pop()
        return next_batch(file, max_bytes)

    monkeypatch.setattr(OwnFile, "next_batch", fail_once)
    courier = Scripted()
    line = Line(tmp_path, courier)
    line.journal.append(b"1")
    assert line.sender.flush(10)
    line.sender.stop()

    assert courier.taken == [b"1"]
    assert "Events cannot be sent now, and wait" in caplog.text


def test_a_second_start_starts_no_second_thread(tmp_path: Path) -> None:
    """There is one sender."""
    line = Line(tmp_path, Scripted())
    before = set(threading.enumerate())
    line.sender.start()
    line.sender.start()

    assert len(set(threading.enumerate()) - before) == 1
    line.sender.stop()


def test_a_wait_ends_when_somebody_is_in_a_hurry(tmp_path: Path) -> None:
    """A flush that waits shortens it, but not below what the service asked for."""

    def wait_for_service() -> BatchOutcome:
        line.sender.pause(1000.0, 0.01)
        return BatchOutcome.SETTLED

    courier = Scripted(wait_for_service)
    line = Line(tmp_path, courier)
    line.journal.append(b"1")
    line.sender.start()
    line.sender.request_flush()
    assert courier.was_called.wait(10)

    assert line.sender.flush(30)
    line.sender.stop()


def test_time_is_short_once_the_sender_is_to_stop(tmp_path: Path) -> None:
    """Before, any wait is allowed."""
    line = Line(tmp_path, None)
    assert line.sender.may_wait(1e9)
    line.sender.stop()

    assert not line.sender.may_wait(1000)
    line.sender.pause(1000.0, 0.0)


def test_a_writer_that_hands_over_tells_what_the_disk_does_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It tries again."""
    line = Line(tmp_path, None)
    line.journal.append(b"1")
    original = os.open
    failures = [OSError(28, "No space left on device")]

    def fail_once(*arguments: object, **options: object) -> int:
        if failures and str(arguments[0]).endswith(".owner"):
            raise failures.pop()
        return original(*arguments, **options)

    monkeypatch.setattr(os, "open", fail_once)
    assert line.sender.flush(10)
    line.sender.stop()

    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_short_life_looks_for_what_dead_processes_left_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is to stop before its thread has begun."""
    dead = Line(tmp_path, None)
    dead.journal.append(b"1")
    dead.sender.stop()
    courier = Scripted()
    line = Line(tmp_path, courier)
    started: list[threading.Thread] = []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda thread: started.append(thread))
        line.sender.start()
    line.sender.stop()
    started[0].start()
    started[0].join(10)

    assert courier.taken == [b"1"]


def test_at_the_end_each_batch_that_is_taken_gives_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes in all, what is taken is sent: the limit is for a service that takes nothing."""
    now, later, has_time = time.monotonic, [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now() + later[0])

    def take() -> BatchOutcome:
        has_time.append(line.sender.may_wait(20))
        later[0] += 20
        return BatchOutcome.SETTLED

    line = Line(tmp_path, Scripted(take, take))
    write(line.journal, numbered(40, 1000))

    assert line.sender.stop(30)
    assert has_time == [True, True]


def test_what_dies_with_the_process_is_not_said_to_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The next process sends what is in files, and not what the disk did not take."""
    break_disk(monkeypatch)
    line = Line(tmp_path, Scripted(BatchOutcome.KEPT))
    line.journal.append(b"1", 2)
    caplog.clear()
    line.sender.stop(0.05)

    (record,) = caplog.records
    assert record.getMessage().startswith("2 events are in memory alone")
    assert record.levelname == "ERROR"


def test_records_that_come_in_meanwhile_wait_for_the_next_time(tmp_path: Path) -> None:
    """Else the sender would never be done where they come in faster than batches are answered."""

    def append_and_take() -> BatchOutcome:
        line.journal.append(b"more")
        return BatchOutcome.SETTLED

    courier = Scripted(*[append_and_take] * 100)
    line = Line(tmp_path, courier)
    line.journal.append(b"1")
    assert line.sender.flush(10)
    assert courier.taken == [b"1"]

    line.sender.stop()
    assert len(courier.taken) < 10


def test_between_batches_is_done_what_is_due(tmp_path: Path) -> None:
    """The way through what has waited for long may take minutes; claims and the disk do not wait for its end."""
    courier = Scripted()
    line = Line(tmp_path, courier)
    write(line.journal, numbered(40, 1000))
    line.sender.stop()

    assert courier.taken == numbered(40, 1000)
    assert courier.kept_up >= 3

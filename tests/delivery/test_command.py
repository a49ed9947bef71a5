"""The command that looks at a directory of events, and sends what waits there."""

import io
import json
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from langchain_ldai.delivery import DurableEvents, _command, _courier, _sender
from langchain_ldai.delivery._command import main
from langchain_ldai.delivery._owners import Owner
from langchain_ldai.ledgers import MemoryLedger
from tests.delivery.clients import arrived, make_client, track
from tests.delivery.journals import files_in, make_journal, run_child
from tests.delivery.loopback_events import EventsServer, Reply
from tests.delivery.test_journaled_claims import make_claim, submit
from tests.ledgers.fakes import Unreliable

KEY = "sdk-key"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long before the next attempt; the SDK key is in the environment."""
    monkeypatch.setattr(_sender, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(_courier, "MAX_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr(_command, "PROGRESS_SECONDS", 0.01)
    monkeypatch.setenv("LAUNCHDARKLY_SDK_KEY", KEY)


@contextmanager
def service_away(server: EventsServer) -> Iterator[None]:
    """Let LaunchDarkly take nothing within the block, and nobody wait long for it."""
    before, server.always = server.always, Reply(503)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sender, "CLOSE_SECONDS", 0.1)
        patch.setattr(_sender, "_GRACE_SECONDS", 60)
        yield
    server.always = before


def leave_events(directory: Path, server: EventsServer, *numbers: int) -> None:
    """Let a process leave events that it could not send."""
    with service_away(server), make_client(server, DurableEvents(directory)) as client:
        track(client, *numbers)


def run(*arguments: object) -> int:
    """Run the command, and return its exit status."""
    return main([str(argument) for argument in arguments])


def test_status_says_what_waits(
    tmp_path: Path, server: EventsServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many events, for how long, how many processes are at work, and how many events are dead."""
    leave_events(tmp_path, server, 1, 2)
    (tmp_path / "dead.jsonl").write_text('{"event":{}}\n')
    clock = time.time()
    monkeypatch.setattr(time, "time", lambda: clock + 7_300)
    assert run(tmp_path, "status") == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[0].startswith("waiting: 3 events, ")
    assert lines[1:] == ["oldest: 2 hours", "processes at work: 0", "dead: 1 event"]


def test_status_counts_no_heir_as_a_process_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A process that sends what two others have left is one."""
    for _ in range(2):
        run_child("write(make_journal(Path(sys.argv[1])), numbered(1)); os._exit(0)", tmp_path)
    heir = make_journal(tmp_path)
    heir.inherit()
    assert run(tmp_path, "status") == 0

    assert "processes at work: 1\n" in capsys.readouterr().out
    heir.complete()
    heir.release()


@pytest.mark.usefixtures("impatient")
def test_status_tells_of_metrics_that_wait_for_their_ledger(
    tmp_path: Path, server: EventsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """They cannot be drained: the ledger is the application's."""
    events = DurableEvents(tmp_path)
    with make_client(server, events):
        events.claims_with(MemoryLedger())
        submit(events, Unreliable(), make_claim(1))
        run(tmp_path, "status")

    assert (
        "processes at work: 1\nwaiting for a Unreliable: 1 event; a process that has this ledger sends them\n"
        in (capsys.readouterr().out)
    )


def test_status_tells_of_files_that_were_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody sends them, and nobody removes them."""
    (tmp_path / "claims-Unreliable").mkdir()
    for name in ("a.1.corrupt", "claims-Unreliable/b.1.corrupt"):
        (tmp_path / name).write_text("rubbish")
    assert run(tmp_path, "status") == 0

    *_, line = capsys.readouterr().out.splitlines()
    assert line == "damaged: 2 files, kept as *.corrupt; what could be read is sent all the same"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.5, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (86_399, "23 hours"),
        (1e6, "11 days"),
    ],
)
def test_an_age_is_told_in_its_largest_unit(seconds: float, expected: str) -> None:
    """Nobody wants to know the seconds of a day."""
    assert _command._age(seconds) == expected


def test_dead_prints_the_dead_letters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The older ones first, each in a line of JSON."""
    (tmp_path / "dead.older.jsonl").write_text('{"reason":"HTTP 400","event":{"key":"a"}}\n')
    (tmp_path / "dead.jsonl").write_text('{"reason":"HTTP 413","event":{"key":"b"}}\n')
    assert run(tmp_path, "dead") == 0
    letters = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [letter["event"]["key"] for letter in letters] == ["a", "b"]


def test_damage_does_not_end_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be read counts nothing, and a torn letter is shown as it is."""
    (tmp_path / "folder.1.events").mkdir()
    (tmp_path / "dead.jsonl").write_bytes(b'{"reason":"\xff\n')
    assert run(tmp_path, "status") == 0
    assert run(tmp_path, "dead") == 0

    assert capsys.readouterr().out.startswith("waiting: 0 events")


def test_drain_sends_what_processes_left(
    tmp_path: Path, server: EventsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the SDK key of the environment. Nothing is left behind."""
    leave_events(tmp_path, server, 1, 2)
    assert run(tmp_path, "drain", "--events-uri", server.url) == 0

    assert arrived(server) == [1, 2]
    assert server.requests[-1].headers["authorization"] == KEY
    assert capsys.readouterr() == ("sent 3 events\n", "")
    assert files_in(tmp_path) == []


def test_drain_tells_what_is_dead_and_what_is_left(
    tmp_path: Path, server: EventsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status says whether anything is left."""
    leave_events(tmp_path, server, 1, 2)
    with service_away(server):
        assert run(tmp_path, "drain", "--events-uri", server.url) == 1
    server.refuse = lambda event: event.get("data") == {"n": 1}
    assert run(tmp_path, "drain", "--events-uri", server.url) == 0

    assert capsys.readouterr().out == "sent 0 events\nsent 2 events, 1 dead\n"


def test_drain_shows_its_progress_on_a_terminal(
    tmp_path: Path, server: EventsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much is sent, of how much."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    leave_events(tmp_path, server, 1, 2)
    server.always = Reply(503)
    threading.Thread(target=let_service_return, args=(server, terminal)).start()
    assert run(tmp_path, "drain", "--events-uri", server.url) == 0

    assert "\rsent 0 of 3 events" in terminal.getvalue()
    assert terminal.getvalue().endswith("\n")


def let_service_return(server: EventsServer, terminal: io.StringIO) -> None:
    """Accept events once a line was written."""
    while "sent" not in terminal.getvalue():
        time.sleep(0.001)
    server.always = Reply(202)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Let an interrupt through, also where the tests were started in the background, and so ignore it."""

    def end(number: int, frame: object) -> None:  # and not the whole process of the tests
        raise AssertionError("SIGTERM was not handled")

    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGTERM, end)
    yield
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_drain_follows_until_it_is_interrupted(tmp_path: Path, server: EventsServer, number: int) -> None:
    """It sends what processes leave meanwhile, also those that only write. A container ends it by SIGTERM."""
    writing = DurableEvents(tmp_path, send=False)
    main_thread = threading.get_ident()

    def write_and_interrupt() -> None:
        with make_client(server, writing) as client:
            track(client, 1)
            writing.flush(10)
            while arrived(server) != [1]:
                time.sleep(0.001)
            signal.pthread_kill(main_thread, number)

    thread = threading.Thread(target=write_and_interrupt)
    thread.start()
    assert run(tmp_path, "drain", "--follow", "--events-uri", server.url) == 0
    thread.join()

    assert arrived(server) == [1]


def test_drain_ends_at_an_interrupt(tmp_path: Path, server: EventsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a terminal, and while LaunchDarkly takes nothing: the next process sends what is left."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    leave_events(tmp_path, server, 1, 2)
    monkeypatch.setattr(_sender, "CLOSE_SECONDS", 30.0)
    server.always = Reply(503)
    main_thread = threading.get_ident()

    def interrupt() -> None:
        while "sent" not in terminal.getvalue():
            time.sleep(0.001)
        signal.pthread_kill(main_thread, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert run(tmp_path, "drain", "--events-uri", server.url) == 1
    thread.join()
    assert arrived(server) == []
    assert terminal.getvalue().endswith("\n")

    server.always = Reply(202)  # so that the thread that sends ends too
    while arrived(server) != [1, 2]:
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone", "status"), "is no directory"),
        ((".",), "the following arguments are required"),
        ((".", "burn"), "invalid choice"),
    ],
)
def test_wrong_arguments_are_told(
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the usage, and the exit status 2."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run(*arguments)

    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_drain_needs_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the variable in which it is looked for."""
    monkeypatch.delenv("LAUNCHDARKLY_SDK_KEY")
    with pytest.raises(SystemExit):
        run(tmp_path, "drain")

    assert "LAUNCHDARKLY_SDK_KEY, which is not set" in capsys.readouterr().err


def test_drain_refuses_a_directory_in_use_under_another_key(
    tmp_path: Path, server: EventsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its events belong to another environment."""
    with make_client(server, DurableEvents(tmp_path), key="other"), pytest.raises(SystemExit):
        run(tmp_path, "drain", "--events-uri", server.url)

    assert "another SDK key" in capsys.readouterr().err


def test_drain_goes_to_launchdarkly_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no other address is given."""
    found: list[str] = []

    class NoPipeline:
        def __init__(self, config: object, options: object) -> None:
            found.append(config.events_uri)
            raise ValueError("enough")

    monkeypatch.setattr(_command, "Pipeline", NoPipeline)
    with pytest.raises(SystemExit):
        run(tmp_path, "drain")

    assert found == ["https://events.launchdarkly.com/bulk"]


def test_the_package_can_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m langchain_ldai.delivery` is the command."""
    monkeypatch.setattr(sys, "argv", ["delivery", str(tmp_path), "status"])
    monkeypatch.delitem(sys.modules, "langchain_ldai.delivery.__main__", raising=False)  # runpy warns of it
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("langchain_ldai.delivery", run_name="__main__")

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("waiting: 0 events, 0 bytes\n")


@pytest.mark.parametrize(("mode", "told"), [(os.R_OK, "cannot be read"), (os.W_OK, "cannot be written")])
def test_a_directory_of_another_user_is_not_said_to_be_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: int, told: str
) -> None:
    """What cannot be seen may wait all the same."""
    monkeypatch.setattr(os, "access", lambda path, asked: not asked & mode)
    with pytest.raises(SystemExit):
        run(tmp_path, "drain")

    assert f"{told} by this user" in capsys.readouterr().err


def test_files_of_another_user_are_told(
    tmp_path: Path, server: EventsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are not sent, so not all is sent."""
    leave_events(tmp_path, server, 1)
    monkeypatch.setattr(Owner, "inherit", lambda directory, name: None)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).is_dir())
    told = "of another user: 1 file, whose events are not counted here, and not sent"
    assert run(tmp_path, "status") == 0
    assert told in capsys.readouterr().out.splitlines()

    assert run(tmp_path, "drain", "--events-uri", server.url) == 1
    assert told in capsys.readouterr().out.splitlines()

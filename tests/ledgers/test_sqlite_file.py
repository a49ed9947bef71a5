"""A SQLite ledger's file: opened by many at once, locked by others, replaced, or of no use."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from langchain_ldai.ledgers import SqliteLedger
from tests.support.programs import run_program

RUN = "run-1/support-bot"


def delete(folder: Path, *suffixes: str) -> None:
    """Delete the database, or what SQLite has beside it."""
    for suffix in suffixes:
        (folder / f"ledger.db{suffix}").unlink()


def put_another(folder: Path) -> None:
    """Put a database of the same kind where the present one is, as a restore does."""
    SqliteLedger(folder / "restored.db").close()
    (folder / "restored.db").replace(folder / "ledger.db")


def move_folder(folder: Path) -> None:
    """Move the folder away and make a new one of its name."""
    folder.rename(folder.with_name("moved"))
    folder.mkdir()


def lead_elsewhere(folder: Path) -> None:
    """Let the path, which is a link, lead to another folder."""
    link, other = folder.with_name("link"), folder.with_name("other")
    other.mkdir()
    link.unlink()
    link.symlink_to(other)


CHANGES: dict[str, Callable[[Path], None]] = {
    "deleted": lambda folder: delete(folder, "", "-wal", "-shm"),
    "database-deleted": lambda folder: delete(folder, ""),
    "log-deleted": lambda folder: delete(folder, "-wal", "-shm"),
    "index-deleted": lambda folder: delete(folder, "-shm"),
    "replaced": put_another,
    "folder-moved": move_folder,
    "link-changed": lead_elsewhere,
}
ALONE: dict[str, Callable[[Path], None]] = {"log-alone-deleted": lambda folder: delete(folder, "-wal")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to which there is a link."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    return folder


OTHER = """
import sys
from langchain_ldai.ledgers import SqliteLedger
ledger = SqliteLedger(sys.argv[1])
for line in sys.stdin:
    run, *slots = line.split()
    print(*sorted(ledger.claim(run, slots, "other")), flush=True)
"""


@contextmanager
def other_process(path: Path) -> Iterator[Callable[..., list[str]]]:
    """Have another process open the file, and claim what it is told to."""
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:

        def claim(run: str, *slots: str) -> list[str]:
            process.stdin.write(" ".join((run, *slots)) + "\n")
            return process.stdout.readline().split()

        try:
            yield claim
        finally:
            process.stdin.close()
            process.wait(60)


@pytest.mark.skipif(sys.platform == "win32", reason="an open file can be neither deleted nor replaced")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_process_claims_in_the_file_that_the_path_names(change: Callable[[Path], None], folder: Path) -> None:
    """Whatever becomes of the file that it has open: two processes never have one of their own each."""
    path = folder.with_name("link") / "ledger.db"
    with closing(SqliteLedger(path)) as old:
        old.claim("run-0", ["success"], "old")
        change(folder)

        with other_process(path) as claim:
            assert claim(RUN, "success") == ["success"]
            assert old.claim(RUN, ["success", "tokens"], "old") == {"tokens"}
            assert claim(RUN, "tokens", "feedback") == ["feedback"]
            assert old.claim(RUN, ["feedback", "duration_ms"], "old") == {"duration_ms"}


@pytest.mark.skipif(sys.platform == "win32", reason="an open file can be neither deleted nor replaced")
@pytest.mark.parametrize("change", {**CHANGES, **ALONE}.values(), ids={**CHANGES, **ALONE})
def test_a_process_that_comes_later_knows_what_was_claimed_after_a_change(
    change: Callable[[Path], None], folder: Path
) -> None:
    """Whose file was replaced claims in the new one, where others look."""
    path = folder.with_name("link") / "ledger.db"
    with closing(SqliteLedger(path)) as old:
        old.claim("run-0", ["success"], "old")
        change(folder)

        assert old.claim(RUN, ["success"], "old") == {"success"}
        with other_process(path) as claim:
            assert claim(RUN, "success", "tokens") == ["tokens"]


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted")
def test_a_process_whose_folder_is_gone_claims_nothing(folder: Path) -> None:
    """It raises, and claims again once the folder is there."""
    with closing(SqliteLedger(folder / "ledger.db")) as ledger:
        ledger.claim("run-0", ["success"], "one")
        shutil.rmtree(folder)

        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            ledger.claim(RUN, ["success"], "one")
        folder.mkdir()

        assert ledger.claim(RUN, ["success"], "one") == {"success"}


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be replaced")
def test_a_file_that_is_replaced_while_it_is_opened_is_opened_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is claimed in the one that SQLite opened first."""
    path = folder / "ledger.db"
    SqliteLedger(path).close()
    connect = sqlite3.connect

    def replaced_then(*args, **options):
        monkeypatch.setattr(sqlite3, "connect", connect)
        connection = connect(*args, **options)
        put_another(folder)
        return connection

    with closing(SqliteLedger(path)) as ledger:
        monkeypatch.setattr(sqlite3, "connect", replaced_then)
        ledger.claim(RUN, ["success"], "one")

        with closing(SqliteLedger(path)) as other:
            assert other.claim(RUN, ["success"], "other") == set()


def test_a_connection_that_failed_is_not_used_again(tmp_path: Path) -> None:
    """What it had open may be broken, as where a daemon closes every descriptor: the next claim has another."""
    with closing(SqliteLedger(path := tmp_path / "ledger.db")) as ledger:
        ledger.claim(RUN, ["success"], "one")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE claims")

        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            ledger.claim(RUN, ["success"], "one")

        assert ledger.claim(RUN, ["success"], "one") == {"success"}


OPENER = """
import sys
from pathlib import Path
from langchain_ldai.ledgers import SqliteLedger
from tests.support.programs import meet
for number in range(10):
    meet(Path(sys.argv[1], str(number)), 8)
    ledger = SqliteLedger(f"{sys.argv[1]}/{number}.db")
    print(len(ledger.claim("run-1", ["success"], sys.argv[2])), end=" ")
    ledger.close()
"""


def test_eight_processes_open_a_new_file_at_once(tmp_path: Path) -> None:
    """Each of ten files, all at the same moment: nobody fails, and one is granted the slot."""
    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(lambda number: run_program(OPENER, tmp_path, number), range(8)))

    assert [each.stderr for each in ended] == [""] * 8
    granted = [each.stdout.split() for each in ended]
    assert [sum(map(int, each)) for each in zip(*granted, strict=True)] == [1] * 10


@pytest.fixture(params=["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def locked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that has locked the file, of which there is none before it."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute(request.param)
        yield connection


def test_a_locked_file_is_waited_for_when_it_is_opened(locked: sqlite3.Connection, tmp_path: Path) -> None:
    """For up to `busy_timeout`, whichever of SQLite's statements finds the file locked."""
    unlock = threading.Timer(0.3, locked.execute, ["ROLLBACK"])
    unlock.start()

    with closing(SqliteLedger(tmp_path / "ledger.db", busy_timeout=60)) as ledger:
        assert ledger.claim(RUN, ["success"], "one") == {"success"}
    unlock.join(60)


def test_a_locked_file_is_waited_for_by_a_claim(tmp_path: Path) -> None:
    """For up to `busy_timeout` again."""
    with closing(SqliteLedger(path := tmp_path / "ledger.db", busy_timeout=60)) as ledger:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        unlock = threading.Timer(0.3, other.execute, ["ROLLBACK"])
        unlock.start()

        assert ledger.claim(RUN, ["success"], "one") == {"success"}
        unlock.join(60)
        other.close()


@pytest.mark.parametrize("busy_timeout", [0, 0.2])
def test_a_locked_file_is_waited_for_no_longer_than_said(
    busy_timeout: float, locked: sqlite3.Connection, tmp_path: Path
) -> None:
    """Then the error says that it is locked."""
    began = time.monotonic()

    with pytest.raises(sqlite3.OperationalError, match=r"is locked.* for longer than busy_timeout"):
        SqliteLedger(tmp_path / "ledger.db", busy_timeout=busy_timeout)

    assert busy_timeout <= time.monotonic() - began < busy_timeout + 5


def test_a_ledger_can_be_closed_while_it_waits(tmp_path: Path) -> None:
    """The claim that waits fails, as every later one; closing twice is allowed."""
    ledger = SqliteLedger(path := tmp_path / "ledger.db", busy_timeout=60)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        closer = threading.Timer(0.2, ledger.close)
        closer.start()

        with pytest.raises(sqlite3.ProgrammingError, match="the ledger is closed"):
            ledger.claim(RUN, ["success"], "one")
    closer.join(60)
    ledger.close()


@pytest.fixture
def of_nobody() -> Iterator[Path]:
    """A folder with a ledger's file, of a user who is not almighty, whom the test runs as."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        SqliteLedger(folder / "ledger.db").close()
        is_root = sys.platform != "win32" and os.geteuid() == 0
        if is_root:
            for each in (folder, *folder.iterdir()):
                os.chown(each, 65534, -1)
            os.seteuid(65534)
        try:
            yield folder
        finally:
            folder.chmod(0o700)
            if is_root:
                os.seteuid(0)


UNUSABLE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "file": (lambda folder: (folder / "ledger.db").chmod(0o400), "ledger.db", "must be allowed to write to it"),
    "folder": (
        lambda folder: folder.chmod(0o500),
        "new.db",
        "this process must be allowed to write to it and to its directory",
    ),
    "missing": (
        lambda folder: None,
        "missing/ledger.db",
        "unable to open .*directory .*/missing does not exist, make it first",
    ),
    "is-folder": (lambda folder: (folder / "made").mkdir(), "made", "it must be a file"),
    "text": (
        lambda folder: (folder / "a.txt").write_text("no " * 999),
        "a.txt",
        "not a database: give the ledger a file of its own",
    ),
}


@pytest.mark.skipif(sys.platform == "win32", reason="there are other permissions")
@pytest.mark.parametrize(("prepare", "name", "remedy"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_that_is_of_no_use_is_refused_at_construction(
    prepare: Callable[[Path], object], name: str, remedy: str, of_nobody: Path
) -> None:
    """The error says what is to be done, and names the file."""
    prepare(of_nobody)

    with pytest.raises(sqlite3.DatabaseError, match=remedy) as raised:
        SqliteLedger(of_nobody / name)

    assert raised.value.__notes__ == [f"The ledger's file is {of_nobody / name}"]
    assert isinstance(raised.value, sqlite3.OperationalError) is (name != "a.txt")


@pytest.mark.parametrize("busy_timeout", [-1, float("nan"), "10"])
def test_how_long_to_wait_is_a_number_of_seconds(busy_timeout: object, tmp_path: Path) -> None:
    """Another is refused at construction."""
    with pytest.raises((TypeError, ValueError), match="busy_timeout is a number of seconds above 0, not"):
        SqliteLedger(tmp_path / "ledger.db", busy_timeout=busy_timeout)


def test_a_fork_waits_for_no_claim_that_waits_for_others(tmp_path: Path) -> None:
    """While another process has the file locked, forking takes as long as ever."""
    program = """
import os, sqlite3, sys, threading, time
from langchain_ldai.ledgers import SqliteLedger
ledger = SqliteLedger(sys.argv[1], busy_timeout=60)
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
claiming = threading.Thread(target=ledger.claim, args=("run-1", ["success"], "one"), daemon=True)
claiming.start()
time.sleep(0.2)
began = time.monotonic()
for _ in range(5):
    process = os.fork()
    if process == 0:
        os._exit(0)
    os.waitpid(process, 0)
print(time.monotonic() - began < 5, claiming.is_alive())  # each would wait a second for a claim at work
"""
    assert run_program(program, tmp_path / "ledger.db").stdout == "True True\n"

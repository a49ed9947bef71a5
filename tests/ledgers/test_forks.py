"""A process that has a ledger and is forked: parent and child claim in the same one, and neither hangs."""

import runpy
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from langchain_ldai.ledgers import sqlite
from tests.support.programs import run_program
from tests.support.redis_server import running_redis

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")

PROGRAM = """
import collections, os, redis, signal, sqlite3, sys, threading, time
from langchain_ldai._base import forks
from langchain_ldai.ledgers import SqliteLedger
from langchain_ldai.ledgers.redis import RedisLedger
from tests.ledgers.places import ledger_at

fork_seconds, forks.FORK_SECONDS = forks.FORK_SECONDS, 60

def in_child(call):
    "Return the exit code of a fork that calls a function: 0 where that is true; it ends by itself, in any case."
    process = os.fork()
    if process == 0:
        signal.alarm(60)
        try:
            os._exit(0 if call() else 1)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(2)
    return os.waitpid(process, 0)[1]

ledger = ledger_at(sys.argv[1])
"""


def run_with_ledger(code: str, where: Path | str) -> list[str]:
    """Run a program that has a ledger, and return what it prints; it must end by itself."""
    done = run_program(f"{PROGRAM}\n{code}", where)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a ledger is."""
    if request.param == "redis":
        with running_redis(tmp_path) as server:
            yield server.url
    else:
        yield "memory" if request.param == "memory" else str(tmp_path / "ledger.db")


def test_each_child_of_a_busy_process_claims(where: str) -> None:
    """Also where it is forked in the middle of a claim, by one of two threads that fork at once."""
    code = """
def busy():
    number = 0
    while True:
        ledger.claim(f"run-{number}", ["success", "tokens", "feedback"], "parent")
        number += 1

def fork(name):
    for number in range(30):
        codes[in_child(lambda: set(ledger.claim(f"{name}-{number}", ["success"], "child")) == {"success"})] += 1
        time.sleep(0.001)

codes = collections.Counter()
threading.Thread(target=busy, daemon=True).start()
forking = [threading.Thread(target=fork, args=(name,)) for name in ("one", "other")]
for thread in forking:
    thread.start()
for thread in forking:
    thread.join()
print(dict(codes))
sys.stdout.flush()
os._exit(0)
"""
    assert run_with_ledger(code, where) == ["{0: 60}"]


def test_parent_and_child_know_each_others_claims(tmp_path: Path) -> None:
    """A slot is granted once among a parent, its child, and a process that comes later, whoever closes when."""
    code = """
ledger.claim("warm", ["success"], "parent")
to_child, from_child = os.pipe(), os.pipe()
if os.fork() == 0:
    signal.alarm(60)
    for run in ("run-1", "run-2", "run-3"):
        print("child", run, *ledger.claim(run, ["success"], "child"), flush=True)
        os.write(from_child[1], b"x")
        os.read(to_child[0], 1)
    os._exit(0)
os.read(from_child[0], 1)
print("parent run-1", *ledger.claim("run-1", ["success"], "parent"), flush=True)
ledger.close()
os.write(to_child[1], b"x")
os.read(from_child[0], 1)
other = (
    "import sys; from langchain_ldai.ledgers import SqliteLedger; ledger = SqliteLedger(sys.argv[1]); "
    "[print('other', run, *ledger.claim(run, ['success'], 'other')) for run in ('run-2', 'run-3')]; ledger.close()"
)
os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", other, sys.argv[1]])
os.write(to_child[1], b"x")
os.read(from_child[0], 1)
os.write(to_child[1], b"x")
os.wait()
"""
    assert run_with_ledger(code, tmp_path / "ledger.db") == [
        *("child run-1 success", "parent run-1"),
        *("child run-2 success", "other run-2", "other run-3 success", "child run-3"),
    ]


def test_a_daemon_claims_in_the_file_of_the_others(tmp_path: Path) -> None:
    """Also one that closes whatever its parents had open, while others open and close the file."""
    code = """
ledger.claim("warm", ["success"], "parent")
ends = os.pipe()
def detach():
    if os.fork():
        os.close(ends[1])
        os.read(ends[0], 1)  # until the daemon has ended
        os._exit(0)
detach()
os.setsid()
detach()
signal.alarm(60)
os.closerange(3, ends[1])
os.closerange(ends[1] + 1, 256)
other = (
    "import sys; from langchain_ldai.ledgers import SqliteLedger; ledger = SqliteLedger(sys.argv[1]); "
    "[print('other', run, *ledger.claim(run, ['success'], 'other')) for run in sys.argv[2:]]; ledger.close()"
)
def run_other(*runs):
    os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", other, sys.argv[1], *runs])
run_other("run-0")
for run in ("run-0", "run-1"):
    print("daemon", run, *ledger.claim(run, ["success"], "daemon"), flush=True)
run_other("run-1", "run-2")
print("daemon run-2", *ledger.claim("run-2", ["success"], "daemon"), flush=True)
"""
    assert run_with_ledger(code, tmp_path / "ledger.db") == [
        *("other run-0 success", "daemon run-0", "daemon run-1 success"),
        *("other run-1", "other run-2 success", "daemon run-2"),
    ]


def test_a_fork_waits_a_second_for_a_statement_and_no_longer(tmp_path: Path) -> None:
    """A child that SQLite would let wait for ever claims nothing and says why; its parent goes on."""
    code = """
forks.FORK_SECONDS = fork_seconds
began, forked, waited = threading.Event(), threading.Event(), []
class Slow(sqlite3.Connection):
    def executemany(self, *args):
        began.set()
        waited.append(forked.wait(60))
        return super().executemany(*args)

connect = sqlite3.connect
sqlite3.connect = lambda *args, **options: connect(*args, factory=Slow, **options)
claiming = threading.Thread(target=lambda: print("parent", *ledger.claim("run-1", ["success"], "parent")))
claiming.start()
began.wait(60)

def refused(claim):
    try:
        claim()
    except sqlite3.ProgrammingError as error:
        return "make the ledger after the fork" in str(error)

at = time.monotonic()
code = in_child(lambda: refused(lambda: ledger.claim("run-1", ["success"], "child"))
                and refused(lambda: SqliteLedger(sys.argv[1])))
print(code, time.monotonic() - at >= 1)
forked.set()
claiming.join()
print(waited)
"""
    assert run_with_ledger(code, tmp_path / "ledger.db") == ["0 True", "parent success", "[True]"]


def test_a_fork_waits_until_a_lock_of_redis_is_free(tmp_path: Path) -> None:
    """One that another thread holds at that moment would never be free in the child."""
    code = """
class Slow(redis.ConnectionPool):
    def make_connection(self):
        began.set()
        time.sleep(0.3)
        return super().make_connection()

began = threading.Event()
ledger = RedisLedger(redis.Redis(connection_pool=Slow.from_url(sys.argv[1], socket_timeout=60)))
claiming = threading.Thread(target=lambda: print("parent", *ledger.claim("run-1", ["success"], "parent")))
claiming.start()
began.wait(60)
code = in_child(lambda: not ledger.claim("run-1", ["success"], "child"))
claiming.join()
print(code)
"""
    with running_redis(tmp_path) as server:
        assert run_with_ledger(code, server.url) == ["parent success", "0"]


@pytest.mark.parametrize(
    ("before", "granted"),
    [
        ("", ["child success", "parent tokens"]),
        ("ledger.claim('run-0', ['success'], 'parent')", ["refused", "parent success tokens"]),
    ],
    ids=["unused", "in-use"],
)
def test_a_fork_that_python_is_not_told_of_grants_nothing_twice(
    before: str, granted: list[str], tmp_path: Path
) -> None:
    """As servers in C fork: nothing is closed before. A child claims where its parent had claimed nothing."""
    code = f"""
{before}
SqliteLedger.close_for_fork = lambda self: None
process = os.fork()
if process == 0:
    signal.alarm(60)
    try:
        print("child", *ledger.claim("run-1", ["success"], "child"), flush=True)
    except sqlite3.ProgrammingError:
        print("refused", flush=True)
    os._exit(0)
os.waitpid(process, 0)
print("parent", *sorted(ledger.claim("run-1", ["success", "tokens"], "parent")))
"""
    assert run_with_ledger(code, tmp_path / "ledger.db") == granted


def test_a_process_that_got_an_open_file_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One error in the log says what to do, and no ledger of that process claims anything."""
    connections: list[sqlite3.Connection] = []
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **named: connections.append(connect(*args, **named)) or connections[-1]
    )
    make = runpy.run_path(sqlite.__file__)["SqliteLedger"]  # this process goes on with its own
    ledger, other = make(tmp_path / "ledger.db"), make(tmp_path / "other.db")
    ledger.claim("run-0", ["success"], "parent")

    for each in (ledger, other):
        each.reset_after_fork()

    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert str(tmp_path / "ledger.db") in caplog.text
    assert "make the ledger after the fork" in caplog.text
    for each in (ledger, other):
        with pytest.raises(sqlite3.ProgrammingError, match="make the ledger after the fork"):
            each.claim("run-1", ["success"], "child")
    connections[-1].close()  # which only this test may

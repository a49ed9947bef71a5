"""What every ledger keeps: in memory, in a SQLite file, and in a real Redis."""

import runpy
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import redis

import langchain_ldai.ledgers.redis
from langchain_ldai.ledgers import Ledger, MemoryLedger, SqliteLedger
from langchain_ldai.ledgers.redis import RedisLedger
from tests.support.redis_server import RedisServer, running_redis

RUN = "run-1/support-bot"
Make = Callable[..., Ledger]


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for the tests of this file."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def emptied(redis_server: RedisServer) -> RedisServer:
    """The Redis, without keys."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server


@pytest.fixture(params=["memory", "sqlite", "redis", "redis-text"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """A maker of ledgers of one kind that share what they know, where they can."""
    if request.param == "memory":
        yield MemoryLedger
    elif request.param == "sqlite":
        made = []

        def open_file(**options: float) -> SqliteLedger:
            made.append(SqliteLedger(tmp_path / "ledger.db", **options))
            return made[-1]

        yield open_file
        for ledger in made:
            ledger.close()
    else:
        url = request.getfixturevalue("emptied").url
        with redis.Redis.from_url(url, decode_responses=request.param == "redis-text") as client:
            yield lambda **options: RedisLedger(client, **options)


def test_a_slot_is_granted_to_one_claimant(make: Make) -> None:
    """The first gets it; another gets only what is left."""
    ledger = make()

    assert set(ledger.claim(RUN, ["success"], "one")) == {"success"}
    assert set(ledger.claim(RUN, ["success", "tokens"], "other")) == {"tokens"}


def test_a_claim_made_again_by_the_same_claimant_is_granted_again(make: Make) -> None:
    """Whose first answer was lost asks again and learns what is its own, and no more than it asks for."""
    ledger = make()
    ledger.claim(RUN, ["success", "tokens"], "one")

    assert set(ledger.claim(RUN, ["success"], "one")) == {"success"}


def test_runs_do_not_share_slots(make: Make) -> None:
    """Each run has slots of its own."""
    ledger = make()
    ledger.claim(RUN, ["success"], "one")

    assert set(ledger.claim("run-2/support-bot", ["success"], "other")) == {"success"}


def test_of_many_threads_each_slot_has_one_winner(make: Make) -> None:
    """Eight threads claim three slots of twenty runs at once: each slot is granted to one."""
    ledger, start = make(), threading.Barrier(8)

    def claim(claimant: int) -> list[tuple[int, str]]:
        won = []
        for run in range(20):
            start.wait(60)
            granted = ledger.claim(f"run-{run}", ["success", "tokens", "feedback"], str(claimant))
            won += [(run, slot) for slot in granted]
        return won

    with ThreadPoolExecutor(8) as pool:
        won = [slot for slots in pool.map(claim, range(8)) for slot in slots]

    assert len(won) == len(set(won)) == 60


def test_a_ledger_of_the_same_file_or_server_knows_the_claims(tmp_path: Path, emptied: RedisServer) -> None:
    """What one process claimed is not granted to another."""
    program = (
        "import sys; from langchain_ldai.ledgers import SqliteLedger; "
        "from langchain_ldai.ledgers.redis import RedisLedger; "
        "ledgers = [SqliteLedger(sys.argv[1]), RedisLedger.from_url(sys.argv[2])]; "
        f"print([ledger.claim({RUN!r}, ['success'], 'one') for ledger in ledgers])"
    )
    path = tmp_path / "ledger.db"

    command = [sys.executable, "-c", program, path, emptied.url]
    granted = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    assert granted.strip() == "[{'success'}, {'success'}]"
    with closing(SqliteLedger(path)) as ledger:
        assert ledger.claim(RUN, ["success", "tokens"], "other") == {"tokens"}
    assert RedisLedger.from_url(emptied.url).claim(RUN, ["success", "tokens"], "other") == {"tokens"}


def rows(path: Path) -> list[str]:
    """Return the runs of which a file has claims."""
    with closing(sqlite3.connect(path)) as connection:
        return [run for (run,) in connection.execute("SELECT run FROM claims ORDER BY run")]


def test_a_sqlite_ledger_forgets_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time a slot is free again, and the rows of other runs are cleaned away with it."""
    path = tmp_path / "ledger.db"
    monkeypatch.setattr("time.time", lambda: now)
    now = 1000.0
    ledger = SqliteLedger(path, ttl=100)
    ledger.claim(RUN, ["success"], "one")
    ledger.claim("run-2", ["success"], "one")

    now = 1099.0
    assert ledger.claim(RUN, ["success"], "other") == set()
    now = 1100.0
    assert ledger.claim(RUN, ["success"], "other") == {"success"}
    assert rows(path) == [RUN, "run-2"]
    now = 1100.0 + 3600
    ledger.claim("run-3", ["success"], "one")
    assert rows(path) == ["run-3"]
    ledger.close()


def test_a_redis_ledger_forgets_in_time(emptied: RedisServer) -> None:
    """Each run is one key with a time to live, which a later claim renews, and a tag for clusters."""
    with redis.Redis.from_url(emptied.url) as client:
        ledger = RedisLedger(client, ttl=100, prefix="mine")
        ledger.claim(RUN, ["success"], "one")
        client.expire("mine:{run-1/support-bot}", 5)

        ledger.claim(RUN, ["success"], "other")

        assert client.keys() == [b"mine:{run-1/support-bot}"]
        assert 5 < client.ttl("mine:{run-1/support-bot}") <= 100


def test_a_redis_ledger_makes_one_round_trip(emptied: RedisServer) -> None:
    """Once the script is known to the server, a claim of any number of slots is one command."""
    with redis.Redis.from_url(emptied.url) as client:
        ledger = RedisLedger(client)
        ledger.claim(RUN, ["success"], "one")
        client.config_resetstat()

        ledger.claim("run-2", ["success", "tokens", "feedback"], "one")

        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1
        assert client.info("stats")["total_commands_processed"] <= 12  # the script's own, and these two questions


def test_a_memory_ledger_is_bounded() -> None:
    """Beyond its number of runs it forgets the one that was claimed longest ago."""
    ledger = MemoryLedger(max_runs=2)
    for run in ("a", "b", "a", "c"):
        ledger.claim(run, ["success"], "one")

    assert ledger.claim("a", ["success"], "other") == set()
    assert ledger.claim("b", ["success"], "other") == {"success"}


def test_a_memory_ledger_remembers_at_least_one_run() -> None:
    """Another number is refused at construction."""
    with pytest.raises(ValueError, match="max_runs is at least 1, not 0"):
        MemoryLedger(0)


def test_redis_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error names the extra."""
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ImportError, match=r'^RedisLedger needs redis: pip install "langchain-ldai\[redis\]"$'):
        runpy.run_path(langchain_ldai.ledgers.redis.__file__)

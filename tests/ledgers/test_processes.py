"""Processes race for every slot of the same runs: each is granted once, and one event a slot is sent."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
import redis

from langchain_ldai import LdAiCompletionConfig
from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.support.chains import SUCCESS
from tests.support.redis_server import DURABLE, RedisServer, running_redis

RUNS: Final = int(os.environ.get("LEDGER_RUNS", "200"))
PROCESSES: Final = 8
RACER: Final = Path(__file__).parent / "racer.py"
FORKING_RACER: Final = Path(__file__).parent / "forking_racer.py"
EVENTS: Final = {
    SUCCESS: 1,
    "$ld:ai:feedback:user:positive": 1,
    "$ld:ai:tokens:total": 3,
    "$ld:ai:tokens:input": 2,
    "$ld:ai:tokens:output": 1,
}


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that loses no claim when it is killed."""
    with running_redis(tmp_path, *DURABLE) as server:
        yield server


def race(
    program: list[str | Path], words: list[str], meanwhile: Callable[[], None] = lambda: None
) -> tuple[float, list[str]]:
    """Let the processes take the words, all at once, and return the seconds it took and the lines they printed."""
    with ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-W", "ignore", *program],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "PYTHONPATH": str(RACER.parent.parent.parent)},
                )
            )
            for _ in range(PROCESSES)
        ]
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        began = time.monotonic()
        for racer in racers:
            racer.stdin.write("\n".join(words))
            racer.stdin.close()
        meanwhile()
        lines = [line for racer in racers for line in racer.stdout.read().splitlines()]
        assert [racer.wait(600) for racer in racers] == [0] * PROCESSES
        return time.monotonic() - began, lines


@pytest.mark.parametrize("kind", ["sqlite", "redis", "redis-killed"])
def test_processes_record_each_metric_of_a_run_once(
    kind: str,
    config: LdAiCompletionConfig,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exactly one event a slot and run, also while Redis is killed and started again in the middle."""
    server = None if kind == "sqlite" else request.getfixturevalue("redis_server")
    ledger = server.url if server else str(tmp_path / "ledger.db")
    trackers = [config.create_tracker() for _ in range(RUNS)]

    def kill_and_restart() -> None:
        with redis.Redis.from_url(server.url) as client:
            while client.dbsize() < RUNS // 4:
                time.sleep(0.01)
        server.kill()
        time.sleep(1)  # an outage that every process notices
        server.start()

    with LoopbackLaunchDarkly() as launchdarkly:
        meanwhile = kill_and_restart if kind == "redis-killed" else lambda: None
        tokens = [tracker.resumption_token for tracker in trackers]
        seconds, _ = race([RACER, ledger, launchdarkly.url], tokens, meanwhile)
        events = launchdarkly.custom_events()

    sent = Counter((event.data["runId"], event.name, event.value) for event in events if "runId" in event.data)
    assert sent == Counter((tracker.run_id, *event) for tracker in trackers for event in EVENTS.items())
    with capsys.disabled():
        claimed = PROCESSES * RUNS * 3
        print(  # noqa: T201
            f"\n{kind}: {PROCESSES} processes, {RUNS:,} runs, {claimed:,} claims of {RUNS * 3:,} slots "
            f"-> {sum(sent.values()):,} events, {RUNS * len(EVENTS):,} expected; {seconds:.1f} s"
        )


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_processes_that_fork_meanwhile_are_granted_each_slot_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the claims are made by children of a process whose other half is under way: none hangs or fails."""
    ledger = request.getfixturevalue("redis_server").url if kind == "redis" else str(tmp_path / "ledger.db")
    runs = [f"run-{number}" for number in range(RUNS)]

    seconds, granted = race([FORKING_RACER, ledger], runs)

    assert Counter(granted) == Counter(
        f"{run} {slot}" for run in runs for slot in ("success", "tokens", "feedback")
    )
    with capsys.disabled():
        claims = PROCESSES * RUNS * 3
        print(f"\n{kind} with forks: {claims:,} claims of {RUNS * 3:,} slots; {seconds:.1f} s")  # noqa: T201

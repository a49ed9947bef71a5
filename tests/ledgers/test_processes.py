"""Processes race for every slot of the same runs: each is granted once, and one event a slot is sent."""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
import redis

from langchain_ldai import LdAiCompletionConfig
from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.support.chains import SUCCESS
from tests.support.programs import run_program
from tests.support.redis_server import DURABLE, RedisServer, running_redis

RUNS: Final = int(os.environ.get("LEDGER_RUNS", "200"))
PROCESSES: Final = 8
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
    racer: str, folder: Path, words: list[str], *given: str, meanwhile: Callable[[], None] = lambda: None
) -> tuple[float, list[str]]:
    """Let processes take the words, all at once, and return the seconds it took and the lines they printed."""
    (folder / "words").write_text("\n".join(words), "utf-8")
    code = f"import sys; from tests.ledgers.{racer} import main; sys.exit(main(*sys.argv[1:]))"
    began = time.monotonic()
    with ThreadPoolExecutor(PROCESSES) as pool:
        arguments = (code, folder, PROCESSES, *given)
        racing = [pool.submit(run_program, *arguments, timeout=600) for _ in range(PROCESSES)]
        meanwhile()
    ended = [each.result() for each in racing]
    assert [each.returncode for each in ended] == [0] * PROCESSES, "".join(each.stderr for each in ended)
    return time.monotonic() - began, [line for each in ended for line in each.stdout.splitlines()]


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
        seconds, _ = race("racer", tmp_path, tokens, ledger, launchdarkly.url, meanwhile=meanwhile)
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

    seconds, granted = race("forking_racer", tmp_path, runs, ledger)

    assert Counter(granted) == Counter(
        f"{run} {slot}" for run in runs for slot in ("success", "tokens", "feedback")
    )
    with capsys.disabled():
        claims = PROCESSES * RUNS * 3
        print(f"\n{kind} with forks: {claims:,} claims of {RUNS * 3:,} slots; {seconds:.1f} s")  # noqa: T201

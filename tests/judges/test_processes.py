"""Judged runs of several processes, some of which are killed: each drawn run is scored once, if it is not lost."""

import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ldclient import Context, LDClient

from langchain_ldai import LdAiClient
from langchain_ldai.judges import Judges, JudgeTask
from langchain_ldai.judges._sampling import draw_of
from langchain_ldai.ledgers import SqliteLedger
from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.conftest import NIGHTLY
from tests.judges.judge_models import METRIC, JudgeModel, flags_with
from tests.judges.racer import make_runs
from tests.support.fork_server import Worker, shared_server
from tests.support.programs import CHAINS

PROCESSES, RUNS = (8, 125) if NIGHTLY else (3, 20)
RATE = 0.1 if NIGHTLY else 0.4
KILLED_AFTER = [RUNS // 2 if number % 2 else 0 for number in range(PROCESSES)]
"""After how many runs each process kills itself; 0 for never."""


@dataclass
class Race:
    """What came of the processes: scores by run, and the tasks that they left to others.

    Args:
        server: The LaunchDarkly.
        directory: Where the ledger is, and the tasks.
        once: How often each run was scored before the killed processes' runs were repeated.
        repeated: How often after that.
    """

    server: LoopbackLaunchDarkly
    directory: Path
    once: Counter[str]
    repeated: Counter[str]


def start(
    server: LoopbackLaunchDarkly, directory: Path, number: int, killed_after: int, queue: str = ""
) -> Worker:
    """Start the process that makes the runs of a number."""
    return shared_server(*CHAINS).start(
        directory / "output",
        make_runs,
        url=server.url,
        directory=str(directory),
        first=number * RUNS,
        count=RUNS,
        killed_after=killed_after,
        queue=queue,
    )


def scores(server: LoopbackLaunchDarkly) -> Counter[str]:
    """Return how often each run was scored."""
    return Counter(event.data["runId"] for event in server.custom_events(METRIC))


def drawn(name: str, *, finished: bool) -> Counter[str]:
    """Return the runs that are drawn: all, or those that ended before their process did."""
    counts = [(killed_after if finished else 0) or RUNS for killed_after in KILLED_AFTER]
    runs = [f"{name}-{number * RUNS + run}" for number, count in enumerate(counts) for run in range(count)]
    return Counter(run for run in runs if draw_of(run, "accuracy") < RATE)


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Race]:
    """Processes that race, of which some are killed; then others repeat the runs of those, under their ids."""
    directory = tmp_path_factory.mktemp("race")
    with LoopbackLaunchDarkly(flags_with(accuracy=RATE), sdk_key="sdk-key") as server:
        racing = [
            start(server, directory, number, killed_after, str(directory / f"{number}.tasks"))
            for number, killed_after in enumerate(KILLED_AFTER)
        ]
        ends = [process.wait(300) for process in racing]
        assert ends == [-signal.SIGKILL if killed_after else 0 for killed_after in KILLED_AFTER]
        once = scores(server)
        again = [start(server, directory, number, 0) for number, after in enumerate(KILLED_AFTER) if after]
        assert {process.wait(300) for process in again} == {0}
        yield Race(server, directory, once, scores(server))


def test_each_drawn_run_is_scored_once_whoever_is_killed(race: Race) -> None:
    """With a ledger and durable delivery, who repeats a killed process's runs scores what it left."""
    assert sum(race.repeated.values()) > 10
    assert race.repeated == drawn("run", finished=False)


def test_without_a_repetition_no_run_is_scored_twice(race: Race) -> None:
    """What waited for its judge in a killed process is lost, and nothing else."""
    ended = drawn("run", finished=True)
    survivors = {run for run in ended if not KILLED_AFTER[int(run.partition("-")[2]) // RUNS]}

    assert race.once <= ended
    assert survivors <= set(race.once)


def test_a_queue_that_survives_loses_no_score(race: Race) -> None:
    """Of runs whose judging is left to others, none is lost and none counts twice, though each comes twice."""
    lines = [line for path in race.directory.glob("*.tasks") for line in path.read_text("utf-8").splitlines()]
    ledger = SqliteLedger(race.directory / "claims.db")
    with LDClient(race.server.config("sdk-key")) as client, LdAiClient(client, ledger=ledger) as ai:
        judges = Judges(ai, model=lambda config: JudgeModel())
        for line in lines * 2:
            assert judges.evaluate_task(JudgeTask.from_json(line), Context.create("user-1")) is not None

    late = Counter({run: count for run, count in scores(race.server).items() if run.startswith("late")})
    assert late == drawn("late", finished=True)
    ledger.close()

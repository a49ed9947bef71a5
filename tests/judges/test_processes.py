"""Judged runs of several processes, some of which are killed and repeated: each drawn run is scored once."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from langchain_ldai.judges._sampling import draw_of
from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.judges.judge_models import METRIC, flags_with

ROOT = Path(__file__).parent.parent.parent
NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
PROCESSES, RUNS = (8, 125) if NIGHTLY else (3, 20)
RATE = 0.1 if NIGHTLY else 0.4


def start(server: LoopbackLaunchDarkly, directory: Path, first: int, killed_after: int) -> subprocess.Popen[bytes]:
    """Start a process that makes a share of the runs."""
    program = [sys.executable, "-m", "tests.judges.racer", server.url, str(directory)]
    numbers = map(str, (first, RUNS, killed_after))
    return subprocess.Popen([*program, *numbers], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_each_drawn_run_is_scored_once_whoever_is_killed(tmp_path: Path) -> None:
    """With a ledger and durable delivery, who repeats a killed process's runs scores what it left."""
    drawn = {f"run-{number}" for number in range(PROCESSES * RUNS) if draw_of(f"run-{number}", "accuracy") < RATE}
    with LoopbackLaunchDarkly(flags_with(accuracy=RATE), sdk_key="sdk-key") as server:
        kills = [RUNS // 2 if number % 2 else 0 for number in range(PROCESSES)]
        racing = [start(server, tmp_path, number * RUNS, after) for number, after in enumerate(kills)]
        ends = [process.wait(300) for process in racing]
        again = [start(server, tmp_path, number * RUNS, 0) for number, after in enumerate(kills) if after]
        repeated = [process.wait(300) for process in again]
        scores = Counter(event.data["runId"] for event in server.custom_events(METRIC))

    assert ends == [-signal.SIGKILL if after else 0 for after in kills]
    assert set(repeated) == {0}
    assert len(drawn) > 10
    assert scores == Counter(drawn)

"""The newer recipes do what they show."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.deployments.servers import ROOT
from tests.support.chains import SUCCESS

COOKBOOK = ROOT / "cookbook"
PLATFORM = """
import json, sys
from serverless_function import respond
for line in sys.stdin:
    print(json.dumps(respond(json.loads(line), None)), flush=True)
"""


def test_a_supervisor_and_its_workers_are_counted_each_for_itself() -> None:
    """Each node has the tokens of its own visits, and its own outcome."""
    done = subprocess.run(
        [sys.executable, COOKBOOK / "supervisor.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.stdout.splitlines() == [
        "Hold the button",
        "supervisor: success, 3 model calls, TokenUsage(total=74, input=71, output=3)",
        "researcher: success, 1 model calls, TokenUsage(total=14, input=10, output=4)",
        "writer: success, 1 model calls, TokenUsage(total=16, input=13, output=3)",
    ]


class Instance:
    """An instance of the function, which its platform freezes after each answer."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def invoke(self, user: str) -> Mapping[str, object]:
        """Wake the instance, let it answer, and freeze it at once."""
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(json.dumps({"question": "How?", "user_id": user}) + "\n")
        self._process.stdin.flush()
        answered = json.loads(self._process.stdout.readline())
        self._process.send_signal(signal.SIGSTOP)
        return answered


@contextmanager
def instance(launchdarkly: LoopbackLaunchDarkly, folder: Path, *, patience: float = 60) -> Iterator[Instance]:
    """Start an instance of the function, and kill it at the end of the block."""
    environment = {
        "FLUSH_SECONDS": str(patience),
        "LAUNCHDARKLY_URL": launchdarkly.url,
        "EVENTS_DIRECTORY": str(folder / "events"),
        "PYTHONPATH": f"{ROOT}:{COOKBOOK}",
    }
    with subprocess.Popen(
        [sys.executable, "-c", PLATFORM],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Instance(process)
        finally:
            process.kill()


@pytest.fixture
def launchdarkly() -> Iterator[LoopbackLaunchDarkly]:
    """A LaunchDarkly that serves the AI Config of the recipes."""
    with LoopbackLaunchDarkly.from_file(COOKBOOK / "flags.json") as service:
        yield service


def test_a_function_that_is_frozen_and_killed_loses_nothing(
    launchdarkly: LoopbackLaunchDarkly, tmp_path: Path
) -> None:
    """What each invocation recorded is at LaunchDarkly before its answer, cold and warm, in each instance."""
    users: list[str] = []
    for name in ("first", "second"):
        with instance(launchdarkly, tmp_path) as function:
            for number in range(3):
                users.append(f"{name}-{number}")
                assert function.invoke(users[-1])["answer"] == "Hold the button"
                assert [event.context.key for event in launchdarkly.custom_events(SUCCESS)] == users


def test_a_function_answers_also_where_launchdarkly_takes_nothing(
    launchdarkly: LoopbackLaunchDarkly, tmp_path: Path
) -> None:
    """What is not accepted in time, the next instance sends."""
    launchdarkly.fail_next(times=1_000)
    with instance(launchdarkly, tmp_path, patience=0.2) as function:
        answered = function.invoke("ada")
    arrived = launchdarkly.custom_events(SUCCESS)

    while launchdarkly.take_fault("/bulk"):
        pass
    with instance(launchdarkly, tmp_path) as function:
        function.invoke("grace")
    users = [event.context.key for event in launchdarkly.custom_events(SUCCESS)]

    assert (answered["answer"], arrived) == ("Hold the button", [])
    assert sorted(users) == ["ada", "grace"]

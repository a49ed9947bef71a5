"""Retrieval in a real Celery worker, and feedback in another process, through a real queue."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from celery import Celery

from langchain_ldai.testing import LoopbackLaunchDarkly, RecordedEvent
from tests.deployments.servers import ROOT
from tests.support.redis_server import running_redis

COOKBOOK = ROOT / "cookbook"
SUCCESS, POSITIVE = "$ld:ai:generation:success", "$ld:ai:feedback:user:positive"
ASKED_FOR = "$ld:ai:usage:completion-config"
WORKER = [
    *(sys.executable, "-m", "celery", "--app", "retrieval_worker", "worker", "--concurrency", "1"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
]
PATIENCE = 60


@dataclass
class Deployment:
    """A queue, a worker that is at work on it, and the LaunchDarkly that web process and worker report to."""

    launchdarkly: LoopbackLaunchDarkly
    queue: Celery
    environment: dict[str, str]

    def answer(self, user: str) -> object:
        """Deliver a user's task, whose id is the user's name, and return what the worker answers."""
        done = self.queue.send_task("retrieval_worker.answer", ["How?", user], task_id=user)
        try:
            return done.get(timeout=PATIENCE)
        finally:
            done.forget()

    def child(self) -> int:
        """Return the id of the worker's child."""
        ((_, stats),) = self.queue.control.inspect(timeout=PATIENCE, limit=1).stats().items()
        (child,) = stats["pool"]["processes"]
        return child

    def arrived(self, name: str, user: str) -> list[RecordedEvent]:
        """Return a user's events of a name, once there is one."""
        while True:
            events = self.launchdarkly.custom_events()
            if found := [event for event in events if (event.name, event.context.key) == (name, user)]:
                return found
            self.launchdarkly.wait_for_events(len(events) + 1, timeout=PATIENCE)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment whose worker ends as Celery's do, at a SIGTERM."""
    folder = tmp_path_factory.mktemp("celery")
    with LoopbackLaunchDarkly.from_file(COOKBOOK / "flags.json") as launchdarkly, running_redis(folder) as redis:
        environment = {
            **os.environ,
            "EVENTS_DIRECTORY": str(folder / "events"),
            "LAUNCHDARKLY_URL": launchdarkly.url,
            "PYTHONPATH": f"{ROOT}:{COOKBOOK}",
            "REDIS_URL": redis.url,
        }
        with (folder / "log").open("w") as log:
            worker = subprocess.Popen(WORKER, env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            with Celery(broker=redis.url, backend=redis.url, set_as_current=False) as queue:
                yield Deployment(launchdarkly, queue, environment)
        finally:
            worker.terminate()
            worker.wait(PATIENCE)


def test_a_thumb_of_the_web_process_counts_for_the_workers_run(deployment: Deployment) -> None:
    """The recipe as it is: what the worker's child measured and the web process heard are one run."""
    command = [sys.executable, COOKBOOK / "retrieval_worker.py", "How?"]
    done = subprocess.run(command, env=deployment.environment, check=False, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "Hold the button\n"), done.stderr
    (success,) = deployment.arrived(SUCCESS, "user-1")
    (thumb,) = deployment.arrived(POSITIVE, "user-1")
    assert thumb.data["runId"] == success.data["runId"]
    metrics = deployment.launchdarkly.metrics(success.data["runId"])
    assert metrics["$ld:ai:tokens:input"] == [17]  # the page that was found is in the prompt


def test_a_task_that_is_delivered_again_counts_once(deployment: Deployment) -> None:
    """The run has the id of its task, and the ledger knows what of it is recorded."""
    for _ in range(2):
        deployment.answer("ada")
    deployment.answer("grace")

    deployment.arrived(SUCCESS, "grace")  # one child sends in order
    (success,) = deployment.arrived(SUCCESS, "ada")
    assert success.data["runId"] == "ada"
    assert len(deployment.arrived(ASKED_FOR, "ada")) == 2


def test_what_a_killed_child_recorded_is_sent_by_the_one_after_it(deployment: Deployment) -> None:
    """LaunchDarkly takes nothing while the child lives; it has the run's metrics once all the same."""
    deployment.launchdarkly.fail_next(times=1_000)
    deployment.answer("lin")
    os.kill(deployment.child(), signal.SIGKILL)
    while deployment.launchdarkly.take_fault("/bulk"):
        pass

    (success,) = deployment.arrived(SUCCESS, "lin")
    assert success.data["runId"] == "lin"

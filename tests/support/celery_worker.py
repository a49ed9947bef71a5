"""A recipe's real Celery worker, with a Redis as its queue, on this machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from celery import Celery
from celery.result import AsyncResult

from langchain_ldai.testing import LoopbackLaunchDarkly, RecordedEvent
from tests.deployments.servers import ROOT
from tests.support.arrivals import once
from tests.support.redis_server import running_redis

COOKBOOK: Final = ROOT / "cookbook"
PATIENCE: Final = 120
QUIET: Final = ("--without-gossip", "--without-mingle", "--without-heartbeat")


@dataclass
class Deployment:
    """A queue, a worker that is at work on it, and the LaunchDarkly that web process and worker report to.

    Args:
        recipe: The recipe's module, which has the tasks.
        launchdarkly: The LaunchDarkly.
        queue: The queue.
        environment: What the recipe's processes find in their environment.
    """

    recipe: str
    launchdarkly: LoopbackLaunchDarkly
    queue: Celery
    environment: dict[str, str]

    def run(self, *arguments: str) -> str:
        """Run the recipe as the web process, and return what it printed."""
        command = [sys.executable, str(COOKBOOK / f"{self.recipe}.py"), *arguments]
        done = subprocess.run(command, env=self.environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def send(self, task: str, *arguments: str, task_id: str | None = None) -> AsyncResult:
        """Deliver a task of the recipe."""
        return self.queue.send_task(f"{self.recipe}.{task}", arguments, task_id=task_id)

    def call(self, task: str, *arguments: str, task_id: str | None = None) -> None:
        """Deliver a task of the recipe, and wait until a worker has done it."""
        done = self.send(task, *arguments, task_id=task_id)
        try:
            done.get(timeout=PATIENCE)
        finally:
            done.forget()

    def child(self) -> int:
        """Return the id of the worker's child."""
        ((_, stats),) = self.queue.control.inspect(timeout=PATIENCE, limit=1).stats().items()
        (child,) = stats["pool"]["processes"]
        return child

    def arrived(self, name: str, user: str) -> list[RecordedEvent]:
        """Return a user's events of a name, once there is one."""

        def find() -> list[RecordedEvent]:
            return [event for event in self.launchdarkly.custom_events(name) if event.context.key == user]

        return once(self.launchdarkly, find)


@contextmanager
def deployed(recipe: str, folder: Path) -> Iterator[Deployment]:
    """Deploy a recipe whose worker has one child, and ends as Celery's do, at a SIGTERM."""
    pytest.importorskip("redis", minversion="6.1", reason="Celery takes no earlier redis-py")
    with LoopbackLaunchDarkly.from_file(COOKBOOK / "flags.json") as launchdarkly, running_redis(folder) as redis:
        environment = {
            **os.environ,
            "EVENTS_DIRECTORY": str(folder / "events"),
            "LAUNCHDARKLY_URL": launchdarkly.url,
            "PYTHONPATH": f"{ROOT}:{COOKBOOK}",
            "REDIS_URL": redis.url,
        }
        command = [sys.executable, "-m", "celery", "--app", recipe, "worker", "--concurrency", "1", *QUIET]
        with (folder / "log").open("w") as log:
            worker = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            with Celery(broker=redis.url, backend=redis.url, set_as_current=False) as queue:
                while queue.control.inspect(timeout=1, limit=1).ping() is None:  # nobody listens yet
                    assert worker.poll() is None, (folder / "log").read_text("utf-8")
                yield Deployment(recipe, launchdarkly, queue, environment)
        finally:
            worker.terminate()
            worker.wait(PATIENCE)

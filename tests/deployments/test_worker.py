"""Judging in a worker, through a real queue: the score counts for the run, once, however often it is delivered."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue

from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.deployments.servers import ROOT
from tests.support.chains import DURATION, SUCCESS
from tests.support.redis_server import RedisServer, running_redis

RECIPES = ROOT / "cookbook"
SCORE, POSITIVE = "$ld:ai:judge:relevance", "$ld:ai:feedback:user:positive"


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for the queue and the ledger."""
    with running_redis(tmp_path) as server:
        yield server


def call(program: list[object], launchdarkly: LoopbackLaunchDarkly, redis_server: RedisServer) -> str:
    """Run a program of the recipe to its end, and return what it printed."""
    environment = {"LAUNCHDARKLY_URL": launchdarkly.url, "REDIS_URL": redis_server.url, "PYTHONPATH": str(RECIPES)}
    ended = subprocess.run(
        [str(part) for part in program],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return ended.stdout.strip()


def test_a_worker_judges_a_run_once(redis_server: RedisServer) -> None:
    """Score and feedback arrive under the run's id and for its user; a job delivered again adds neither."""
    worker = [Path(sys.executable).parent / "rq", "worker", "judging", "--burst", "--url", redis_server.url]
    with LoopbackLaunchDarkly.from_file(RECIPES / "flags.json") as launchdarkly:
        answer = call([sys.executable, RECIPES / "judge_worker.py", "How?"], launchdarkly, redis_server)
        with Redis.from_url(redis_server.url) as redis:
            queue = Queue("judging", connection=redis)
            (job,) = queue.jobs
            call(worker, launchdarkly, redis_server)
            assert job.get_status(refresh=True) == "finished"
            queue.enqueue_job(job)
            call(worker, launchdarkly, redis_server)
            assert (job.get_status(refresh=True), job.return_value(refresh=True)) == ("finished", 0.8)

        (score,) = launchdarkly.custom_events(SCORE)
        metrics = launchdarkly.metrics(score.data["runId"])
        judging = [event.data for event in launchdarkly.custom_events(DURATION)]

    assert answer == "Hold the button"
    assert (score.value, score.context.key) == (0.8, "user-1")
    assert (score.data["configKey"], score.data["judgeConfigKey"]) == ("support-bot", "relevance-judge")
    assert (metrics[SUCCESS], metrics[POSITIVE], metrics[SCORE]) == ([1], [1], [0.8])
    assert [data["configKey"] for data in judging] == ["support-bot", "relevance-judge", "relevance-judge"]

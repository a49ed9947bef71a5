"""Judges in a real Celery worker: each answer that is drawn is scored once, whoever is killed."""

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler, RunReport
from langchain_ldai.judges import Judges, JudgeTask
from langchain_ldai.testing import RecordingClient
from tests.judges.judge_models import JudgeModel, judged_flag
from tests.support.arrivals import once
from tests.support.celery_worker import Deployment, deployed
from tests.support.chains import SUCCESS
from tests.support.models import ScriptedChat

SCORE = "$ld:ai:judge:relevance"
RUNS = 20


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The recipe's worker."""
    with deployed("judge_task", tmp_path_factory.mktemp("celery")) as deployment:
        yield deployment


def test_a_worker_scores_the_run_of_the_web_process(deployment: Deployment) -> None:
    """The recipe as it is: score and answer are of one run."""
    assert deployment.run("How?") == "Hold the button\n"

    (score,) = deployment.arrived(SCORE, "user-1")
    answered = [event for event in deployment.arrived(SUCCESS, "user-1") if "support-bot" in str(event.data)]
    assert [event.data["runId"] for event in answered] == [score.data["runId"]]
    assert (score.value, score.data["judgeConfigKey"]) == (0.8, "relevance-judge")


def make_runs(deployment: Deployment, user: str) -> list[RunReport]:
    """Make runs that are all drawn, and hand out a task for each."""
    ai = LdAiClient(RecordingClient({"support-bot": judged_flag(**{"relevance-judge": 1.0})}))

    def enqueue(task: JudgeTask) -> None:
        deployment.send("judge", task.to_json(), user)

    judges = Judges(ai, model=lambda config: JudgeModel(), defer=enqueue)
    handler = LdAiHandler(ai.completion_config("support-bot", Context.create(user)), judges=judges)
    with handler.collect_runs() as runs:
        for _ in range(RUNS):
            ScriptedChat().invoke("How?", {"callbacks": [handler]})
    return runs


def test_no_score_is_lost_with_a_killed_child(deployment: Deployment) -> None:
    """A child that is killed amid its tasks leaves none undone, and none counts twice."""
    child = deployment.child()
    expected = Counter(report.run_id for report in make_runs(deployment, "ada"))

    deployment.arrived(SCORE, "ada")
    os.kill(child, signal.SIGKILL)
    once(deployment.launchdarkly, lambda: len(scores_of(deployment, "ada")) >= RUNS)

    assert Counter(scores_of(deployment, "ada")) == expected


def scores_of(deployment: Deployment, user: str) -> list[str]:
    """Return the ids of the runs of a user's scores."""
    events = deployment.launchdarkly.custom_events(SCORE)
    return [event.data["runId"] for event in events if event.context.key == user]

"""Retrieval in a real Celery worker, and feedback in another process, through a real queue."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.celery_worker import Deployment, deployed
from tests.support.chains import POSITIVE, SUCCESS

ASKED_FOR = "$ld:ai:usage:completion-config"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The recipe's worker."""
    with deployed("retrieval_worker", tmp_path_factory.mktemp("celery")) as deployment:
        yield deployment


def answer(deployment: Deployment, user: str) -> None:
    """Have the worker answer a user's task, whose id is the user's name."""
    deployment.call("answer", "How?", user, task_id=user)


def test_a_thumb_of_the_web_process_counts_for_the_workers_run(deployment: Deployment) -> None:
    """The recipe as it is: what the worker's child measured and the web process heard are one run."""
    assert deployment.run("How?") == "Hold the button\n"

    (success,) = deployment.arrived(SUCCESS, "user-1")
    (thumb,) = deployment.arrived(POSITIVE, "user-1")
    assert thumb.data["runId"] == success.data["runId"]
    metrics = deployment.launchdarkly.metrics(success.data["runId"])
    assert metrics["$ld:ai:tokens:input"] == [17]  # the page that was found is in the prompt


def test_a_task_that_is_delivered_again_counts_once(deployment: Deployment) -> None:
    """The run has the id of its task, and the ledger knows what of it is recorded."""
    for _ in range(2):
        answer(deployment, "ada")
    answer(deployment, "grace")

    for name in (ASKED_FOR, SUCCESS):  # one child sends in order what needs no claim, and beside it what needs one
        deployment.arrived(name, "grace")
    (success,) = deployment.arrived(SUCCESS, "ada")
    assert success.data["runId"] == "ada"
    assert len(deployment.arrived(ASKED_FOR, "ada")) == 2


def test_what_a_killed_child_recorded_is_sent_by_the_one_after_it(deployment: Deployment) -> None:
    """LaunchDarkly takes nothing while the child lives; it has the run's metrics once all the same."""
    deployment.launchdarkly.fail_next(times=1_000)
    answer(deployment, "lin")
    os.kill(deployment.child(), signal.SIGKILL)
    while deployment.launchdarkly.take_fault("/bulk"):
        pass

    (success,) = deployment.arrived(SUCCESS, "lin")
    assert success.data["runId"] == "lin"

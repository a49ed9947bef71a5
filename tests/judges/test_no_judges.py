"""`judges=` where LaunchDarkly has attached no judge."""

import logging

import pytest
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.judges import Judges
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG
from tests.judges.judge_models import JudgeModel, flags_with
from tests.support.chains import QUESTION, chain
from tests.support.read_log import logged
from tests.support.vectors import graph_flag


@pytest.fixture
def ai() -> LdAiClient:
    """A client with an AI Config that has a judge, and others that have none."""
    flags = {**flags_with(), "plain": FLAG, "plainer": FLAG, "desk": graph_flag(), "a": FLAG, "b": FLAG}
    return LdAiClient(RecordingClient(flags))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (["plain", "plain", "plainer", "support-bot"], ["plain"]),
        (["support-bot", "plain"], []),
    ],
)
def test_a_first_run_without_judges_is_told_once(
    keys: list[str], told: list[str], ai: LdAiClient, caplog: pytest.LogCaptureFixture
) -> None:
    """At INFO, and not where the first run has judges: then some AI Configs have none on purpose."""
    caplog.set_level(logging.INFO)
    judges, user = Judges(ai, model=lambda config: JudgeModel()), Context.create("user-1")
    handler = LdAiHandler(lambda metadata: ai.completion_config(metadata["key"], user), judges=judges)

    for key in keys:
        chain().invoke(QUESTION, {"callbacks": [handler], "metadata": {"key": key}})
    assert handler.flush(10)

    assert logged(caplog) == [
        (
            "INFO",
            f"AI Config {key!r} has no judges, so its runs are not judged: attach some in LaunchDarkly. Of others "
            "without judges, this is not told",
        )
        for key in told
    ]


def test_an_agent_graph_has_no_judges_of_its_own(ai: LdAiClient, caplog: pytest.LogCaptureFixture) -> None:
    """Its agents have them, so nothing is told of the graph."""
    caplog.set_level(logging.INFO)
    graph = ai.agent_graph("desk", Context.create("user-1"))
    handler = LdAiHandler(graph, judges=Judges(ai, model=lambda config: JudgeModel()))

    chain().invoke(QUESTION, {"callbacks": [handler]})

    assert "has no judges" not in caplog.text

"""Judges of LaunchDarkly's `launchdarkly-server-sdk-ai` beside ours, over the wire: the same scores and data."""

import asyncio

import pytest
from ldai import LDAIClient
from ldai.judge import Judge
from ldai.models import AIJudgeConfig
from ldai.providers.types import LDAIMetrics, RunnerResult
from ldai.tracker import TokenUsage
from ldclient import LDClient

from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.judges.official import (
    INSTRUCTIONS,
    LAYOUTS,
    PLACEHOLDERS,
    QUESTION,
    SYSTEM_ALONE,
    USER,
    evaluated,
    play_ours,
)
from tests.providers.models import openai


class ModelRunner:
    """Runs a judge as LaunchDarkly's own runner for LangChain does: its messages, the input, structured output."""

    def __init__(self, config: AIJudgeConfig, provider: str) -> None:
        self._messages = [(message.role, message.content) for message in config.messages or ()]
        self._model = openai(provider)

    async def run(self, input, output_type=None):  # noqa: A002  its name is LaunchDarkly's
        """Ask the model."""
        asking = self._model.with_structured_output({"title": "Verdict", **output_type}, include_raw=True)
        answer = await asking.ainvoke([*self._messages, ("user", input)])
        used = answer["raw"].usage_metadata
        tokens = TokenUsage(used["total_tokens"], used["input_tokens"], used["output_tokens"])
        metrics = LDAIMetrics(success=answer["parsed"] is not None, tokens=tokens)
        return RunnerResult(content=answer["raw"].text, metrics=metrics, parsed=answer["parsed"])


def play_generation1(launchdarkly: LoopbackLaunchDarkly, provider: str) -> None:
    """Play the exchange with LaunchDarkly's package; its managed model, and so the run, would need one more."""
    with LDClient(launchdarkly.config()) as client:
        ai = LDAIClient(client)
        tracker = ai.completion_config("support-bot", USER).create_tracker()
        answer = openai(provider).invoke([("system", INSTRUCTIONS), ("user", QUESTION)])
        tracker.track_success()
        judge = ai.judge_config("accuracy", USER)
        scored = Judge(judge, ModelRunner(judge, provider)).evaluate(QUESTION, str(answer.content))
        tracker.track_judge_result(asyncio.run(scored))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_send_the_same_of_an_evaluation(layout: str) -> None:
    """In either layout, score and data are the same, and so are metrics and data of the judge's own run."""
    theirs, ours = evaluated(play_generation1, layout), evaluated(play_ours, layout)

    assert ours.scores == theirs.scores == [0.8]
    assert ours.data("accuracy") == theirs.data("accuracy")
    assert ours.data("support-bot") | theirs.data("support-bot") == ours.data("support-bot")


def test_a_judge_of_a_system_message_is_shown_the_same() -> None:
    """That layout was made for it."""
    assert evaluated(play_ours, SYSTEM_ALONE).shown == evaluated(play_generation1, SYSTEM_ALONE).shown


def test_a_judge_of_placeholders_keeps_its_messages_with_us_alone() -> None:
    """LaunchDarkly's package drops each message with a placeholder, and the rubric in it."""
    ours, theirs = evaluated(play_ours, PLACEHOLDERS).shown, evaluated(play_generation1, PLACEHOLDERS).shown

    assert [role for role, _ in ours] == ["system", "user", "assistant", "user"]
    assert ("Rubric" in str(ours), "Rubric" in str(theirs)) == (True, False)


ANSWERS = {
    "zero": ('{"score": 0, "reasoning": ""}', [0.0], [0.0]),
    "out of range": ('{"score": 85, "reasoning": ""}', [], []),
    "text": ('{"score": "0.9", "reasoning": ""}', [], []),
    "true": ('{"score": true, "reasoning": ""}', [], [1.0]),
    "no reasoning": ('{"score": 0.7}', [0.7], []),
}


@pytest.mark.parametrize(("answer", "ours", "theirs"), ANSWERS.values(), ids=ANSWERS)
def test_both_read_an_answer_alike_where_theirs_is_right(
    answer: str, ours: list[float], theirs: list[float]
) -> None:
    """Ours needs no reason for a score; theirs takes a truth for one."""
    assert evaluated(play_ours, SYSTEM_ALONE, answer).scores == ours
    assert evaluated(play_generation1, SYSTEM_ALONE, answer).scores == theirs

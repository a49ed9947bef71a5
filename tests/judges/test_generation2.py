"""Judges of LaunchDarkly's `launchdarkly-ai-server` beside ours, over the wire: the same scores and data."""

import asyncio
import sys

import pytest

if sys.version_info < (3, 12):
    pytest.skip("LaunchDarkly's newest packages need Python 3.12", allow_module_level=True)

import launchdarkly_ai_server as newest
from launchdarkly_ai_langchain_messages import create_langchain_messages_handler

from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.judges.judge_models import GOOD
from tests.judges.official import LAYOUTS, PLACEHOLDERS, QUESTION, SYSTEM_ALONE, evaluated, play_ours
from tests.providers.models import openai


def play_generation2(launchdarkly: LoopbackLaunchDarkly, provider: str) -> None:
    """Play the exchange with LaunchDarkly's package; its spans go to the same server, which takes none."""

    async def main() -> None:
        addresses = dict.fromkeys(("baseUri", "streamUri", "eventsUri", "otlpEndpoint"), launchdarkly.url)
        await newest.init_client({"sdkKey": "sdk-newest", **addresses})
        try:
            config = newest.config(key="support-bot", handler=create_langchain_messages_handler(openai(provider)))
            await config.invoke(QUESTION, {"kind": "user", "key": "user-1"})
        finally:
            await newest.shutdown()

    asyncio.run(main())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_send_the_same_of_an_evaluation(layout: str) -> None:
    """In either layout, score, metrics and data of the judged run and of the judge's own are the same."""
    theirs, ours = evaluated(play_generation2, layout), evaluated(play_ours, layout)

    assert ours.scores == theirs.scores == [0.8]
    assert ours.data("accuracy") == theirs.data("accuracy")
    assert ours.data("support-bot") == theirs.data("support-bot")


def test_a_judge_of_placeholders_is_shown_the_same() -> None:
    """That layout was made for it; the words for the form of the answer differ, and ours fills in the context."""
    ours, theirs = evaluated(play_ours, PLACEHOLDERS).shown, evaluated(play_generation2, PLACEHOLDERS).shown

    assert (ours[0], theirs[0]) == (("system", "Rate it for user-1."), ("system", "Rate it for {{ldctx.key}}."))
    assert ours[2:] == theirs[2:]
    assert [text.startswith(f"Rubric: {QUESTION}\n\n{GOOD}\n\n") for _, text in (ours[1], theirs[1])] == [
        True,
        True,
    ]


def test_a_judge_of_a_system_message_sees_the_question_with_us_alone() -> None:
    """LaunchDarkly's package shows it the answer, and neither question nor the form of its own answer."""
    ours, theirs = evaluated(play_ours, SYSTEM_ALONE).shown, evaluated(play_generation2, SYSTEM_ALONE).shown

    assert theirs[1:] == [("user", GOOD)]
    assert ours[1] == ("user", f"MESSAGE HISTORY:\n{QUESTION}\n\nRESPONSE TO EVALUATE:\n{GOOD}")


ANSWERS = {
    "zero": ('{"score": 0}', [0.0], [0.0]),
    "a reason": ('{"score": 0.7, "reason": "short"}', [0.7], [0.7]),
    "after words": (f"My verdict:\n```json\n{GOOD}\n```", [0.8], [0.8]),
    "prose": ("8 of 10", [], []),
    "out of range": ('{"score": 85}', [], [85]),
}


@pytest.mark.parametrize(("answer", "ours", "theirs"), ANSWERS.values(), ids=ANSWERS)
def test_both_read_an_answer_alike_where_theirs_is_right(
    answer: str, ours: list[float], theirs: list[float]
) -> None:
    """Theirs sends a score that is out of range."""
    assert evaluated(play_ours, PLACEHOLDERS, answer).scores == ours
    assert evaluated(play_generation2, PLACEHOLDERS, answer).scores == theirs

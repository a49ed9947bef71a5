"""One exchange that a judge scores over the wire: with this package, and the frame for LaunchDarkly's own.

A provider on loopback gives every answer, that of the judged model and that of the judge. A LaunchDarkly on
loopback takes the events.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from ldclient import Context, LDClient

from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.judges import Judges
from langchain_ldai.testing import LoopbackLaunchDarkly, RecordedEvent
from tests.judges.judge_models import GOOD, METRIC, flags_with, judge_flag
from tests.judges.test_providers import openai_text
from tests.providers.models import openai
from tests.providers.server import serving
from tests.support.chains import DURATION

USER: Final = Context.create("user-1")
QUESTION: Final = "How?"
INSTRUCTIONS: Final = "Help."

SYSTEM_ALONE, PLACEHOLDERS = "system message alone", "placeholders"
LAYOUTS: Final = {
    SYSTEM_ALONE: [{"role": "system", "content": "Rate it for {{ldctx.key}}."}],
    PLACEHOLDERS: [
        {"role": "system", "content": "Rate it for {{ldctx.key}}."},
        {"role": "user", "content": "Rubric: {{message_history}}"},
        {"role": "assistant", "content": "What was the answer?"},
        {"role": "user", "content": "{{response_to_evaluate}}"},
    ],
}
"""The two layouts of a judge's messages that are about."""

Play = Callable[[LoopbackLaunchDarkly, str], None]
"""Plays an exchange that is judged, with a LaunchDarkly and the address of a provider."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What comes of an exchange that a judge scores.

    Args:
        events: What LaunchDarkly got, without the reports of who asks for which AI Config.
        shown: The messages that the judge's model got.
    """

    events: list[RecordedEvent]
    shown: list[tuple[str, str]]

    @property
    def scores(self) -> list[float]:
        """The scores, each under the id of the judged run."""
        judged = {event.data["runId"] for event in self.events if event.data["configKey"] == "support-bot"}
        scored = [event for event in self.events if event.name == METRIC]
        assert not scored or {event.data["runId"] for event in scored} == judged
        return [event.value for event in scored]

    def data(self, config_key: str) -> dict[str, tuple[object, Mapping[str, object]]]:
        """Return value and data of each event of an AI Config, but for the run's id and how long it took."""
        found = [event for event in self.events if event.data["configKey"] == config_key]
        assert len({event.data["runId"] for event in found}) == 1
        assert len({event.name for event in found}) == len(found)
        return {event.name: (None if event.name == DURATION else event.value, _named(event)) for event in found}


def _named(event: RecordedEvent) -> dict[str, object]:
    return {name: value for name, value in event.data.items() if name != "runId"}


@cache
def evaluated(play: Play, layout: str, answer: str = GOOD) -> Evaluation:
    """Return what comes of an exchange in which the provider always gives this answer.

    Args:
        play: Plays it.
        layout: The layout of the judge's messages.
        answer: The answer.
    """
    flags: dict[str, Any] = dict(flags_with(judge_flag(messages=LAYOUTS[layout])))
    flags["support-bot"]["messages"] = [{"role": "system", "content": INSTRUCTIONS}]
    asked: list[bytes] = []
    with LoopbackLaunchDarkly(flags) as launchdarkly, serving(openai_text(answer), asked=asked) as provider:
        play(launchdarkly, provider)
        events = [event for event in launchdarkly.custom_events() if isinstance(event.data, dict)]
    shown = [(each["role"], each["content"]) for each in json.loads(asked[-1])["messages"]]
    return Evaluation([event for event in events if "runId" in event.data], shown)


def play_ours(launchdarkly: LoopbackLaunchDarkly, provider: str) -> None:
    """Play the exchange with this package."""
    with LDClient(launchdarkly.config()) as client, LdAiClient(client) as ai:
        config = ai.completion_config("support-bot", USER)
        handler = LdAiHandler(config, judges=Judges(ai, model=lambda config: openai(provider)))
        asked = [*config.to_messages(), ("user", QUESTION)]
        openai(provider).invoke(asked, {"callbacks": [handler]})
        assert handler.flush(30)

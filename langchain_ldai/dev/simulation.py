"""Runs that nobody ran: two variations, of which one is slower and less liked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ldclient import Context

from langchain_ldai import Feedback, JudgeResult, LdAiClient, TokenUsage
from langchain_ldai._protocol.batches import custom_event
from langchain_ldai._protocol.flags import Json
from langchain_ldai._wire import events
from langchain_ldai.testing import RecordingClient

CONFIG: Final = "support-bot"
_SECONDS_BETWEEN_RUNS: Final = 20


@dataclass(frozen=True)
class _Behaviour:
    """How the runs of a variation go.

    Args:
        name: The variation's key.
        duration: Median of the durations, in milliseconds.
        tokens: Mean of the tokens of an answer.
        liked: Share of the positive among the feedback.
        accuracy: Mean of the scores of a judge.
    """

    name: str
    duration: int
    tokens: int
    liked: float
    accuracy: float


_BEHAVIOURS: Final = (_Behaviour("brief", 900, 60, 0.8, 0.75), _Behaviour("friendly", 1400, 160, 0.6, 0.85))


def simulated_runs(count: int, now_ms: int) -> Iterator[list[Json]]:
    """Yield the events of each run, as an SDK sends them; the figures are the same each time.

    Args:
        count: How many runs.
        now_ms: When the last one ended, in milliseconds since 1970.
    """
    chance = random.Random(17)  # noqa: S311  nothing is kept secret by it
    for number in range(count):
        behaviour = chance.choice(_BEHAVIOURS)
        yield _run(behaviour, chance, now_ms - (count - 1 - number) * _SECONDS_BETWEEN_RUNS * 1000)


def _run(behaviour: _Behaviour, chance: random.Random, ended_ms: int) -> list[Json]:
    meta = {"enabled": True, "variationKey": behaviour.name, "version": 1, "mode": "completion"}
    client = RecordingClient({CONFIG: {"_ldMeta": meta, "model": {"name": "simulated"}}})
    context = Context.create(f"user-{chance.randrange(50)}")
    tracker = LdAiClient(client).completion_config(CONFIG, context).create_tracker()
    duration = chance.lognormvariate(0, 0.35) * behaviour.duration
    asked, answered = chance.randrange(40, 90), max(1, round(chance.gauss(behaviour.tokens, 20)))
    tracker.track_time_to_first_token(duration * chance.uniform(0.1, 0.3))
    tracker.track_tool_calls(["search"] * chance.choice((0, 0, 1, 2)))
    tracker.track_tokens(TokenUsage(asked + answered, asked, answered))
    tracker.track_duration(duration)
    if chance.random() < 0.97:
        tracker.track_success()
    else:
        tracker.track_error()
    if chance.random() < 0.4:
        tracker.track_feedback(Feedback.POSITIVE if chance.random() < behaviour.liked else Feedback.NEGATIVE)
    if chance.random() < 0.5:
        score = min(max(chance.gauss(behaviour.accuracy, 0.15), 0), 1)
        tracker.track_judge_result(JudgeResult("$ld:ai:judge:accuracy", round(score, 2), "accuracy"))
    started_ms = ended_ms - int(duration)
    at = {
        events.TIME_TO_FIRST_TOKEN: started_ms + int(duration / 5),
        events.TOOL_CALL: started_ms + int(duration / 2),
    }
    return [
        custom_event(
            event.name,
            context.to_dict(),
            event.data,
            value=event.value or 0,
            created_ms=at.get(event.name, ended_ms),
        )
        for event in client.events
        if isinstance(event.data, dict)
    ]

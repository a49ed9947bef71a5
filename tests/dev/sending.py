"""Events as SDKs send them, and a disk that has no room for them."""

import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from langchain_ldai._protocol.batches import custom_event
from langchain_ldai._protocol.flags import Json
from langchain_ldai._wire import events

NOON = 1_750_000_000_000
ACCURACY = "$ld:ai:judge:accuracy"
USER = {"kind": "user", "key": "user-1"}


def event(name: str, value: float = 1, *, run: str = "run-1", at: int = NOON, **data: object) -> Json:
    """Return an event of a run of the AI Config `support-bot`."""
    given = {"runId": run, "configKey": "support-bot", "variationKey": "friendly", "version": 2, **data}
    return custom_event(name, USER, given, value=value, created_ms=at)


def simulated(count: int, seed: int = 17, config: str = "support-bot") -> Iterator[list[Json]]:
    """Yield the events of so many runs over two variations; some have no outcome, feedback, tool call or score."""
    chance, judging = random.Random(seed), random.Random(seed)
    for number in range(count):
        variation = chance.choice(("brief", "friendly"))
        data = {"run": f"run-{number}", "at": NOON + number * 1000, "variationKey": variation, "configKey": config}
        found = [
            event(events.DURATION, chance.randrange(500, 3000), **data),
            event(events.TIME_TO_FIRST_TOKEN, chance.randrange(50, 300), **data),
            event(events.TOKENS_TOTAL, chance.randrange(10, 500), **data),
        ]
        if chance.random() < 0.9:
            found.append(event(events.SUCCESS if chance.random() < 0.8 else events.ERROR, **data))
        if chance.random() < 0.5:
            liked = chance.random() < 0.6
            found.append(event(events.FEEDBACK_POSITIVE if liked else events.FEEDBACK_NEGATIVE, **data))
        found += [event(events.TOOL_CALL, toolKey="search", **data) for _ in range(chance.randrange(3))]
        if judging.random() < 0.4:
            found.append(event(ACCURACY, judging.random(), judgeConfigKey="accuracy", **data))
        yield found


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

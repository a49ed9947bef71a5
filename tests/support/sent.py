"""Where a tracker's events go in tests that need no flags."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from ldclient import Context

from langchain_ldai import LdAiConfigTracker, LdAiGraphTracker, TokenUsage
from langchain_ldai._base.guard import Notices
from langchain_ldai._tracking.sending import ClientSender, EventSender, track_each

USAGE: Final = TokenUsage(total=30, input=10, output=20)


@dataclass
class Sent:
    """Takes what a client of LaunchDarkly is given to track; or raises, where it is failing."""

    events: list[tuple[str, Mapping[str, object], float]] = field(default_factory=list)
    failing: bool = False

    def __call__(self, name: str, data: Mapping[str, object], value: float) -> None:
        """Take one event."""
        if self.failing:
            raise ConnectionError
        self.events.append((name, data, value))

    @property
    def values(self) -> dict[str, float]:
        """The values by event name, of which each was sent once."""
        names = [name for name, _, _ in self.events]
        assert len(names) == len(set(names))
        return {name: value for name, _, value in self.events}


def sender_to(take: Callable[[str, Mapping[str, object], float], object]) -> EventSender:
    """Return a sender, without a ledger, of a client that gives each event to a function."""
    client = ClientSender(
        send_all=partial(track_each, lambda name, context, data, value: take(name, data, value)),
        diagnose=lambda data: None,
        environment={},
        notices=Notices(),
    )
    return EventSender(Context.create("user-1"), client, None)


def record_missing(tracker: LdAiConfigTracker | LdAiGraphTracker, **values: Any) -> None:
    """Record those of the values whose metric is free, as a handler does."""
    tracker._record(values)

"""Where a tracker's events go in tests that need no client."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_ldai import LdAiConfigTracker, LdAiGraphTracker


@dataclass
class Sent:
    """Takes a tracker's events."""

    events: list[tuple[str, Mapping[str, object], float]] = field(default_factory=list)

    def __call__(self, name: str, data: Mapping[str, object], value: float) -> None:
        """Take one event."""
        self.events.append((name, data, value))

    @property
    def values(self) -> dict[str, float]:
        """The values by event name, of which each was sent once."""
        names = [name for name, _, _ in self.events]
        assert len(names) == len(set(names))
        return {name: value for name, _, value in self.events}


def record_missing(tracker: LdAiConfigTracker | LdAiGraphTracker, **values: Any) -> None:
    """Record those of the values whose metric is free, as a handler does."""
    for call, args in tracker.take_missing(values):
        call(*args)

"""How long at least one of several intervals was open; pure, with the time passed in."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Stopwatch:
    """Measures the time, in seconds, in which at least one interval is open.

    `cut` counts the open intervals up to now. What is left of one counts when it ends.
    """

    _running: int = 0
    _since: float = 0.0
    _total: float = 0.0
    _cut_at: float | None = None
    _late: list[tuple[float, float]] = field(init=False, default_factory=list)

    def start(self, now: float) -> None:
        """Begin an interval."""
        if self._running == 0:
            self._since = now
        self._running += 1

    def stop(self, started: float, now: float) -> None:
        """End the interval that began at `started`."""
        self._running -= 1
        if self._cut_at is not None:
            self._late.append((max(started, self._cut_at), now))
        elif self._running == 0:
            self._total += now - self._since

    def cut(self, now: float) -> None:
        """Count the open intervals up to now."""
        if self._running and self._cut_at is None:
            self._total += now - self._since
        self._cut_at = now

    def elapsed(self) -> float:
        """Return the time measured, after a cut."""
        total, reached = self._total, float("-inf")
        for start, end in sorted(self._late):
            total += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return total

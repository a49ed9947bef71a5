"""How long at least one of several overlapping things went on; pure."""


class Stopwatch:
    """The union of intervals, each known by its start and, later, its end; all times in seconds.

    After `cut`, what still goes on counts up to the cut, and further only once it ends.
    """

    __slots__ = ("_cut_at", "_late", "_running", "_since", "_total")

    def __init__(self) -> None:
        self._running = 0
        self._since = 0.0
        self._total = 0.0
        self._cut_at: float | None = None
        self._late: list[tuple[float, float]] = []

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
        """Count what still goes on up to now."""
        if self._running and self._cut_at is None:
            self._total += now - self._since
        self._cut_at = now

    def elapsed(self) -> float:
        """Return the length of the union of all intervals, after a cut."""
        if not self._late:
            return self._total
        total, reached = self._total, float("-inf")
        for start, end in sorted(self._late):
            total += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return total

"""Medians, shares and differences, each with the interval that holds it 95 times in 100."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist
from typing import Final, NamedTuple

_Z: Final = NormalDist().inv_cdf(0.975)
_LARGE: Final = 1000
_ROUNDING: Final = 1e-12
"""By which part of themselves two means may differ although all their numbers are the same: sums are rounded."""

Values = Callable[[float, float], Sequence[tuple[float, int]]]
"""Returns the values from a start up to an end, in ascending order, with how often each occurs."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference, and the interval that holds the true one 95 times in 100."""

    difference: float
    low: float
    high: float

    @property
    def shows(self) -> bool:
        """Whether the interval leaves zero out, so that the difference is more than noise."""
        return self.low > 0 or self.high < 0


class Distribution:
    """Values in bands; only those bands are read value by value in which a figure lies.

    Args:
        bands: Where each band of values starts, in ascending order, with how many values are in it.
        values: What returns the values from a start up to an end, with their counts. Without it each band is the
            one value with which it starts.

    Attributes:
        median: The middle value, or the mean of the two in the middle; `None` without values.
        percentile_95: The smallest value that is at least as large as 95 percent of all; `None` without values.
        percentile_99: The same for 99 percent.
        error_of_median: The median's standard error, from the values around it (Price and Bonett 2001); `None` for
            few values.
    """

    def __init__(self, bands: Iterable[tuple[float, int]] = (), values: Values | None = None) -> None:
        listed = list(bands)
        self._values = values
        self._starts: list[float] = [start for start, _ in listed]
        self._ends = list(accumulate(count for _, count in listed))
        self._within: dict[int, tuple[Sequence[float], Sequence[int]]] = {}
        count = len(self)
        middle = [self._at((count + 1) // 2), self._at(count // 2 + 1)] if count else []
        self.median: float | None = sum(middle) / 2 if count else None
        self.percentile_95: float | None = self._at(math.ceil(count * 95 / 100)) if count else None
        self.percentile_99: float | None = self._at(math.ceil(count * 99 / 100)) if count else None
        self.error_of_median: float | None = self._error_of_median()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def below(self, value: float) -> int:
        """Return how many values are less than one with which a band may start."""
        place = bisect_left(self._starts, value)
        return self._ends[place - 1] if place else 0

    def _at(self, rank: int) -> float:
        """Return the value at a rank, 1 for the smallest."""
        place = bisect_left(self._ends, rank)
        if self._values is None:
            return self._starts[place]
        if place not in self._within:
            start, end = (*self._starts, math.inf)[place : place + 2]
            pairs = self._values(start, end)
            self._within[place] = [value for value, _ in pairs], list(accumulate(count for _, count in pairs))
        values, ends = self._within[place]
        return values[bisect_left(ends, rank - (self._ends[place - 1] if place else 0))]

    def _error_of_median(self) -> float | None:
        count = len(self)
        below = round((count + 1) / 2 - math.sqrt(count))
        if below < 1:
            return None
        z = 2.0
        if count <= _LARGE:
            tail, chance = 0.0, 0.5**count
            for number in range(below):  # of as many tosses of a coin, fewer than `below` are heads
                tail += chance
                chance *= (count - number) / (number + 1)
            z = NormalDist().inv_cdf(1 - tail)
        return (self._at(count - below + 1) - self._at(below)) / (2 * z)


def compare_medians(first: Distribution, second: Distribution) -> Interval | None:
    """Return how much the second median exceeds the first (Price and Bonett 2002); `None` for few values."""
    errors = first.error_of_median, second.error_of_median
    if errors[0] is None or errors[1] is None or first.median is None or second.median is None:
        return None
    difference = second.median - first.median
    margin = _Z * math.hypot(errors[0], errors[1])
    return Interval(difference, difference - margin, difference + margin)


class Share(NamedTuple):
    """How many of how many."""

    hits: int
    of: int

    @property
    def value(self) -> float | None:
        """The share, from 0 to 1; `None` of nothing."""
        return self.hits / self.of if self.of else None


def compare_shares(first: Share, second: Share) -> Interval | None:
    """Return how much the second share exceeds the first (Newcombe 1998, from Wilson's intervals)."""
    if first.value is None or second.value is None:
        return None
    (low_1, high_1), (low_2, high_2) = _wilson(first), _wilson(second)
    difference = second.value - first.value
    low = difference - math.hypot(second.value - low_2, high_1 - first.value)
    high = difference + math.hypot(high_2 - second.value, first.value - low_1)
    return Interval(difference, low, high)


def _wilson(share: Share) -> tuple[float, float]:
    p, n = share.hits / share.of, share.of
    middle = p + _Z * _Z / (2 * n)
    margin = _Z * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
    whole = 1 + _Z * _Z / n
    return (middle - margin) / whole, (middle + margin) / whole


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers, by their count, their sum and the sum of their squares."""

    count: int
    total: float
    squares: float

    @property
    def mean(self) -> float | None:
        """The mean; `None` without numbers."""
        return self.total / self.count if self.count else None


def compare_means(first: Counts, second: Counts) -> Interval | None:
    """Return how much the second mean exceeds the first (Welch, by the normal distribution); `None` for few."""
    if first.mean is None or second.mean is None or min(first.count, second.count) < 2:
        return None
    is_rounding = math.isclose(first.mean, second.mean, rel_tol=_ROUNDING)
    difference = 0.0 if is_rounding else second.mean - first.mean
    margin = _Z * math.sqrt(_variance_of_mean(first) + _variance_of_mean(second))
    return Interval(difference, difference - margin, difference + margin)


def _variance_of_mean(counts: Counts) -> float:
    squares = counts.squares - counts.total * counts.total / counts.count
    return max(squares, 0.0) / (counts.count - 1) / counts.count

"""Medians, shares and differences, each with the interval that holds it 95 times in 100."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from statistics import NormalDist
from typing import Final

_Z: Final = NormalDist().inv_cdf(0.975)
_LARGE: Final = 1000


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
    """Values, each with how often it occurs.

    Args:
        pairs: Values in ascending order, with their counts.
    """

    def __init__(self, pairs: Iterable[tuple[float, int]] = ()) -> None:
        listed = list(pairs)
        self.values: Sequence[float] = [value for value, _ in listed]
        self._ends = list(accumulate(count for _, count in listed))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def ranked(self, rank: int) -> float:
        """Return the value at a rank, 1 for the smallest."""
        return self.values[bisect_left(self._ends, rank)]

    @cached_property
    def median(self) -> float | None:
        """The middle value, or the mean of the two in the middle; `None` without values."""
        count = len(self)
        return (self.ranked((count + 1) // 2) + self.ranked(count // 2 + 1)) / 2 if count else None

    @cached_property
    def percentile_95(self) -> float | None:
        """The smallest value that is at least as large as 95 percent of all; `None` without values."""
        return self.ranked(math.ceil(len(self) * 95 / 100)) if len(self) else None

    def up_to(self, value: float) -> int:
        """Return how many values are at most this."""
        found = bisect_right(self.values, value)
        return self._ends[found - 1] if found else 0

    @cached_property
    def error_of_median(self) -> float | None:
        """The median's standard error, from the values around it (Price and Bonett 2001); `None` for few."""
        count = len(self)
        below = round((count + 1) / 2 - math.sqrt(count))
        if below < 1:
            return None
        z = 2.0
        if count <= _LARGE:
            tail = sum(math.comb(count, k) for k in range(below)) / 2**count
            z = NormalDist().inv_cdf(1 - tail)
        return (self.ranked(count - below + 1) - self.ranked(below)) / (2 * z)


def compare_medians(first: Distribution, second: Distribution) -> Interval | None:
    """Return how much the second median exceeds the first (Price and Bonett 2002); `None` for few values."""
    errors = first.error_of_median, second.error_of_median
    if errors[0] is None or errors[1] is None or first.median is None or second.median is None:
        return None
    difference = second.median - first.median
    margin = _Z * math.hypot(errors[0], errors[1])
    return Interval(difference, difference - margin, difference + margin)


@dataclass(frozen=True, slots=True)
class Share:
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
    difference = second.mean - first.mean
    margin = _Z * math.sqrt(_variance_of_mean(first) + _variance_of_mean(second))
    return Interval(difference, difference - margin, difference + margin)


def _variance_of_mean(counts: Counts) -> float:
    squares = counts.squares - counts.total * counts.total / counts.count
    return max(squares, 0.0) / (counts.count - 1) / counts.count

"""The figures are those of textbooks, and an interval holds what it promises."""

import random
import statistics
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_ldai.dev.statistics import (
    Counts,
    Distribution,
    Interval,
    Share,
    compare_means,
    compare_medians,
    compare_shares,
)


def distribution(values: list[int]) -> Distribution:
    """Return the distribution of these values."""
    return Distribution(sorted(Counter(values).items()))


def counts(values: Sequence[float]) -> Counts:
    """Return count, sum and sum of squares of these values."""
    return Counts(len(values), sum(values), sum(value * value for value in values))


@given(st.lists(st.integers(0, 50), min_size=1))
def test_median_and_percentile_are_those_of_the_listed_values(values: list[int]) -> None:
    """How often each value occurs is enough."""
    ordered, found = sorted(values), distribution(values)

    assert found.median == statistics.median(values)
    assert found.percentile_95 == ordered[-(-len(values) * 95 // 100) - 1]
    assert found.percentile_99 == ordered[-(-len(values) * 99 // 100) - 1]
    assert [found.below(value) for value in (-1, *values)] == [
        sum(other < value for other in values) for value in (-1, *values)
    ]
    assert found.error_of_median is None or found.error_of_median >= 0


def test_nothing_has_no_figures() -> None:
    """Without values there is no median, no share, no mean and no difference."""
    nothing, something = Distribution(), distribution([1] * 20)

    assert (nothing.median, nothing.percentile_95, Share(0, 0).value, Counts(0, 0, 0).mean) == (None,) * 4
    assert compare_medians(nothing, something) is None
    assert compare_medians(something, nothing) is None
    assert compare_shares(Share(0, 0), Share(1, 2)) is None
    assert compare_means(counts([1]), counts([1, 2])) is None


def test_shares_are_compared_as_newcombe_does() -> None:
    """His first example: 56 of 70 against 48 of 80 differ by 0.2, from 0.0524 to 0.3339."""
    found = compare_shares(Share(48, 80), Share(56, 70))

    assert found is not None
    assert (found.difference, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_means_are_compared_as_welch_does() -> None:
    """The standard errors of both means add up as squares."""
    first, second = [1, 2, 3, 4], [5, 7, 9, 11]
    error = (statistics.variance(first) / 4 + statistics.variance(second) / 4) ** 0.5

    found = compare_means(counts(first), counts(second))

    assert found is not None
    assert (found.difference, found.high - found.difference) == pytest.approx((5.5, 1.959964 * error))


@given(st.floats(-1000, 1000), st.integers(2, 80), st.integers(2, 80))
def test_means_of_the_same_numbers_do_not_differ(number: float, size: int, other: int) -> None:
    """Their sums are rounded differently, which is no difference to show."""
    first, second = counts([number] * size), counts([number] * other)

    interval = compare_means(first, second)

    assert interval is not None
    assert interval.difference == 0
    assert not interval.shows


@pytest.mark.parametrize("size", [15, 200, 1200])
def test_the_interval_of_medians_holds_the_true_difference(size: int) -> None:
    """In 400 seeded experiments with a known difference, some 95 percent of the intervals hold it."""
    chance = random.Random(17)
    draw = lambda shift: distribution([round(chance.lognormvariate(7, 0.5)) + shift for _ in range(size)])  # noqa: E731

    intervals = [compare_medians(draw(0), draw(100)) for _ in range(400)]

    held = sum(interval.low <= 100 <= interval.high for interval in intervals if interval)
    assert 0.92 <= held / 400 <= 0.995


def test_a_difference_shows_when_its_interval_leaves_zero_out() -> None:
    """On either side."""
    assert [Interval(0, low, high).shows for low, high in ((1, 2), (-2, -1), (-1, 1))] == [True, True, False]

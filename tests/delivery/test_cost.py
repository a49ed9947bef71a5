"""What the benchmarks of the delivery print."""

import pytest

from benchmarks.delivery import main
from benchmarks.delivery_loop import NOTHING, Slice, chance_of, table


def test_the_benchmark_compares_all_ways() -> None:
    """Each with its median and its 99th percentile, quiet and beside a busy thread."""
    lines = [line for line in main(10).splitlines() if line]
    numbers = [[float(text) for text in line[34:].split()] for line in lines if "event" in line]

    assert [line.split("median")[0].strip() for line in lines if "median" in line] == [
        "quiet",
        "beside a busy thread",
    ]
    assert len(numbers) == 10
    assert all(len(row) == 2 and 0 < row[0] <= row[1] for row in numbers)


@pytest.mark.parametrize(("more", "fewer", "chance"), [(0, 0, 1), (1, 1, 0.75), (4, 0, 1 / 16), (0, 4, 1)])
def test_the_sign_test_says_how_likely_more_is_by_chance(more: int, fewer: int, chance: float) -> None:
    """Of so many pairs that differ, at least so many have more."""
    assert chance_of(more, fewer) == chance


@pytest.mark.parametrize(("late", "verdict"), [(1, "0, 0: no more often"), (2, "6, 0: more often")])
def test_slices_are_compared_with_those_beside_them(late: int, verdict: str) -> None:
    """A machine that is late in all slices of a round makes no difference."""
    noise = [1, 9, 1, 9, 1, 9]
    found = {NOTHING: [Slice(each) for each in noise], "way": [Slice(each - 1 + late) for each in noise]}

    _, _, line = table(found)

    assert line.endswith(verdict)
    assert line.split()[1] == str(sum(noise) + 6 * (late - 1))

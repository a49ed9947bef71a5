"""What the benchmark of the delivery prints."""

from benchmarks.delivery import main


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

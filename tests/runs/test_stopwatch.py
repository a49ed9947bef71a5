"""The duration is the time during which at least one model call was in flight."""

from hypothesis import given
from hypothesis import strategies as st

from langchain_ldai._runs.stopwatch import Stopwatch

INTERVALS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted), max_size=8)


def seconds_covered(intervals: list[tuple[int, int]]) -> int:
    """Return the length of the union, second by second: the oracle."""
    return len({second for start, end in intervals for second in range(start, end)})


@given(INTERVALS, st.sets(st.integers(0, 7)), st.integers(0, 30))
def test_elapsed_is_the_union_with_open_intervals_cut(intervals: list, never: set[int], cut: int) -> None:
    """Overlaps count once; what never ends counts to the cut; what starts or ends later counts, too."""
    events = [(cut, 1, None)]
    for index, (start, end) in enumerate(intervals):
        events.append((start, 0, None))
        if index not in never:
            events.append((end, 2 if end > cut else 0, start))
    watch = Stopwatch()

    for now, kind, started in sorted(events, key=lambda event: (event[0], event[2] is not None, event[1])):
        if kind == 1:
            watch.cut(now)
        elif started is None:
            watch.start(now)
        else:
            watch.stop(started, now)

    assert watch.elapsed() == seconds_covered(
        [(start, cut if index in never else end) for index, (start, end) in enumerate(intervals)]
    )

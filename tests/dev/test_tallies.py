"""What the file keeps beside its runs equals what the runs say."""

import random
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_ldai._protocol.flags import Json
from langchain_ldai._wire import events
from langchain_ldai.dev.pictures import bars
from langchain_ldai.dev.queries import Filter, Judge, judges, latest_runs
from langchain_ldai.dev.store import Store
from langchain_ldai.dev.tallies import BANDED, LENGTHS, SECOND, band_of
from tests.dev.sending import ACCURACY, event, simulated

COUNTED_ANEW = """
WITH measured AS (
    SELECT id AS run, 'run' AS measure, '' AS judge, 0 AS value FROM runs
    UNION ALL SELECT id, 'duration', '', duration FROM runs
    UNION ALL SELECT id, 'feedback', '', feedback FROM runs
    UNION ALL SELECT id, 'tool_calls', '', tool_calls FROM runs
    UNION ALL SELECT run, name, detail, value / count FROM metrics WHERE scored
)
SELECT variation, started - started % :length AS period, coalesce(outcome, 'none'), measure, judge,
    count(*), total(value), total(value * value)
FROM measured JOIN runs ON runs.id = measured.run WHERE value NOTNULL GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
"""
KEPT = """
SELECT variation, period, outcome, measure, judge, runs, total, squares
FROM totals WHERE length = :length ORDER BY 1, 2, 3, 4, 5
"""


def assert_kept_is_right(store: Store, length: int) -> None:
    """Count the runs anew for periods of a length, and compare."""
    totals = store.select(COUNTED_ANEW, {"length": length})
    in_steps = [row for row in totals if length > SECOND or row[3] in ("run", "duration")]
    assert store.select(KEPT, {"length": length}) == [pytest.approx(row) for row in in_steps]
    for measure in BANDED:
        period = f"variation, started - started % {length}, coalesce(outcome, 'none')"
        values = store.select(f"SELECT {period}, {measure} FROM runs WHERE {measure} NOTNULL", {})
        bands = Counter((*row[:3], band_of(row[3])) for row in values if length > SECOND)
        kept = (
            "SELECT variation, period, outcome, band, runs FROM bands WHERE length = :length AND measure = :name"
        )
        rows = store.select(kept, {"length": length, "name": measure})
        assert sorted(rows) == sorted((*band, runs) for band, runs in bands.items())


@pytest.mark.parametrize("max_bytes", [1 << 30, 300_000], ids=["all", "the newest"])
def test_what_is_kept_follows_the_runs(tmp_path: Path, max_bytes: int) -> None:
    """Whatever comes first, however often a run changes, and also after old runs made room."""
    store = Store(tmp_path / "runs.db", max_bytes=max_bytes)
    for run in simulated(250):
        for metric in random.Random(len(run)).sample(run, len(run)):
            store.accept(None, [metric])
    rated = [store.add_feedback(run.id, events.FEEDBACK_POSITIVE) for run in latest_runs(store, Filter(), 40)]

    assert set(rated) == {True, False}
    assert (len(latest_runs(store, Filter(), 250)) == 250) == (max_bytes > 300_000)
    for length in LENGTHS:
        assert_kept_is_right(store, length)
    store.close()


@pytest.mark.parametrize(
    ("large", "small"),
    [
        (event(ACCURACY, 1e9, run="large", judgeConfigKey="a"), event(ACCURACY, 0.5, judgeConfigKey="a")),
        (event(events.TOOL_CALL, 1e9, run="large"), event(events.TOOL_CALL)),
        (event(ACCURACY, -1e5, run="large", judgeConfigKey="a"), event(ACCURACY, 1e-3, judgeConfigKey="a")),
    ],
    ids=["score", "tool calls", "score of another scale"],
)
def test_a_large_value_that_leaves_takes_no_small_one_along(large: Json, small: Json, tmp_path: Path) -> None:
    """A run whose outcome comes later is summed up elsewhere from then on; the others stay exact."""
    with closing(Store(tmp_path / "runs.db")) as store:
        store.accept(None, [large, small])

        store.accept(None, [event(events.SUCCESS, run="large")])

        for length in LENGTHS:
            assert_kept_is_right(store, length)


def test_a_file_of_the_version_before_is_upgraded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its runs are there, with all that is kept of them, and new ones come to them; many may open it at once."""
    path = tmp_path / "runs.db"
    with closing(sqlite3.connect(path)) as file:
        file.executescript((Path(__file__).parent / "version-17002.sql").read_text("utf-8"))

    with ThreadPoolExecutor(4) as starters:
        for store in starters.map(Store, [path] * 4):
            store.close()

    assert caplog.text.count("is of an older version; it is upgraded now") == 1
    store = Store(path)
    assert store.accept("one", [event(events.SUCCESS, run="old")]) == 0
    assert store.accept("two", [event(events.SUCCESS, run="new")]) == 1
    for length in LENGTHS:
        assert_kept_is_right(store, length)
    assert len(latest_runs(store, Filter(), 100)) == 16
    assert judges(store, Filter()) == [Judge("accuracy", ACCURACY)]
    store.close()


@given(st.lists(st.one_of(st.floats(0, 2.0**53), st.integers(0, 2**53), st.integers(0, 5000)), min_size=2))
def test_bands_are_in_the_order_of_their_values(values: list[float]) -> None:
    """None starts above its values, or far below; so a band holds values that follow one another."""
    bands = [band_of(value) for value in sorted(values)]

    assert bands == sorted(bands)
    for band, value in zip(bands, sorted(values), strict=True):
        assert band <= value < band + max(1, band * 0.051)
        assert band_of(band) == band


@given(st.one_of(st.floats(0, 2.0**53), st.integers(0, 5000)))
def test_each_bar_of_a_histogram_holds_whole_bands(greatest: float) -> None:
    """So the kept bands are all that a picture needs, and its last bar reaches the greatest value."""
    width, number = bars(greatest)

    assert [band_of(width * bar) for bar in range(number)] == [width * bar for bar in range(number)]
    assert width * (number - 1) <= greatest < width * number
    assert 1 <= number <= 40

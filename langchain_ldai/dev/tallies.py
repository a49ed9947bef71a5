"""What the file keeps of its runs beside them, so that few rows answer a question about many runs."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from typing import Final

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
EVER: Final = 10**15
LENGTHS: Final = (SECOND, MINUTE, HOUR, DAY, EVER)
"""The lengths of periods, in milliseconds. A run counts in one period of each length, by its start."""

MEASURES: Final = ("run", "duration", "feedback", "tool_calls")
"""What `totals` says of runs, beside the scores that judges gave them."""

BANDED: Final = ("duration", "first_token", "tokens")
"""The columns whose medians and percentiles are asked for; `bands` says how many runs have about which value."""

TABLES: Final = """
CREATE TABLE totals (
    variation INTEGER NOT NULL, length INTEGER NOT NULL, period INTEGER NOT NULL, outcome TEXT NOT NULL,
    measure TEXT NOT NULL, judge TEXT NOT NULL,
    runs INTEGER NOT NULL, total NOT NULL, squares NOT NULL,
    PRIMARY KEY (variation, length, period, outcome, measure, judge)
) WITHOUT ROWID;
CREATE TABLE bands (
    variation INTEGER NOT NULL, length INTEGER NOT NULL, period INTEGER NOT NULL, outcome TEXT NOT NULL,
    measure TEXT NOT NULL, band REAL NOT NULL,
    runs INTEGER NOT NULL,
    PRIMARY KEY (variation, length, period, outcome, measure, band)
) WITHOUT ROWID;
"""

_RUNS: Final = f"""
SELECT id, variation, started, coalesce(outcome, 'none'), feedback, tool_calls, {", ".join(BANDED)}
FROM runs WHERE id BETWEEN ? AND ?"""  # noqa: S608
_SCORES: Final = "SELECT run, name, detail, value * 1.0 / count FROM metrics WHERE run BETWEEN ? AND ? AND scored"
_ADD_TOTAL: Final = """
INSERT INTO totals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    runs = runs + excluded.runs, total = total + excluded.total, squares = squares + excluded.squares"""
_ADD_BAND: Final = (
    "INSERT INTO bands VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET runs = runs + excluded.runs"
)
_KEY: Final = "variation = ? AND length = ? AND period = ? AND outcome = ? AND measure = ?"
_SUM_ANEW: Final = f"""
UPDATE totals SET (total, squares) = (
    SELECT total(value), total(value * value) FROM (
        SELECT variation, started, outcome, 'tool_calls' AS measure, '' AS judge, tool_calls * 1.0 AS value
        FROM runs
        UNION ALL
        SELECT variation, started, outcome, name, detail, value * 1.0 / count
        FROM runs JOIN metrics ON metrics.run = runs.id WHERE scored
    ) AS found
    WHERE found.variation = totals.variation AND coalesce(found.outcome, 'none') = totals.outcome
        AND found.started >= totals.period AND found.started < totals.period + totals.length
        AND found.measure = totals.measure AND found.judge = totals.judge
) WHERE {_KEY} AND judge = ? AND squares < ?"""  # noqa: S608
_LARGE: Final = 2.0**16
_SMALL_PART: Final = 2.0**-20
"""Of numbers that differ by more than this, a sum does not keep the smaller ones when the larger one leaves."""

_Key = tuple[str | float, ...]


def band_of(value: float) -> float:
    """Return where the band of a value starts: at a multiple of 5 from 100 up, of 50 from 1,000 up, and so on."""
    whole = int(value)
    return float(whole - whole % max(10 ** len(str(whole)) // 200, 1))


class Tally:
    """Counts runs in and out of what is kept.

    Args:
        connection: The file, in a transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._totals: defaultdict[_Key, list[float]] = defaultdict(lambda: [0, 0, 0])
        self._bands: Counter[_Key] = Counter()
        self._taken: defaultdict[_Key, float] = defaultdict(float)

    def count(self, first: int, last: int, sign: int = 1) -> None:
        """Count runs as they are in the file now; a run that changes is counted out before and in again after.

        Args:
            first: Number of the first of them in the file.
            last: Number of the last.
            sign: 1 to count them in, -1 to count them out.
        """
        scores: defaultdict[int, list[tuple[str, str, float]]] = defaultdict(list)
        for run, metric, judge, score in self._connection.execute(_SCORES, (first, last)):
            scores[run].append((metric, judge, score))
        for run, variation, started, outcome, feedback, calls, *banded in self._connection.execute(
            _RUNS, (first, last)
        ):
            own = [
                (name, "", value) for name, value in zip(MEASURES, (0, banded[0], feedback, calls), strict=True)
            ]
            summed = [*own, *scores.get(run, ())]
            bands = [
                (name, band_of(value)) for name, value in zip(BANDED, banded, strict=True) if value is not None
            ]
            for length in LENGTHS:
                period = (variation, length, started - started % length, outcome)
                self._add_totals(period, own[:2] if length == SECOND else summed, sign)
                if length > SECOND:
                    for band in bands:
                        self._bands[(*period, *band)] += sign

    def _add_totals(self, period: _Key, values: list[tuple[str, str, float | None]], sign: int) -> None:
        for measure, judge, value in values:
            if value is not None:
                sums = self._totals[(*period, measure, judge)]
                sums[0] += sign
                sums[1] += sign * float(value)
                sums[2] += sign * float(value) * value  # a whole number could be too large for the file
                if sign < 0 and abs(value) > _LARGE and measure != "duration":  # whose squares nobody reads
                    key = (*period, measure, judge)
                    self._taken[key] = max(self._taken[key], float(value) * value)

    def write(self) -> None:
        """Write what was counted, and leave no row of which no run is left.

        Where a large value has left small ones behind, their sums were rounded away: they are summed up anew.
        """
        write = self._connection.executemany
        write(_ADD_TOTAL, sorted((*key, *sums) for key, sums in self._totals.items() if any(sums)))
        write(_ADD_BAND, sorted((*key, runs) for key, runs in self._bands.items() if runs))
        fewer = [key for key, (runs, *_) in self._totals.items() if runs < 0]
        write(f"DELETE FROM totals WHERE {_KEY} AND judge = ? AND runs = 0", fewer)  # noqa: S608
        fewer = [key for key, runs in self._bands.items() if runs < 0]
        write(f"DELETE FROM bands WHERE {_KEY} AND band = ? AND runs = 0", fewer)  # noqa: S608
        write(_SUM_ANEW, [(*key, square * _SMALL_PART) for key, square in self._taken.items()])
        self._totals.clear()
        self._bands.clear()
        self._taken.clear()

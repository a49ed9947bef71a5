"""The figures of the variations: from what the file keeps beside its runs, or from the runs if they are few."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Final, NamedTuple

from langchain_ldai.dev.queries import Filter, Judge, listed, names
from langchain_ldai.dev.statistics import Counts, Distribution, Share
from langchain_ldai.dev.store import Select, Store
from langchain_ldai.dev.tallies import BANDED, EVER, LENGTHS, MEASURES, SECOND

STEPS: Final = 40
"""Into how many steps a picture divides time, at most."""

_FEW: Final = 1000
"""Up to how many runs it is quicker to read them all than to read how many are in each band."""


class Step(NamedTuple):
    """What happened in one step of time."""

    start: int
    runs: int
    success: Share
    duration: float | None


@dataclass(frozen=True)
class Variation:
    """The figures of one variation."""

    name: str
    runs: int
    success: Share
    feedback: Share
    tool_calls: Counts
    duration: Distribution
    first_token: Distribution
    tokens: Distribution
    over_time: tuple[Step, ...] = ()
    scores: Mapping[Judge, Counts] = field(default_factory=dict)


class _Sums(NamedTuple):
    """What is summed up of a measure or of a judge's scores."""

    runs: int = 0
    total: float = 0
    squares: float = 0
    successes: int = 0
    ended: int = 0


_NOTHING: Final = _Sums()
_OF_RUNS: Final = [Judge("", name) for name in MEASURES]
_RUNS, _DURATIONS, _FEEDBACK, _TOOL_CALLS = _OF_RUNS
_SUMS: Final = """
SELECT {groups}, sum(runs), sum(total), sum(squares),
    sum(runs * (outcome = 'success')), sum(runs * (outcome <> 'none'))
FROM ({rows}) GROUP BY {groups}"""


def figures(store: Store, wanted: Filter, most: int | None = None, chosen: str | None = None) -> list[Variation]:
    """Return the figures of those variations of an AI Config that have runs which the filter lets through.

    Args:
        store: Where the runs are.
        wanted: Which runs to look at.
        most: How many variations to return, those with the most runs. Without it all are returned, and without
            their course over time.
        chosen: Key of a variation that is among them, however few runs it has.
    """
    with store.reading() as select:
        question = _Question(select, wanted)
        named = names(select, wanted)
        sums = question.sums(named if most is None else question.largest(named, most, chosen))
        distributions = question.distributions({number: own[_RUNS].runs for number, own in sums.items()})
        courses = question.courses(sums) if most is not None else {}
        return [
            _variation(name, sums[number], distributions[number], courses.get(number, ()))
            for number, name in named.items()
            if number in sums
        ]


def _ranges(since: int, lengths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield length, start and end of the periods that cover all time from a whole minute on, few as possible."""
    for length, longer in pairwise(lengths):
        end = -(-since // longer) * longer
        if since < end:
            yield length, since, end
            since = end
    if since < EVER:
        yield lengths[-1], since, EVER


@dataclass(frozen=True)
class _Question:
    """What is asked of several variations at once.

    Args:
        select: What answers.
        wanted: Which runs are let through.
    """

    select: Select
    wanted: Filter

    def largest(self, named: Mapping[int, str], most: int, chosen: str | None) -> list[int]:
        """Return the variations with the most runs, and the chosen one."""
        rows = self._kept("totals", named, LENGTHS[1:])
        query = f"""SELECT variation FROM ({rows}) WHERE measure = 'run' AND judge = ''
            GROUP BY variation ORDER BY sum(runs) DESC, variation LIMIT {most}"""  # noqa: S608
        found = [number for (number,) in self.select(query, self.wanted._asdict())]
        further = [number for number, name in named.items() if name == chosen and number not in found]
        return [*found[: most - len(further)], *further]

    def sums(self, numbers: Iterable[int]) -> dict[int, dict[Judge, _Sums]]:
        """Return what is summed up of each variation that has runs."""
        found: dict[int, dict[Judge, _Sums]] = {}
        for number, metric, judge, *sums in self._totals("variation, measure, judge", numbers, LENGTHS[1:]):
            found.setdefault(number, {})[Judge(judge, metric)] = _Sums(*sums)
        return found

    def courses(self, numbers: Iterable[int]) -> dict[int, tuple[Step, ...]]:
        """Return the course of each variation over time, in steps that are whole periods."""
        first, last = self._ends(numbers)
        length = max((length for length in LENGTHS if (last - first) // length >= STEPS), default=SECOND)
        first -= first % length
        step = -(-(last + 1 - first) // (STEPS * length)) * length
        groups = f"variation, (period - {first}) / {step}, measure, judge"
        found: dict[tuple[int, int], dict[Judge, _Sums]] = defaultdict(dict)
        for number, place, metric, judge, *sums in self._totals(
            groups, numbers, LENGTHS[: LENGTHS.index(length) + 1]
        ):
            found[number, place][Judge(judge, metric)] = _Sums(*sums)
        return {
            number: tuple(
                _step(start, found.get((number, place), {}))
                for place, start in enumerate(range(first, last + 1, step))
            )
            for number in numbers
        }

    def distributions(self, runs: Mapping[int, int]) -> dict[int, dict[str, Distribution]]:
        """Return the distributions of each variation, given how many runs it has."""
        few = [number for number, count in runs.items() if count <= _FEW]
        many = [number for number, count in runs.items() if count > _FEW]
        return (self._of_few(few) if few else {}) | (self._of_many(many) if many else {})

    def _of_few(self, numbers: Sequence[int]) -> dict[int, dict[str, Distribution]]:
        values = {number: {name: Counter[float]() for name in BANDED} for number in numbers}
        columns, where = ", ".join(BANDED), self.wanted.condition
        query = f"SELECT variation, {columns} FROM runs WHERE variation IN ({listed(numbers)}) AND {where}"  # noqa: S608
        for number, *row in self.select(query, self.wanted._asdict()):
            for name, value in zip(BANDED, row, strict=True):
                if value is not None:
                    values[number][name][value] += 1
        return {
            number: {name: Distribution(sorted(counts.items())) for name, counts in measures.items()}
            for number, measures in values.items()
        }

    def _of_many(self, numbers: Sequence[int]) -> dict[int, dict[str, Distribution]]:
        rows = self._kept("bands", numbers, LENGTHS[1:])
        groups = "variation, measure, band"
        query = f"SELECT {groups}, sum(runs) FROM ({rows}) GROUP BY {groups} ORDER BY {groups}"  # noqa: S608
        bands: dict[tuple[int, str], list[tuple[float, int]]] = defaultdict(list)
        for number, name, *band in self.select(query, self.wanted._asdict()):
            bands[number, name].append((band[0], band[1]))
        return {
            number: {
                name: Distribution(bands.get((number, name), ()), partial(self._values, number, name))
                for name in BANDED
            }
            for number in numbers
        }

    def _values(self, number: int, column: str, start: float, end: float) -> list[tuple[Any, ...]]:
        """Return each value from a start up to an end, with how often it occurs."""
        query = (
            f"SELECT {column}, count(*) FROM runs WHERE variation = :id AND {column} >= :start AND {column} < :end"  # noqa: S608
            f" AND {self.wanted.condition} GROUP BY {column}"
        )
        return self.select(query, {**self.wanted._asdict(), "id": number, "start": start, "end": end})

    def _totals(self, groups: str, numbers: Iterable[int], lengths: Sequence[int]) -> list[tuple[Any, ...]]:
        query = _SUMS.format(groups=groups, rows=self._kept("totals", numbers, lengths))
        return self.select(query, self.wanted._asdict())

    def _kept(self, table: str, numbers: Iterable[int], lengths: Sequence[int]) -> str:
        """Return a query for the rows that together hold each run once that the filter lets through."""
        outcome = "outcome = :outcome" if self.wanted.outcome else "1"
        rows = f"SELECT * FROM {table} WHERE variation IN ({listed(numbers)}) AND {outcome}"  # noqa: S608
        return " UNION ALL ".join(
            f"{rows} AND length = {length} AND period >= {start} AND period < {end}"
            for length, start, end in _ranges(self.wanted.since, lengths)
        )

    def _ends(self, numbers: Iterable[int]) -> tuple[int, int]:
        """Return when the first and the last run of some variations started."""
        # One question each: SQLite looks an end up in the index only where nothing else is asked.
        of_variation = "(started) FROM runs WHERE variation = :id AND started >= :since"
        query = f"SELECT (SELECT min{of_variation}), (SELECT max{of_variation})"
        given = self.wanted._asdict()
        ends = [end for number in numbers for end in self.select(query, {**given, "id": number})[0] if end]
        return min(ends, default=0), max(ends, default=0)


def _step(start: int, sums: Mapping[Judge, _Sums]) -> Step:
    runs, durations = sums.get(_RUNS, _NOTHING), sums.get(_DURATIONS, _NOTHING)
    mean = durations.total / durations.runs if durations.runs else None
    return Step(start, runs.runs, Share(runs.successes, runs.ended), mean)


def _variation(
    name: str, sums: Mapping[Judge, _Sums], distributions: Mapping[str, Distribution], over_time: tuple[Step, ...]
) -> Variation:
    runs, feedback, calls = (sums.get(kind, _NOTHING) for kind in (_RUNS, _FEEDBACK, _TOOL_CALLS))
    return Variation(
        name,
        runs.runs,
        success=Share(runs.successes, runs.ended),
        feedback=Share(int(feedback.runs + feedback.total) // 2, feedback.runs),
        tool_calls=Counts(runs.runs, calls.total, calls.squares),
        over_time=over_time,
        scores={judge: Counts(*found[:3]) for judge, found in sums.items() if judge not in _OF_RUNS},
        **distributions,
    )

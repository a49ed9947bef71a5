"""What the page and the report ask the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from langchain_ldai.dev.statistics import Counts, Distribution, Share
from langchain_ldai.dev.store import READERS, Store

OUTCOMES: Final = {"success": "success", "error": "error", "none": "none sent"}
STEPS: Final = 40
"""Into how many steps a picture divides time."""
MOST_SHOWN: Final = 20
"""How many variations people are shown side by side."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs to look at.

    Args:
        config: Key of the AI Config, "" for any.
        variation: Key of the variation, "" for all.
        outcome: One of `OUTCOMES`, "" for all.
        since: Start of the time, in milliseconds since 1970; 0 for no limit.
        until: End of the time, likewise.
    """

    config: str = ""
    variation: str = ""
    outcome: str = ""
    since: int = 0
    until: int = 0

    @property
    def narrows(self) -> bool:
        """Whether it lets only some runs of a variation through."""
        return bool(self.outcome or self.since or self.until)


class Step(NamedTuple):
    """What happened in one step of time."""

    start: int
    runs: int
    successes: int
    ended: int
    duration: float | None


class Judge(NamedTuple):
    """What gives scores.

    Args:
        key: Key of its AI Config, "" where the score came without.
        metric: Name of the metric to which it gives them.
    """

    key: str
    metric: str


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


class Run(NamedTuple):
    """One run, as the list shows it."""

    id: int
    run_id: str
    config: str
    variation: str
    version: int
    graph: str
    model: str
    context: str
    started: int
    ended: int
    outcome: str | None
    feedback: int | None
    duration: float | None
    first_token: float | None
    tokens: float | None
    tokens_in: float | None
    tokens_out: float | None
    tool_calls: float | None
    scores: tuple[tuple[Judge, float], ...] = ()


class Metric(NamedTuple):
    """One metric of a run."""

    name: str
    detail: str
    value: float
    times: int
    at: int


_LET_THROUGH: Final = (
    "variation IN (SELECT id FROM variations WHERE :config IN ('', config) AND :variation IN ('', name))"
)
_STEP: Final = """
SELECT count(*), count(*) FILTER (WHERE outcome = 'success'), count(outcome), avg(duration)
FROM runs WHERE variation = :id AND started >= :start AND started < :end"""
_TOTALS: Final = """
SELECT count(*), count(*) FILTER (WHERE outcome = 'success'), count(outcome),
    count(*) FILTER (WHERE feedback > 0), count(feedback), total(tool_calls), total(tool_calls * tool_calls)
FROM runs WHERE variation = :id"""
_KEPT_TOTALS: Final = """
SELECT total(runs) FILTER (WHERE measure = 'run'),
    total(runs) FILTER (WHERE measure = 'run' AND outcome = 'success'),
    total(runs) FILTER (WHERE measure = 'run' AND outcome <> 'none'),
    total(runs) FILTER (WHERE measure = 'feedback' AND value > 0),
    total(runs) FILTER (WHERE measure = 'feedback'),
    total(runs * value) FILTER (WHERE measure = 'tool_calls'),
    total(runs * value * value) FILTER (WHERE measure = 'tool_calls')
FROM counts WHERE variation = :id AND measure IN ('run', 'feedback', 'tool_calls')"""
_SCORES: Final = """
SELECT detail, name, count(*), total(value * 1.0 / count), total(value * 1.0 / count * value / count)
FROM metrics"""
_RUN_COLUMNS: Final = ", ".join(
    {"config": "variations.config", "variation": "variations.name"}.get(name, f"runs.{name}")
    for name in Run._fields
    if name != "scores"
)


def configs(store: Store) -> list[str]:
    """Return the keys of the AI Configs of which there are runs."""
    return [str(key) for (key,) in store.select("SELECT DISTINCT config FROM variations ORDER BY config", {})]


def variations_of(store: Store, config: str) -> list[str]:
    """Return the keys of an AI Config's variations, in alphabetical order."""
    return [name for _, name in _variations(store, Filter(config)).values()]


def figures(store: Store, wanted: Filter, most: int | None = None) -> list[Variation]:
    """Return the figures of those variations of an AI Config that have runs which the filter lets through.

    Args:
        store: Where the runs are.
        wanted: Which runs to look at.
        most: How many variations to return, those with the most runs; all without it.
    """
    found = _variations(store, wanted)
    if most is not None and len(found) > most:
        where, values = _condition(wanted)
        query = f"SELECT variation FROM runs WHERE {_LET_THROUGH} AND {where}"  # noqa: S608
        rows = store.select(f"{query} GROUP BY variation ORDER BY count(*) DESC, variation LIMIT {most}", values)
        largest = {number for (number,) in rows}
        found = {number: names for number, names in found.items() if number in largest}
    first, last = _ends(store, list(found))
    if wanted.since <= first and not wanted.until:
        wanted = replace(wanted, since=0)
    question = _Question(
        store, wanted, _steps(max(first, wanted.since), min(last, (wanted.until or last + 1) - 1))
    )
    with ThreadPoolExecutor(READERS) as readers:
        variations = readers.map(question.variation, found, [name for _, name in found.values()])
        return [variation for variation in variations if variation.runs]


def latest_runs(store: Store, wanted: Filter, limit: int) -> list[Run]:
    """Return the runs that started last, the newest first."""
    where, values = _condition(wanted)
    numbers = _variations(store, wanted)
    parts = [f"variation = {number}" for number in numbers] if len(numbers) <= MOST_SHOWN else [_LET_THROUGH]
    found = [
        row
        for part in parts
        for row in store.select(
            f"SELECT started, id FROM runs WHERE {part} AND {where} ORDER BY started DESC LIMIT {limit}",  # noqa: S608
            values,
        )
    ]
    newest = [int(number) for _, number in sorted(found, reverse=True)[:limit]]
    runs = {run.id: run for run in _runs(store, newest)}
    return [runs[number] for number in newest if number in runs]


def all_runs(store: Store, wanted: Filter) -> Iterator[Run]:
    """Yield every run that the filter lets through, in the order of their arrival."""
    where, values = _condition(wanted)
    # The plus has SQLite go on from the last run, instead of looking for each variation's.
    query = f"SELECT id FROM runs WHERE id > :after AND +{_LET_THROUGH} AND {where} ORDER BY id LIMIT 500"  # noqa: S608
    after = 0
    while found := [int(number) for (number,) in store.select(query, {**values, "after": after})]:
        yield from _runs(store, found)
        after = found[-1]


def judges(store: Store, wanted: Filter) -> list[Judge]:
    """Return what has scored runs of those variations that the filter lets through."""
    query = f"SELECT DISTINCT detail, name FROM metrics WHERE {_LET_THROUGH} AND scored ORDER BY 1, 2"  # noqa: S608
    return [Judge(*row) for row in store.select(query, _condition(wanted)[1])]


def run_with_metrics(store: Store, number: int) -> tuple[Run, list[Metric]] | None:
    """Return a run and its metrics in the order in which they were recorded; `None` if there is no such run."""
    runs = _runs(store, [number])
    query = "SELECT name, detail, value, count, at FROM metrics WHERE run = :run ORDER BY at, name, detail"
    metrics = [Metric(*row) for row in store.select(query, {"run": number})]
    return (runs[0], metrics) if runs else None


def _runs(store: Store, numbers: Sequence[int]) -> list[Run]:
    listed = ", ".join(map(str, numbers))
    query = (
        f"SELECT {_RUN_COLUMNS} FROM runs JOIN variations ON variations.id = runs.variation"  # noqa: S608
        f" WHERE runs.id IN ({listed}) ORDER BY runs.id"
    )
    scores: dict[int, list[tuple[Judge, float]]] = {}
    scored = f"SELECT run, detail, name, value * 1.0 / count FROM metrics WHERE run IN ({listed}) AND scored"  # noqa: S608
    for run, key, metric, score in store.select(scored, {}):
        scores.setdefault(run, []).append((Judge(key, metric), score))
    runs = (Run(*row) for row in store.select(query, {}))
    return [run._replace(scores=tuple(sorted(scores.get(run.id, ())))) for run in runs]


def _variations(store: Store, wanted: Filter) -> dict[int, tuple[str, str]]:
    """Return config and name of the variations that the filter lets through, by their number in the file."""
    query = (
        "SELECT id, config, name FROM variations WHERE :config IN ('', config) AND :variation IN ('', name)"
        " ORDER BY config, name"
    )
    rows = store.select(query, {"config": wanted.config, "variation": wanted.variation})
    return {int(number): (str(config), str(name)) for number, config, name in rows}


def heading(store: Store, config: str) -> str:
    """Return an AI Config's key, and that not all its variations are shown where there are too many."""
    count = len(variations_of(store, config))
    return (
        config if count <= MOST_SHOWN else f"{config}: the {MOST_SHOWN} of {count:,} variations with the most runs"
    )


def _ends(store: Store, variations: Sequence[int]) -> tuple[int, int]:
    """Return when the first and the last run of some variations started."""
    # One question each: SQLite looks an end up in the index only where nothing else is asked.
    of_variation = "(started) FROM runs WHERE variation = :id"
    query = f"SELECT (SELECT min{of_variation}), (SELECT max{of_variation})"
    ends = [end for number in variations for end in store.select(query, {"id": number})[0] if end is not None]
    return min(ends, default=0), max(ends, default=0)


def _steps(first: int, last: int) -> list[tuple[int, int]]:
    """Return start and end of each step of time, from the first to the last run."""
    length = max((last - first) // STEPS + 1, 1)
    return [(start, start + length) for start in range(first, last + 1, length)]


@dataclass(frozen=True)
class _Question:
    """What is asked of each variation: the kept counts where that is possible, and else the runs.

    Args:
        store: Where the runs are.
        wanted: Which runs are let through.
        steps: Start and end of each step of time.
    """

    store: Store
    wanted: Filter
    steps: Sequence[tuple[int, int]]

    def variation(self, number: int, name: str) -> Variation:
        """Return a variation's figures."""
        kept = not (self.wanted.since or self.wanted.until)
        ((runs, successes, ended, liked, rated, calls, squares),) = (
            self._counted(_KEPT_TOTALS, number) if kept else self._select(_TOTALS, number)
        )
        duration, first_token, tokens = (
            Distribution(self._kept(column, number) if kept else self._values(column, number))
            for column in ("duration", "first_token", "tokens")
        )
        return Variation(
            name,
            int(runs),
            success=Share(int(successes), int(ended)),
            feedback=Share(int(liked), int(rated)),
            tool_calls=Counts(int(runs), calls, squares),
            duration=duration,
            first_token=first_token,
            tokens=tokens,
            over_time=tuple(
                Step(start, *self._select(_STEP, number, start=start, end=end)[0]) for start, end in self.steps
            ),
            scores=self._scores(number),
        )

    def _kept(self, column: str, number: int) -> list[tuple[Any, ...]]:
        query = "SELECT value, sum(runs) FROM counts WHERE variation = :id AND measure = :measure AND runs > 0"
        return self._counted(query, number, "GROUP BY value", measure=column)

    def _values(self, column: str, number: int) -> list[tuple[Any, ...]]:
        query = f"SELECT {column}, count(*) FROM runs WHERE variation = :id AND {column} IS NOT NULL"  # noqa: S608
        return self._select(query, number, f"GROUP BY {column}")

    def _scores(self, number: int) -> dict[Judge, Counts]:
        runs = " CROSS JOIN runs ON runs.id = metrics.run" if self.wanted.narrows else ""
        query = f"{_SCORES}{runs} WHERE metrics.variation = :id AND scored"
        rows = self._select(query, number, "GROUP BY detail, name")
        return {Judge(key, metric): Counts(*numbers) for key, metric, *numbers in rows}

    def _counted(self, query: str, number: int, end_of_query: str = "", **more: object) -> list[tuple[Any, ...]]:
        outcome = "AND outcome = :outcome" if self.wanted.outcome else ""
        values = {"id": number, "outcome": self.wanted.outcome, **more}
        return self.store.select(f"{query} {outcome} {end_of_query}", values)

    def _select(self, query: str, number: int, end_of_query: str = "", **more: object) -> list[tuple[Any, ...]]:
        where, values = _condition(self.wanted)
        return self.store.select(f"{query} AND {where} {end_of_query}", {**values, "id": number, **more})


def _condition(wanted: Filter) -> tuple[str, dict[str, object]]:
    """Return the filter's condition but for the variation, in SQL, and its values."""
    parts: list[str] = ["1"]
    values: dict[str, object] = {"config": wanted.config, "variation": wanted.variation}
    if wanted.since:
        parts.append("started >= :since")
        values["since"] = wanted.since
    if wanted.until:
        parts.append("started < :until")
        values["until"] = wanted.until
    if wanted.outcome:
        parts.append("outcome IS NULL" if wanted.outcome == "none" else "outcome = :outcome")
        values["outcome"] = wanted.outcome
    return " AND ".join(parts), values

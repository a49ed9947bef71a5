"""What the page and the report ask the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from langchain_ldai.dev.statistics import Counts, Distribution, Share
from langchain_ldai.dev.store import READERS, Store

OUTCOMES: Final = {"success": "success", "error": "error", "none": "none sent"}
STEPS: Final = 40
"""Into how many steps a picture divides time."""


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


class Step(NamedTuple):
    """What happened in one step of time."""

    start: int
    runs: int
    successes: int
    ended: int
    liked: int
    rated: int
    tool_calls: float
    tool_calls_squared: float
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


_COUNT: Final = """
SELECT count(*), count(*) FILTER (WHERE outcome = 'success'), count(outcome),
    count(*) FILTER (WHERE feedback > 0), count(feedback), total(tool_calls), total(tool_calls * tool_calls),
    avg(duration)
FROM runs WHERE variation = :id AND started >= :start AND started < :end"""
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


def figures(store: Store, wanted: Filter) -> list[Variation]:
    """Return the figures of those variations of an AI Config that have runs which the filter lets through."""
    found = _variations(store, wanted)
    question = _Question(store, *_condition(wanted), _steps(store, list(found), wanted))
    with ThreadPoolExecutor(READERS) as readers:
        variations = readers.map(question.variation, found, [name for _, name in found.values()])
        return [variation for variation in variations if variation.runs]


def latest_runs(store: Store, wanted: Filter, limit: int) -> list[Run]:
    """Return the runs that started last, the newest first."""
    where, values = _condition(wanted)
    query = f"SELECT started, id FROM runs WHERE variation = :id AND {where} ORDER BY started DESC LIMIT :limit"  # noqa: S608
    found = [
        row
        for number in _variations(store, wanted)
        for row in store.select(query, {**values, "id": number, "limit": limit})
    ]
    newest = [int(number) for _, number in sorted(found, reverse=True)[:limit]]
    runs = {run.id: run for run in _runs(store, newest)}
    return [runs[number] for number in newest if number in runs]


def all_runs(store: Store, wanted: Filter) -> Iterator[Run]:
    """Yield every run that the filter lets through, in the order of their arrival."""
    where, values = _condition(wanted)
    variations = ", ".join(map(str, _variations(store, wanted)))
    query = (
        f"SELECT id FROM runs WHERE id > :after AND variation IN ({variations}) AND {where} ORDER BY id LIMIT 500"  # noqa: S608
    )
    after = 0
    while found := [int(number) for (number,) in store.select(query, {**values, "after": after})]:
        yield from _runs(store, found)
        after = found[-1]


def judges(store: Store, wanted: Filter) -> list[Judge]:
    """Return what has scored runs of those variations that the filter lets through."""
    variations = ", ".join(map(str, _variations(store, wanted)))
    query = f"SELECT DISTINCT detail, name FROM metrics WHERE variation IN ({variations}) AND scored ORDER BY 1, 2"  # noqa: S608
    return [Judge(*row) for row in store.select(query, {})]


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


def _steps(store: Store, variations: Sequence[int], wanted: Filter) -> list[tuple[int, int]]:
    """Return start and end of each step of time, from the first to the last run."""
    query = "SELECT min(started), max(started) FROM runs WHERE variation = :id"
    ends = [end for number in variations for end in store.select(query, {"id": number})[0] if end is not None]
    if not ends:
        return []
    first, last = max(min(ends), wanted.since), min(max(ends), (wanted.until or max(ends) + 1) - 1)
    length = max((last - first) // STEPS + 1, 1)
    return [(start, start + length) for start in range(first, last + 1, length)]


@dataclass(frozen=True)
class _Question:
    """What is asked of each variation.

    Args:
        store: Where the runs are.
        where: Which runs are let through, in SQL.
        values: The values in it.
        steps: Start and end of each step of time.
    """

    store: Store
    where: str
    values: Mapping[str, object]
    steps: Sequence[tuple[int, int]]

    def variation(self, number: int, name: str) -> Variation:
        """Return a variation's figures."""
        over_time = tuple(
            Step(start, *self._select(_COUNT, number, start=start, end=end)[0]) for start, end in self.steps
        )
        runs, successes, ended, liked, rated, calls, squares = (
            sum(getattr(step, name) for step in over_time) for name in Step._fields[1:8]
        )
        return Variation(
            name,
            runs,
            success=Share(successes, ended),
            feedback=Share(liked, rated),
            tool_calls=Counts(runs, calls, squares),
            duration=self._distribution("duration", number),
            first_token=self._distribution("first_token", number),
            tokens=self._distribution("tokens", number),
            over_time=over_time,
            scores=self._scores(number),
        )

    def _distribution(self, column: str, number: int) -> Distribution:
        query = f"SELECT {column}, count(*) FROM runs WHERE variation = :id AND {column} IS NOT NULL"  # noqa: S608
        return Distribution(self._select(query, number, f"GROUP BY {column}"))

    def _scores(self, number: int) -> dict[Judge, Counts]:
        runs = " CROSS JOIN runs ON runs.id = metrics.run" if self.values else ""
        query = f"{_SCORES}{runs} WHERE metrics.variation = :id AND scored"
        rows = self._select(query, number, "GROUP BY detail, name")
        return {Judge(key, metric): Counts(*numbers) for key, metric, *numbers in rows}

    def _select(self, query: str, number: int, end_of_query: str = "", **more: int) -> list[tuple[Any, ...]]:
        full = f"{query} AND {self.where} {end_of_query}"
        return self.store.select(full, {**self.values, "id": number, **more})


def _condition(wanted: Filter) -> tuple[str, dict[str, object]]:
    """Return the filter's condition but for the variation, in SQL, and its values."""
    parts, values = ["1"], dict[str, object]()
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

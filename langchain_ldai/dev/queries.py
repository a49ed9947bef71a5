"""Which runs there are, and what the page lists of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from langchain_ldai.dev.store import Select, Store
from langchain_ldai.dev.tallies import EVER, MEASURES

OUTCOMES: Final = {"success": "success", "error": "error", "none": "none sent"}
MOST_SHOWN: Final = 20
"""How many variations people are shown side by side."""


class Filter(NamedTuple):
    """Which runs to look at.

    Args:
        config: Key of the AI Config, "" for any.
        variation: Key of the variation, "" for all.
        outcome: One of `OUTCOMES`, "" for all.
        since: Start of the time, in milliseconds since 1970, a whole minute; 0 for no limit.
    """

    config: str = ""
    variation: str = ""
    outcome: str = ""
    since: int = 0

    @property
    def condition(self) -> str:
        """The condition for runs but for the variation, in SQL; its parameters are named as the fields."""
        parts = ["1"]
        if self.since:
            parts.append("started >= :since")
        if self.outcome:
            parts.append("outcome IS NULL" if self.outcome == "none" else "outcome = :outcome")
        return " AND ".join(parts)


class Judge(NamedTuple):
    """What gives scores.

    Args:
        key: Key of its AI Config, "" where the score came without.
        metric: Name of the metric to which it gives them.
    """

    key: str
    metric: str


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
    at: int


_NAMED: Final = ":config IN ('', config) AND :variation IN ('', name)"
_LET_THROUGH: Final = f"variation IN (SELECT id FROM variations WHERE {_NAMED})"  # noqa: S608
_RUN_COLUMNS: Final = ", ".join(
    {"config": "variations.config", "variation": "variations.name"}.get(name, f"runs.{name}")
    for name in Run._fields
    if name != "scores"
)


def newest_config(store: Store) -> str:
    """Return the key of the AI Config that has the latest run, "" if there are no runs."""
    return next((run.config for run in latest_runs(store, Filter(), 1)), "")


def configs(store: Store) -> list[str]:
    """Return the keys of the AI Configs of which there are runs."""
    return [str(key) for (key,) in store.select("SELECT DISTINCT config FROM variations ORDER BY config", {})]


def listed(numbers: Iterable[int]) -> str:
    """Return numbers as a list in SQL."""
    return ", ".join(map(str, numbers))


def names(select: Select, wanted: Filter) -> dict[int, str]:
    """Return the key of each variation that the filter lets through, by its number in the file, in order."""
    query = f"SELECT id, name FROM variations WHERE {_NAMED} ORDER BY config, name"  # noqa: S608
    return dict(select(query, wanted._asdict()))


def variations_of(store: Store, config: str) -> list[str]:
    """Return the keys of an AI Config's variations, in alphabetical order."""
    return list(names(store.select, Filter(config)).values())


def latest_runs(store: Store, wanted: Filter, limit: int) -> list[Run]:
    """Return the runs that started last, the newest first."""
    values = wanted._asdict()
    latest = f"AND {wanted.condition} ORDER BY started DESC LIMIT"
    started_last = f"SELECT started FROM runs WHERE variation = variations.id {latest} 1"  # noqa: S608
    # What is in none of the variations that ran last cannot be among the last runs.
    ran_last = f"SELECT id FROM variations WHERE {_NAMED} ORDER BY ({started_last}) DESC LIMIT {limit}"  # noqa: S608
    query = f"SELECT started, id FROM runs WHERE variation = :id {latest} {limit}"  # noqa: S608
    with store.reading() as select:
        numbers = [number for (number,) in select(ran_last, values)]
        found = [row for number in numbers for row in select(query, {**values, "id": number})]
        newest = [int(number) for _, number in sorted(found, reverse=True)[:limit]]
        runs = {run.id: run for run in _runs(select, newest)}
    return [runs[number] for number in newest]


def all_runs(store: Store, wanted: Filter) -> Iterator[Run]:
    """Yield every run that the filter lets through, in the order of their arrival."""
    # The plus has SQLite go on from the last run, instead of looking for each variation's.
    query = (
        f"SELECT id FROM runs WHERE id > :after AND +{_LET_THROUGH} AND {wanted.condition} ORDER BY id LIMIT 500"  # noqa: S608
    )
    after = 0
    while found := [int(number) for (number,) in store.select(query, {**wanted._asdict(), "after": after})]:
        yield from _runs(store.select, found)
        after = found[-1]


def judges(store: Store, wanted: Filter) -> list[Judge]:
    """Return what has scored runs of those variations that the filter lets through."""
    scored = f"{_LET_THROUGH} AND length = {EVER} AND (judge <> '' OR measure NOT IN {MEASURES})"
    query = f"SELECT DISTINCT judge, measure FROM totals WHERE {scored} ORDER BY 1, 2"  # noqa: S608
    return [Judge(*row) for row in store.select(query, wanted._asdict())]


def run_with_metrics(store: Store, number: int) -> tuple[Run, list[Metric]] | None:
    """Return a run and its metrics in the order in which they were recorded; `None` if there is no such run."""
    query = "SELECT name, detail, value, at FROM metrics WHERE run = :run ORDER BY at, name, detail"
    with store.reading() as select:
        runs = _runs(select, [number])
        metrics = [Metric(*row) for row in select(query, {"run": number})]
    return (runs[0], metrics) if runs else None


def _runs(select: Select, numbers: Sequence[int]) -> list[Run]:
    query = (
        f"SELECT {_RUN_COLUMNS} FROM runs JOIN variations ON variations.id = runs.variation"  # noqa: S608
        f" WHERE runs.id IN ({listed(numbers)}) ORDER BY runs.id"
    )
    scores: dict[int, list[tuple[Judge, float]]] = {}
    scored = (
        f"SELECT run, detail, name, value * 1.0 / count FROM metrics WHERE run IN ({listed(numbers)}) AND scored"  # noqa: S608
    )
    for run, key, metric, score in select(scored, {}):
        scores.setdefault(run, []).append((Judge(key, metric), score))
    runs = (Run(*row) for row in select(query, {}))
    return [run._replace(scores=tuple(sorted(scores.get(run.id, ())))) for run in runs]


def heading(store: Store, config: str) -> str:
    """Return an AI Config's key, and that not all its variations are shown where there are too many."""
    query = "SELECT count(*) FROM variations WHERE config = :config"
    ((count,),) = store.select(query, {"config": config})
    return (
        config if count <= MOST_SHOWN else f"{config}: the {MOST_SHOWN} of {count:,} variations with the most runs"
    )

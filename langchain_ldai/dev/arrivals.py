"""From the events of a batch to what they say of runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from langchain_ldai._protocol.flags import Json
from langchain_ldai._wire import events

ADDED: Final = {
    events.DURATION: "duration",
    events.GRAPH_DURATION: "duration",
    events.TOKENS_TOTAL: "tokens",
    events.GRAPH_TOTAL_TOKENS: "tokens",
    events.TOKENS_INPUT: "tokens_in",
    events.TOKENS_OUTPUT: "tokens_out",
    events.TOOL_CALL: "tool_calls",
}
"""The columns whose values add up, by event: each part of a resumed run sends its own."""

TAKEN_ONCE: Final[Mapping[str, tuple[str, str | int | None]]] = {
    events.SUCCESS: ("outcome", "success"),
    events.GRAPH_INVOCATION_SUCCESS: ("outcome", "success"),
    events.ERROR: ("outcome", "error"),
    events.GRAPH_INVOCATION_FAILURE: ("outcome", "error"),
    events.FEEDBACK_POSITIVE: ("feedback", 1),
    events.FEEDBACK_NEGATIVE: ("feedback", -1),
    events.TIME_TO_FIRST_TOKEN: ("first_token", None),
}
"""The columns whose first value stands, and that value, by event; `None` stands for the event's own."""

NO_RUN_ID: Final = "no runId"
"""How the id begins that a run gets here where its SDK sends none."""

_NODES: Final = (events.NODE_KEY, events.SOURCE_KEY, events.TARGET_KEY, events.REDIRECTED_TARGET)
_SCORES: Final = "$ld:ai:judge:"
_RUN_METRICS: Final = frozenset({*ADDED, *TAKEN_ONCE})
_LONGEST_NAME: Final = 300
_GREATEST: Final = 2**53
_EARLIEST_MS: Final = 1_388_534_400_000  # 2014, when there was no LaunchDarkly


class MetricRow(NamedTuple):
    """A metric of a run.

    Args:
        name: Name of its event.
        detail: Key of the tool, the judge or the node, the nodes of a handoff or a path; "" where it has none.
        scored: Whether it is a judge's score.
    """

    name: str
    detail: str
    scored: bool


@dataclass(slots=True)
class Arrival:
    """What a batch says of one run under one AI Config.

    Args:
        run_id: LaunchDarkly's id of the run.
        config: Key of the AI Config.
        variation: Key of the variation.
        version: Version of the variation.
        graph: Key of the agent graph, "" outside one.
        model: Name of the model, "" if it was not sent.
        context: The context's key, with its kind unless that is a user.
    """

    run_id: str
    config: str
    variation: str
    version: int
    graph: str
    model: str
    context: str
    first_ms: int
    last_ms: int
    columns: dict[str, object] = field(default_factory=dict)
    metrics: dict[MetricRow, tuple[float, int, int]] = field(default_factory=dict)

    def add(self, row: MetricRow, value: float, at_ms: int) -> None:
        """Add one metric."""
        self.first_ms = min(self.first_ms, at_ms)
        self.last_ms = max(self.last_ms, at_ms)
        total, count, _ = self.metrics.get(row, (0.0, 0, 0))
        self.metrics[row] = total + value, count + 1, at_ms
        if row.name in ADDED:
            column = ADDED[row.name]
            added: float = self.columns.get(column, 0) + value  # type: ignore[operator]
            # SQLite takes no whole number beyond 64 bits.
            self.columns[column] = added if added < _GREATEST else float(added)
        elif row.name in TAKEN_ONCE:
            column, taken = TAKEN_ONCE[row.name]
            self.columns.setdefault(column, value if taken is None else taken)


def arrivals(batch: Iterable[Json], now_ms: int) -> list[Arrival]:
    """Return what a batch says of runs; an event that belongs to no AI Config is passed over.

    Older SDKs send no `runId`. What such an SDK sends for one context within a second counts as one run.

    Args:
        batch: The events.
        now_ms: The time now, in milliseconds since 1970.
    """
    found: dict[tuple[str, str], Arrival] = {}
    for event in batch:
        data = event.get("data")
        name, value = text(event.get("key")), number(event.get("metricValue"))
        if event.get("kind") != "custom" or not isinstance(data, Mapping) or not name or value is None:
            continue
        if name in _RUN_METRICS and value < 0:
            continue
        graph, run_id = text(data.get(events.GRAPH_KEY)), text(data.get(events.RUN_ID))
        config = text(data.get(events.CONFIG_KEY)) or graph  # events of an agent graph may name the graph alone
        at_ms = _time_of(event, now_ms)
        if not run_id and name in _RUN_METRICS:
            run_id = f"{NO_RUN_ID}: {_context_key(event)} at {at_ms // 1000}"
        if not run_id or not config:
            continue
        run = found.get((run_id, config))
        if run is None:
            run = found[run_id, config] = _arrival(run_id, config, event, data, at_ms)
        run.add(_row(name, data), value, at_ms)
    return list(found.values())


def _row(name: str, data: Mapping[str, object]) -> MetricRow:
    """Return which metric an event is; a score names its judge, or has the name of LaunchDarkly's own scores."""
    if name in _RUN_METRICS:
        return MetricRow(name, text(data.get(events.TOOL_KEY)), scored=False)
    judge = text(data.get(events.JUDGE_CONFIG_KEY))
    return MetricRow(name, judge or _nodes_in(data), scored=bool(judge) or name.startswith(_SCORES))


def _nodes_in(data: Mapping[str, object]) -> str:
    """Return which nodes an event of an agent graph is about, in their order; "" for other events."""
    path = data.get(events.PATH)
    keys = path if isinstance(path, list) else [data.get(name) for name in _NODES]
    return text(" > ".join(filter(None, map(text, keys)))[:_LONGEST_NAME])


def _time_of(event: Json, now_ms: int) -> int:
    """Return when an event happened: now, if it does not say, or if its clock is ahead or was never set."""
    at = number(event.get("creationDate"))
    return now_ms if at is None or not _EARLIEST_MS <= at <= now_ms else int(at)


def _arrival(run_id: str, config: str, event: Json, data: Mapping[str, object], at_ms: int) -> Arrival:
    return Arrival(
        run_id,
        config,
        text(data.get(events.VARIATION_KEY)),
        int(number(data.get(events.VERSION)) or 0),
        text(data.get(events.GRAPH_KEY)),
        text(data.get(events.MODEL_NAME)),
        _context_key(event),
        at_ms,
        at_ms,
    )


def text(value: object) -> str:
    """Return a text in a form that SQLite can hold, "" for anything else and for what is no key."""
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        return ""
    return value.encode("utf-8", "backslashreplace").decode()


def number(value: object) -> float | None:
    """Return a number, whole where it is whole; `None` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not -_GREATEST < value < _GREATEST:
        return None
    return int(value) if math.floor(value) == value else value


def _context_key(event: Json) -> str:
    """Return the context's key as the SDKs write it: a user's alone, any other after its kind."""
    context = event.get("context")
    if not isinstance(context, Mapping):
        keys = event.get("contextKeys")
        pairs = list(keys.items()) if isinstance(keys, Mapping) else []
    elif context.get("kind") == "multi":
        pairs = [(kind, part.get("key")) for kind, part in context.items() if isinstance(part, Mapping)]
    else:
        pairs = [(context.get("kind"), context.get("key"))]
    named = sorted((text(kind) or "user", text(key)) for kind, key in pairs)
    if [kind for kind, _ in named] == ["user"]:
        return named[0][1]
    return ":".join(f"{kind}:{key}" for kind, key in named)[:_LONGEST_NAME]

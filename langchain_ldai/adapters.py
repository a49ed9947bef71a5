"""Trackers of other makes, wrapped ones, and those of agent graphs, as a run uses one."""

from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

from langchain_ldai.account import RunTracker
from langchain_ldai.boundary import Delivery, Notices
from langchain_ldai.claims import Claims
from langchain_ldai.errors import WrongResultError
from langchain_ldai.graph_tracker import GraphMetricSummary, LdAiGraphTracker
from langchain_ldai.journey import Journey
from langchain_ldai.metrics import Feedback, MetricSummary, Slot, TokenUsage, Value
from langchain_ldai.resumption import RunIdentity, decode, decode_graph
from langchain_ldai.tracker import LdAiConfigTracker

_METHODS: Final[Mapping[str, str]] = {
    "time_to_first_token_ms": "track_time_to_first_token",
    "duration_ms": "track_duration",
    "tokens": "track_tokens",
    "success": "track_success",
    "error": "track_error",
}
"""What records a metric of a run of an AI Config."""

_GRAPH_METHODS: Final[Mapping[str, str]] = {
    "duration_ms": "track_duration",
    "tokens": "track_total_tokens",
    "success": "track_invocation_success",
    "error": "track_invocation_failure",
    "path": "track_path",
}
"""What records a metric of a run of an agent graph."""

_OFFICIAL_NAMES: Final = {"time_to_first_token_ms": "time_to_first_token"}
"""What a summary of the official package has under another name."""


class Other(Protocol):
    """What is asked of a tracker of an AI Config's run, beside what records its metrics."""

    @property
    def resumption_token(self) -> str: ...
    def get_summary(self) -> object: ...
    def track_tool_call(self, tool_key: str, /) -> None: ...


class OtherGraphs(Protocol):
    """What is asked of a tracker of an agent graph's run, beside what records its metrics."""

    @property
    def resumption_token(self) -> str: ...
    @property
    def summary(self) -> GraphMetricSummary: ...
    def track_handoff_success(self, source: str, target: str, /) -> None: ...
    def track_handoff_failure(self, source: str, target: str, /) -> None: ...


def in_our_form(tracker: object) -> RunTracker:
    """Return a tracker as a run needs it: told by what it can do, so that a wrapped one works like what it wraps.

    Raises:
        WrongResultError: If it cannot record what a run records.
    """
    if type(tracker) is LdAiConfigTracker:
        return tracker
    is_graphs = hasattr(tracker, "track_path")
    needed = ["resumption_token", *(_GRAPH_METHODS if is_graphs else _METHODS).values()]
    needed += ["summary", "track_handoff_success"] if is_graphs else ["track_tool_call"]
    lacking = [name for name in needed if not hasattr(tracker, name)]
    if lacking:
        made, hint = type(tracker).__name__, "; use agent graphs of LdAiClient.agent_graph()" if is_graphs else ""
        raise WrongResultError(f"create_tracker() returned a {made}, which has no {lacking[0]}{hint}")
    return GraphRunTracker(cast(OtherGraphs, tracker)) if is_graphs else OtherTracker(cast(Other, tracker))


class OtherTracker:
    """A tracker of the official `launchdarkly-server-sdk-ai`, or one that wraps ours, as a run uses one.

    It is used through what is documented of it; what it lacks, such as `run_id`, is read from its token.

    Attributes:
        original: The tracker itself.
    """

    __slots__ = ("identity", "original", "resumption_token")

    def __init__(self, original: Other) -> None:
        self.original = original
        self.resumption_token: str = original.resumption_token
        self.identity: RunIdentity = decode(self.resumption_token)

    @property
    def claims(self) -> Claims | None:
        """Where the tracker claims its slots, if it does."""
        return getattr(self.original, "claims", None)

    @property
    def notices(self) -> Notices | None:
        """What its client has logged, where that is one of ours."""
        return getattr(self.original, "notices", None)

    @property
    def summary(self) -> MetricSummary:
        """What the tracker has recorded so far."""
        recorded = _recorded(self.original)
        tokens, feedback = _value(recorded, "tokens"), _value(recorded, "feedback")
        kind = feedback["kind"].value if isinstance(feedback, Mapping) else feedback
        return MetricSummary(
            duration_ms=_value(recorded, "duration_ms"),
            time_to_first_token_ms=_value(recorded, "time_to_first_token_ms"),
            tokens=TokenUsage(tokens.total, tokens.input, tokens.output) if tokens else None,
            success=_value(recorded, "success"),
            feedback=Feedback(kind) if kind else None,
            tool_calls=tuple(_value(recorded, "tool_calls") or ()),
            resumption_token=self.resumption_token,
        )

    def track_tool_call(self, key: str) -> None:
        """Record one call of a tool."""
        self.original.track_tool_call(key)

    def take_missing(self, values: dict[Slot, Value]) -> list[Delivery]:
        """Return the calls that record those of the given metrics that have not been recorded."""
        return _missing(self.original, values, _METHODS)


class GraphRunTracker:
    """An agent graph's tracker, ours or one that wraps it, as the run of the graph uses one.

    Attributes:
        original: The tracker itself.
    """

    __slots__ = ("identity", "original")

    def __init__(self, original: OtherGraphs) -> None:
        graph = decode_graph(original.resumption_token)
        self.original = original
        self.identity = RunIdentity(graph.run_id, graph.graph_key, graph.variation_key, graph.version)

    @property
    def claims(self) -> Claims | None:
        """Where the graph's tracker claims its slots."""
        return getattr(self.original, "claims", None)

    @property
    def notices(self) -> Notices | None:
        """What its client has logged."""
        return getattr(self.original, "notices", None)

    @property
    def resumption_token(self) -> str:
        """The graph run's token."""
        return self.original.resumption_token

    @property
    def summary(self) -> MetricSummary:
        """What the tracker has recorded so far."""
        recorded = self.original.summary
        return MetricSummary(
            duration_ms=recorded.duration_ms,
            tokens=recorded.tokens,
            success=recorded.success,
            resumption_token=recorded.resumption_token,
        )

    def track_tool_call(self, key: str) -> None:
        """Leave a tool call alone: LaunchDarkly counts those of nodes only."""

    def take_missing(self, values: dict[Slot, Value]) -> list[Delivery]:
        """Record what has not been recorded, and return the calls that deliver it; a graph has no first token."""
        known: dict[Any, Any] = {slot: value for slot, value in values.items() if slot != "time_to_first_token_ms"}
        if type(self.original) is LdAiGraphTracker:
            return self.original.take_missing(known)
        return _missing(self.original, known, _GRAPH_METHODS)

    def record_journey(self, journey: Journey) -> None:
        """Record the way through the graph, and each visit and handoff on it."""
        original = self.original
        if journey.path:
            track_visits = getattr(original, "track_visits", None)
            if track_visits is not None:
                track_visits(journey.path)
            else:
                for deliver, args in _missing(original, {"path": journey.path}, _GRAPH_METHODS):
                    deliver(*args)
        for handoff in journey.handoffs:
            if handoff.success:
                original.track_handoff_success(handoff.source, handoff.target)
            else:
                original.track_handoff_failure(handoff.source, handoff.target)


def _missing(tracker: object, values: Mapping[Any, object], methods: Mapping[str, str]) -> list[Delivery]:
    """Return the calls that record those metrics that have not been recorded."""
    recorded = _recorded(tracker)
    found: list[Delivery] = []
    for slot, value in values.items():
        if _value(recorded, slot) is not None:
            continue
        if slot == "success":
            found.append((getattr(tracker, methods["success" if value else "error"]), ()))
        else:
            found.append((getattr(tracker, methods[slot]), (value,)))
    return found


def _recorded(tracker: object) -> object:
    summary: object = getattr(tracker, "summary", None)
    return cast(Other, tracker).get_summary() if summary is None else summary


def _value(recorded: object, name: str) -> Any:  # noqa: ANN401  of each metric another type
    """Return what a summary says of a metric, `None` where nothing was recorded."""
    return getattr(recorded, name, getattr(recorded, _OFFICIAL_NAMES.get(name, name), None))

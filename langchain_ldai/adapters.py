"""Trackers of other makes, and of agent graphs, as a run uses one."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from langchain_ldai.boundary import Delivery
from langchain_ldai.claims import Claims
from langchain_ldai.graph_tracker import LdAiGraphTracker
from langchain_ldai.journey import Journey
from langchain_ldai.metrics import Feedback, MetricSummary, Slot, TokenUsage, Value
from langchain_ldai.resumption import RunIdentity, decode


class Official(Protocol):
    """What a tracker of `launchdarkly-server-sdk-ai` has, of that which a run needs."""

    @property
    def resumption_token(self) -> str: ...
    def get_summary(self) -> object: ...
    def track_duration(self, duration: int) -> None: ...
    def track_time_to_first_token(self, time_to_first_token: int) -> None: ...
    def track_tokens(self, tokens: TokenUsage) -> None: ...
    def track_success(self) -> None: ...
    def track_error(self) -> None: ...
    def track_tool_call(self, tool_key: str) -> None: ...


class OfficialTracker:
    """A tracker of the official `launchdarkly-server-sdk-ai`, as a run uses one.

    What it lacks, such as `run_id`, is read from its token.

    Attributes:
        original: The tracker itself.
    """

    __slots__ = ("identity", "original", "resumption_token")

    claims: Final = None

    def __init__(self, original: Official) -> None:
        self.original = original
        self.resumption_token: str = original.resumption_token
        self.identity: RunIdentity = decode(self.resumption_token)

    @property
    def summary(self) -> MetricSummary:
        """What the tracker has recorded so far."""
        recorded = self.original.get_summary()
        values = {name: getattr(recorded, official, None) for name, official in _SUMMARY_FIELDS.items()}
        tokens, feedback = values["tokens"], getattr(recorded, "feedback", None)
        return MetricSummary(
            duration_ms=values["duration_ms"],
            time_to_first_token_ms=values["time_to_first_token_ms"],
            tokens=TokenUsage(tokens.total, tokens.input, tokens.output) if tokens else None,
            success=values["success"],
            feedback=Feedback(feedback["kind"].value) if feedback else None,
            tool_calls=tuple(values["tool_calls"] or ()),
            resumption_token=self.resumption_token,
        )

    def track_tool_call(self, key: str) -> None:
        """Record one call of a tool."""
        self.original.track_tool_call(key)

    def take_missing(self, values: dict[Slot, Value]) -> list[Delivery]:
        """Return the calls that record those of the given metrics that have not been recorded."""
        known, original = self.summary, self.original
        found: list[Delivery] = []
        for slot, value in values.items():
            if getattr(known, slot) is not None:
                continue
            if slot == "success":
                found.append((original.track_success if value else original.track_error, ()))
            else:
                found.append((getattr(original, _TRACK[slot]), (value,)))
        return found


_TRACK: Final[Mapping[Slot, str]] = {
    "time_to_first_token_ms": "track_time_to_first_token",
    "duration_ms": "track_duration",
    "tokens": "track_tokens",
}

_SUMMARY_FIELDS: Final = {
    "duration_ms": "duration_ms",
    "time_to_first_token_ms": "time_to_first_token",
    "tokens": "tokens",
    "success": "success",
    "tool_calls": "tool_calls",
}


class GraphRunTracker:
    """An agent graph's tracker, as the run of the graph uses one.

    Attributes:
        original: The tracker itself.
    """

    __slots__ = ("identity", "original")

    def __init__(self, original: LdAiGraphTracker) -> None:
        graph = original.identity
        self.original = original
        self.identity = RunIdentity(graph.run_id, graph.graph_key, graph.variation_key, graph.version)

    @property
    def claims(self) -> Claims | None:
        """Where the graph's tracker claims its slots."""
        return self.original.claims

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
        return self.original.take_missing(known)

    def record_journey(self, journey: Journey) -> None:
        """Record the way through the graph, and each visit and handoff on it."""
        if journey.path:
            self.original.record_visits(journey.path)
        for handoff in journey.handoffs:
            if handoff.success:
                self.original.track_handoff_success(handoff.source, handoff.target)
            else:
                self.original.track_handoff_failure(handoff.source, handoff.target)

"""Trackers as a run uses them, whether they are ours or the official package's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol, cast

from langchain_ldai._base.guard import call_each
from langchain_ldai._runs.graph_path import Journey
from langchain_ldai._tracking.graph_tracker import LdAiGraphTracker
from langchain_ldai._tracking.sending import EventSender
from langchain_ldai._tracking.tracker import LdAiConfigTracker
from langchain_ldai._tracking.values import Feedback, MetricSummary, Slot, TokenUsage, Value
from langchain_ldai._wire.tokens import RunIdentity, decode, decode_graph
from langchain_ldai.errors import WrongResultError

_OFFICIAL_NAMES: Final = {"time_to_first_token_ms": "time_to_first_token"}
"""The metrics that a summary of the official package names otherwise."""


class Other(Protocol):
    """What a tracker must have beside the methods that record its metrics."""

    @property
    def resumption_token(self) -> str: ...
    def get_summary(self) -> object: ...
    def track_tool_call(self, tool_key: str, /) -> None: ...


class OtherTracker:
    """Adapts a tracker of the official `launchdarkly-server-sdk-ai`, or one that wraps ours.

    It uses only what is documented of such a tracker, and reads the rest, such as `run_id`, from its token.

    Attributes:
        methods: The method that records each metric; a metric without one is left alone.
        needed: What the tracker must have beside them.
        original: The tracker itself.
    """

    __slots__ = ("_sender", "identity", "original", "resumption_token")

    methods: ClassVar[Mapping[str, str]] = {
        "time_to_first_token_ms": "track_time_to_first_token",
        "duration_ms": "track_duration",
        "tokens": "track_tokens",
        "success": "track_success",
        "error": "track_error",
    }
    needed: ClassVar[Sequence[str]] = ("track_tool_call",)

    def __init__(self, original: Other) -> None:
        self.original: Other = original
        self.resumption_token: str = original.resumption_token
        self.identity: RunIdentity = self._identity()
        self._sender = _sender_of(original)

    def _identity(self) -> RunIdentity:
        return decode(self.resumption_token)

    @property
    def summary(self) -> MetricSummary:
        """What the tracker has recorded so far."""
        recorded = self._recorded()
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

    def _record_run(self, values: Mapping[Slot, Value], tool_calls: Sequence[str] = ()) -> None:
        """Record those metrics that have no value yet, and tool calls, each with the tracker's own method."""
        tools = [(self.original.track_tool_call, key) for key in tool_calls]
        call_each([*self._missing(values, self.methods), *tools])

    def _missing(self, values: Mapping[Any, object], methods: Mapping[str, str]) -> list[Sequence[Any]]:
        """Return the calls of methods that record those metrics that have no value yet."""
        recorded = self._recorded() if values else None
        found: list[Sequence[Any]] = []
        for metric, value in values.items():
            if _value(recorded, metric) is None:
                call = getattr(self.original, methods["error" if metric == "success" and not value else metric])
                found.append((call,) if metric == "success" else (call, value))
        return found

    def _recorded(self) -> object:
        summary: object = getattr(self.original, "summary", None)
        return self.original.get_summary() if summary is None else summary


class GraphRunTracker(OtherTracker):
    """Adapts an agent graph's tracker, ours or one that wraps it.

    A graph takes no first token and no tool call: LaunchDarkly counts those of nodes only.

    Attributes:
        journey: The run's way through the graph; `None` where the graph stands for a named node.
    """

    __slots__ = ("journey",)

    methods: ClassVar = {
        "duration_ms": "track_duration",
        "tokens": "track_total_tokens",
        "success": "track_invocation_success",
        "error": "track_invocation_failure",
        "path": "track_path",
    }
    needed: ClassVar = ("summary", "track_handoff_success")

    def __init__(self, original: Other) -> None:
        super().__init__(original)
        self.journey: Journey | None = None

    def _identity(self) -> RunIdentity:
        return RunIdentity(*decode_graph(self.resumption_token))

    def _record_run(self, values: Mapping[Slot, Value], tool_calls: Sequence[str] = ()) -> None:
        """Record those metrics that have no value yet, and with the duration the way through the graph."""
        original: object = self.original
        journey = self.journey if "duration_ms" in values else None  # it is final when the duration is
        known: dict[Slot, Value] = {slot: value for slot, value in values.items() if slot in self.methods}
        if journey is not None and journey.path:
            known["path"] = journey.path
        handoffs = journey.handoffs if journey is not None else ()
        if type(original) is LdAiGraphTracker:
            original._record_run(known, handoffs)
            return
        visits = {"path": "_track_visits"} if hasattr(original, "_track_visits") else {}
        calls = self._missing(known, {**self.methods, **visits})
        for source, target, is_success in handoffs:
            track = getattr(original, f"track_handoff_{'success' if is_success else 'failure'}")
            calls.append((track, source, target))
        call_each(calls)


def _sender_of(tracker: object) -> EventSender | None:
    """Return what a tracker sends its events with, where it is one of ours, or wraps one."""
    sender = getattr(tracker, "_sender", None)
    return sender if hasattr(sender, "claims") and hasattr(sender, "client") else None


RunTracker = LdAiConfigTracker | OtherTracker
"""A tracker as a run uses it."""


def as_run_tracker(tracker: object) -> RunTracker:
    """Return a tracker in the form that a run uses.

    What the tracker can do decides, not its type, so that one that wraps another works like the other.

    Raises:
        WrongResultError: If it cannot record what a run records.
    """
    if type(tracker) is LdAiConfigTracker:
        return tracker
    adapter = GraphRunTracker if hasattr(tracker, "track_path") else OtherTracker
    needed = ("resumption_token", *adapter.methods.values(), *adapter.needed)
    lacking = [name for name in needed if not hasattr(tracker, name)]
    if lacking:
        made = type(tracker).__name__
        hint = "; use agent graphs of LdAiClient.agent_graph()" if adapter is GraphRunTracker else ""
        raise WrongResultError(f"create_tracker() returned a {made}, which has no {lacking[0]}{hint}")
    return adapter(cast(Other, tracker))


def _value(recorded: object, name: str) -> Any:  # noqa: ANN401  of each metric another type
    """Return what a summary says of a metric, `None` where nothing was recorded."""
    return getattr(recorded, name, getattr(recorded, _OFFICIAL_NAMES.get(name, name), None))

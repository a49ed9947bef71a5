"""Trackers as a run uses them, ours or the official package's, and what a tracker's run was served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, cast

from langchain_ldai._base.guard import call_each
from langchain_ldai._runs.graph_path import Journey
from langchain_ldai._tracking.graph_tracker import LdAiGraphTracker
from langchain_ldai._tracking.sending import EventSender
from langchain_ldai._tracking.tracker import LdAiConfigTracker
from langchain_ldai._tracking.values import Feedback, MetricSummary, Slot, TokenUsage, Value
from langchain_ldai._wire.events import ENVIRONMENT_ID
from langchain_ldai._wire.tokens import RunIdentity, decode_any
from langchain_ldai.errors import WrongResultError

if TYPE_CHECKING:
    from ldclient import Context


class Adaptable(Protocol):
    """What a tracker that is adapted must have beside the methods that record its metrics."""

    resumption_token: str

    def get_summary(self) -> object: ...
    def track_tool_call(self, tool_key: str, /) -> None: ...


class OtherTracker:
    """Adapts a tracker of the official `launchdarkly-server-sdk-ai`, or one that wraps ours.

    It uses only what is documented of such a tracker, and reads the rest, such as `run_id`, from its token.

    Attributes:
        methods: By metric, the name of the method that records it. A metric without one is not recorded.
        needed: What else the tracker must have.
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

    def __init__(self, original: Adaptable) -> None:
        self.original: Adaptable = original
        self.resumption_token: str = original.resumption_token
        # An agent graph's identity has the graph's key in the place of a config's.
        self.identity: RunIdentity = RunIdentity(*decode_any(self.resumption_token))
        sender = getattr(original, "_sender", None)  # ours has one, and so may what wraps it
        is_ours = hasattr(sender, "claims") and hasattr(sender, "client")
        self._sender: EventSender | None = sender if is_ours else None

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
        """Record the metrics that have no value yet, and tool calls, each with the tracker's own method."""
        tools = [(self.original.track_tool_call, key) for key in tool_calls]
        call_each([*self._missing(values, self.methods), *tools])

    def _missing(self, values: Mapping[Any, object], methods: Mapping[str, str]) -> list[Sequence[Any]]:
        """Return the calls that record the metrics that have no value yet."""
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

    journey: Journey | None = None

    methods: ClassVar = {
        "duration_ms": "track_duration",
        "tokens": "track_total_tokens",
        "success": "track_invocation_success",
        "error": "track_invocation_failure",
        "path": "track_path",
    }
    needed: ClassVar = ("summary", "track_handoff_success")

    def _record_run(self, values: Mapping[Slot, Value], tool_calls: Sequence[str] = ()) -> None:
        """Record the metrics that have no value yet; with the duration, the path and the handoffs too."""
        original: object = self.original
        known: dict[Slot, Value] = {slot: value for slot, value in values.items() if slot in self.methods}
        handoffs: Sequence[tuple[str, str, bool]] = ()
        if self.journey is not None and "duration_ms" in values:  # the path is final when the duration is
            handoffs = self.journey.handoffs
            if self.journey.path:
                known["path"] = self.journey.path
        if type(original) is LdAiGraphTracker:
            original._record_run(known, handoffs)
            return
        visits = {"path": "_track_visits"} if hasattr(original, "_track_visits") else {}
        calls = self._missing(known, {**self.methods, **visits})
        for source, target, succeeded in handoffs:
            track = getattr(original, f"track_handoff_{'success' if succeeded else 'failure'}")
            calls.append((track, source, target))
        call_each(calls)


RunTracker = LdAiConfigTracker | OtherTracker
"""A tracker as a run uses it."""


def adapter_of(tracker: object, maker: str = "create_tracker") -> OtherTracker:
    """Return an adapter of a tracker that is no plain `LdAiConfigTracker`.

    The tracker's methods decide, not its type: so one that wraps another works like the other.

    Args:
        tracker: The tracker.
        maker: The method that made it, for the error.

    Raises:
        WrongResultError: If it cannot record what a run records.
    """
    adapter = GraphRunTracker if hasattr(tracker, "track_path") else OtherTracker
    for name in ("resumption_token", *adapter.methods.values(), *adapter.needed):
        if not hasattr(tracker, name):
            made = type(tracker).__name__
            hint = "; use agent graphs of LdAiClient.agent_graph()" if adapter is GraphRunTracker else ""
            raise WrongResultError(f"{maker}() returned a {made}, which has no {name}{hint}")
    return adapter(cast(Adaptable, tracker))


def _value(recorded: object, metric: str) -> Any:  # noqa: ANN401  of each metric another type
    """Return what a summary says of a metric, `None` where nothing was recorded.

    The official package's summary calls a metric "time_to_first_token", without the unit.
    """
    return getattr(recorded, metric, getattr(recorded, metric.removesuffix("_ms"), None))


class Served(NamedTuple):
    """What a run, or a named node, was served.

    Args:
        run_id: LaunchDarkly's id of the run.
        config_key: Key of the AI Config, or of the agent graph.
        variation_key: Key of the variation, "" when unknown.
        version: Version of the variation, `None` when unknown.
        graph_key: Key of the agent graph, if the run is the graph's own or a node's, otherwise "".
        context: Whom it was served for, `None` when unknown.
        environment_id: LaunchDarkly's id of the environment, "" when unknown.
    """

    run_id: str
    config_key: str
    variation_key: str = ""
    version: int | None = None
    graph_key: str = ""
    context: Context | None = None
    environment_id: str = ""


def served_by(tracker: RunTracker) -> Served:
    """Return what the run of a tracker was served. Only our trackers tell context and environment."""
    identity, sender = tracker.identity, tracker._sender
    served = Served(*identity)
    if isinstance(tracker, GraphRunTracker):
        served = served._replace(graph_key=identity.config_key)
    if sender is None:
        return served
    environment_id = sender.client.environment.get(ENVIRONMENT_ID, "")
    return served._replace(context=sender.context, environment_id=environment_id)

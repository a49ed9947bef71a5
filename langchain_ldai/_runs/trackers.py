"""Trackers and AI Configs as a run uses them, whether they are ours or the official package's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Final, Protocol, cast, runtime_checkable

from ldclient import Context

from langchain_ldai._base.guard import Guard, Ids, call_each
from langchain_ldai._base.options import check_function, check_instance, is_async
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
        tools = [partial(self.original.track_tool_call, key) for key in tool_calls]
        call_each([*self._missing(values, self.methods), *tools])

    def _missing(self, values: Mapping[Any, object], methods: Mapping[str, str]) -> list[Callable[[], object]]:
        """Return the calls of methods that record those metrics that have no value yet."""
        recorded = self._recorded() if values else None
        found: list[Callable[[], object]] = []
        for metric, value in values.items():
            if _value(recorded, metric) is None:
                call = getattr(self.original, methods["error" if metric == "success" and not value else metric])
                found.append(call if metric == "success" else partial(call, value))
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
            calls.append(partial(track, source, target))
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


@runtime_checkable
class AiConfig(Protocol):
    """An AI Config as a handler needs it: ours, or one of `launchdarkly-server-sdk-ai`."""

    @property
    def create_tracker(self) -> Callable[[], object]: ...


@runtime_checkable
class ResumableAiConfig(Protocol):
    """An AI Config, or agent graph, of ours: its runs can be continued, and be given an id."""

    def create_tracker(self, *, run_id: str | None = None) -> object: ...
    def resume_tracker(self, token: str) -> object: ...


class AgentGraph(Protocol):
    """What a handler asks of an agent graph, ours or one that wraps it."""

    @property
    def nodes(self) -> Mapping[str, AiConfig]: ...
    @property
    def edges(self) -> Iterable[Any]: ...


ConfigSource = AiConfig | Callable[[Mapping[str, Any]], AiConfig | None]
"""An AI Config, or a function from a run's metadata to the one of that run (`None`: do not track it)."""

NO_TRACKER: Final = "create_tracker() of an AI Config failed, its runs are not counted"
"""What the log says where an AI Config gives no tracker."""


def check_sources(config: object, nodes: object, needed_for: str, guard: Guard) -> None:
    """Raise where a handler's sources cannot give what it needs.

    Args:
        config: The AI Config, or function, of the runs; `None` where there are only nodes.
        nodes: Those of the nodes, by name.
        needed_for: The option that needs AI Configs of ours, "" where none is set.
        guard: Catches what the `create_tracker` of another package raises, as in a run.

    Raises:
        TypeError: If one is neither an AI Config nor a function, is not ours although it should be, or has
            trackers that cannot record what a run records.
    """
    if not isinstance(nodes, Mapping) or not all(isinstance(name, str) for name in nodes):
        raise TypeError("nodes is a dictionary of AI Configs, or functions to them, by the names of nodes")
    sources = {f"nodes[{node!r}]": source for node, source in nodes.items()}
    if config is not None or not nodes:
        sources = {"config": config, **sources}
    for name, source in sources.items():
        _check_source(name, source, needed_for)
        _check_tracker(name, source, guard)


def _check_source(name: str, source: object, needed_for: str) -> None:
    expected = f"{name} is an AI Config (it has create_tracker()) or a function from metadata to one"
    if isinstance(source, type):
        raise TypeError(f"{expected}, not the class {source.__name__}")
    if source is None:
        raise TypeError(f"{expected}, not None; where only nodes are tracked, give nodes=")
    if inspect.isawaitable(source):
        raise TypeError(f"{expected}, not {described(source)}: await it first, and give its result")
    if remedy := _remedy(source):
        raise TypeError(f"{expected}, not {type(source).__name__}: {remedy}")
    if isinstance(source, AiConfig):
        check_instance(name, source, "is an AI Config with create_tracker()", ("create_tracker",))
    elif is_async(source):
        raise TypeError(
            f"{expected}, not a coroutine function, which a callback cannot await: "
            "await the AI Config before the call, and let a plain function return it"
        )
    elif not callable(source):
        raise TypeError(f"{expected}, not {type(source).__name__}")
    else:
        check_function(name, source, "the metadata of the run")
    if needed_for and isinstance(source, AiConfig) and not isinstance(source, ResumableAiConfig):
        raise TypeError(
            f"{needed_for} needs an AI Config with resume_tracker(), such as those of LdAiClient; "
            f"{name} is {type(source).__name__}"
        )


def _remedy(given: object) -> str:
    """Return what to give in place of something that is easily taken for an AI Config; "" of anything else."""
    if hasattr(given, "completion_config"):
        return "give what its completion_config() or agent_config() returns"
    if hasattr(given, "variation"):
        return "give what LdAiClient(client).completion_config() returns"
    if hasattr(given, "resumption_token"):
        return "give the AI Config that made it"
    if hasattr(given, "to_payload"):
        return "a default goes to completion_config(key, context, default), which returns an AI Config"
    if inspect.isawaitable(given):
        return "await it before the call, and let the function return its result"
    if isinstance(given, Mapping):
        return "give one AI Config; those of nodes go into nodes={...}"
    return "give what a client's completion_config() returns for that key" if isinstance(given, str) else ""


def _check_tracker(name: str, source: object, guard: Guard) -> None:
    """Raise `TypeError` if a run cannot use the trackers of an AI Config that is not ours."""
    if not isinstance(source, AiConfig) or isinstance(source, ResumableAiConfig):
        return
    tracker = guard.call(NO_TRACKER, Ids(), source.create_tracker)
    if tracker is None:
        return
    try:
        as_run_tracker(tracker)
    except WrongResultError as error:
        raise TypeError(f"{name} cannot be counted for: {error}") from None


def config_of(source: Callable[..., object], metadata: Mapping[str, object]) -> AiConfig | None:
    """Return the AI Config that a caller's function gives; an AI Config may be callable itself.

    Raises:
        WrongResultError: If the function returned something else.
    """
    config = source if hasattr(source, "create_tracker") else source(MappingProxyType(metadata))
    if config is None or (hasattr(config, "create_tracker") and not hasattr(config, "completion_config")):
        return cast("AiConfig | None", config)
    found = "return ai.completion_config(key, context)" if isinstance(config, Context) else _remedy(config)
    remedy = f": {found}" if found else ""
    raise WrongResultError(f"the function given for an AI Config returned a {described(config)}{remedy}")


def tool_key(config: object, name: str) -> str:
    """Return LaunchDarkly's key of a tool of an AI Config by the tool's name, or the name where it has none."""
    tools = getattr(config, "tools", None)
    for key, tool in tools.items() if isinstance(tools, Mapping) else ():
        served = tool.get("name") if isinstance(tool, Mapping) else getattr(tool, "name", None)
        if served == name and isinstance(key, str):
            return key
    return name


def result_of(function: Callable[..., object], *args: object) -> object:
    """Return what a function of the caller's returns.

    Raises:
        WrongResultError: If that would have to be awaited.
    """
    result = function(*args)
    if inspect.isawaitable(result):
        raise WrongResultError(f"it returned a {described(result)}")
    return result


def described(value: object) -> str:
    """Return the type of a value in words; a coroutine is closed, or Python would warn that nobody awaited it."""
    if inspect.iscoroutine(value):
        value.close()
    awaited = ", which a callback cannot await" if inspect.isawaitable(value) else ""
    return type(value).__name__ + awaited

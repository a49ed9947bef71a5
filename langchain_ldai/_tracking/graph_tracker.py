"""The tracker of one run of an agent graph."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from langchain_ldai._tracking.sending import EventSender
from langchain_ldai._tracking.slots import EventTable, OnceTracker
from langchain_ldai._tracking.values import Slot, TokenUsage, Value, keys_of_nodes
from langchain_ldai._wire import events
from langchain_ldai._wire.tokens import GraphRunIdentity

_OUTCOME: Final = {True: events.GRAPH_INVOCATION_SUCCESS, False: events.GRAPH_INVOCATION_FAILURE}

Handoff = tuple[str, str, bool]
"""The node that handed over, the one that took over, and whether it succeeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphMetricSummary:
    """What a graph's tracker had recorded when it was asked; `None` where it had not."""

    duration_ms: int | None = None
    tokens: TokenUsage | None = None
    success: bool | None = None
    path: tuple[str, ...] | None = None
    resumption_token: str = field(repr=False)


def _total_tokens(data: Mapping[str, object], usage: TokenUsage) -> list[events.Event]:
    total = usage.total if usage.total > 0 else max(usage.input, 0) + max(usage.output, 0)
    return [(events.GRAPH_TOTAL_TOKENS, data, total)]


def _path(data: Mapping[str, object], keys: tuple[str, ...]) -> list[events.Event]:
    return [(events.GRAPH_PATH, {**data, events.PATH: list(keys)}, 1)]


def _path_and_visits(data: Mapping[str, object], keys: tuple[str, ...]) -> list[events.Event]:
    visits = [{**data, events.NODE_KEY: key, events.INDEX: index} for index, key in enumerate(keys)]
    return [*_path(data, keys), *((events.GRAPH_NODE, visit, 1) for visit in visits)]


class LdAiGraphTracker(OnceTracker[GraphRunIdentity]):
    """Records the metrics of one run of an agent graph, each at most once, from any number of threads.

    `graph.create_tracker()` makes the tracker of a new run. `client.create_graph_tracker(token, context)` makes
    one for a run that another process began.

    A metric takes one value. If it has one already, a further call sends nothing and logs one warning; call
    `create_tracker()` again for a new run. Redirects and handoffs have no limit.

    Args:
        identity: Which run this is.
        sender: Sends the events.

    Attributes:
        identity: Which run this is.
        resumption_token: The text with which another process can add to this run. It never changes.

    Example:
        `client` is a `RecordingClient`, which shows what was sent.

            >>> tracker = ai.agent_graph("desk", context).create_tracker()
            >>> tracker.track_path(["triage", "refunds"])
            >>> tracker.track_handoff_success("triage", "refunds")
            >>> tracker.track_invocation_success()
            >>> sorted(client.metrics(tracker.run_id))
            ['$ld:ai:graph:handoff_success', '$ld:ai:graph:invocation_success', '$ld:ai:graph:path']
    """

    __slots__ = ()

    _log: ClassVar = logging.getLogger(__name__)
    _made_by: ClassVar = "agent graph"
    _events_of: ClassVar[EventTable] = {
        "duration_ms": lambda data, ms: [(events.GRAPH_DURATION, data, ms)],
        "tokens": _total_tokens,
        "success": lambda data, succeeded: [(_OUTCOME[succeeded], data, 1)],
        "path": _path,
    }

    def __init__(self, identity: GraphRunIdentity, sender: EventSender) -> None:
        super().__init__(identity, sender, {events.CONFIG_KEY: identity.graph_key})

    @property
    def summary(self) -> GraphMetricSummary:
        """What has been recorded so far. Later recordings do not change it."""
        return GraphMetricSummary(resumption_token=self.resumption_token, **self._values)

    def track_invocation_success(self) -> None:
        """Record that the run succeeded. A run takes one of success and failure, whichever comes first."""
        self._track("track_invocation_success", {"success": True})

    def track_invocation_failure(self) -> None:
        """Record that the run failed. A run takes one of success and failure, whichever comes first."""
        self._track("track_invocation_failure", {"success": False})

    def track_total_tokens(self, usage: TokenUsage | None) -> None:
        """Record the tokens that all nodes used together, once.

        Args:
            usage: Its total is sent, or the sum of its parts if the total is not known. A usage without a part
                above 0 records nothing, nor does `None`.

        Raises:
            TypeError: If `usage` is no `TokenUsage`.
        """
        self._track_usage("track_total_tokens", usage)

    def track_path(self, keys: Iterable[str]) -> None:
        """Record which nodes the run visited, once.

        Args:
            keys: The nodes' keys, in order, one for each visit.

        Raises:
            TypeError: If `keys` is one text, or a key is not a string.
        """
        self._track("track_path", {"path": keys_of_nodes(keys)})

    def track_redirect(self, source: str, target: str) -> None:
        """Record that a node went on to another node than its edge says. Each redirect counts.

        Args:
            source: Key of the node that went on.
            target: Key of the node that it went to.

        Raises:
            TypeError: If a key is not a string.
        """
        source, target = keys_of_nodes((source, target))
        redirect = {**self._data, events.SOURCE_KEY: source, events.REDIRECTED_TARGET: target}
        self._send([(events.GRAPH_REDIRECT, redirect, 1)])

    def track_handoff_success(self, source: str, target: str) -> None:
        """Record that a node handed over to another node. Each handoff counts.

        Args:
            source: Key of the node that handed over.
            target: Key of the node that took over.

        Raises:
            TypeError: If a key is not a string.
        """
        self._record({}, [(source, target, True)])

    def track_handoff_failure(self, source: str, target: str) -> None:
        """Record that a node could not hand over to another node. Each attempt counts.

        Args:
            source: Key of the node that tried to hand over.
            target: Key of the node that should have taken over.

        Raises:
            TypeError: If a key is not a string.
        """
        self._record({}, [(source, target, False)])

    def _track_visits(self, keys: Iterable[str]) -> None:
        """Record the path, and an event for each visit on it; do nothing if a path is recorded."""
        self._record_run({"path": tuple(keys)})

    def _record_run(self, values: Mapping[Slot, Value], handoffs: Iterable[Handoff] = ()) -> None:
        """Record what a handler knows of the run in one call: metrics, each visit of the path, and handoffs."""
        self._record(values, handoffs, events_of=_EVENTS_OF_A_RUN)

    def _event_each_time(self, counted: Handoff) -> events.Event:
        source, target = keys_of_nodes(counted[:2])
        name = events.GRAPH_HANDOFF_SUCCESS if counted[2] else events.GRAPH_HANDOFF_FAILURE
        return name, {**self._data, events.SOURCE_KEY: source, events.TARGET_KEY: target}, 1


_EVENTS_OF_A_RUN: Final[EventTable] = {**LdAiGraphTracker._events_of, "path": _path_and_visits}

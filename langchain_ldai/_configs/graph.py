"""Agent graphs: which agents there are, who hands over to whom, and how a flag's payload is read; pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from langchain_ldai._configs.fields import as_text, object_in, objects_in, variation_key_in, version_in
from langchain_ldai._configs.payload import Payload
from langchain_ldai._configs.types import FrozenDict, LdAiAgentConfig, Origin, Served, freeze_object
from langchain_ldai._tracking.graph_tracker import LdAiGraphTracker
from langchain_ldai._tracking.sending import EventSender
from langchain_ldai._wire.ids import checked_run_id, new_run_id, text_fault
from langchain_ldai._wire.tokens import GraphRunIdentity, decode_graph
from langchain_ldai.errors import InvalidResumptionTokenError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """A way from one node of an agent graph to another.

    Args:
        source: Key of the node that hands over.
        target: Key of the node that takes over.
        handoff: What LaunchDarkly says of the handoff; read-only at every depth.

    Example:
        >>> ai.agent_graph("desk", context).edges
        (GraphEdge(source='triage', target='refunds', handoff={}),)
    """

    source: str
    target: str
    handoff: Mapping[str, object] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "handoff", freeze_object(self.handoff))


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LdAiAgentGraph(Served):
    """A graph of agents that LaunchDarkly serves. A client makes it; it is read-only at every depth.

    Args:
        key: Key of the agent graph.
        enabled: Whether it can be used: LaunchDarkly wants it used, it has a root, every node can be reached from
            the root, and every node's config is enabled. Trackers work either way.
        variation_key: Key of the variation served, "" when unknown.
        version: Version of the variation.
        root: Key of the node that a run begins with, "" when there is none.
        nodes: The agent configs by their keys, the root first, near nodes before far ones; their trackers carry
            the graph's key. Empty where the graph's own flag disables it: no config was evaluated then.
        edges: The ways from node to node.

    Example:
        >>> graph = ai.agent_graph("desk", context)
        >>> list(graph.nodes), graph.terminals()
        (['triage', 'refunds'], ('refunds',))
    """

    root: str
    nodes: Mapping[str, LdAiAgentConfig]
    edges: tuple[GraphEdge, ...]

    def __repr__(self) -> str:  # it may come into a log, and shows no prompt
        return (
            f"LdAiAgentGraph(key={self.key!r}, enabled={self.enabled}, variation_key={self.variation_key!r}, "
            f"version={self.version}, nodes={list(self.nodes)})"
        )

    def children(self, key: str) -> tuple[str, ...]:
        """Return the keys of the nodes that a node can hand over to; none for a key that is no node's.

        Example:
            >>> ai.agent_graph("desk", context).children("triage")
            ('refunds',)
        """
        return tuple(dict.fromkeys(edge.target for edge in self.edges if edge.source == key))

    def parents(self, key: str) -> tuple[str, ...]:
        """Return the keys of the nodes that can hand over to a node; none for a key that is no node's."""
        return tuple(dict.fromkeys(edge.source for edge in self.edges if edge.target == key))

    def terminals(self) -> tuple[str, ...]:
        """Return the keys of the nodes that hand over to no other; a graph of nothing but cycles has none."""
        sources = {edge.source for edge in self.edges}
        return tuple(key for key in self.nodes if key not in sources)

    def reachable(self) -> tuple[str, ...]:
        """Return the keys of the nodes that a run can come to: the root first, near nodes before far ones."""
        targets: dict[str, list[str]] = {}
        for edge in self.edges:
            targets.setdefault(edge.source, []).append(edge.target)
        found, seen = ([self.root], {self.root}) if self.root else ([], set())
        for key in found:  # the loop appends to it
            new = [target for target in dict.fromkeys(targets.get(key, ())) if target not in seen]
            found.extend(new)
            seen.update(new)
        return tuple(found)

    def create_tracker(self, *, run_id: str | None = None) -> LdAiGraphTracker:
        """Return the tracker of a new run, also when the graph is disabled.

        Args:
            run_id: LaunchDarkly's id of the run, where it has one already; otherwise a new UUIDv4. A ledger may
                not hold an id of more than 256 characters, or one with NUL or half a surrogate pair: such an id is
                replaced by a UUID, always the same for the same id.

        Raises:
            TypeError: If the id is not a string.
            ValueError: If the id is empty.
        """
        known = new_run_id() if run_id is None else checked_run_id(run_id)
        identity = GraphRunIdentity(known, self.key, self.variation_key, self.version)
        return LdAiGraphTracker(identity, self._origin.sender)

    def resume_tracker(self, token: str) -> LdAiGraphTracker:
        """Return a tracker that adds to a run of this agent graph, in this graph's context.

        Args:
            token: The graph run's resumption token. It is not signed: take it only from whom you trust.

        Raises:
            TypeError: If the token is not a string.
            InvalidResumptionTokenError: If it cannot be read, or names another agent graph.
        """
        identity = decode_graph(token)
        if identity.graph_key != self.key:
            raise InvalidResumptionTokenError(
                f"the resumption token is of another agent graph than {self.key!r}; "
                "use client.create_graph_tracker()"
            )
        return LdAiGraphTracker(identity, self._origin.sender)


def parse_graph(key: str, value: object, sender: EventSender) -> LdAiAgentGraph:
    """Return the agent graph that a flag's value describes, still without its nodes' configs.

    Reading is lenient: what has the wrong type counts as absent, and nothing raises (spec sections 1, 2 and 7).

    Args:
        key: The agent graph's key.
        value: What the flag evaluated to.
        sender: Sends the events of the graph's trackers.
    """
    if not isinstance(value, Mapping):
        _log.error("agent graph %r is a %s, not an object; it is disabled", key, type(value).__name__)
        value = {}
    meta, targets = object_in(value, "_ldMeta"), _targets(object_in(value, "edges"))
    graph = LdAiAgentGraph(
        key=key,
        enabled=True,
        variation_key=variation_key_in(meta),
        version=version_in(meta),
        root=as_text(value.get("root")),
        nodes=FrozenDict(),
        edges=tuple(edge for group in targets.values() for edge in group),
        _origin=Origin(sender),
    )
    fault = _fault(meta, graph.reachable(), targets)
    if fault:
        _log.debug("agent graph %r is disabled: %s", key, fault)
    return replace(graph, enabled=not fault)


def with_nodes(graph: LdAiAgentGraph, configs: Mapping[str, LdAiAgentConfig]) -> LdAiAgentGraph:
    """Return a parsed graph with its nodes' configs. A config that is not enabled disables it (spec section 7)."""
    fault = [key for key, config in configs.items() if not config.enabled]
    if fault:
        _log.debug("agent graph %r is disabled: the agent configs of %s are not enabled", graph.key, fault)
    return replace(graph, nodes=FrozenDict(configs), enabled=graph.enabled and not fault)


def _targets(edges: Payload) -> dict[str, list[GraphEdge]]:
    # A source without a target stays: where it cannot be reached, it disables the graph like any other node.
    return {
        source: [
            GraphEdge(source, target, object_in(entry, "handoff"))
            for entry in objects_in(edges, source)
            if (target := as_text(entry.get("key")))
        ]
        for source, entries in edges.items()
        if isinstance(source, str) and isinstance(entries, list)
    }


def _fault(meta: Payload, reached: Sequence[str], sources: Iterable[str]) -> str:
    # An absent `enabled` counts as true, other than in an AI Config (spec section 7).
    if meta.get("enabled") is False:
        return "LaunchDarkly serves it so"
    if not reached:
        return "it has no root"
    if names := sorted({*sources} - {*reached}):
        return f"no way leads from its root to {names}"
    names = [key for key in reached if text_fault(key)]
    return f"LaunchDarkly has no keys such as {names}" if names else ""

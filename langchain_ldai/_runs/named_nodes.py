"""The named nodes of runs, and the warnings about given names that no node has."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from langchain_ldai._base.guard import Notices
from langchain_ldai._runs.config_sources import ConfigSource

if TYPE_CHECKING:
    from langchain_ldai._runs.totals import MetricTotals

_log = logging.getLogger(__name__)

NODE: Final = "langgraph_node"
"""The metadata key under which LangGraph names the node that a step is in."""

_NOT_A_NODE: Final = ("__start__", "__error_handler__")  # LangGraph's own: a graph's start, a node's handler
_UNSEEN_NODES: Final = (
    "%s: no node of a LangGraph has been called %s so far, so nothing is counted for it. Is the name right? "
    "The nodes were called %s"
)
_UNNAMED_NODE: Final = "no AI Config in the node %r: no name in nodes= is this node's. The names given are %s"
_NO_GRAPH: Final = (
    "nodes=: a run has had no node of a LangGraph, and nothing is counted of it: LdAiHandler(None) counts nodes "
    "alone. Give LdAiHandler(config) for a chain or a model"
)
_MAX_SEEN: Final = 1_000


@dataclass(slots=True, eq=False)
class NamedNodes:
    """The named nodes of one run.

    Args:
        sources: The AI Configs of the nodes, or functions to them, by the names of the nodes.

    Attributes:
        totals: The figures of the nodes that were visited; `None` for a node that is not tracked.
        resolving: The lock of whoever asks for a node's AI Config.
    """

    sources: Mapping[str, ConfigSource]
    totals: dict[str, MetricTotals | None] = field(init=False, default_factory=dict)
    resolving: threading.RLock = field(init=False, default_factory=threading.RLock)


@dataclass(slots=True, eq=False)
class NodeNames:
    """Compares the names that one handler was given with those of the nodes that it has seen.

    Args:
        given: The names that it was given.
        notices: Logs each warning once.
        only_nodes: Whether the handler tracks named nodes alone.
    """

    given: Mapping[str, ConfigSource]
    notices: Notices
    only_nodes: bool
    _seen: dict[str, None] = field(init=False, default_factory=dict)

    def see(self, node: str) -> None:
        """Note that a node has this name."""
        if len(self._seen) < _MAX_SEEN:
            self._seen[node] = None

    def tell_of_unnamed(self, node: str) -> None:
        """Warn once that a node was given no AI Config, if only nodes are tracked."""
        if self.only_nodes and node not in self.given:
            names = ", ".join(map(repr, self.given))
            self.notices.once(_log, logging.WARNING, ("unnamed", node), _UNNAMED_NODE, node, names)

    def tell_of_unseen(self, nodes: NamedNodes, graph_key: str | None, *, ended_early: bool) -> None:
        """Warn once of a run's names that no node has had so far.

        A run that ended early may not have come to all its nodes. So then only names count that resemble a node's.

        Args:
            nodes: The run's named nodes.
            graph_key: Key of the run's agent graph, `None` if the names come from `nodes=`.
            ended_early: Whether the run did not succeed.
        """
        known = nodes.sources
        seen = [name for name in list(self._seen) if name in known or not name.startswith(_NOT_A_NODE)]
        unseen = [name for name in known if name not in seen]
        unnamed = tuple(name for name in seen if name not in known)  # the caller may have meant one of these
        if not unnamed:
            unseen = [name for name in unseen if name in self.given]  # a run need not visit every agent
        if ended_early:
            unseen = [name for name in unseen if _resembles_one_of(unnamed, name)]
        elif self.only_nodes and not self._seen:
            self.notices.once(_log, logging.WARNING, "no graph", _NO_GRAPH)
        if not seen or not unseen:
            return
        where = "nodes=" if graph_key is None else f"agent graph {graph_key!r}"
        names = ", ".join(map(repr, unseen)), ", ".join(map(repr, seen))
        level = logging.WARNING if unnamed else logging.INFO
        known_by = "unseen nodes", level, tuple(unseen) if ended_early else ()
        self.notices.once(_log, level, known_by, _UNSEEN_NODES, where, *names)


@lru_cache(maxsize=256)  # many runs that fail compare the same names
def _resembles_one_of(names: tuple[str, ...], name: str) -> bool:
    return bool(get_close_matches(name, names))

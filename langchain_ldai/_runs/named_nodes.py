"""The named nodes of runs, and what the log says where a name that was given is no node's."""

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

_NOT_A_NODE: Final = ("__start__", "__error_handler__")  # LangGraph's own: where it begins, and a node's handler
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
        resolving: Held while the AI Config of a node is resolved.
    """

    sources: Mapping[str, ConfigSource]
    totals: dict[str, MetricTotals | None] = field(init=False, default_factory=dict)
    resolving: threading.RLock = field(init=False, default_factory=threading.RLock)


@dataclass(slots=True, eq=False)
class NodeNames:
    """Compares the names that one handler was given with those of the nodes that it has seen.

    Args:
        given: The names that it was given.
        notices: What its log has been told.
        only_nodes: Whether it counts nothing but nodes.
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
        """Say once that no name was given for a node, where nothing else is counted of it."""
        if self.only_nodes and node not in self.given:
            names = ", ".join(map(repr, self.given))
            self.notices.once(_log, logging.WARNING, ("unnamed", node), _UNNAMED_NODE, node, names)

    def tell_of_unseen(self, nodes: NamedNodes, graph_key: str | None, *, ended_early: bool) -> None:
        """Say once which of a run's names are of no node that was seen so far; an agent graph has a key.

        A run that ended early did not come to all its nodes: of it, only the names that are like one of a node
        that was seen.
        """
        known = nodes.sources
        seen = [name for name in list(self._seen) if name in known or not name.startswith(_NOT_A_NODE)]
        unseen = [name for name in known if name not in seen]
        unnamed = tuple(name for name in seen if name not in known)  # one of them may be the one that is meant
        if not unnamed:
            unseen = [name for name in unseen if name in self.given]  # a run need not visit every agent
        if ended_early:
            unseen = [name for name in unseen if _is_like_one_of(unnamed, name)]
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
def _is_like_one_of(names: tuple[str, ...], name: str) -> bool:
    return bool(get_close_matches(name, names))

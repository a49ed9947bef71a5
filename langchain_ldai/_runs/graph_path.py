"""The path of a run through an agent graph: which nodes it visited, and which handed over to which; pure."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from langchain_ldai._runs.outcome import RECORDED, Outcome


@dataclass(slots=True)
class _Visit:
    """A node's visit.

    Args:
        number: Its place among the visits.
        node: The node's key.
        step: LangGraph's step.
        sources: The visits that handed over to it.

    Attributes:
        outcome: How it ended, `None` until it has.
        taken_over_in: By the key of a node that took over, the first step in which that node did.
    """

    number: int
    node: str
    step: int
    sources: list[_Visit]
    outcome: Outcome | None = None
    taken_over_in: dict[str, int] = field(default_factory=dict)


class Journey:
    """What a run did in an agent graph.

    A node that starts takes over from nodes with an edge to it that ended in an earlier step of LangGraph's. Of
    those, the ones of the latest step count, unless the node has taken over from them before. Another attempt of
    the same task is the same visit, with the last attempt's outcome.

    Args:
        edges: The graph's edges, each from a node's key to another's.
    """

    __slots__ = ("_ended", "_targets", "_visits")

    def __init__(self, edges: Iterable[tuple[str, str]]) -> None:
        self._targets: dict[str, list[str]] = {}
        for source, target in edges:
            self._targets.setdefault(source, []).append(target)
        self._visits: dict[tuple[str, str], _Visit] = {}
        self._ended: dict[str, list[_Visit]] = {}

    def visit_started(self, node: str, task: str, step: int) -> None:
        """Note that a node started, in this step and for this task of LangGraph's ("" where unknown)."""
        if (node, task) not in self._visits:
            self._visits[node, task] = _Visit(len(self._visits), node, step, self._sources(node, step))

    def visit_ended(self, node: str, task: str, outcome: Outcome) -> None:
        """Note how a visit ended."""
        visit = self._visits[node, task]
        if visit.outcome is None:
            for target in self._targets.get(node, ()):
                self._ended.setdefault(target, []).append(visit)
        visit.outcome = outcome

    @property
    def path(self) -> tuple[str, ...]:
        """The nodes that were visited, in the order of their starts."""
        return tuple(visit.node for visit in self._visits.values())

    @property
    def handoffs(self) -> tuple[tuple[str, str, bool], ...]:
        """The handoffs to nodes that succeeded or failed, in the order of their starts.

        Each is the node that handed over, the one that took over, and whether the latter succeeded.
        """
        return tuple(
            (source.node, visit.node, RECORDED[visit.outcome])
            for visit in self._visits.values()
            if visit.outcome in RECORDED
            for source in visit.sources
        )

    def hands_over(self, node: str, result: object) -> bool:
        """Whether a tool with this result, called in a node, hands over to another node of the graph."""
        nodes = [key for source, targets in self._targets.items() for key in (source, *targets)]
        return any(target != node and target in nodes for target in _destinations(result))

    def _sources(self, node: str, step: int) -> list[_Visit]:
        """Return the visits that hand over to a node in this step, and forget those that did in an earlier one."""
        left = [visit for visit in self._ended.get(node, ()) if visit.taken_over_in.get(node, step) >= step]
        self._ended[node] = left
        last = max((visit.step for visit in left if visit.step < step), default=None)
        latest = sorted((visit for visit in left if visit.step == last), key=lambda visit: visit.number)
        for visit in latest:
            visit.taken_over_in.setdefault(node, step)
        return list({visit.node: visit for visit in latest}.values())


def _destinations(result: object) -> Iterator[object]:
    """Give the names of the nodes that the LangGraph commands in a tool's result go to."""
    types = sys.modules.get("langgraph.types")  # if it is not loaded, there is no command
    for command in result if isinstance(result, (list, tuple)) else (result,):
        if types is not None and isinstance(command, types.Command):
            goto = command.goto
            for target in (goto,) if isinstance(goto, (str, types.Send)) else goto:
                yield target.node if isinstance(target, types.Send) else target

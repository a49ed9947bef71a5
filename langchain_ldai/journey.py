"""The way of a run through an agent graph: which nodes it visited, and which handed over to which; pure."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

from langchain_ldai.outcome import Outcome


class Handoff(NamedTuple):
    """One node's handing over to another, and whether the other then did its part."""

    source: str
    target: str
    success: bool


@dataclass(slots=True)
class _Visit:
    node: str
    task: str
    step: int
    sources: "list[_Visit]"
    outcome: Outcome | None = None


class Journey:
    """What a run did in an agent graph.

    A node is handed over to by those with an edge to it that were the last such to have ended in an earlier
    step of LangGraph's, and have not handed over to it in a step between. Another attempt of the same task is
    the same visit, with the last attempt's outcome.

    Args:
        edges: The graph's edges, each from a node's key to another's.
        record: Takes the journey once it is over.
    """

    __slots__ = ("_edges", "_record", "_visits")

    def __init__(self, edges: Collection[tuple[str, str]], record: Callable[["Journey"], None]) -> None:
        self._edges = edges
        self._record = record
        self._visits: list[_Visit] = []

    def visit_started(self, node: str, task: str, step: int) -> None:
        """Note that a node started, in this step and for this task of LangGraph's ("" where unknown)."""
        if not any(visit.node == node and visit.task == task for visit in self._visits):
            self._visits.append(_Visit(node, task, step, self._sources(node, step)))

    def visit_ended(self, node: str, task: str, outcome: Outcome) -> None:
        """Note how a visit ended."""
        for visit in self._visits:
            if visit.node == node and visit.task == task:
                visit.outcome = outcome

    @property
    def path(self) -> tuple[str, ...]:
        """The nodes that were visited, in the order of their starts."""
        return tuple(visit.node for visit in self._visits)

    @property
    def handoffs(self) -> tuple[Handoff, ...]:
        """The handoffs to nodes that succeeded or failed, in the order of their starts."""
        recorded = {Outcome.SUCCESS: True, Outcome.ERROR: False}
        return tuple(
            Handoff(source.node, visit.node, recorded[visit.outcome])
            for visit in self._visits
            if visit.outcome in recorded
            for source in visit.sources
        )

    def record(self) -> None:
        """Hand the journey on to be recorded."""
        self._record(self)

    def _sources(self, node: str, step: int) -> list[_Visit]:
        taken = [
            source
            for visit in self._visits
            if visit.node == node and visit.step < step
            for source in visit.sources
        ]
        earlier = [
            visit
            for visit in self._visits
            if visit.outcome is not None
            and visit.step < step
            and (visit.node, node) in self._edges
            and not any(visit is source for source in taken)
        ]
        latest = {visit.node: visit for visit in earlier if visit.step == max(other.step for other in earlier)}
        return list(latest.values())

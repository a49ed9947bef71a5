"""Takes LangChain's events in: finds the run of each, reads what it tells, and changes the run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Literal, cast

from langchain_ldai._base.guard import Ids
from langchain_ldai._base.options import check_timeout
from langchain_ldai._runs.call_results import CallReader
from langchain_ldai._runs.config_sources import AgentGraph, tool_key
from langchain_ldai._runs.graph_path import Journey
from langchain_ldai._runs.lifetime import RunTable
from langchain_ldai._runs.named_nodes import NODE, NamedNodes, NodeNames
from langchain_ldai._runs.reporting import RunReporter
from langchain_ldai._runs.run import Run
from langchain_ldai._runs.steps import (
    HANDOFF_PREFIX,
    NOTHING_READ,
    DecisionCall,
    ModelCall,
    Scope,
    Step,
    key_of,
    name_of_tool,
)
from langchain_ldai._runs.totals import MetricTotals, RunReport
from langchain_ldai._runs.tracker_factory import TrackerFactory
from langchain_ldai._runs.trackers import GraphRunTracker

_log = logging.getLogger(__name__)

_TASK: Final = "langgraph_checkpoint_ns"  # the same for each attempt of a task (fact 65)
_RETRY_TAG: Final = "retry:attempt:"
_EVENT_FAILED: Final = "An event of LangChain's could not be counted, metrics may be missing"
_NO_RUN: Final = "collect_runs: no run was seen in this block: pass {'callbacks': [handler]} as the config"


StepKind = Literal["model", "decision", "tool"]
"""What a step calls; "decision" is a decision model, which LangChain runs as a chain."""


@dataclass(slots=True, eq=False)
class Collector:
    """Takes the reports of one recorder's runs that start while it is open."""

    recorder: RunRecorder
    is_open: bool = True
    has_seen_run: bool = False
    reports: list[RunReport] = field(init=False, default_factory=list)


current_collectors: ContextVar[tuple[Collector, ...]] = ContextVar("langchain_ldai_collectors", default=())
"""The collectors of the current context, read where a run starts; the only ambient state."""


def open_collectors() -> tuple[Collector, ...]:
    """Return the open collectors of the current context.

    The context may still name closed ones: a generator's block may end in another context than it began in, or
    after a block that began later.
    """
    return tuple(each for each in current_collectors.get() if each.is_open)


class RunRecorder:
    """Finds the run that an event belongs to, and changes it in the table.

    Args:
        trackers: Makes the trackers of runs and nodes.
        on_run_end: Called with each report.
        max_open_runs: How many runs may be open.
        run_timeout: Seconds of silence after which a run is given up.
    """

    def __init__(
        self,
        trackers: TrackerFactory,
        on_run_end: Callable[[RunReport], object] | None,
        *,
        max_open_runs: int,
        run_timeout: float,
    ) -> None:
        self._trackers = trackers
        self._guard = trackers.guard
        self._reader = CallReader(self._guard)
        self._node_names = NodeNames(trackers.nodes, self._guard.notices, only_nodes=trackers.config is None)
        self._reporter = RunReporter(self._guard, self._node_names, on_run_end)
        self.table = RunTable(self._reporter.deliver, max_open_runs=max_open_runs, run_timeout=run_timeout)
        self._step_of = self.table.step_of

    def start(
        self,
        kind: StepKind | None,
        lc_run_id: object,
        lc_parent_id: object,
        tags: Iterable[object] | None,
        metadata: dict[str, Any] | None,
        told: Mapping[str, Any],
    ) -> None:
        """Open a run, or add a step to one, and mark the event's metadata; a repeated event does nothing.

        Args:
            kind: What starts; `None` for a step that is no call.
            lc_run_id: LangChain's id of the step.
            lc_parent_id: LangChain's id of its parent, `None` where the event names none.
            tags: The step's tags, LangChain's own among them.
            metadata: The step's metadata, which it shares with its children.
            told: What else LangChain tells, as `RunObserver.step_started` takes it.
        """
        try:
            key, parent_key = getattr(lc_run_id, "int", lc_run_id), getattr(lc_parent_id, "int", lc_parent_id)
            if metadata is None:
                metadata = {}
            parent = self._step_of(parent_key)
            if parent_key is None:
                parent, parent_key = self._hidden_parent()
            if parent is None:
                scope = self._scope_of_new_run(lc_run_id, metadata, key, parent_key)
                if scope is None:
                    return
            else:
                scope = around = parent.scope
                task = metadata.get(_TASK, "")
                # Another task begins a scope. A step that names no task may begin one, with a named node.
                if task != around.task or (not task and around.run.nodes is not None):
                    scope = self._scope_within(parent, key, str(task), metadata)
            begins_scope = parent is None or scope is not parent.scope
            is_plain = not (begins_scope or kind)
            step = Step(key, scope, parent, begins_scope, is_plain, "defers_inputs" in told)
            is_new = self._start_call(step, kind, metadata, told) if kind else self.table.start(step)
            totals = scope.totals
            if is_new and totals is not None:
                for tag in tags or ():
                    if type(tag) is str and tag.startswith(_RETRY_TAG):
                        with self.table.lock:
                            scope.run.attempted(totals, (parent_key, tag))
                metadata.update(totals.marks)
        except Exception as error:  # noqa: BLE001
            self._event_failed(error, lc_run_id, f"start of a {kind or 'chain'}")

    def end(self, lc_run_id: object, error: BaseException | None, output: object = None) -> None:
        """End a step, and with the root its run.

        Args:
            lc_run_id: LangChain's id of the step.
            error: What it raised, `None` where it ended well.
            output: What it gave back: a model call its result, or the partial result of a failure.
        """
        try:
            key = getattr(lc_run_id, "int", lc_run_id)
            step, result = self._step_of(key), NOTHING_READ
            if step is None:
                with self.table.lock:
                    self.table.recently_ended.end(key)
                return
            try:
                if not step.is_plain and step.is_open:
                    totals = step.scope.totals
                    if step.call is not None or step.tool:
                        result = self._reader.read(step, error, output)
                    if totals is not None:
                        for observer in totals.observers:
                            end = step, output, error, result
                            self._guard.call(observer.lost, totals.ids, observer.step_ended, *end)
            finally:  # an observer may raise what the guard does not catch, such as KeyboardInterrupt
                self.table.end(step, error, result)
        except Exception as failure:  # noqa: BLE001
            self._event_failed(failure, lc_run_id, "end")

    def chunk(self, lc_run_id: object, step: Step, carries_content: Callable[..., bool], *parts: object) -> None:
        """Note a chunk of a model call that awaits its first token."""
        try:
            call = cast(ModelCall, step.call)
            with self.table.lock:
                call.streamed = True
            if carries_content(*parts):
                self.table.first_token(step, call)
        except Exception as error:  # noqa: BLE001
            self._event_failed(error, lc_run_id, "chunk")

    def retried(self, lc_run_id: object) -> None:
        """Count a repeated attempt within a model call."""
        try:
            step = self._step_of(key_of(lc_run_id))
            if step is not None and step.call is not None and step.is_open:
                with self.table.lock:
                    step.scope.run.retried(step, step.call)
        except Exception as error:  # noqa: BLE001
            self._event_failed(error, lc_run_id, "retry")

    def flush(self, timeout: float | None, *, closes_all: bool = False) -> bool:
        """Do what `LdAiHandler.flush` does, or `LdAiHandler.close`, which closes all open runs."""
        timeout = check_timeout(timeout)
        deadline = None if timeout is None else monotonic() + timeout
        is_done = self.table.flush(timeout, closes_all=closes_all)
        return self._trackers.wait(deadline) and is_done

    def totals_at(self, lc_run_id: object) -> MetricTotals | None:
        """Return the figures of the open run, or named node, that a step is in; `None` where there are none."""
        step = self._step_of(key_of(lc_run_id))
        return step.scope.totals if step is not None and step.scope.run.state == "open" else None

    def tell_of_unnamed_node(self, lc_run_id: object, node: str) -> None:
        """Warn once that no AI Config was given for a step's node, if only nodes are tracked."""
        if self._step_of(key_of(lc_run_id)) is not None:
            self._node_names.tell_of_unnamed(node)

    def tell_of_no_run(self) -> None:
        """Warn once that a block of `collect_runs` collected nothing."""
        self._guard.notices.once(_log, logging.WARNING, "no run", _NO_RUN)

    def _event_failed(self, error: Exception, lc_run_id: object, event: str) -> None:
        try:
            totals = self.totals_at(lc_run_id)
        except TypeError:  # not an id
            totals = None
        ids = totals.ids if totals is not None else Ids()
        self._guard.caught(error, Ids(lc_run_id, ids.run_id), f"{_EVENT_FAILED} ({event})")

    def _hidden_parent(self) -> tuple[Step | None, object]:
        """Return the parent that LangChain's context names where the event names none (facts 48, 49).

        Once the parent's run has ended, the parent counts only while it is open itself: a task of the program's
        own keeps its context, and so its parent, for good.

        Returns:
            The parent and its key. The parent is `None` if its run is closed, both if there is no parent.
        """
        runnables = sys.modules.get("langchain_core.runnables.config")  # if it is not loaded, none of it runs
        config = runnables.var_child_runnable_config.get() if runnables is not None else None
        if config is None:
            return None, None
        key = key_of(getattr(config.get("callbacks"), "parent_run_id", None))
        parent = self._step_of(key)
        if parent is None:
            with self.table.lock:
                return None, (key if self.table.recently_ended.is_open(key) else None)
        counts = parent.is_open or parent.scope.run.state == "open"
        return (parent, key) if counts else (None, None)

    def _scope_of_new_run(
        self, lc_run_id: object, metadata: Mapping[str, object], key: object, parent: object
    ) -> Scope | None:
        """Return the scope of a new run, whose root starts; `None` if the event opens no run."""
        again = self._step_of(key)
        if again is not None and self.table.note_repeat(again):
            return None
        if parent is not None:
            with self.table.lock:
                if self.table.recently_ended.take_late(key, parent):
                    return None
        totals = self._trackers.totals_for(self._trackers.config, metadata, lc_run_id)
        sources, journey = self._trackers.nodes, None
        if totals is not None and isinstance(totals.tracker, GraphRunTracker):
            graph = cast(AgentGraph, totals.config)
            sources = {**graph.nodes, **sources}
            journey = totals.tracker.journey = Journey({(edge.source, edge.target) for edge in graph.edges})
        reports: list[list[RunReport]] = []
        for collector in current_collectors.get():
            if collector.is_open and collector.recorder is self:
                collector.has_seen_run = True
                reports.append(collector.reports)
        nodes = NamedNodes(sources) if sources else None
        run = Run(lc_run_id, key, totals, reports, nodes, journey, self.table.outbox)
        if totals is not None:
            run.all_totals.append(totals)
        _log.debug("a run opens: %s", run)
        named = self._node_of(run, nodes, metadata) if nodes is not None else None
        node, totals = named or ("", totals)
        return Scope(run=run, totals=totals, key=key, node=node, task=str(metadata.get(_TASK, "")))

    def _scope_within(self, parent: Step, key: object, task: str, metadata: Mapping[str, object]) -> Scope:
        """Return the scope of a step: its parent's, or a new one if the step begins an attempt of a task."""
        around, run = parent.scope, parent.scope.run
        named = self._node_of(run, run.nodes, metadata) if run.nodes is not None else None
        node, totals = named or (around.node, around.totals)
        if task in ("", around.task) and node == around.node:
            return around
        step = metadata.get("langgraph_step")
        return Scope(
            run=run,
            totals=totals,
            key=key,
            is_visit=totals is not around.totals,
            parent_scope=around,
            graph=parent,
            node=node,
            task=task,
            langgraph_step=step if isinstance(step, int) else 0,
        )

    def _node_of(
        self, run: Run, nodes: NamedNodes, metadata: Mapping[str, object]
    ) -> tuple[str, MetricTotals | None] | None:
        """Return the named node that LangGraph says a step is in, and its totals; `None` outside one."""
        node = metadata.get(NODE)
        if not isinstance(node, str):
            return None
        self._node_names.see(node)
        if node not in nodes.sources:
            return None
        if node not in nodes.totals:
            with nodes.resolving:  # parallel visits of a node share one AI Config
                if node not in nodes.totals:
                    parent = run.totals.span if run.totals is not None else None
                    source = nodes.sources[node]
                    totals = self._trackers.totals_for(source, metadata, run.lc_run_id, node, parent)
                    with self.table.lock:
                        nodes.totals[node] = totals
                        run.notes_every_end = True
                        is_late = run.state == "closed"
                        if totals is not None and not is_late:
                            run.all_totals.append(totals)
                    if totals is not None and is_late:
                        self._reporter.tell_of_end(run, totals)
        return node, nodes.totals[node]

    def _start_call(
        self, step: Step, kind: StepKind, metadata: Mapping[str, object], told: Mapping[str, Any]
    ) -> bool:
        """Note which model or tool a step calls, do what the table's `start` does, and tell the observers."""
        totals = step.scope.totals
        if kind == "tool":
            name = name_of_tool(told)
            if not name.startswith(HANDOFF_PREFIX):
                step.tool = name if totals is None else tool_key(totals.config, name)
        else:
            if totals is not None:
                self._trackers.tell_if_disabled(totals)
            provider, named = str(metadata.get("ls_provider", "")), metadata.get("ls_model_name")
            make = DecisionCall if kind == "decision" else ModelCall
            step.call = call = make(provider, named if isinstance(named, str) else "")
            if isinstance(call, DecisionCall):
                call.may_be_inherited = not told.get("run_type")
        if not self.table.start(step):
            return False
        # The run has removed the call from a step that only carries the metadata of the decision around it.
        is_call = kind == "tool" or step.call is not None
        if is_call and totals is not None:
            for observer in totals.observers:
                self._guard.call(observer.lost, totals.ids, observer.step_started, step, told)
        return True

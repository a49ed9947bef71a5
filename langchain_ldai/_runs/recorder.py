"""Takes LangChain's events in: finds the run of each, reads what it tells, and sends what becomes final."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast

from langchain_ldai._base.guard import NOT_SENT, Guard, Ids
from langchain_ldai._runs.graph_path import Journey
from langchain_ldai._runs.open_runs import RunTable
from langchain_ldai._runs.reading import read_model, read_usage, result_of_decision
from langchain_ldai._runs.run import NOTHING_READ, Run, RunState, StepResult
from langchain_ldai._runs.steps import ModelCall, Scope, Step, key_of
from langchain_ldai._runs.totals import MetricTotals, Recording, RunReport
from langchain_ldai._runs.tracker_factory import TrackerFactory
from langchain_ldai._runs.trackers import (
    AgentGraph,
    ConfigSource,
    GraphRunTracker,
    described,
    resolver_of,
    same_model,
    served_model,
    tool_key,
)
from langchain_ldai.errors import WrongResultError

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult

_log = logging.getLogger(__name__)

_NODE: Final = "langgraph_node"
_TASK: Final = "langgraph_checkpoint_ns"  # the same for each attempt of a task (fact 65)
_RETRY_TAG: Final = "retry:attempt:"
_HANDOFF: Final = "__handoff_"  # how the names of tools begin that only hand over to another agent
_ON_RUN_END_FAILED: Final = "The function given for on_run_end failed; the run's metrics are recorded all the same"
_EVENT_FAILED: Final = "An event of LangChain's could not be counted, metrics may be missing"
_UNREADABLE: Final = "What a model reports of its call could not be read, tokens or model name may be missing"
_UNREADABLE_TOOL: Final = "What a tool gave back could not be read, a handoff may count as a tool call"
_MAX_SEEN_NODES: Final = 1_000
_OPENAI_STYLE: Final = frozenset({"openai", "azure", "deepseek", "together", "xai"})


class StartEvent(NamedTuple):
    """What LangChain says of a step that starts.

    Args:
        kind: What it is.
        lc_run_id: LangChain's id of the step.
        lc_parent_id: LangChain's id of its parent, `None` where the event names none.
        metadata: The event's metadata, which it shares with the step's children.
        tags: The event's tags.
        name: What the caller named the step.
        serialized: How LangChain describes a tool.
        defers_inputs: Whether the step hands on what it reads from other steps, as they bring it.
        is_told_by_parent: Whether the metadata of a decision model may be that of its parent, handed down.
    """

    kind: Literal["chain", "model", "decision", "tool"]
    lc_run_id: object
    lc_parent_id: object
    metadata: dict[str, object] | None
    tags: list[str] | None
    name: str | None = None
    serialized: Mapping[str, object] | None = None
    defers_inputs: bool = False
    is_told_by_parent: bool = False


@dataclass(slots=True, eq=False)
class Collector:
    """Takes the reports of one recorder's runs that start while it is open."""

    recorder: RunRecorder
    is_open: bool = True
    reports: list[RunReport] = field(init=False, default_factory=list)


collectors: ContextVar[tuple[Collector, ...]] = ContextVar("langchain_ldai_collectors", default=())
"""The collectors of the current context, read where a run starts; the only ambient state."""


class RunRecorder:
    """Finds the run that an event belongs to, changes it in the table, and sends what becomes final.

    Args:
        config: The AI Config of the runs, or a function to it; `None` where only nodes are tracked.
        nodes: The AI Configs of named LangGraph nodes, or functions to them.
        on_run_end: Called with each report.
        guard: Catches what fails in the caller's own code.
        trackers: Makes the trackers of runs and nodes.
        max_open_runs: How many runs may be open.
        run_timeout: Seconds of silence after which a run is given up.
    """

    def __init__(
        self,
        config: ConfigSource | None,
        nodes: Mapping[str, ConfigSource],
        on_run_end: Callable[[RunReport], object] | None,
        guard: Guard,
        trackers: TrackerFactory,
        *,
        max_open_runs: int,
        run_timeout: float,
    ) -> None:
        self._resolver = resolver_of(config) if config is not None else None
        self._nodes = {name: resolver_of(source) for name, source in nodes.items()}
        self._on_run_end = on_run_end
        self._guard = guard
        self._trackers = trackers
        self.table = RunTable(self._deliver, max_open_runs=max_open_runs, run_timeout=run_timeout)
        self._scope_of = self.table.scope_of
        self._step_of = self.table.step_of

    def start(self, event: StartEvent) -> None:
        """Open a run, or add a step to one, and mark the event's metadata; a repeated event does nothing."""
        try:
            lc_run_id, lc_parent_id = event.lc_run_id, event.lc_parent_id
            metadata = {} if event.metadata is None else event.metadata
            key, parent = getattr(lc_run_id, "int", lc_run_id), getattr(lc_parent_id, "int", lc_parent_id)
            around = self._scope_of(parent)
            if around is None and lc_parent_id is None:
                around, parent = self._hidden_parent()
            if around is None:
                scope, above = self._scope_of_new_run(event, key, parent), None
                if scope is None:
                    return
            else:
                scope, above = around, parent
                task = str(metadata.get(_TASK, "")) if metadata else around.task
                if task != around.task if task else around.run.resolvers:
                    scope = self._scope_within(around, metadata, task, key, parent)
            step = Step(key, scope, above, scope is around, event.defers_inputs)
            if event.kind != "chain":
                self._describe(step, event)
            if self.table.start(step) and scope.totals is not None:
                for tag in event.tags or ():
                    if type(tag) is str and tag.startswith(_RETRY_TAG):
                        self.table.attempted(scope.run, scope.totals, (parent, tag))
                metadata.update(scope.totals.marks)
        except Exception as error:  # noqa: BLE001
            self._event_failed(error, event.lc_run_id, f"start of a {event.kind}")

    def end(self, lc_run_id: object, error: BaseException | None, output: object = None) -> None:
        """End a step, and with the root its run.

        Args:
            lc_run_id: LangChain's id of the step.
            error: What it raised, `None` where it ended well.
            output: What it gave back: a model call its result, or the partial result of a failure.
        """
        try:
            key = getattr(lc_run_id, "int", lc_run_id)
            step = self._step_of(key)
            if step is None or step.is_plain:
                self.table.end(key, error)
            else:
                read = self._read_call if step.call is not None else self._read_tool
                self.table.end(key, error, read(step, lc_run_id, error, output))
        except Exception as failure:  # noqa: BLE001
            self._event_failed(failure, lc_run_id, "end")

    def chunk(self, lc_run_id: object, step: Step, carries_content: Callable[..., bool], *parts: object) -> None:
        """Note a chunk of a model call that awaits its first token."""
        try:
            self.table.chunk_came(step)
            if carries_content(*parts):
                self.table.first_token(step)
        except Exception as error:  # noqa: BLE001
            self._event_failed(error, lc_run_id, "chunk")

    def retried(self, lc_run_id: object) -> None:
        """Count a repeated attempt within a model call."""
        try:
            self.table.retried(key_of(lc_run_id))
        except Exception as error:  # noqa: BLE001
            self._event_failed(error, lc_run_id, "retry")

    def flush(self, timeout: float | None) -> bool:
        """Do what `LdAiHandler.flush` does."""
        deadline = None if timeout is None else monotonic() + timeout
        is_collected = self.table.flush(timeout)
        return self._trackers.wait_for_claims(deadline) and is_collected

    def close(self, timeout: float | None) -> bool:
        """Do what `LdAiHandler.close` does."""
        deadline = None if timeout is None else monotonic() + timeout
        self.table.close(timeout)
        return self._trackers.wait_for_claims(deadline)

    def totals_at(self, lc_run_id: object) -> MetricTotals | None:
        """Return the figures of the open run, or named node, that a step is in; `None` where there are none."""
        scope = self._scope_of(key_of(lc_run_id))
        return scope.totals if scope is not None and scope.run.state is RunState.OPEN else None

    def _event_failed(self, error: Exception, lc_run_id: object, event: str) -> None:
        try:
            totals = self.totals_at(lc_run_id)
        except TypeError:  # what is no id has no run
            totals = None
        ids = totals.ids if totals is not None else Ids()
        self._guard.caught(error, Ids(lc_run_id, ids.run_id), f"{_EVENT_FAILED} ({event})")

    def _describe(self, step: Step, event: StartEvent) -> None:
        """Note which model or tool a step calls, if it does."""
        if event.kind == "tool":
            name = str((event.serialized or {}).get("name") or event.name or "unknown")
            if not name.startswith(_HANDOFF):
                step.is_plain = False
                step.tool = name if step.scope.totals is None else tool_key(step.scope.totals.config, name)
        elif not (event.is_told_by_parent and self.table.is_in_decision(key_of(event.lc_parent_id))):
            step.is_plain = False
            known = event.metadata or {}
            model, provider = known.get("ls_model_name"), str(known.get("ls_provider", ""))
            step.call = ModelCall(provider, model if isinstance(model, str) else "", event.kind == "decision")

    def _read_tool(self, step: Step, lc_run_id: object, error: BaseException | None, output: object) -> StepResult:
        """Read from what a tool gave back whether it was a handoff, which only an agent graph has."""
        journey = step.scope.run.journey
        if journey is None or not step.tool:
            return NOTHING_READ
        result = output if error is None else error.args  # LangGraph raises a command to the graph above
        ids = Ids(lc_run_id, step.scope.run.ids.run_id)
        hands_over = self._guard.call(_UNREADABLE_TOOL, ids, journey.hands_over, step.scope.node, result)
        return StepResult(is_handoff=bool(hands_over))

    def _read_call(self, step: Step, lc_run_id: object, error: BaseException | None, output: object) -> StepResult:
        """Read from the result of a model call, or from the partial result of a failure, what it used."""
        call, totals, guarded = cast(ModelCall, step.call), step.scope.totals, self._guard.call
        ids = totals.ids if totals is not None else Ids(lc_run_id)
        if call.is_decision and error is None:
            output = guarded(_UNREADABLE, ids, result_of_decision, output)
        result = cast("LLMResult | None", output)
        usage = guarded(_UNREADABLE, ids, read_usage, result) if result is not None else None
        if totals is None:
            return StepResult(usage)
        model = guarded(_UNREADABLE, ids, self._checked_model, totals, call, result)
        if usage is None and error is None and call.streamed:
            self._hint_at_usage(call)
        return StepResult(usage, model or "")

    def _hint_at_usage(self, call: ModelCall) -> None:
        """Warn once that a streamed call reports no tokens, and say how it would (fact 87)."""
        if call.provider in _OPENAI_STYLE:
            self._guard.notices.once(
                _log,
                logging.WARNING,
                "stream_usage",
                "a streamed model call reported no token usage, so none is recorded: set stream_usage=True on the "
                "model, which is off by default where base_url or an HTTP client of one's own is set",
            )

    def _checked_model(self, totals: MetricTotals, call: ModelCall, result: LLMResult | None) -> str:
        """Return the model that the result names; warn once where the AI Config serves another one.

        LangChain may know a model by the name of a deployment or by an alias; then its answer says which it is.
        """
        served = served_model(totals.config)
        if call.model and (not served or same_model(served, call.model)):
            return ""
        answered = "" if result is None else read_model(result)
        called = call.model or answered
        if served and called and not (answered and same_model(served, answered)):
            key, message = totals.tracker.identity.config_key, "AI Config %r serves model %r, but %r is called"
            self._guard.notices.once(
                _log, logging.WARNING, ("drift", served, called), message, key, served, called
            )
        return answered

    def _scope_of_new_run(self, event: StartEvent, key: object, parent: object) -> Scope | None:
        """Return the scope of the run whose root starts; `None` where the event opens none."""
        if self._step_of(key) is not None:
            self.table.note_repeat(key)
            return None
        if parent is not None and self.table.is_late(key, parent):
            return None
        metadata = event.metadata or {}
        totals = journey = None
        resolvers, known = self._nodes, collectors.get()
        if self._resolver is not None:
            totals = self._trackers.tracker_for(self._resolver, metadata, event.lc_run_id)
        if totals is not None and isinstance(totals.tracker, GraphRunTracker):
            graph = cast(AgentGraph, totals.config)
            resolvers = {**{name: resolver_of(node) for name, node in graph.nodes.items()}, **self._nodes}
            edges = {(edge.source, edge.target) for edge in graph.edges}
            journey = Journey(edges, totals.tracker.record_journey)
        reports = tuple(each.reports for each in known if each.is_open and each.recorder is self) if known else ()
        run = Run(event.lc_run_id, key, totals, [totals] if totals else [], reports, resolvers, journey)
        _log.debug("a run opens: %s", run)
        node = self._node(run, metadata) if resolvers else ""
        if node:
            totals = run.nodes[node]
        charged_to = run.charged_to(totals) if node else run.all_totals.copy()
        return Scope(run, totals, charged_to, None, key, None, True, node, str(metadata.get(_TASK, "")))

    def _scope_within(
        self, around: Scope, metadata: Mapping[str, object], task: str, key: object, parent: object
    ) -> Scope:
        """Return the scope of a step that starts in another scope: a new one if it begins an attempt of a task."""
        run = around.run
        node = self._node(run, metadata) if run.resolvers else ""
        if not task and node in ("", around.node):
            return around
        totals, charged_to = around.totals, around.charged_to
        if node:
            totals = run.nodes[node]
            charged_to = run.charged_to(totals)
        step = metadata.get("langgraph_step")
        step = step if isinstance(step, int) else 0
        is_visit, node = totals is not around.totals, node or around.node
        return Scope(run, totals, charged_to, around, key, parent, is_visit, node, task, step)

    def _node(self, run: Run, metadata: Mapping[str, object]) -> str:
        """Return the named node that LangGraph says a step is in, and make its totals if new; "" outside one."""
        node = metadata.get(_NODE)
        if not isinstance(node, str):
            return ""
        if node not in self.table.seen_nodes and len(self.table.seen_nodes) < _MAX_SEEN_NODES:
            self.table.see_node(node)
        if node not in run.resolvers:
            return ""
        if node not in run.nodes:
            with run.resolving:  # parallel visits of a node have one AI Config between them
                if node not in run.nodes:
                    totals = self._trackers.tracker_for(run.resolvers[node], metadata, run.lc_run_id, node)
                    self.table.add_node(run, node, totals)
        return node

    def _hidden_parent(self) -> tuple[Scope | None, object]:
        """Return the parent that LangChain's context names where the event names none (facts 48, 49).

        If the parent's run has ended, the parent counts only while it is open itself: the context of a program's
        own tasks may name it for good.

        Returns:
            Its scope and its key. The scope is `None` if the run is closed; both are `None` if there is no parent.
        """
        runnables = sys.modules.get("langchain_core.runnables.config")  # not loaded, nothing of it runs
        config = runnables.var_child_runnable_config.get() if runnables is not None else None
        if config is None:
            return None, None
        key = key_of(getattr(config.get("callbacks"), "parent_run_id", None))
        around = self._scope_of(key)
        if around is None:
            return None, key if self.table.outlives_run(key) else None
        is_open = around.run.state is RunState.OPEN or key in around.run.steps
        return (around, key) if is_open else (None, None)

    def _deliver(self, outbox: Sequence[Recording | Run]) -> None:
        """Send what is final, and report the runs that are closed."""
        for item in outbox:
            if isinstance(item, Recording):
                self._guard.call(NOT_SENT, item.ids, item.send)
                continue
            _log.debug("a run closes: %s", item)
            if item.resolvers:
                self._tell_of_unseen_nodes(item)
            if item.collectors or self._on_run_end is not None:
                self._guard.call("The report of a run could not be made", item.ids, self._report, item)

    def _tell_of_unseen_nodes(self, run: Run) -> None:
        """Say once which of the names given are of no node that LangGraph has had so far."""
        seen = list(self.table.seen_nodes)
        unseen = [name for name in run.resolvers if name not in self.table.seen_nodes]
        if run.journey is not None and all(name in run.resolvers for name in seen):
            unseen = [name for name in unseen if name in self._nodes]  # a run need not visit every agent
        if not seen or not unseen:
            return
        key = run.totals.tracker.identity.config_key if run.totals is not None else ""
        self._guard.notices.once(
            _log,
            logging.INFO,
            "unseen nodes",
            "%s: no node of a LangGraph has been called %s so far, so nothing is counted for it. "
            "Is the name right? The nodes were called %s",
            f"agent graph {key!r}" if run.journey is not None else "nodes=",
            ", ".join(map(repr, unseen)),
            ", ".join(map(repr, seen)),
        )

    def _report(self, run: Run) -> None:
        report = run.report()
        if report is None:
            return
        for reports in run.collectors:
            reports.append(report)
        if self._on_run_end is not None:
            self._guard.call(_ON_RUN_END_FAILED, run.ids, _call_back, self._on_run_end, report)


def _call_back(on_run_end: Callable[[RunReport], object], report: RunReport) -> None:
    """Call the caller's function, and raise if its result would have to be awaited."""
    result = on_run_end(report)
    if inspect.isawaitable(result):
        raise WrongResultError(f"it returned a {described(result)}")

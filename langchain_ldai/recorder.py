"""From LangChain's events to changes of runs: whose child a step is, and which tracker takes its figures."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, cast

from langchain_ldai.account import CONFIG_KEY_KEY, Account, Due
from langchain_ldai.adapters import GraphRunTracker
from langchain_ldai.boundary import Boundary
from langchain_ldai.graph import LdAiAgentGraph
from langchain_ldai.journey import Journey
from langchain_ldai.openings import Openings
from langchain_ldai.report import RunReport
from langchain_ldai.run import Run
from langchain_ldai.sources import ConfigSource, chooser, same_model
from langchain_ldai.steps import ModelCall, Scope, Step, key_of
from langchain_ldai.table import RunTable
from langchain_ldai.usage import read_model, read_usage

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult

_log = logging.getLogger(__name__)

_NODE: Final = "langgraph_node"
_TASK: Final = "langgraph_checkpoint_ns"  # the same for each attempt of a task (fact 65)
_RETRY_TAG: Final = "retry:attempt:"
_OPENAI_STYLE: Final = frozenset({"openai", "azure", "deepseek", "together", "xai"})

Metadata = dict[str, object] | None
Event = Mapping[str, object]
"""The keyword arguments of a start event."""


class Collector:
    """Takes the reports of one recorder's runs that start while it is open."""

    __slots__ = ("is_open", "recorder", "reports")

    def __init__(self, recorder: RunRecorder) -> None:
        self.is_open = True
        self.recorder = recorder
        self.reports: list[RunReport] = []


collectors: ContextVar[tuple[Collector, ...]] = ContextVar("langchain_ldai_collectors", default=())
"""Whoever collects reports in the current context; the one ambient state, read where a run starts."""


class RunRecorder:
    """Finds the run and the tracker that an event belongs to, and records what it makes final.

    Args:
        config: The AI Config of the runs, or a function to it; `None` where only nodes are tracked.
        nodes: The AI Configs of named LangGraph nodes, or functions to them.
        on_run_end: Called with each report.
        boundary: Catches what fails in the caller's own code.
        openings: Opens the accounts of runs and nodes.
        max_open_runs: How many runs may be open.
        run_timeout: Seconds of silence after which a run is given up.
    """

    def __init__(
        self,
        config: ConfigSource | None,
        nodes: Mapping[str, ConfigSource],
        on_run_end: Callable[[RunReport], object] | None,
        boundary: Boundary,
        openings: Openings,
        *,
        max_open_runs: int,
        run_timeout: float,
    ) -> None:
        self._choose = chooser(config) if config is not None else None
        self._nodes = {name: chooser(source) for name, source in nodes.items()}
        self._on_run_end = on_run_end
        self._boundary = boundary
        self._openings = openings
        self._drifted: set[tuple[str, str]] = set()
        self._hinted = False
        self.table = RunTable(self._deliver, max_open_runs=max_open_runs, run_timeout=run_timeout)
        self._scope_of = self.table.scope_of

    def start(
        self,
        run_id: object,
        parent_run_id: object,
        metadata: Metadata,
        tags: list[str] | None,
        call: ModelCall | None = None,
        *,
        defers_inputs: bool = False,
    ) -> Scope | None:
        """Open a run, or add a step to one, and mark the event's metadata; `None` for an event seen before."""
        # `key_of`, in place for each event
        key, parent = getattr(run_id, "int", run_id), getattr(parent_run_id, "int", parent_run_id)
        around, is_late = self._scope_of(parent), False
        if around is None:
            is_late = parent_run_id is not None
            around, parent = self.table.nearest(parent) if is_late else self._hidden_parent()
        scope: Scope | None
        if around is None:
            scope = self._open(key, run_id, parent, metadata, call, defers_inputs)
        else:
            scope = around
            if metadata:
                task = str(metadata.get(_TASK, ""))
                if task != around.task if task else around.run.sources:
                    scope = self._scope(around, metadata, task, key, parent, is_late)
            if not self.table.start(key, parent, scope, call, defers_inputs):
                return None
        if scope is not None and (account := scope.account) is not None:
            for tag in tags or ():
                if type(tag) is str and tag.startswith(_RETRY_TAG):
                    account.retries += 1
            if metadata is not None:
                metadata.update(account.marks)
        return scope

    def start_stream(
        self, run_id: object, parent_run_id: object, metadata: Metadata, tags: list[str] | None
    ) -> None:
        """Open a run, or add a step, that defers its inputs."""
        self.start(run_id, parent_run_id, metadata, tags, defers_inputs=True)

    def start_model(
        self, run_id: object, parent_run_id: object, metadata: Metadata, tags: list[str] | None
    ) -> None:
        """Add a model call."""
        known = metadata or {}
        name, call = known.get("ls_model_name"), ModelCall(str(known.get("ls_provider", "")))
        scope = self.start(run_id, parent_run_id, metadata, tags, call)
        if name and scope is not None and scope.account is not None:
            self._named(scope.account, call, name)

    def start_tool(
        self,
        tool: tuple[Mapping[str, object] | None, str | None],
        run_id: object,
        parent_run_id: object,
        metadata: Metadata,
        tags: list[str] | None,
    ) -> None:
        """Add a tool call, of a tool as LangChain serializes it and the name of its run, where that has one."""
        serialized, run_name = tool
        name = str((serialized or {}).get("name") or run_name or "unknown")
        scope = self.start(run_id, parent_run_id, metadata, tags)
        if scope is not None and (account := scope.account) and self.table.tool_started(scope.run, account, name):
            self._boundary.run(account.tracker.identity.run_id, account.tracker.track_tool_call, name)

    def chunk(self, run_id: object, step: Step, carries_content: Callable[..., bool], *parts: object) -> None:
        """Note a chunk of a model call that awaits its first token."""
        cast(ModelCall, step.call).streamed = True
        if carries_content(*parts):
            self.table.first_token(run_id, step)

    def retried(self, run_id: object) -> None:
        """Count a repeated attempt within a model call."""
        scope = self._scope_of(key_of(run_id))
        if scope is not None and scope.account is not None:
            scope.account.retries += 1

    def end_model(self, run_id: object, error: BaseException | None, result: LLMResult | None) -> None:
        """End a model call, with what its result, or the partial result of a failure, says of it."""
        step = self.table.step(run_id)
        usage = None
        if result is not None and step is not None and step.call is not None:
            call, account = step.call, step.scope.account
            usage = self._boundary.run(run_id, read_usage, result)
            if account is not None and not call.model:
                self._named(account, call, self._boundary.run(run_id, read_model, result))
            if usage is None and error is None and call.streamed and account is not None:
                self._hint_at_usage(call)
        self.table.end(run_id, error, usage)

    def _hint_at_usage(self, call: ModelCall) -> None:
        """Say once how a streamed call comes to report its tokens (fact 87)."""
        if not self._hinted and call.provider in _OPENAI_STYLE:
            self._hinted = True
            _log.warning(
                "a streamed model call reported no token usage, so none is recorded: set stream_usage=True on the "
                "model, which is off by default where base_url or an HTTP client of one's own is set"
            )

    def _named(self, account: Account, call: ModelCall, name: object) -> None:
        """Note which model a call is of, and warn once where the AI Config serves another."""
        if not isinstance(name, str) or not name:
            return
        call.model = name
        account.models[name] = None
        pair = (account.served_model, name)
        if account.served_model not in ("", name) and not same_model(*pair) and pair not in self._drifted:
            self._drifted.add(pair)
            _log.warning("AI Config %r serves model %r, but %r is called", account.marks[CONFIG_KEY_KEY], *pair)

    def _open(
        self,
        key: object,
        run_id: object,
        parent: object,
        metadata: Metadata,
        call: ModelCall | None,
        defers_inputs: bool,
    ) -> Scope | None:
        """Open the run whose root starts, and return where that is; `None` where the event opens none."""
        if self.table.is_open(key) or (parent is not None and self.table.is_late(key, parent)):
            return None
        config = account = journey = None
        sources, known = self._nodes, collectors.get()
        if self._choose is not None:
            opened = self._boundary.run(run_id, self._openings.open, self._choose, metadata, run_id)
            config, account = opened or (None, None)
        if isinstance(config, LdAiAgentGraph) and account is not None:
            sources = {**{key: chooser(node) for key, node in config.nodes.items()}, **self._nodes}
            edges = {(edge.source, edge.target) for edge in config.edges}
            journey = Journey(edges, cast(GraphRunTracker, account.tracker).record_journey)
        reports = tuple(each.reports for each in known if each.is_open and each.recorder is self) if known else ()
        run = Run(run_id, key, account, reports, sources, journey)
        said = metadata or {}
        node = self._node(run, said) if sources else ""
        counted = run.counted_for(run.nodes[node]) if node else run.accounts.copy()
        account = run.nodes[node] if node else account
        scope = Scope(run, account, counted, None, key, None, node, str(said.get(_TASK, "")))
        return scope if self.table.open(scope, call, defers_inputs) else None

    def _scope(
        self, around: Scope, metadata: dict[str, object], task: str, key: object, parent: object, is_late: bool
    ) -> Scope:
        """Return where a step is that may be the first of a task's attempt, in the scope around it.

        One that is late, as what it was called by has ended, is part of the last attempt.
        """
        run = around.run
        if is_late and task in run.tasks:
            return run.tasks[task]
        node = self._node(run, metadata) if run.sources else ""
        if not task and node in ("", around.node):
            return around
        account, counted = around.account, around.counted
        if node:
            account = run.nodes[node]
            counted = run.counted_for(account)
        number = metadata.get("langgraph_step")
        number = number if isinstance(number, int) else 0
        return Scope(run, account, counted, around, key, parent, node or around.node, task, number)

    def _node(self, run: Run, metadata: dict[str, object]) -> str:
        """Return the named node that LangGraph says a step is in, which has an account then; "" for none."""
        node = metadata.get(_NODE)
        if not isinstance(node, str) or node not in run.sources:
            return ""
        if node not in run.nodes:
            run_id = run.root_run_id
            opened = self._boundary.run(run_id, self._openings.open, run.sources[node], metadata, run_id, node)
            self.table.add_node(run, node, opened[1] if opened else None)
        return node

    def _hidden_parent(self) -> tuple[Scope | None, object]:
        """Return the step that LangChain's context names as the parent where the event does not (facts 48, 49).

        Returns:
            Where it is, `None` where there is none, and its key.
        """
        runnables = sys.modules.get("langchain_core.runnables.config")  # not loaded, nothing of it runs
        config = runnables.var_child_runnable_config.get() if runnables is not None else None
        if config is None:
            return None, None
        key = key_of(getattr(config.get("callbacks"), "parent_run_id", None))
        parent = self._scope_of(key)
        return (parent, key) if parent is not None and parent.run.ended_at is None else (None, None)

    def _deliver(self, due_now: Iterable[Due], closed: Iterable[Run]) -> None:
        for due in due_now:
            self._boundary.run_each(due.tracker.identity.run_id, due.deliveries)
        for run in closed:
            if run.collectors or self._on_run_end is not None:
                self._boundary.run(run.root_run_id, self._report, run)

    def _report(self, run: Run) -> None:
        report = run.report()
        if report is None:
            return
        for reports in run.collectors:
            reports.append(report)
        if self._on_run_end is not None:
            self._boundary.run(report.run_id, self._on_run_end, report)

"""From LangChain's events to changes of runs: whose child a step is, and which tracker takes its figures."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, cast

from langchain_ldai._base.guard import Boundary, Ids
from langchain_ldai._runs.graph_path import Journey
from langchain_ldai._runs.open_runs import RunTable
from langchain_ldai._runs.reading import read_model, read_usage, result_of_decision
from langchain_ldai._runs.run import Run
from langchain_ldai._runs.steps import ModelCall, Scope, Step, key_of
from langchain_ldai._runs.totals import Account, Due, RunReport
from langchain_ldai._runs.tracker_factory import Openings
from langchain_ldai._runs.trackers import AgentGraph, ConfigSource, GraphRunTracker, chooser, described, same_model
from langchain_ldai.errors import WrongResultError

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult

_log = logging.getLogger(__name__)

_NODE: Final = "langgraph_node"
_TASK: Final = "langgraph_checkpoint_ns"  # the same for each attempt of a task (fact 65)
_RETRY_TAG: Final = "retry:attempt:"
_HANDOFF: Final = "__handoff_"  # how the names of tools begin that only hand over to another agent
_ON_RUN_END_FAILED: Final = "The function given for on_run_end failed; the run's metrics are recorded all the same"
_UNREADABLE: Final = "What a model reports of its call could not be read, tokens or model name may be missing"
_UNREADABLE_TOOL: Final = "What a tool gave back could not be read, a handoff may count as a tool call"
_MAX_SEEN_NODES: Final = 1_000
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
        self._seen_nodes: dict[str, None] = {}
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
        around = self._scope_of(parent)
        if around is None and parent_run_id is None:
            around, parent = self._hidden_parent()
        scope: Scope | None
        if around is None:
            scope = self._open(key, run_id, parent, metadata, call, defers_inputs)
        else:
            scope = around
            if metadata:
                task = str(metadata.get(_TASK, ""))
                if task != around.task if task else around.run.sources:
                    scope = self._scope(around, metadata, task, key, parent)
            if not self.table.start(key, parent, scope, call, defers_inputs):
                return None
        if scope is not None and (account := scope.account) is not None:
            for tag in tags or ():
                if type(tag) is str and tag.startswith(_RETRY_TAG):
                    self.table.attempted(scope.run, account, (parent, tag))
            if metadata is not None:
                metadata.update(account.marks)
        return scope

    def start_stream(
        self, run_id: object, parent_run_id: object, metadata: Metadata, tags: list[str] | None
    ) -> None:
        """Open a run, or add a step, that defers its inputs."""
        self.start(run_id, parent_run_id, metadata, tags, defers_inputs=True)

    def start_model(
        self,
        run_id: object,
        parent_run_id: object,
        metadata: Metadata,
        tags: list[str] | None,
        *,
        is_decision: bool = False,
    ) -> None:
        """Add a model call."""
        known = metadata or {}
        name = known.get("ls_model_name")
        call = ModelCall(str(known.get("ls_provider", "")), is_decision=is_decision)
        scope = self.start(run_id, parent_run_id, metadata, tags, call)
        if not (isinstance(name, str) and name) or scope is None or scope.account is None:
            return
        if call.outer is None or name != call.outer.model:  # else it may have been handed down
            call.model = name
            scope.account.models[name] = None

    def start_decision(
        self,
        run_type: str | None,
        run_id: object,
        parent_run_id: object,
        metadata: Metadata,
        tags: list[str] | None,
    ) -> None:
        """Add a decision model's call, or a step in one, to which LangChain hands down the model's metadata."""
        if run_type is None and self.table.is_in_decision(key_of(parent_run_id)):
            self.start(run_id, parent_run_id, metadata, tags)
        else:
            self.start_model(run_id, parent_run_id, metadata, tags, is_decision=True)

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
        if scope is None or (account := scope.account) is None or name.startswith(_HANDOFF):
            return
        key = account.tool_keys.get(name, name)
        if self.table.tool_started(scope.run, key_of(run_id), account, key):
            self._record_tool(account, key)

    def end_tool(self, run_id: object, error: BaseException | None, output: object) -> None:
        """End a tool, of which in an agent graph only now is known whether it was a handoff."""
        step = key_of(run_id)
        scope = self._scope_of(step)
        if scope is not None and (journey := scope.run.journey) is not None:
            result = output if error is None else error.args  # LangGraph raises a command to the graph above
            ids = Ids(run_id, scope.run.ids.run_id)
            is_handoff = bool(self._boundary.call(_UNREADABLE_TOOL, ids, journey.hands_over, scope.node, result))
            if call := self.table.tool_ended(scope.run, step, is_handoff=is_handoff):
                self._record_tool(*call)
        self.table.end(run_id, error, None)

    def _record_tool(self, account: Account, key: str) -> None:
        self._boundary.run(account.ids, account.tracker.track_tool_call, key)

    def chunk(self, run_id: object, step: Step, carries_content: Callable[..., bool], *parts: object) -> None:
        """Note a chunk of a model call that awaits its first token."""
        cast(ModelCall, step.call).streamed = True
        if carries_content(*parts):
            self.table.first_token(run_id, step)

    def end_chain(self, run_id: object, error: BaseException | None, outputs: object) -> None:
        """End a step, which may be a decision model's call."""
        step = self.table.step(run_id)
        if step is None or step.call is None:
            self.table.end(run_id, error, None)
        else:
            result = (
                self._boundary.call(_UNREADABLE, Ids(run_id), result_of_decision, outputs)
                if error is None
                else None
            )
            self.end_model(run_id, error, result)

    def end_model(self, run_id: object, error: BaseException | None, result: LLMResult | None) -> None:
        """End a model call, with what its result, or the partial result of a failure, says of it."""
        step = self.table.step(run_id)
        usage = None
        if step is not None and step.call is not None:
            call, account = step.call, step.scope.account
            ids = account.ids if account is not None else Ids(run_id)
            if result is not None:
                usage = self._boundary.call(_UNREADABLE, ids, read_usage, result)
            if account is not None:
                self._boundary.call(_UNREADABLE, ids, self._check_model, account, call, result)
            if usage is None and error is None and call.streamed and account is not None:
                self._hint_at_usage(call)
        self.table.end(run_id, error, usage)

    def _hint_at_usage(self, call: ModelCall) -> None:
        """Say once how a streamed call comes to report its tokens (fact 87)."""
        if call.provider in _OPENAI_STYLE:
            self._boundary.notices.once(
                _log,
                logging.WARNING,
                "stream_usage",
                "a streamed model call reported no token usage, so none is recorded: set stream_usage=True on the "
                "model, which is off by default where base_url or an HTTP client of one's own is set",
            )

    def _check_model(self, account: Account, call: ModelCall, result: LLMResult | None) -> None:
        """Warn once where the AI Config serves another model than was called.

        LangChain may know a model by the name of a deployment or by an alias; then its answer says which it is.
        """
        served = account.served_model
        if call.model and (not served or same_model(served, call.model)):
            return
        told = "" if result is None else read_model(result)
        if not call.model and told:
            call.model = told
            account.models[told] = None
        if not served or not call.model or (told and same_model(served, told)):
            return
        key, message = account.tracker.identity.config_key, "AI Config %r serves model %r, but %r is called"
        self._boundary.notices.once(
            _log, logging.WARNING, ("drift", served, call.model), message, key, served, call.model
        )

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
        if self.table.is_open(key):
            self.table.seen_again(key)
            return None
        if parent is not None and self.table.is_late(key, parent):
            return None
        account = journey = None
        sources, known = self._nodes, collectors.get()
        if self._choose is not None:
            account = self._openings.open(self._choose, metadata, run_id)
        if account is not None and isinstance(account.tracker, GraphRunTracker):
            graph = cast(AgentGraph, account.config)
            sources = {**{key: chooser(node) for key, node in graph.nodes.items()}, **self._nodes}
            edges = {(edge.source, edge.target) for edge in graph.edges}
            journey = Journey(edges, account.tracker.record_journey)
        reports = tuple(each.reports for each in known if each.is_open and each.recorder is self) if known else ()
        run = Run(run_id, key, account, reports, sources, journey)
        said = metadata or {}
        node = self._node(run, said) if sources else ""
        counted = run.counted_for(run.nodes[node]) if node else run.accounts.copy()
        account = run.nodes[node] if node else account
        scope = Scope(run, account, counted, None, key, None, node, str(said.get(_TASK, "")))
        if not self.table.open(scope, call, defers_inputs):
            return None
        _log.debug("a run opens: %s", run)
        return scope

    def _scope(self, around: Scope, metadata: dict[str, object], task: str, key: object, parent: object) -> Scope:
        """Return where a step is that may be the first of a task's attempt, in the scope around it.

        One that is late, as the step above it has ended, is part of the last attempt.
        """
        run = around.run
        if task in run.tasks and parent not in run.steps and parent != run.key:
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
        if not isinstance(node, str):
            return ""
        if node not in self._seen_nodes and len(self._seen_nodes) < _MAX_SEEN_NODES:
            self._seen_nodes[node] = None
        if node not in run.sources:
            return ""
        if node not in run.nodes:
            with run.opening:  # parallel visits of a node have one AI Config between them
                if node not in run.nodes:
                    account = self._openings.open(run.sources[node], metadata, run.root_run_id, node)
                    self.table.add_node(run, node, account)
        return node

    def _hidden_parent(self) -> tuple[Scope | None, object]:
        """Return the step that LangChain's context names as the parent where the event does not (facts 48, 49).

        A step of a run that has ended counts while it is open itself: the context of a program's own tasks may
        name one for good.

        Returns:
            Where it is and its key; `None` for where its run is held no more, twice `None` where there is none.
        """
        runnables = sys.modules.get("langchain_core.runnables.config")  # not loaded, nothing of it runs
        config = runnables.var_child_runnable_config.get() if runnables is not None else None
        if config is None:
            return None, None
        key = key_of(getattr(config.get("callbacks"), "parent_run_id", None))
        around = self._scope_of(key)
        if around is None:
            return None, key if self.table.goes_on(key) else None
        return (around, key) if around.run.ended_at is None or self.table.is_open(key) else (None, None)

    def _deliver(self, due_now: Iterable[Due], closed: Iterable[Run]) -> None:
        for due in due_now:
            self._boundary.run_each(due.ids, due.deliveries)
        for run in closed:
            _log.debug("a run closes: %s", run)
            if run.sources:
                self._tell_of_unseen_nodes(run)
            if run.collectors or self._on_run_end is not None:
                self._boundary.call("The report of a run could not be made", run.ids, self._report, run)

    def _tell_of_unseen_nodes(self, run: Run) -> None:
        """Say once of each name that is looked up among LangGraph's nodes that there has been no such node."""
        seen = list(self._seen_nodes)
        unseen = [name for name in run.sources if name not in self._seen_nodes]
        if run.journey is not None and all(name in run.sources for name in seen):
            unseen = [name for name in unseen if name in self._nodes]  # a run need not visit every agent
        if not seen or not unseen:
            return
        key = run.account.tracker.identity.config_key if run.account is not None else ""
        self._boundary.notices.once(
            _log,
            logging.INFO if run.is_ai_run else logging.WARNING,
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
            self._boundary.call(_ON_RUN_END_FAILED, run.ids, _call_back, self._on_run_end, report)


def _call_back(on_run_end: Callable[[RunReport], object], report: RunReport) -> None:
    """Call the caller's function, and complain where its result would have to be awaited."""
    result = on_run_end(report)
    if inspect.isawaitable(result):
        raise WrongResultError(f"it returned a {described(result)}")

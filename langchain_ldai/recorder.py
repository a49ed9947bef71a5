"""From LangChain's events to changes of runs: whose child a step is, and which tracker takes its figures."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from langchain_ldai.account import CONFIG_KEY_KEY, Account, Due
from langchain_ldai.adapters import GraphRunTracker
from langchain_ldai.boundary import Boundary
from langchain_ldai.graph import LdAiAgentGraph
from langchain_ldai.journey import Journey
from langchain_ldai.openings import Openings
from langchain_ldai.report import RunReport
from langchain_ldai.run import Run, Step
from langchain_ldai.sources import AiConfig, Choose, ConfigSource, chooser, same_model
from langchain_ldai.steps import NOWHERE, ModelCall, Place
from langchain_ldai.table import RunTable
from langchain_ldai.usage import read_model, read_usage

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult

_log = logging.getLogger(__name__)

_RETRY_TAG: Final = "retry:attempt:"
_OPENAI_STYLE: Final = frozenset({"openai", "azure", "deepseek", "together", "xai"})

Metadata = dict[str, object] | None
Event = Mapping[str, object]
"""The keyword arguments of a start event."""


class Collector:
    """Takes the reports of one recorder's runs."""

    __slots__ = ("recorder", "reports")

    def __init__(self, recorder: RunRecorder) -> None:
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

    def start(
        self,
        run_id: object,
        parent_run_id: object,
        metadata: Metadata,
        tags: list[str] | None,
        call: ModelCall | None = None,
    ) -> Step | None:
        """Open a run, or add a step to one, and mark the event's metadata; `None` for an event seen before."""
        now = monotonic()
        parent = self.table.get(parent_run_id) if parent_run_id is not None else _hidden_parent(self.table)
        if parent is not None:
            place = self._place(parent.run, parent.place, metadata) if metadata else NOWHERE
            step = self.table.start(run_id, parent, place, call, now)
        elif self.table.is_open(run_id) or (parent_run_id and self.table.is_late(run_id, parent_run_id, now)):
            return None
        else:
            run = self._open_run(run_id, metadata, now)
            step = self.table.open(run, self._place(run, NOWHERE, metadata), call, now)
        if step is None or step.account is None:
            return step
        for tag in tags or ():
            if tag.startswith(_RETRY_TAG):
                step.account.retries += 1
        if metadata is not None:
            metadata.update(step.account.marks)
        return step

    def start_model(
        self, run_id: object, parent_run_id: object, metadata: Metadata, tags: list[str] | None
    ) -> None:
        """Add a model call."""
        known = metadata or {}
        name, call = known.get("ls_model_name"), ModelCall(str(known.get("ls_provider", "")))
        step = self.start(run_id, parent_run_id, metadata, tags, call)
        if step is not None and step.account is not None:
            self._named(step.account, call, name)

    def start_tool(
        self, name: str, run_id: object, parent_run_id: object, metadata: Metadata, tags: list[str] | None
    ) -> None:
        """Add a tool call."""
        step = self.start(run_id, parent_run_id, metadata, tags)
        if step is not None:
            self.table.note(lambda: step.run.tool_started(step, name))

    def chunk(self, step: Step, carries_content: Callable[..., bool], *parts: object) -> None:
        """Note a chunk of a model call that awaits its first token."""
        cast(ModelCall, step.call).streamed = True
        if carries_content(*parts):
            self.table.first_token(step, monotonic())

    def retried(self, run_id: object) -> None:
        """Count a repeated attempt within a model call."""
        step = self.table.get(run_id)
        if step is not None and step.account is not None:
            step.account.retries += 1

    def end_model(self, run_id: object, error: BaseException | None, result: LLMResult | None) -> None:
        """End a model call, with what its result, or the partial result of a failure, says of it."""
        step = self.table.get(run_id)
        usage = None
        if result is not None and step is not None and step.call is not None:
            usage = self._boundary.run(run_id, read_usage, result)
            if step.account is not None:
                self._see(step.account, step.call, result, silent=usage is None and error is None)
        self.table.end(run_id, error, usage)

    def _see(self, account: Account, call: ModelCall, result: LLMResult, *, silent: bool) -> None:
        """Note the model that a result names, and hint where a streamed one is silent of its usage."""
        if not call.model:
            self._named(account, call, self._boundary.run(account.tracker.identity.run_id, read_model, result))
        if silent and call.streamed and call.provider in _OPENAI_STYLE:
            self._hint_at_usage()

    def _hint_at_usage(self) -> None:
        """Say once how a streamed call comes to report its tokens (fact 87)."""
        if not self._hinted:
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
        if account.served_model and not same_model(*pair) and pair not in self._drifted:
            self._drifted.add(pair)
            _log.warning("AI Config %r serves model %r, but %r is called", account.marks[CONFIG_KEY_KEY], *pair)

    def _open_run(self, run_id: object, metadata: Metadata, now: float) -> Run:
        opened = self._boundary.run(run_id, self._opened, self._choose, metadata, run_id) if self._choose else None
        config, account = opened or (None, None)
        sources, journey = self._nodes, None
        if isinstance(config, LdAiAgentGraph) and account is not None:
            sources = {**{key: chooser(node) for key, node in config.nodes.items()}, **self._nodes}
            edges = {(edge.source, edge.target) for edge in config.edges}
            journey = Journey(edges, cast(GraphRunTracker, account.tracker).record_journey)
        known = collectors.get()
        reports = tuple(each.reports for each in known if each.recorder is self) if known else ()
        return Run(run_id, account, now, reports, sources, journey)

    def _place(self, run: Run, around: Place, metadata: Metadata) -> Place:
        """Return where in a LangGraph a step runs; each attempt of a node has the same task (fact 65)."""
        node = metadata.get("langgraph_node") if metadata else None
        if metadata is None or not isinstance(node, str):
            return NOWHERE
        task = str(metadata.get("langgraph_checkpoint_ns", ""))
        if task and task == around.task:
            return around
        if node not in run.sources:
            return Place(None, task)
        if node not in run.nodes:
            root_run_id = run.root_run_id
            opened = self._boundary.run(root_run_id, self._opened, run.sources[node], metadata, root_run_id, node)
            self.table.add_node(run, node, opened[1] if opened else None)
        step = metadata.get("langgraph_step")
        return Place(node, task, step if isinstance(step, int) else 0)

    def _opened(
        self, choose: Choose, metadata: Metadata, root_run_id: object, node: str = ""
    ) -> tuple[AiConfig, Account] | None:
        """Return the AI Config of a run, or of its node, and a new account of it; `None` where there is none."""
        config = choose(metadata)
        return None if config is None else (config, self._openings.open(config, metadata or {}, root_run_id, node))

    def _deliver(self, due_now: Iterable[Due], closed: Iterable[Run]) -> None:
        for due in due_now:
            run_id = due.tracker.identity.run_id
            self._boundary.run_each(run_id, self._boundary.run(run_id, due.deliveries) or ())
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


def _hidden_parent(table: RunTable) -> Step | None:
    """Return the step that LangChain's context names as the parent where the event does not (facts 48, 49)."""
    runnables = sys.modules.get("langchain_core.runnables.config")  # not loaded, nothing of it runs
    config = runnables.var_child_runnable_config.get() if runnables is not None else None
    if config is None:
        return None
    manager = config.get("callbacks")
    parent = table.get(getattr(manager, "parent_run_id", None))
    return parent if parent is not None and parent.run.ended_at is None else None

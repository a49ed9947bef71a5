"""One run: what is known of it, what is final, and when; pure, with the time passed in.

The table that owns the run calls every method under its lock, and no method calls foreign code: what has become
final goes into the outbox, to be sent outside the lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from langchain_ldai._base.guard import Ids
from langchain_ldai._runs.graph_path import Journey
from langchain_ldai._runs.observing import NO_TRACE
from langchain_ldai._runs.outcome import Outcome, classify, failed_node, was_closed_early, worst
from langchain_ldai._runs.steps import Interrupt, ModelCall, Scope, Step, StepResult
from langchain_ldai._runs.totals import MetricTotals, Recording, RunReport
from langchain_ldai._runs.trackers import ConfigSource
from langchain_ldai._tracking.values import Slot, Value


class RunState(Enum):
    """Where a run is in its life."""

    OPEN = "open"
    """Its root has not ended."""

    WAITING = "waiting"
    """Its root has ended, and a model call has not."""

    CLOSED = "closed"
    """All that is final was handed out; the table holds the run no more."""


@dataclass(slots=True, eq=False)
class Run:
    """One execution of a chain as one handler sees it.

    Args:
        lc_run_id: LangChain's id of the root.
        key: The key of the root, see `key_of`.
        totals: The figures of the handler's AI Config; `None` where it tracks named nodes alone.
        collectors: Lists that take the run's report.
        sources: The AI Configs of its named nodes, or functions to them, by node name.
        journey: Its way through an agent graph, where the AI Config is one.
        outbox: What has become final and is still to be sent; a run that closes puts itself in at last.
        state: Where it is in its life.
        ended_at: When its root ended, in seconds; 0 before.
        last_event: When its last event came, in seconds.
        outcome: How it ended, `None` before its end.
        nodes: The figures of its named nodes; `None` for a node that is not tracked.
        resolving: Held while the AI Config of a named node is resolved.
        steps: The steps that have started and not ended, by their keys.
        ended_steps: The keys of those that have ended, and the key of the parent of each.
        closed_steps: The streams that were closed one after the other just now, and whether each was at work.
        waiting_tools: The tools that were called before the first model call, by their keys, and what they count
            for.
        attempts: The repeated attempts of `with_retry` that are counted, each by its parent and its tag.
        tasks: The latest attempts of LangGraph's tasks.
        interrupts: The interrupts that were raised, but for those that a step declined.
        has_decisions: Whether a decision model was called.
        is_observed: Whether an observer sees it, or one of its named nodes.
    """

    lc_run_id: object
    key: object
    totals: MetricTotals | None
    collectors: tuple[list[RunReport], ...]
    sources: Mapping[str, ConfigSource]
    journey: Journey | None
    outbox: Outbox
    state: RunState = RunState.OPEN
    ended_at: float = 0.0
    last_event: float = 0.0
    outcome: Outcome | None = None
    nodes: dict[str, MetricTotals | None] = field(init=False, default_factory=dict)
    resolving: threading.RLock = field(init=False, default_factory=threading.RLock)
    steps: dict[object, Step] = field(init=False, default_factory=dict)
    ended_steps: dict[object, object] = field(init=False, default_factory=dict)
    closed_steps: dict[object, bool] = field(init=False, default_factory=dict)
    waiting_tools: list[tuple[MetricTotals, str]] = field(init=False, default_factory=list)
    attempts: set[tuple[object, str]] = field(init=False, default_factory=set)
    tasks: dict[str, Scope] = field(init=False, default_factory=dict)
    interrupts: list[Interrupt] = field(init=False, default_factory=list)
    has_decisions: bool = False
    is_observed: bool = False

    @property
    def all_totals(self) -> Iterable[MetricTotals]:
        """The figures of the handler's AI Config and of its named nodes."""
        return filter(None, (self.totals, *self.nodes.values()))

    @property
    def is_ai_run(self) -> bool:
        """Whether a model call that counts has started."""
        return any(totals.model_calls for totals in self.all_totals)

    @property
    def ids(self) -> Ids:
        """Its ids, for the log."""
        return self.totals.ids if self.totals is not None else Ids(self.lc_run_id)

    def __str__(self) -> str:
        counted = repr(self.totals.tracker.identity.config_key) if self.totals is not None else "no AI Config"
        outcome = (
            "" if self.outcome is None else f", {self.outcome}, model calls: {'yes' if self.is_ai_run else 'no'}"
        )
        trace = self.totals.trace if self.totals is not None else NO_TRACE
        ids = str(self.ids) if trace.trace_id is None else f"{self.ids}, trace_id={trace.trace_id}"
        return f"counted for {counted}{outcome} [{ids}]"

    def started(self, step: Step) -> None:
        """Take in a step that has started.

        The first model call makes the run an AI run: tools that were called before it are recorded then.
        """
        scope = step.scope
        if scope.key == step.key and scope.ended_at is None:
            if scope.task and scope.parent_scope is not None:
                if scope.task in self.tasks:
                    self._again(self.tasks[scope.task])
                self.tasks[scope.task] = scope
            if scope.is_visit and scope.totals:
                scope.totals.visit_started(scope, step.started)
            if scope.is_visit and self.journey and scope.node:
                self.journey.visit_started(scope.node, scope.task, scope.langgraph_step)
        if step.call is not None:
            self._model_started(step, step.call)
        elif step.tool and self.journey is None:
            self._tool_called(step)  # in an agent graph it may be a handoff, which is known when it ends

    def _model_started(self, step: Step, call: ModelCall) -> None:
        scope = step.scope
        if self.has_decisions:
            call.outer = self.decision_above(step.parent)
        if call.outer is not None and call.is_told_by_parent:
            step.call = None
            return
        if call.is_decision:
            self.has_decisions = True
        is_own = call.outer is None or call.named != call.outer.model  # else the name may be handed down
        if call.named and scope.totals and is_own:
            call.model = call.named
            scope.totals.models[call.named] = None
        graph = self.totals if self.journey is not None else None
        call.charged_to = set(filter(None, (scope.totals, graph)))
        for totals in call.charged_to:
            totals.model_started(step.started)
        if self.waiting_tools:
            self._record_tools()

    def decision_above(self, key: object) -> ModelCall | None:
        """Return the decision model's call that the step of a key is, or is in; `None` outside one."""
        for _ in range(len(self.steps) + len(self.ended_steps)):
            step = self.steps.get(key)
            if step is not None and step.call is not None and step.call.is_decision:
                return step.call
            above = self.ended_steps.get(key) if step is None else step.parent
            if above is None:
                break
            key = above
        return None

    def first_token(self, step: Step, now: float) -> None:
        """Note a model call's first chunk that carries something; only the first such call counts."""
        totals, seconds = step.scope.totals, now - step.started
        if step.call is not None:
            step.call.first_token = seconds
        if totals is not None and not totals.has_first_token:
            totals.has_first_token = True
            values: dict[Slot, Value] = {"time_to_first_token_ms": int(seconds * 1000)}
            self.outbox.append(Recording(totals, values))

    def retried(self, step: Step, call: ModelCall) -> None:
        """Count a repeated attempt within a model call."""
        call.retries += 1
        if step.scope.totals is not None and call.retries % call.copies == 0:
            step.scope.totals.retries += 1

    def attempted(self, totals: MetricTotals, attempt: tuple[object, str]) -> None:
        """Count a repeated attempt, known by its parent and its tag, which LangChain may give to several steps."""
        if attempt not in self.attempts:
            self.attempts.add(attempt)
            totals.retries += 1

    def _tool_called(self, step: Step) -> None:
        """Note a tool call; it is recorded once there was a model call."""
        if step.scope.totals is not None:
            self.waiting_tools.append((step.scope.totals, step.tool))
            self._record_tools()

    def _record_tools(self) -> None:
        if self.is_ai_run:
            for totals, tool in self.waiting_tools:
                self.outbox.append(Recording(totals, {}, [tool]))
            self.waiting_tools.clear()

    def ended(self, step: Step, error: BaseException | None, result: StepResult, now: float) -> None:
        """Take in a step that has ended; the root's end ends the run."""
        scope = step.scope
        outcome = Outcome.SUCCESS if error is None else classify(error)
        if error is not None or self.nodes or self.interrupts:
            self._note_end(step, error, outcome)
        if step.tool and self.journey is not None and not result.is_handoff:
            self._tool_called(step)
        if step.call is not None:
            self._model_ended(step, step.call, result, now, failed=outcome is Outcome.ERROR)
        is_root = step.key == self.key and self.state is RunState.OPEN
        if step.key == scope.key and scope.ended_at is None:
            scope.ended_at = now
            if scope.is_visit and scope.totals and scope.totals.times_visits:
                scope.totals.watch.stop(step.started, now)
            if is_root:
                self._root_ended(step, error, outcome, now)
            elif self.state is RunState.OPEN or scope.outcome is None:
                self._note(scope, outcome)
        if self.state is RunState.WAITING and not self._calls_are_open():
            self.close()
        elif is_root:
            self._hand_out()

    def _hand_out(self) -> None:
        """Put what is final into the outbox: how the run ended, and once it is closed the rest."""
        is_closed = self.state is RunState.CLOSED
        for totals in self.all_totals:
            values = totals.final(self.outcome, is_closed=is_closed)
            if values and totals.model_calls:
                self.outbox.append(Recording(totals, values))

    def _model_ended(self, step: Step, call: ModelCall, result: StepResult, now: float, *, failed: bool) -> None:
        if result.model and not call.model and step.scope.totals:
            call.model = result.model
            step.scope.totals.models[result.model] = None
        usage = call.used(result.usage)
        for totals in call.charged_to:
            totals.model_ended(step.started, now, usage, failed=failed)

    def _note_end(self, step: Step, error: BaseException | None, outcome: Outcome) -> None:
        """Note what the end of a step tells of its scope, of interrupts, of streams and of nodes."""
        if error is None and self.interrupts:
            self._decline_interrupts(step)
        if outcome is Outcome.INTERRUPTED:
            step.scope.outcome = worst((step.scope.outcome, outcome))
            self._interrupted(step)
        if isinstance(error, GeneratorExit):
            if next(reversed(self.ended_steps), None) not in self.closed_steps:
                self.closed_steps.clear()
            self.closed_steps[step.key] = step.is_at_work
        if self.nodes and self.state is RunState.OPEN and outcome is not Outcome.CANCELLED:
            self._find_failed_nodes(step.key, error)

    def _interrupted(self, step: Step) -> None:
        """Note that an interrupt ended a step: one of those that have come up to it, else a new one."""
        known = [each for each in self.interrupts if each.came_to == step.key]
        if not known:
            known = [Interrupt()]
            self.interrupts += known
        for each in known:
            each.ended(step)

    def _decline_interrupts(self, step: Step) -> None:
        """Forget the interrupts that a step caught, which then ended well: they did not stop the run."""
        scope = step.scope
        if scope.ended_at is not None or not any(each.is_declined_by(step) for each in self.interrupts):
            return
        self.interrupts = [each for each in self.interrupts if not each.is_declined_by(step)]
        if scope.outcome is Outcome.INTERRUPTED and not any(scope in each.scopes for each in self.interrupts):
            scope.outcome = None

    def abandon(self, now: float) -> None:
        """Close a run whose end never came, with what is known; one that has just been closed stays as it is."""
        if self.state is RunState.OPEN:
            self._settle(Outcome.ABANDONED, now)
        if self.state is not RunState.CLOSED:
            self.close()

    def close(self) -> None:
        """Close an ended run: all that is final goes into the outbox, and nothing after it.

        A tool of an agent graph that never ended was called, for all that is known.
        """
        self.state = RunState.CLOSED
        for step in list(self.steps.values()) if self.journey is not None else ():
            if step.tool:
                self._tool_called(step)
        self._hand_out()
        self.outbox.append(self)

    def _calls_are_open(self) -> bool:
        """Whether a model call that counts has not ended."""
        return any(step.call and step.call.charged_to for step in list(self.steps.values()))

    def report(self) -> RunReport | None:
        """Return the report of a closed run, or `None` where no model call was started.

        Called outside the lock, once everything due has been recorded.
        """
        if not self.is_ai_run:
            return None
        outcome = self.outcome or Outcome.ABANDONED
        nodes = {name: each.report(outcome) for name, each in self.nodes.items() if each and each.model_calls}
        if self.totals is None:
            return RunReport(root_run_id=self.lc_run_id, outcome=outcome, nodes=nodes)
        return replace(self.totals.report(outcome), nodes=nodes, path=self.journey.path if self.journey else ())

    def _again(self, before: Scope) -> None:
        """Note that a task is attempted again: a retry, unless it had ended well or was asked something."""
        ended_well = before.outcome in (Outcome.SUCCESS, Outcome.INTERRUPTED)
        if before.totals and not ended_well and before.counts():
            before.totals.retries += 1
        before.is_superseded = True

    def _note(self, scope: Scope, outcome: Outcome) -> None:
        """Note how an attempt ended; what is worse stands."""
        scope.outcome = outcome if scope.outcome is None else worst((scope.outcome, outcome))
        if self.journey and scope.node and scope.is_visit and scope.counts() and scope.outcome:
            self.journey.visit_ended(scope.node, scope.task, scope.outcome)

    def _find_failed_nodes(self, graph: object, error: BaseException | None) -> None:
        """Note which nodes of a graph that ended failed, though LangGraph cancels, or will cancel, them.

        They are those that the graph's error names or that were at work when its time was up, and those without
        which it went on.
        """
        name = "" if error is None else failed_node(error)
        if name is None:
            return
        is_out_of_time = error is not None and not name
        if is_out_of_time and any(
            each.outcome is Outcome.ERROR and each.graph == graph for each in self.tasks.values()
        ):
            return  # the error is that of a node
        visits = [
            visit
            for node, totals in self.nodes.items()
            for visit in (totals.visits if totals and name in ("", node) else ())
            if visit.graph == graph
        ]
        failed = [
            each for each in visits if each.outcome is Outcome.CANCELLED or (error and each.ended_at is None)
        ]
        if is_out_of_time and not failed:  # a sync graph waits for a node that is late
            failed = sorted(visits, key=lambda visit: visit.ended_at or 0.0)[-1:]
        for visit in failed:
            self._note(visit, Outcome.ERROR)

    def _root_ended(self, root: Step, error: BaseException | None, outcome: Outcome, now: float) -> None:
        if root.defers_inputs and (error is None or isinstance(error, GeneratorExit)):
            closed = True if error else was_closed_early() if self.steps else False
            is_cut_short = closed is not False and self._is_at_work(certain=bool(closed))
            outcome = (
                Outcome.CANCELLED if is_cut_short or (error and self._was_closed_at_work()) else Outcome.SUCCESS
            )
        self._settle(outcome, now)
        self.state = RunState.WAITING

    def _is_at_work(self, *, certain: bool) -> bool:
        """Whether below a root that was closed early, or may have been, something goes on that it waited for."""
        for step in list(self.steps.values()):
            is_streamed = step.call is not None and step.call.streamed
            if (is_streamed or (certain and step.is_at_work)) and self._is_whole(step.parent):
                return True
        return False

    def _was_closed_at_work(self) -> bool:
        """Whether a step at work was closed just before the root: an event loop that ends closes all streams."""
        for key in reversed(self.ended_steps):
            if self.closed_steps.get(key, True):
                return key in self.closed_steps
        return False

    def _is_whole(self, parent: object) -> bool:
        """Whether every step between an open one and the root is open; else what ended did without it."""
        for _ in range(len(self.steps)):
            if parent == self.key:
                return True
            above = self.steps.get(parent)
            if above is None:
                return False
            parent = above.parent
        return False

    def _settle(self, outcome: Outcome, now: float) -> None:
        """Settle how the run ended, and the visits that its end cut off."""
        # An error is that of a visit that has ended.
        cut = Outcome.CANCELLED if outcome is Outcome.ERROR else outcome
        asking: list[Scope] = []  # the scopes in which a question is still open
        for interrupt in self.interrupts:
            asking += [each for each in interrupt.scopes if each.outcome is Outcome.INTERRUPTED and each.counts()]
        if asking:
            outcome = worst((outcome, Outcome.INTERRUPTED)) or outcome
        self.outcome = outcome
        self.ended_at = now
        for totals in self.all_totals:
            for visit in totals.visits:
                if visit.parent_scope is None:
                    self._note(visit, outcome)
                elif visit.ended_at is None:
                    self._note(visit, cut)
                if asking and any(visit in scope.line() for scope in asking):
                    self._note(visit, Outcome.INTERRUPTED)
            totals.watch.cut(now)


Outbox = deque[Recording | Run]
"""What is to be done outside the lock: what is to be sent, and the closed runs that are to be reported."""

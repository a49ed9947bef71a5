"""One run: what is known of it, what is final, and when; pure, with the time passed in.

The table that owns the run calls every method under its lock, and no method calls foreign code: what has become
final goes into the outbox, to be sent outside the lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from langchain_ldai._base.guard import Ids
from langchain_ldai._runs.graph_path import Journey
from langchain_ldai._runs.named_nodes import NamedNodes
from langchain_ldai._runs.observing import NO_TRACE
from langchain_ldai._runs.outcome import Outcome, classify, failed_node, was_closed_early, worst
from langchain_ldai._runs.steps import DecisionCall, Interrupt, ModelCall, Scope, Step, StepResult
from langchain_ldai._runs.totals import MetricTotals, Recording, RunReport
from langchain_ldai._tracking.values import Slot, Value

RunState = Literal["open", "waiting", "closed"]
"""Where a run is in its life.

A run is open until its root has ended. Then it waits while a model call is open. Once it is closed, all that is
final is in the outbox, and the table holds the run no more.
"""


@dataclass(slots=True, eq=False)
class Run:
    """One execution of a chain as one handler sees it.

    Args:
        lc_run_id: LangChain's id of the root.
        key: The key of the root, see `key_of`.
        totals: The figures of the handler's AI Config; `None` where it tracks named nodes alone.
        reports: Lists that take the run's report.
        nodes: Its named nodes, `None` where it has none.
        journey: Its way through an agent graph, where the AI Config is one.
        outbox: What has become final and is still to be sent; a run that closes puts itself in at last.

    Attributes:
        state: Where it is in its life.
        last_event: When its last event came, in seconds.
        outcome: How it ended, `None` before its end.
        steps: Its steps by their keys, in the order of their starts; of very many only the latest.
        most_steps: How many steps it may have; of more, the table forgets some that have ended.
        open_calls: How many of the model calls that count have not ended.
        was_closed_at_work: Whether the step that ended last was a stream that its reader closed early. A stream
            that only hands on what it reads does not count.
        notes_every_end: Whether the run looks at the end of each step, even of a plain one that succeeded, since
            an interrupt, a named node or a closed stream has been seen.
        waiting_tools: The tools that were called before the first model call: for which totals, and its key.
        attempts: The repeated attempts of `with_retry` so far, each by its parent and its tag.
        tasks: The latest attempts of LangGraph's tasks.
        interrupts: The interrupts that were raised, without those that a step has caught.
        has_decisions: Whether a decision model was called.
        all_totals: The figures of the handler's AI Config and of its named nodes.
    """

    lc_run_id: object
    key: object
    totals: MetricTotals | None
    reports: Sequence[list[RunReport]]
    nodes: NamedNodes | None
    journey: Journey | None
    outbox: Outbox
    state: RunState = "open"
    last_event: float = 0.0
    outcome: Outcome | None = None
    steps: dict[object, Step] = field(init=False, default_factory=dict)
    most_steps: int = 0
    open_calls: int = 0
    was_closed_at_work: bool = False
    notes_every_end: bool = False
    waiting_tools: list[tuple[MetricTotals, str]] = field(init=False, default_factory=list)
    attempts: set[tuple[object, str]] = field(init=False, default_factory=set)
    tasks: dict[str, Scope] = field(init=False, default_factory=dict)
    interrupts: list[Interrupt] = field(init=False, default_factory=list)
    has_decisions: bool = False
    all_totals: list[MetricTotals] = field(init=False, default_factory=list)

    @property
    def is_ai_run(self) -> bool:
        """Whether a model call that counts has started."""
        return any(totals.model_calls for totals in self.all_totals)

    @property
    def ids(self) -> Ids:
        """Its ids, for the log."""
        return self.totals.ids if self.totals is not None else Ids(self.lc_run_id)

    def __str__(self) -> str:
        totals = self.totals
        counted = "no AI Config" if totals is None else repr(totals.tracker.identity.config_key)
        outcome = (
            "" if self.outcome is None else f", {self.outcome}, model calls: {'yes' if self.is_ai_run else 'no'}"
        )
        trace = NO_TRACE if totals is None else totals.trace
        ids = str(self.ids) if trace.trace_id is None else f"{self.ids}, trace_id={trace.trace_id}"
        return f"counted for {counted}{outcome} [{ids}]"

    def started(self, step: Step) -> None:
        """Take in a step that has started.

        The first model call makes the run an AI run: tools that were called before it are recorded then.
        """
        scope = step.scope
        if step.begins_scope:
            if scope.task and scope.parent_scope is not None:
                if scope.task in self.tasks:
                    self._attempted_again(self.tasks[scope.task])
                self.tasks[scope.task] = scope
            if scope.graph is not None:
                scope.graph.has_tasks = True
            if scope.is_visit and scope.totals:
                scope.totals.visit_started(scope, step.started)
            if scope.is_visit and self.journey and scope.node:
                self.journey.visit_started(scope.node, scope.task, scope.langgraph_step)
        if step.call is not None:
            self._model_started(step, step.call)
        elif step.tool and self.journey is None:
            self._tool_called(step)  # in an agent graph it may be a handoff, which is known when it ends

    def _attempted_again(self, before: Scope) -> None:
        """Note that a task is attempted again: a retry, unless it had been interrupted.

        It is none if the task had succeeded: after a handoff, LangGraph runs it again for its conditional edges.
        """
        if before.outcome is Outcome.SUCCESS:
            return
        if before.totals and before.outcome is not Outcome.INTERRUPTED and before.counts():
            before.totals.retries += 1
        for totals in self.all_totals:
            totals.forget(before)
        before.is_superseded = True
        self.interrupts = [each for each in self.interrupts if not each.is_over()]

    def _model_started(self, step: Step, call: ModelCall) -> None:
        scope = step.scope
        if self.has_decisions:
            calls = [above.call for above in step.lineage()[1:]]
            call.outer = next((above for above in calls if isinstance(above, DecisionCall)), None)
        if isinstance(call, DecisionCall):
            if call.outer is not None and call.may_be_inherited:
                step.call = None
                return
            self.has_decisions = True
        is_own = call.outer is None or call.named != call.outer.model  # else it may have inherited the name
        if call.named and scope.totals and is_own:
            call.model = call.named
            scope.totals.models[call.named] = None
        graph = self.totals if self.journey is not None else None
        call.charged_to = set(filter(None, (scope.totals, graph)))
        for totals in call.charged_to:
            totals.model_calls += 1
            if not totals.times_visits:
                totals.watch.start(step.started)
        self.open_calls += bool(call.charged_to)
        if self.waiting_tools:
            self._record_tools()

    def first_token(self, step: Step, call: ModelCall, now: float) -> None:
        """Note a model call's first chunk that carries something; only the run's first such chunk is recorded."""
        totals, seconds = step.scope.totals, now - step.started
        call.first_token = seconds
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
        """Count a repeated attempt, known by parent and tag: LangChain may give one tag to several steps."""
        if attempt not in self.attempts:
            self.attempts.add(attempt)
            totals.retries += 1

    def _tool_called(self, step: Step) -> None:
        """Note a tool call; it is recorded once a model call has started."""
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
        if error is not None or self.notes_every_end:
            self._note_end(step, error, outcome)
        if step.tool and self.journey is not None and not result.is_handoff:
            self._tool_called(step)
        if step.call is not None:
            self._model_ended(step, step.call, result, now, failed=outcome is Outcome.ERROR)
        is_root = step.parent is None
        if step.begins_scope:
            scope.ended_at = now
            if scope.is_visit and scope.totals and scope.totals.times_visits:
                scope.totals.watch.stop(step.started, now)
            if is_root:
                self._settle(self._outcome_of_root(step, error, outcome), now)
                self.state = "waiting"
            elif self.state == "open" or scope.outcome is None:  # else the run's end has settled it
                self._note_outcome(scope, outcome)
        if self.state == "waiting" and not self.open_calls:
            self.close()
        elif is_root:
            self._hand_out()

    def _model_ended(self, step: Step, call: ModelCall, result: StepResult, now: float, *, failed: bool) -> None:
        if result.model and not call.model and step.scope.totals:
            step.scope.totals.models[result.model] = None
        usage = call.own_usage(result.usage)
        for totals in call.charged_to:
            totals.failed_model_calls += failed
            if not totals.times_visits:
                totals.watch.stop(step.started, now)
            if usage is not None:
                totals.tokens = usage if totals.tokens is None else totals.tokens + usage
        self.open_calls -= bool(call.charged_to)
        call.charged_to = ()  # its step is remembered, and should not keep the totals

    def _note_outcome(self, scope: Scope, outcome: Outcome) -> None:
        """Note how an attempt ended; what is worse stands."""
        scope.outcome = worst(outcome, scope.outcome)
        if self.journey and scope.node and scope.is_visit and scope.counts():
            self.journey.visit_ended(scope.node, scope.task, scope.outcome)

    def _note_end(self, step: Step, error: BaseException | None, outcome: Outcome) -> None:
        """Note what a step's end says of its scope, of interrupts, of streams and of nodes."""
        if step.begins_scope:
            step.scope.raised = id(error)
        if self.interrupts:
            if outcome in (Outcome.SUCCESS, Outcome.ERROR):
                self._forget_caught_interrupts(step, raised=error is not None)
            elif outcome is Outcome.CANCELLED and not isinstance(error, GeneratorExit):
                for interrupt in self.interrupts:
                    interrupt.cut_off(step)
        if outcome is Outcome.INTERRUPTED:
            self._interrupted(step)
        if step.is_at_work or not isinstance(error, GeneratorExit):
            self.was_closed_at_work = isinstance(error, GeneratorExit)
            self.notes_every_end |= self.was_closed_at_work
        if self.nodes and step.has_tasks and self.state == "open":
            self._find_failed_nodes(self.nodes, step, error)

    def _interrupted(self, step: Step) -> None:
        """Note that an interrupt ended a step: one that has come up to the step, else a new one."""
        self.notes_every_end = True
        known = [each for each in self.interrupts if each.came_to is step]
        if not known and (step.parent is None or step.parent.is_open):  # else nobody waits for an answer
            known = [Interrupt()]
            self.interrupts += known
        for each in known:
            each.ended(step)
            step.scope.outcome = worst(Outcome.INTERRUPTED, step.scope.outcome)

    def _forget_caught_interrupts(self, step: Step, *, raised: bool) -> None:
        """Forget the interrupts that a step caught before it ended or raised another error: they stop nothing."""
        scope, left = step.scope, [each for each in self.interrupts if not each.is_caught_by(step, raised=raised)]
        if scope.ended_at is None and len(left) < len(self.interrupts):
            self.interrupts = left
            if scope.outcome is Outcome.INTERRUPTED and not any(scope in each.scopes for each in left):
                scope.outcome = None

    def _find_failed_nodes(self, nodes: NamedNodes, graph: Step, error: BaseException | None) -> None:
        """Note which nodes of a graph that has ended failed, although LangGraph cancels them.

        The graph's error may name the node. If the graph ran out of time, the nodes at work have failed. If it
        succeeded, the nodes have that it went on without.
        """
        name = "" if error is None else failed_node(error)
        is_out_of_time, late = error is not None and name == "", None
        if is_out_of_time:
            tasks = [each for each in self.tasks.values() if each.graph is graph]
            last_step = max((each.langgraph_step for each in tasks), default=0)
            tasks = [each for each in tasks if each.langgraph_step == last_step]
            if any(each.outcome is Outcome.ERROR and each.raised == id(error) for each in tasks):
                return  # a node raised the error; what another raised was handled
            late = max(tasks, key=lambda each: each.ended_at or float("inf"), default=None)
        visits: list[Scope] = []
        for node, totals in nodes.totals.items():
            if totals is not None and name in ("", node):  # "" stands for every node
                for scopes in totals.branches.get(graph.scope, {}).values():
                    visits += [each for each in scopes if each.graph is graph and each in totals.visits]
        failed = [each for each in visits if each.outcome is Outcome.CANCELLED]
        if error is not None:
            failed += [each for each in visits if each.ended_at is None]
        if not failed:  # a sync graph lets a late node, named or not, end first
            failed = [each for each in visits if each is late]
        for visit in failed:
            self._note_outcome(visit, Outcome.ERROR)

    def _outcome_of_root(self, root: Step, error: BaseException | None, outcome: Outcome) -> Outcome:
        """Return how the root ended: a stream is cancelled if its reader closes it while it waits for a step.

        No step waits for one below a step that has ended. Where nobody can see whether the reader closed the
        stream, an open model call that has streamed something says so.
        """
        if not root.defers_inputs or not (error is None or isinstance(error, GeneratorExit)):
            return outcome
        at_work = [step for step in self.open_steps() if step.is_at_work]
        waited_for = [step for step in at_work if all(above.is_open for above in step.lineage()[:-1])]
        closed = bool(waited_for) and (error is not None or was_closed_early())
        if closed is None:
            closed = any(step.call and step.call.streamed for step in waited_for)
        return Outcome.CANCELLED if closed or self.was_closed_at_work else Outcome.SUCCESS

    def _settle(self, outcome: Outcome, now: float) -> None:
        """Settle how the run ended, and how the visits ended that its end cut off."""
        # A visit that raised the run's error has ended. So the error has cut off every visit that has not.
        cut = Outcome.CANCELLED if outcome is Outcome.ERROR else outcome
        asking: list[Scope] = []  # the scopes in which a question is still open
        for interrupt in self.interrupts:
            asking += [each for each in interrupt.scopes if each.outcome is Outcome.INTERRUPTED and each.counts()]
        if asking and outcome is not Outcome.ERROR:
            outcome = Outcome.INTERRUPTED
        self.outcome = outcome
        for totals in self.all_totals:
            for visit in totals.visits:
                if visit.parent_scope is None or visit.ended_at is None:
                    self._note_outcome(visit, outcome if visit.parent_scope is None else cut)
                for scope in asking:
                    if visit in scope.lineage():
                        self._note_outcome(visit, Outcome.INTERRUPTED)
            totals.watch.cut(now)

    def forget_what_lost_its_step(self) -> None:
        """Forget the tasks, the attempts and the interrupts whose steps have been forgotten."""
        self.tasks = {task: scope for task, scope in list(self.tasks.items()) if scope.key in self.steps}
        self.attempts = {attempt for attempt in list(self.attempts) if attempt[0] in self.steps}
        self.interrupts = [each for each in self.interrupts if any(at.key in self.steps for at in each.scopes)]

    def abandon(self, now: float) -> None:
        """Close a run whose end never came, with what is known; one that has just been closed stays as it is."""
        if self.state == "open":
            self._settle(Outcome.ABANDONED, now)
        if self.state != "closed":
            self.close()

    def close(self) -> None:
        """Close an ended run: all that is final goes into the outbox, and nothing after it.

        In an agent graph, the end of a tool says whether it only handed over. A tool that never ended is recorded.
        """
        self.state = "closed"
        for step in self.open_steps() if self.journey is not None else ():
            if step.tool:
                self._tool_called(step)
        self._hand_out()
        self.outbox.append(self)

    def _hand_out(self) -> None:
        """Put what is final into the outbox: how the run ended, and once it is closed the rest."""
        is_closed = self.state == "closed"
        for totals in self.all_totals:
            values = totals.final(self.outcome, is_closed=is_closed)
            if values and totals.model_calls:
                self.outbox.append(Recording(totals, values))

    def open_steps(self) -> list[Step]:
        """Return the steps that have not ended."""
        return [step for step in list(self.steps.values()) if step.is_open]

    def report(self) -> RunReport | None:
        """Return the report of a closed run, or `None` where no model call was started.

        Called outside the lock, once everything due has been recorded.
        """
        if not self.is_ai_run:
            return None
        outcome = self.outcome or Outcome.ABANDONED
        visited = self.nodes.totals.copy() if self.nodes else {}  # a late node may still add itself
        nodes = {name: each.report(outcome) for name, each in visited.items() if each and each.model_calls}
        if self.totals is None:
            return RunReport(root_run_id=self.lc_run_id, outcome=outcome, nodes=nodes)
        return replace(self.totals.report(outcome), nodes=nodes, path=self.journey.path if self.journey else ())


Outbox = deque[Recording | Run]
"""What is left to do outside the lock: recordings to send, and closed runs to report."""

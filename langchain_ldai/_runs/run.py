"""One run: what is known of it, what is final, and when; pure, with the time passed in.

Every method is called under the lock of the table that owns the run, and none calls foreign code: what has
become final is returned as `Due`, to be recorded outside the lock.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from langchain_ldai._base.guard import Ids
from langchain_ldai._runs.graph_path import Journey
from langchain_ldai._runs.reading import Outcome, classify, failed_node, was_closed_early, worst
from langchain_ldai._runs.steps import ModelCall, PlainStep, Scope, Step, parent_of
from langchain_ldai._runs.totals import Account, Due, RunReport, report_of
from langchain_ldai._runs.trackers import Choose
from langchain_ldai._tracking.values import TokenUsage

# To read a member off its enumeration takes longer than most of what is done with it.
_SUCCESS: Final = Outcome.SUCCESS
_ERROR: Final = Outcome.ERROR
_INTERRUPTED: Final = Outcome.INTERRUPTED
_CANCELLED: Final = Outcome.CANCELLED


class Run:
    """One execution of a chain as one handler sees it.

    Args:
        root_run_id: LangChain's id of the root.
        key: What the root is known by, see `key_of`.
        account: The figures of the handler's AI Config; `None` where it tracks named nodes alone.
        collectors: Lists that take the run's report.
        sources: How the AI Configs of its named nodes are chosen, by node name.
        journey: Its way through an agent graph, where the AI Config is one.

    Attributes:
        last_event: When it was heard of last, in seconds.
        accounts: That one and those of its named nodes.
        steps: Those that have started and not ended, by their keys.
        ended_steps: Those that have ended, by their keys, and the key of the parent of each.
        attempts: The repeated attempts of `with_retry` that are counted, each by its parent and its tag.
        is_held: Whether its table still knows it.
        open_tools: In an agent graph the tools that have not ended: whose each is and its key, by steps.
        opening: Held while the account of a named node is opened.
        closed_steps: The streams that were closed one after the other just now, and whether each was at work.
        has_decisions: Whether a decision model was called.
        interrupts: Where an interrupt was raised.
        tasks: The latest attempts of LangGraph's tasks.
    """

    __slots__ = (
        "account",
        "accounts",
        "attempts",
        "closed",
        "closed_steps",
        "collectors",
        "ended_at",
        "ended_steps",
        "has_decisions",
        "has_tool_calls",
        "interrupts",
        "is_ai_run",
        "is_held",
        "journey",
        "key",
        "last_event",
        "nodes",
        "open_tools",
        "opening",
        "outcome",
        "root_run_id",
        "sources",
        "steps",
        "tasks",
    )

    def __init__(
        self,
        root_run_id: object,
        key: object,
        account: Account | None,
        collectors: tuple[list[RunReport], ...],
        sources: Mapping[str, Choose],
        journey: Journey | None,
    ) -> None:
        self.root_run_id = root_run_id
        self.key = key
        self.account = account
        self.accounts = [account] if account else []
        self.collectors = collectors
        self.sources = sources
        self.journey = journey
        self.nodes: dict[str, Account | None] = {}
        self.opening = threading.RLock()
        self.steps: dict[object, Step | PlainStep] = {}
        self.ended_steps: dict[object, object] = {}
        self.attempts: frozenset[tuple[object, str]] = frozenset()
        self.tasks: dict[str, Scope] = {}
        self.closed_steps: dict[object, bool] = {}
        self.has_decisions = False
        self.last_event = 0.0
        self.ended_at: float | None = None
        self.outcome: Outcome | None = None
        self.interrupts: list[Scope] = []
        self.closed = False
        self.is_held = True
        self.is_ai_run = False
        self.has_tool_calls = False
        self.open_tools: dict[object, tuple[Account, str]] = {}

    @property
    def ids(self) -> Ids:
        """What it is found by in the log."""
        return self.account.ids if self.account is not None else Ids(self.root_run_id)

    def __str__(self) -> str:
        counted = repr(self.account.tracker.identity.config_key) if self.account is not None else "no AI Config"
        outcome = (
            "" if self.outcome is None else f", {self.outcome}, model calls: {'yes' if self.is_ai_run else 'no'}"
        )
        return f"counted for {counted}{outcome} [{self.ids}]"

    def add_node(self, node: str, account: Account | None) -> None:
        """Give a named node its account, unless it has one."""
        if self.nodes.setdefault(node, account) is account and account:
            self.accounts.append(account)

    def counted_for(self, account: Account | None) -> Sequence[Account]:
        """Return the accounts that a model call of an account counts for: an agent graph counts its nodes' too."""
        graph = self.account if self.journey is not None else None
        return [each for each in dict.fromkeys((account, graph)) if each]

    def started(self, key: object, step: Step) -> list[Due]:
        """Note what a step that has started tells, and return what became due by it.

        The first model call makes the run an AI run.
        """
        scope = step.scope
        if scope.key == key and scope.ended_at is None:
            self._scope_began(scope, step.started)
        call = step.call
        if call is None:
            return []
        if self.has_decisions:
            call.outer = self.decision_above(step.parent)
        self.has_decisions |= call.is_decision
        if self.closed or not scope.counted:
            return []
        for account in scope.counted:
            account.model_started(step.started)
        self.is_ai_run = True
        return self.tools_due() if self.has_tool_calls else []

    def decision_above(self, key: object) -> ModelCall | None:
        """Return the decision model's call that the step of a key is, or is in; `None` outside one."""
        for _ in range(len(self.steps) + len(self.ended_steps)):
            step = self.steps.get(key)
            if isinstance(step, Step) and step.call is not None and step.call.is_decision:
                return step.call
            above = self.ended_steps.get(key) if step is None else parent_of(step)
            if above is None:
                break
            key = above
        return None

    def first_token(self, step: Step, now: float) -> list[Due]:
        """Note a model call's first chunk that carries something."""
        account = step.scope.account
        due = account.first_token(step.started, now) if account and not self.closed else None
        return [due] if due else []

    def tool_started(self, step: object, account: Account, key: str) -> bool:
        """Note that a tool started, and return whether its call is to be recorded at once.

        In an agent graph it may be a handoff, which is known when it ends.
        """
        if self.journey is None:
            return self._tool_called(account, key)
        self.open_tools[step] = account, key
        return False

    def tool_ended(self, step: object, *, is_handoff: bool) -> tuple[Account, str] | None:
        """Note that a tool of an agent graph ended, and return its call where that is to be recorded at once."""
        call = self.open_tools.pop(step, None)
        return call if call is not None and not is_handoff and self._tool_called(*call) else None

    def _tool_called(self, account: Account, key: str) -> bool:
        """Note a tool call, and return whether it is to be recorded at once, as there was a model call."""
        if self.is_ai_run or self.closed:
            return not self.closed
        account.tools.append(key)
        self.has_tool_calls = True
        return False

    def tools_due(self) -> list[Due]:
        """Return the tool calls that have waited."""
        self.has_tool_calls = False
        found = [
            Due(account.tracker, account.ids, {}, account.tools) for account in self.accounts if account.tools
        ]
        for account in self.accounts:
            account.tools = []
        return found

    def let_go(self) -> None:
        """Note that the table knows the run no more, and forget its steps, which refer back to it.

        Without the circle no run waits for the garbage collector.
        """
        self.is_held = False
        self.steps.clear()
        self.tasks.clear()
        self.interrupts.clear()
        self.closed_steps.clear()
        for account in self.accounts:
            account.visits.clear()

    def ended(
        self,
        key: object,
        step: Step | PlainStep,
        scope: Scope,
        error: BaseException | None,
        usage: TokenUsage | None,
        now: float,
    ) -> list[Due]:
        """Note what a step that has ended tells, and return what became final; the root's end ends the run."""
        outcome = _SUCCESS if error is None else classify(error)
        if outcome is _INTERRUPTED:
            scope.outcome = worst((scope.outcome, outcome))
            self.interrupts.append(scope)
        if isinstance(error, GeneratorExit):
            if next(reversed(self.ended_steps), None) not in self.closed_steps:
                self.closed_steps.clear()
            self.closed_steps[key] = _works(step)
        if self.nodes and self.ended_at is None and outcome is not _CANCELLED:
            self._find_failed_nodes(key, error)
        if not isinstance(step, Step):
            return []
        if step.call is not None:
            usage = step.call.used(usage)
            for account in scope.counted:
                account.model_ended(step.started, now, usage, failed=outcome is _ERROR)
        if key == self.key and self.ended_at is None:
            return self._root_ended(step, error, outcome, now)
        if key == scope.key and scope.ended_at is None:
            self._scope_ended(scope, step.started, outcome, now)
        return self.close() if self.ended_at is not None and not self.calls_are_open() else []

    def abandon(self, now: float) -> list[Due]:
        """Close a run whose end never came, with what is known."""
        if self.ended_at is None:
            self._settle(Outcome.ABANDONED, now)
        return self.close()

    def close(self) -> list[Due]:
        """Close an ended run and return everything that is final; nothing is recorded after it.

        A tool of an agent graph that never ended was called, for all that is known.
        """
        self.closed = True
        for account, key in self.open_tools.values():
            account.tools.append(key)
        found = self.tools_due() if self.open_tools and self.is_ai_run else []
        for account in self.accounts:
            account.settle(self.outcome)
            due = account.final_due()
            if due is not None:
                due.journey = self.journey if account is self.account else None
                found.append(due)
        return found

    def calls_are_open(self) -> bool:
        """Whether a model call that counts has not ended."""
        return any(step.call and step.scope.counted for step in self._open_steps())

    def report(self) -> RunReport | None:
        """Return the report of a closed run, or `None` where no model call was started.

        Called outside the lock, once everything due has been recorded.
        """
        if not self.is_ai_run:
            return None
        outcome = self.outcome or Outcome.ABANDONED
        counted = {name: account for name, account in self.nodes.items() if account and account.model_calls}
        nodes = {name: report_of(account, self.root_run_id, outcome) for name, account in counted.items()}
        path = self.journey.path if self.journey else ()
        return report_of(self.account, self.root_run_id, outcome, nodes, path)

    def _open_steps(self) -> list[Step]:
        return [step for step in list(self.steps.values()) if isinstance(step, Step)]

    def _scope_began(self, scope: Scope, now: float) -> None:
        if scope.task and scope.above is not None:
            before = self.tasks.get(scope.task)
            if before is not None:
                self._again(before)
            self.tasks[scope.task] = scope
        if not scope.is_visit:
            return
        if scope.account:
            scope.account.visit_started(scope, now)
        if self.journey and scope.node:
            self.journey.visit_started(scope.node, scope.task, scope.number)

    def _again(self, before: Scope) -> None:
        """Note that a task is attempted again: a retry, unless it had ended well or was asked something."""
        if before.account and before.outcome not in (_SUCCESS, _INTERRUPTED) and before.counts():
            before.account.retries += 1
        before.is_superseded = True

    def _scope_ended(self, scope: Scope, started: float, outcome: Outcome, now: float) -> None:
        scope.ended_at = now
        if scope.is_visit and scope.account:
            scope.account.visit_ended(started, now)
        if self.ended_at is None or scope.outcome is None:
            self._note(scope, outcome)

    def _note(self, scope: Scope, outcome: Outcome) -> None:
        """Note how an attempt ended; what is worse stands."""
        scope.outcome = outcome if scope.outcome is None else worst((scope.outcome, outcome))
        if self.journey and scope.node and scope.is_visit and scope.counts() and scope.outcome:
            self.journey.visit_ended(scope.node, scope.task, scope.outcome)

    def _find_failed_nodes(self, graph: object, error: BaseException | None) -> None:
        """Note which nodes of a graph that ended failed, though they are, or will be, told to be cancelled.

        They are those that the graph's error names or that were at work when its time was up, and those without
        which it went on.
        """
        name = "" if error is None else failed_node(error)
        if name is None:
            return
        is_out_of_time = error is not None and not name
        if is_out_of_time and any(each.outcome is _ERROR and each.graph == graph for each in self.tasks.values()):
            return  # the error is that of a node
        visits = [
            visit
            for node, account in self.nodes.items()
            for visit in (account.visits if account and name in ("", node) else ())
            if visit.graph == graph
        ]
        failed = [each for each in visits if each.outcome is _CANCELLED or (error and each.ended_at is None)]
        if is_out_of_time and not failed:  # a sync graph waits for a node that is late
            failed = sorted(visits, key=lambda visit: visit.ended_at or 0.0)[-1:]
        for visit in failed:
            self._note(visit, _ERROR)

    def _root_ended(self, root: Step, error: BaseException | None, outcome: Outcome, now: float) -> list[Due]:
        if root.defers_inputs and (error is None or isinstance(error, GeneratorExit)):
            closed = True if error else was_closed_early() if self.steps else False
            is_cut_short = closed is not False and self._is_at_work(certain=bool(closed))
            outcome = _CANCELLED if is_cut_short or (error and self._was_closed_at_work()) else _SUCCESS
        root.scope.ended_at = now
        if root.scope.account:
            root.scope.account.visit_ended(root.started, now)
        self._settle(outcome, now)
        if not self.steps or not self.calls_are_open():
            return self.close()
        return [due for account in self.accounts if (due := account.success_due())]

    def _is_at_work(self, *, certain: bool) -> bool:
        """Whether below a root that was closed early, or may have been, something goes on that it waited for."""
        for step in list(self.steps.values()):
            is_streamed = isinstance(step, Step) and step.call is not None and step.call.streamed
            if (is_streamed or (certain and _works(step))) and self._is_whole(parent_of(step)):
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
            parent = parent_of(above)
        return False

    def _settle(self, outcome: Outcome, now: float) -> None:
        cut = _CANCELLED if outcome is _ERROR else outcome  # an error is that of a visit that has ended
        asking = [scope for scope in self.interrupts if scope.outcome is _INTERRUPTED and scope.counts()]
        if asking:
            outcome = worst((outcome, _INTERRUPTED)) or outcome
        self.outcome = outcome
        self.ended_at = now
        for account in self.accounts:
            for visit in account.visits:
                if visit.above is None:
                    self._note(visit, outcome)
                elif visit.ended_at is None:
                    self._note(visit, cut)
                if any(visit in scope.line() for scope in asking):
                    self._note(visit, _INTERRUPTED)
            account.settle(outcome)
            account.watch.cut(now)


def _works(step: Step | PlainStep) -> bool:
    """Whether an open step is at work, and does not only hand on what other steps bring it."""
    if isinstance(step, Step):
        return step.call is not None or not step.defers_inputs
    return not step[1]


@dataclass(slots=True)
class Batch:
    """What becomes due as runs are given up, and those runs; delivered outside the lock."""

    due: list[Due] = field(default_factory=list)
    closed: list[Run] = field(default_factory=list)

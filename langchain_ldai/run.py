"""One run: what is known of it, what is final, and when; pure, with the time passed in.

Every method is called under the lock of the table that owns the run, and none calls foreign code: what has
become final is returned as `Due`, to be recorded outside the lock.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from langchain_ldai.account import Account, Due
from langchain_ldai.boundary import Ids
from langchain_ldai.journey import Journey
from langchain_ldai.metrics import TokenUsage
from langchain_ldai.outcome import Outcome, classify
from langchain_ldai.report import RunReport, report_of
from langchain_ldai.sources import Choose
from langchain_ldai.steps import PlainStep, Step, parent_of

# To read a member off its enumeration takes longer than most of what is done with it.
_SUCCESS: Final = Outcome.SUCCESS
_ERROR: Final = Outcome.ERROR


class Run:
    """One execution of a chain as one handler sees it.

    Args:
        root_run_id: LangChain's id of the root.
        key: What the root is known by, see `key_of`.
        root_task: LangGraph's task that the root is in, "" outside one.
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
        tasks: LangGraph's tasks that have started, and the key of the latest attempt of each, `None` once that has
            succeeded; one that starts again before is a retry.
    """

    __slots__ = (
        "account",
        "accounts",
        "attempts",
        "closed",
        "collectors",
        "ended_at",
        "ended_steps",
        "has_tool_calls",
        "interrupted",
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
        "root_task",
        "sources",
        "steps",
        "tasks",
    )

    def __init__(
        self,
        root_run_id: object,
        key: object,
        root_task: str,
        account: Account | None,
        collectors: tuple[list[RunReport], ...],
        sources: Mapping[str, Choose],
        journey: Journey | None,
    ) -> None:
        self.root_run_id = root_run_id
        self.key = key
        self.root_task = root_task
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
        self.tasks: dict[str, object] = {}
        self.last_event = 0.0
        self.ended_at: float | None = None
        self.outcome: Outcome | None = None
        self.interrupted = False
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

    def task_again(self, task: str, key: object, parent: object, account: Account | None) -> None:
        """Note a step in a task that others were in before: a new attempt of it, if its parent is in another."""
        above = self.steps.get(parent)  # a parent that has ended is the root
        if task == (self.root_task if above is None else _task_of(above)):
            return
        if account and self.tasks[task] is not None:
            account.retries += 1
        self.tasks[task] = key

    def started(self, step: Step) -> list[Due]:
        """Note what a step that has started tells, and return what became due by it.

        The first model call makes the run an AI run.
        """
        scope = step.scope
        if step.is_visit:
            if scope.account and scope.account.times_visits:
                scope.account.watch.start(step.started)
            if self.journey and scope.node:
                self.journey.visit_started(scope.node, scope.task, scope.number)
        if step.call is None or self.closed or not scope.counted:
            return []
        for account in scope.counted:
            account.model_started(step.started)
        self.is_ai_run = True
        return self.tools_due() if self.has_tool_calls else []

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

    def ended(
        self,
        key: object,
        step: Step | PlainStep,
        error: BaseException | None,
        usage: TokenUsage | None,
        now: float,
    ) -> list[Due]:
        """Note what a step that has ended tells, and return what became final; the root's end ends the run."""
        outcome = _SUCCESS
        if error is not None:
            outcome = classify(error)
            self.interrupted |= outcome is Outcome.INTERRUPTED
        task = _task_of(step)
        if task and outcome is _SUCCESS and self.tasks.get(task) == key:
            self.tasks[task] = None
        if not isinstance(step, Step):
            return []
        if step.call is not None:
            usage = step.call.used(usage)
            for account in step.scope.counted:
                account.model_ended(step.started, now, usage, failed=outcome is _ERROR)
        if step.is_root:
            return self._root_ended(step, outcome, now)
        if step.is_visit:
            self._visit_ended(step, outcome, now)
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

    def _visit_ended(self, step: Step, outcome: Outcome, now: float) -> None:
        scope, account = step.scope, step.scope.account
        if account is None:
            return
        account.outcome = (self.outcome and account.outcome) or outcome  # the former went out when the root ended
        if account.times_visits:
            account.watch.stop(step.started, now)
        if self.journey and scope.node:
            self.journey.visit_ended(scope.node, scope.task, outcome)

    def _root_ended(self, root: Step, outcome: Outcome, now: float) -> list[Due]:
        if outcome is _SUCCESS and self.interrupted:
            outcome = Outcome.INTERRUPTED
        if (
            outcome is _SUCCESS
            and self.steps
            and any(step.call and step.call.streamed and self._is_whole(step) for step in self._open_steps())
        ):
            outcome = Outcome.CANCELLED  # a sync `stream()` closed early ends like a success (fact 72)
        account = root.scope.account
        if account:
            account.outcome = outcome
            if account.times_visits:
                account.watch.stop(root.started, now)
        self._settle(outcome, now)
        if not self.steps or not self.calls_are_open():
            return self.close()
        return [due for account in self.accounts if (due := account.success_due())]

    def _is_whole(self, step: Step) -> bool:
        """Whether every step between an open one and the root is open; else what ended did without it."""
        parent = step.parent
        for _ in range(len(self.steps)):
            if parent == self.key:
                return True
            above = self.steps.get(parent)
            if above is None:
                return False
            parent = parent_of(above)
        return False

    def _settle(self, outcome: Outcome, now: float) -> None:
        self.outcome = outcome
        self.ended_at = now
        for step in self._open_steps() if self.steps else ():
            if step.is_visit and step.scope.account:
                step.scope.account.outcome = outcome
        for account in self.accounts:
            account.watch.cut(now)


def _task_of(step: Step | PlainStep) -> str:
    return step.task if isinstance(step, Step) else step[0]


@dataclass(slots=True)
class Batch:
    """What becomes due as runs are given up, and those runs; delivered outside the lock."""

    due: list[Due] = field(default_factory=list)
    closed: list[Run] = field(default_factory=list)

"""One run: what is known of it, what is final, and when; pure, with the time passed in.

Every method is called under the lock of the table that owns the run, and none calls foreign code: what has
become final is returned as `Due`, to be recorded outside the lock.
"""

from collections.abc import Mapping

from langchain_ldai.account import Account, Due
from langchain_ldai.journey import Journey
from langchain_ldai.metrics import TokenUsage
from langchain_ldai.outcome import Outcome, classify
from langchain_ldai.report import RunReport, report_of
from langchain_ldai.sources import Choose
from langchain_ldai.steps import ModelCall, Place


class Step:
    """One LangChain run at or below the root of a run: a chain, tool, retriever or model call.

    Args:
        run: The run it belongs to.
        key: What it is known by, see `key_of`.
        account: Where its figures go; `None` where nothing tracks them.
        started: When it started, in seconds.
        place: Where in a LangGraph it runs.
        call: The model call that it is, if it is one.
        is_visit: Whether it is the root, or a visit of the account's named node.
        is_task: Whether it is an attempt of its task, and not a step within one.

    Attributes:
        awaits_token: Whether it is a model call that goes on and has had no first token.
    """

    __slots__ = (
        "account",
        "awaits_token",
        "call",
        "is_open",
        "is_task",
        "is_visit",
        "key",
        "place",
        "run",
        "started",
    )

    def __init__(
        self,
        run: "Run",
        key: object,
        account: Account | None,
        started: float,
        place: Place,
        call: ModelCall | None,
        is_visit: bool,
        is_task: bool,
    ) -> None:
        self.run = run
        self.key = key
        self.account = account
        self.started = started
        self.place = place
        self.call = call
        self.is_visit = is_visit
        self.is_task = is_task
        self.is_open = True
        self.awaits_token = call is not None


class Run:
    """One execution of a chain as one handler sees it.

    Args:
        root_run_id: LangChain's id of the root.
        account: The figures of the handler's AI Config; `None` where it tracks named nodes alone.
        now: When it started, in seconds.
        collectors: Lists that take the run's report.
        sources: How the AI Configs of its named nodes are chosen, by node name.
        journey: Its way through an agent graph, where the AI Config is one.

    Attributes:
        steps: Those that have started and not ended.
        is_held: Whether its table still knows it.
        tasks: LangGraph's tasks that have started, and whether they succeeded; one that starts again is a retry.
    """

    __slots__ = (
        "account",
        "closed",
        "collectors",
        "ended_at",
        "has_tool_calls",
        "interrupted",
        "is_ai_run",
        "is_held",
        "journey",
        "last_event",
        "nodes",
        "outcome",
        "root",
        "root_run_id",
        "sources",
        "steps",
        "tasks",
    )

    def __init__(
        self,
        root_run_id: object,
        account: Account | None,
        now: float,
        collectors: tuple[list[RunReport], ...],
        sources: Mapping[str, Choose],
        journey: Journey | None,
    ) -> None:
        self.root_run_id = root_run_id
        self.account = account
        self.collectors = collectors
        self.sources = sources
        self.journey = journey
        self.nodes: dict[str, Account | None] = {}
        self.root: Step | None = None
        self.steps: set[Step] = set()
        self.tasks: dict[str, bool] = {}
        self.last_event = now
        self.ended_at: float | None = None
        self.outcome: Outcome | None = None
        self.interrupted = False
        self.closed = False
        self.is_held = True
        self.is_ai_run = False
        self.has_tool_calls = False

    def add(self, key: object, parent: Step | None, place: Place, call: ModelCall | None, now: float) -> Step:
        """Add a step below its parent, the root where there is none; in a named node it is the node's.

        The first model call makes the run an AI run.
        """
        self.last_event = now
        if parent is not None and place is parent.place:
            step = Step(self, key, parent.account, now, place, call, False, False)
        else:
            step = self._entered(key, parent, place, call, now)
        self.steps.add(step)
        if call is not None and not self.closed:
            for account in self._counted_for(step):
                account.model_started(now)
                self.is_ai_run = True
        return step

    def _entered(self, key: object, parent: Step | None, place: Place, call: ModelCall | None, now: float) -> Step:
        account = parent.account if parent else self.account
        if place.node is not None:
            account = self.nodes[place.node]
        is_visit = parent is None or account is not parent.account
        is_task = bool(place.task) and (parent is None or parent.place.task != place.task)
        step = Step(self, key, account, now, place, call, is_visit, is_task)
        self.root = self.root or step
        if is_task:
            if account and not self.tasks.get(place.task, True):
                account.retries += 1
            self.tasks[place.task] = False
        if is_visit and account:
            account.visit_started(now)
        if is_visit and self.journey and place.node:
            self.journey.visit_started(place.node, place.task, place.step)
        return step

    def first_token(self, step: Step, now: float) -> list[Due]:
        """Note a model call's first chunk that carries something."""
        due = step.account.first_token(step.started, now) if step.account and not self.closed else None
        return [due] if due else []

    def tool_started(self, step: Step, name: str) -> list[Due]:
        """Note that the step is a call of a tool."""
        if step.account is None or self.closed:
            return []
        step.account.tool_called(name)
        self.has_tool_calls = True
        return self.tools_due()

    def tools_due(self) -> list[Due]:
        """Return the tool calls that were not returned before, once the run has a model call."""
        if not self.is_ai_run or not self.has_tool_calls:
            return []
        self.has_tool_calls = False
        return [due for account in self.accounts() if (due := account.tools_due())]

    def let_go(self) -> None:
        """Note that the table knows the run no more, and forget its steps, which refer back to it.

        Without the circle no run waits for the garbage collector.
        """
        self.is_held = False
        self.root = None
        self.steps.clear()

    def end(self, step: Step, error: BaseException | None, usage: TokenUsage | None, now: float) -> list[Due]:
        """End a step and return what became final by it; the root's end ends the run."""
        self.steps.remove(step)
        step.is_open = False
        self.last_event = now
        if self.closed:
            return []
        outcome = Outcome.SUCCESS
        if error is not None:
            outcome = classify(error)
            self.interrupted |= outcome is Outcome.INTERRUPTED
        if step.call is not None:
            for account in self._counted_for(step):
                account.model_ended(step.started, now, usage, failed=outcome is Outcome.ERROR)
        if step is self.root:
            return self._root_ended(step, outcome, now)
        if step.is_visit or step.is_task:
            self._node_ended(step, outcome, now)
        return self.close() if self.ended_at is not None and not self.calls_are_open() else []

    def abandon(self, now: float) -> list[Due]:
        """Close a run whose end never came, with what is known."""
        if self.ended_at is None:
            self._settle(Outcome.ABANDONED, now)
        return self.close()

    def close(self) -> list[Due]:
        """Close an ended run and return everything that is final; nothing is recorded after it."""
        self.closed = True
        found = []
        for account in self.accounts():
            due = account.final_due(self.journey if account is self.account else None)
            if due is not None:
                found.append(due)
        return found

    def calls_are_open(self) -> bool:
        """Whether a model call that counts has not ended."""
        return bool(self.steps) and any(step.call and self._counted_for(step) for step in self.steps)

    def accounts(self) -> list[Account]:
        """Return every account of the run."""
        if not self.nodes:
            return [self.account] if self.account else []
        return [account for account in (self.account, *self.nodes.values()) if account]

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

    def _counted_for(self, step: Step) -> list[Account]:
        """Return the accounts that a model call counts for: an agent graph counts its nodes' calls too."""
        if step.account is None:
            return [self.account] if self.journey and self.account else []
        if self.journey is None or self.account is None or self.account is step.account:
            return [step.account]
        return [step.account, self.account]

    def _node_ended(self, step: Step, outcome: Outcome, now: float) -> None:
        if step.is_task and outcome is Outcome.SUCCESS:
            self.tasks[step.place.task] = True
        if not step.is_visit or step.account is None:
            return
        known = self.outcome and step.account.outcome  # the outcome went out when the root ended
        step.account.visit_ended(step.started, now, known or outcome)
        if self.journey and step.place.node:
            self.journey.visit_ended(step.place.node, step.place.task, outcome)

    def _root_ended(self, root: Step, outcome: Outcome, now: float) -> list[Due]:
        if outcome is Outcome.SUCCESS and self.interrupted:
            outcome = Outcome.INTERRUPTED
        if (
            self.steps
            and outcome is Outcome.SUCCESS
            and any(step.call and step.call.streamed for step in self.steps)
        ):
            outcome = Outcome.CANCELLED  # a sync `stream()` closed early ends like a success (fact 72)
        if root.account:
            root.account.visit_ended(root.started, now, outcome)
        self._settle(outcome, now)
        if not self.calls_are_open():
            return self.close()
        return [due for account in self.accounts() if (due := account.success_due())]

    def _settle(self, outcome: Outcome, now: float) -> None:
        self.outcome = outcome
        self.ended_at = now
        for step in self.steps:
            if step.is_visit and step.account:
                step.account.outcome = outcome
        for account in self.accounts():
            account.cut(now)

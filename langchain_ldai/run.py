"""One run: what is known of it, what is final, and when; pure, with the time passed in.

Every method is called under the lock of the table that owns the run, and none calls foreign code: what has
become final is returned as `Due`, to be recorded outside the lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from langchain_ldai.account import Account, Due
from langchain_ldai.metrics import MetricSummary, TokenUsage
from langchain_ldai.outcome import Outcome, classify


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What became of one run.

    Args:
        run_id: LaunchDarkly's id of the run.
        root_run_id: LangChain's id of the run's root, a `UUID` or what the caller gave as one.
        outcome: How the run ended.
        resumption_token: The text with which another process can add to the run.
        summary: What was recorded.
        config_key: Key of the AI Config.
        model_calls: Model calls that were started.
        failed_model_calls: Those that raised, also where a retry or fallback recovered.
        retries: Repeated attempts that were seen: LangChain's, LangGraph's and tenacity's.
        models: The models that were called, by name, where they say it.
        nodes: The reports of the named LangGraph nodes, by node name.
    """

    run_id: str
    root_run_id: object
    outcome: Outcome
    resumption_token: str = field(repr=False)
    summary: MetricSummary
    config_key: str
    model_calls: int
    failed_model_calls: int
    retries: int
    models: tuple[str, ...] = ()
    nodes: Mapping[str, "RunReport"] = field(default_factory=dict)


class Step:
    """One LangChain run at or below the root of a run: a chain, tool, retriever or model call.

    Args:
        run: The run it belongs to.
        account: Where its figures go; `None` where nothing tracks them.
        started: When it started, in seconds.
        is_visit: Whether it is the root, or a visit of the account's named node.
    """

    __slots__ = (
        "account",
        "first_token_seen",
        "is_model",
        "is_visit",
        "model",
        "run",
        "run_id",
        "started",
        "streamed",
        "task",
    )

    def __init__(
        self, run: "Run", run_id: object, account: Account | None, started: float, *, is_visit: bool, task: str
    ) -> None:
        self.run = run
        self.run_id = run_id
        self.account = account
        self.started = started
        self.is_visit = is_visit
        self.task = task
        self.is_model = False
        self.model = ""
        self.streamed = False
        self.first_token_seen = False


class Run:
    """One execution of a chain as one handler sees it.

    Args:
        root_run_id: LangChain's id of the root.
        account: The figures of the handler's AI Config; `None` where it tracks named nodes alone.
        now: When it started, in seconds.
        collectors: Lists that take the run's report.
    """

    __slots__ = (
        "account",
        "closed",
        "collectors",
        "ended_at",
        "failed_tasks",
        "interrupted",
        "last_event",
        "nodes",
        "outcome",
        "root_run_id",
        "steps",
    )

    def __init__(
        self,
        root_run_id: object,
        account: Account | None,
        now: float,
        collectors: tuple[list[RunReport], ...],
    ) -> None:
        self.root_run_id = root_run_id
        self.account = account
        self.collectors = collectors
        self.nodes: dict[str, Account | None] = {}
        self.steps: dict[object, Step] = {}
        self.failed_tasks: set[str] = set()
        self.last_event = now
        self.ended_at: float | None = None
        self.outcome: Outcome | None = None
        self.interrupted = False
        self.closed = False

    def add(self, run_id: object, parent: Step | None, node: str | None, task: str, now: float) -> Step:
        """Add a step below its parent, the root where there is none; in a named node it is the node's."""
        account = parent.account if parent else self.account
        if node is not None:
            account = self.nodes[node]
        is_visit = parent is None or account is not parent.account
        step = Step(self, run_id, account, now, is_visit=is_visit, task=task)
        if task in self.failed_tasks and account:
            account.retries += 1
        self.steps[run_id] = step
        self.last_event = now
        if step.is_visit and account:
            account.visit_started(now)
        return step

    def model_started(self, step: Step) -> Due | None:
        """Note that the step is a model call."""
        step.is_model = True
        return step.account.model_started(step.started) if step.account and not self.closed else None

    def first_token(self, step: Step, now: float) -> Due | None:
        """Note a model call's first chunk that carries something."""
        step.first_token_seen = True
        return step.account.first_token(step.started, now) if step.account and not self.closed else None

    def tool_started(self, step: Step, name: str) -> Due | None:
        """Note that the step is a call of a tool."""
        return step.account.tool_called(name) if step.account and not self.closed else None

    def end(self, step: Step, error: BaseException | None, usage: TokenUsage | None, now: float) -> list[Due]:
        """End a step and return what became final by it; the root's end ends the run."""
        del self.steps[step.run_id]
        self.last_event = now
        if self.closed:
            return []
        outcome = classify(error) if error else Outcome.SUCCESS
        self.interrupted |= outcome is Outcome.INTERRUPTED
        if outcome is Outcome.ERROR and step.task:
            self.failed_tasks.add(step.task)
        if step.account and step.is_model:
            step.account.model_ended(step.started, now, usage, failed=outcome is Outcome.ERROR)
        if step.run_id == self.root_run_id and self.ended_at is None:
            return self._root_ended(step, outcome, now)
        if step.is_visit and step.account:
            known = self.outcome and step.account.outcome  # the outcome went out when the root ended
            step.account.visit_ended(step.started, now, known or outcome)
        return self.close() if self.ended_at is not None and not self.calls_are_open() else []

    def _root_ended(self, root: Step, outcome: Outcome, now: float) -> list[Due]:
        if outcome is Outcome.SUCCESS and self.interrupted:
            outcome = Outcome.INTERRUPTED
        if outcome is Outcome.SUCCESS and any(step.streamed for step in self.steps.values()):
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
        for step in self.steps.values():
            if step.is_visit and step.account:
                step.account.outcome = outcome
        for account in self.accounts():
            account.cut(now)

    def abandon(self, now: float) -> list[Due]:
        """Close a run whose end never came, with what is known."""
        if self.ended_at is None:
            self._settle(Outcome.ABANDONED, now)
        return self.close()

    def close(self) -> list[Due]:
        """Close an ended run and return everything that is final; nothing is recorded after it."""
        if self.closed:
            return []
        self.closed = True
        return [due for account in self.accounts() if (due := account.final_due())]

    def calls_are_open(self) -> bool:
        """Whether a model call that counts has not ended."""
        return any(step.is_model and step.account for step in self.steps.values())

    def accounts(self) -> list[Account]:
        """Return every account of the run."""
        return [account for account in (self.account, *self.nodes.values()) if account]

    def report(self) -> RunReport | None:
        """Return the report of a closed run, or `None` where no model call was started.

        Called outside the lock, once everything due has been recorded.
        """
        if not any(account.model_calls for account in self.accounts()):
            return None
        nodes = {name: self._part(node) for name, node in self.nodes.items() if node and node.model_calls}
        return self._part(self.account, nodes)

    def _part(self, account: Account | None, nodes: Mapping[str, RunReport] | None = None) -> RunReport:
        tracker = account.tracker if account else None
        token = tracker.resumption_token if tracker else ""
        return RunReport(
            run_id=tracker.identity.run_id if tracker else "",
            root_run_id=self.root_run_id,
            outcome=(account.outcome if account else self.outcome) or Outcome.ABANDONED,
            resumption_token=token,
            summary=tracker.summary if tracker else MetricSummary(resumption_token=token),
            config_key=tracker.identity.config_key if tracker else "",
            model_calls=account.model_calls if account else 0,
            failed_model_calls=account.failed_model_calls if account else 0,
            retries=account.retries if account else 0,
            models=tuple(account.models) if account else (),
            nodes=nodes or {},
        )

"""The figures of a run and of its named nodes, what is recorded of them, and the report of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from langchain_ldai._base.guard import Ids
from langchain_ldai._runs.observing import NO_TRACE, GatheredExchange, RunEnd, RunObserver, RunSpan, TraceIds
from langchain_ldai._runs.outcome import RECORDED, Outcome, worst
from langchain_ldai._runs.steps import Scope
from langchain_ldai._runs.stopwatch import Stopwatch
from langchain_ldai._runs.trackers import RunTracker
from langchain_ldai._tracking.values import MetricSummary, Slot, TokenUsage, Value


@dataclass(slots=True, eq=False)
class MetricTotals:
    """The figures of one AI Config in one run: of the run itself, or of one of its named nodes.

    Args:
        config: The AI Config that the figures are of, as it was given.
        tracker: Takes the metrics.
        ids: The ids of the run, for the log.
        times_visits: Whether the duration is that of the visits (of the root, or of the node), not of the model
            calls.
        token: The resumption token that is handed out.
        marks: The metadata that the start events of the run, or of the node, get.

    Attributes:
        outcome: How the run, or the node, ended; `None` before its end.
        model_calls: How many model calls have started.
        failed_model_calls: How many of them raised.
        retries: How many repeated attempts were seen.
        models: The names of the models that were called.
        tokens: What the model calls used, `None` where none has said.
        has_first_token: Whether a model call has streamed something.
        visits: The visit that started last, and those beside it.
        branches: The scopes that the visits are, or are in, by the scope around each and its step of a graph.
        watch: Measures the duration.
        exchange: Gathers what the judges are to score; `None` if none was drawn.
        span: Makes the spans; `None` where nothing records them.
        observers: `span` and `exchange`, without one that is `None`.
    """

    config: object
    tracker: RunTracker
    ids: Ids
    times_visits: bool
    token: str
    marks: Mapping[str, str]
    outcome: Outcome | None = None
    model_calls: int = 0
    failed_model_calls: int = 0
    retries: int = 0
    models: dict[str, None] = field(default_factory=dict)
    tokens: TokenUsage | None = None
    has_first_token: bool = False
    visits: dict[Scope, None] = field(default_factory=dict)
    branches: dict[Scope | None, dict[object, dict[Scope, None]]] = field(default_factory=dict)
    watch: Stopwatch = field(default_factory=Stopwatch)
    exchange: GatheredExchange | None = None
    span: RunSpan | None = None
    observers: Sequence[RunObserver] = ()

    @property
    def trace(self) -> TraceIds:
        """The ids of its root span."""
        return self.span.trace if self.span is not None else NO_TRACE

    def visit_started(self, visit: Scope, now: float) -> None:
        """Note a visit of the node, or the start of the run; it takes the place of all that it is not beside."""
        self.visits[visit] = None
        while (around := visit.parent_scope) is not None:
            steps, step = self.branches.setdefault(around, {}), (visit.graph, visit.langgraph_step)
            if steps and (len(steps) > 1 or step not in steps or not visit.is_in_step()):
                for each in [each for scopes in steps.values() for each in scopes]:
                    if each is not visit and not each.is_beside(visit):
                        self.forget(each)
            steps.setdefault(step, {})[visit] = None
            visit = around
        if self.times_visits:
            self.watch.start(now)

    def forget(self, scope: Scope) -> None:
        """Forget the visit that a scope is, and those within it: others have taken their place."""
        for each in [each for scopes in self.branches.pop(scope, {}).values() for each in scopes]:
            self.forget(each)
        self.visits.pop(scope, None)
        steps, step = self.branches.get(scope.parent_scope, {}), (scope.graph, scope.langgraph_step)
        if scope in steps.get(step, {}):
            del steps[step][scope]
            if not steps[step]:
                del steps[step]

    def final(self, outcome: Outcome | None, *, is_closed: bool) -> dict[Slot, Value]:
        """Settle how the run, or the node, ended, and return the values that are final.

        Args:
            outcome: The run's outcome, which counts if there was no visit; else the worst of the last visits does.
            is_closed: Whether the run is closed. Only then are the duration and the tokens final.
        """
        if self.outcome is None:
            ended = [visit.outcome for visit in self.visits if visit.outcome and visit.counts()]
            self.outcome = worst(*ended) if ended else outcome
        values: dict[Slot, Value] = {}
        if is_closed:
            self.visits, self.branches = {}, {}
            values["duration_ms"] = int(self.watch.elapsed() * 1000)
            if self.tokens is not None:
                values["tokens"] = self.tokens
        if self.outcome in RECORDED:
            values["success"] = RECORDED[self.outcome]
        return values

    def end(self, outcome: Outcome | None, last_event: float) -> RunEnd:
        """Return what observers are told of the end of the run, or of its node.

        Args:
            outcome: The run's, for totals that have none of their own.
            last_event: When the run's last event came, in seconds.
        """
        ended_as = self.outcome or outcome or Outcome.ABANDONED
        return RunEnd(ended_as, self.model_calls, self.tokens, last_event, self.trace)

    def report(self, outcome: Outcome) -> RunReport:
        """Return the report of the run, or of its node.

        Args:
            outcome: The run's, for totals that have none of their own.
        """
        identity = self.tracker.identity
        return RunReport(
            run_id=identity.run_id,
            root_run_id=self.ids.lc_run_id,
            outcome=self.outcome or outcome,
            resumption_token=self.token,
            summary=replace(self.tracker.summary, resumption_token=self.token),
            config_key=identity.config_key,
            variation_key=identity.variation_key,
            model_calls=self.model_calls,
            failed_model_calls=self.failed_model_calls,
            retries=self.retries,
            models=tuple(self.models),
            judges=self.exchange.judges if self.exchange is not None else (),
            trace_id=self.trace.trace_id,
            span_id=self.trace.span_id,
        )


class Recording(NamedTuple):
    """What has become final under the table's lock and is sent outside it, at once."""

    totals: MetricTotals
    values: Mapping[Slot, Value]
    tool_calls: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What became of one run.

    Args:
        run_id: LaunchDarkly's id of the run, "" where only named nodes are tracked.
        root_run_id: LangChain's id of the run's root, a `UUID` or what the caller gave as one.
        outcome: How the run ended.
        resumption_token: The text with which another process can add to the run; sealed, where the handler has a
            sealer, and so is that of `summary`.
        summary: What was recorded, or with a ledger what was handed to it: a claim may be refused later.
        config_key: Key of the AI Config, "" where only named nodes are tracked.
        variation_key: Key of the variation that was served, "" where there is none.
        model_calls: How many model calls have started.
        failed_model_calls: How many of them raised, also where a retry or fallback recovered.
        retries: How many repeated attempts were seen: of `with_retry`, LangGraph's retry policies and tenacity.
            Those of middleware look like further calls.
        models: The names of the models that were called, where they say it.
        nodes: The reports of the named LangGraph nodes, by node name.
        path: The nodes of an agent graph that were visited, in order.
        judges: The keys of the judges that were drawn for the run. They score it only if it is a success.
        trace_id: The trace of the run's root span, in hex; `None` where `spans` is not set or nothing records.
        span_id: The root span itself, in hex.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> handler = LdAiHandler(ai.completion_config("support-bot", context))
        >>> with handler.collect_runs() as runs:
        ...     answer = FakeListChatModel(responses=["Hold the button"]).invoke("How?", {"callbacks": [handler]})
        >>> runs[0].outcome.value, runs[0].model_calls, runs[0].summary.success
        ('success', 1, True)
    """

    run_id: str = ""
    root_run_id: object
    outcome: Outcome
    resumption_token: str = field(default="", repr=False)
    summary: MetricSummary = field(default_factory=lambda: MetricSummary(resumption_token=""))
    config_key: str = ""
    variation_key: str = ""
    model_calls: int = 0
    failed_model_calls: int = 0
    retries: int = 0
    models: tuple[str, ...] = ()
    nodes: Mapping[str, RunReport] = field(default_factory=dict, hash=False)
    path: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    trace_id: str | None = None
    span_id: str | None = None

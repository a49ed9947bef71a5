"""What became of one run, for whoever asks; plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from langchain_ldai.account import Account
from langchain_ldai.metrics import MetricSummary
from langchain_ldai.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What became of one run.

    Args:
        run_id: LaunchDarkly's id of the run; "" as `config_key` is, where only named nodes are tracked.
        root_run_id: LangChain's id of the run's root, a `UUID` or what the caller gave as one.
        outcome: How the run ended.
        resumption_token: The text with which another process can add to the run; sealed, where the handler has a
            sealer, and so is that of `summary`.
        summary: What was recorded, or with a ledger what was handed to it: a claim may be refused later.
        config_key: Key of the AI Config.
        model_calls: Model calls that were started.
        failed_model_calls: Those that raised, also where a retry or fallback recovered.
        retries: Repeated attempts that were seen: of `with_retry`, LangGraph's retry policies and tenacity; not
            those of middleware, which look like further calls.
        models: The models that were called, by name, where they say it.
        nodes: The reports of the named LangGraph nodes, by node name.
        path: The nodes of an agent graph that were visited, in order.
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
    path: tuple[str, ...] = ()


def report_of(
    account: Account | None,
    root_run_id: object,
    outcome: Outcome,
    nodes: Mapping[str, RunReport] | None = None,
    path: tuple[str, ...] = (),
) -> RunReport:
    """Return the report of a run, or of one of its nodes, from its account.

    Args:
        account: The figures; `None` for a run that is tracked by its nodes alone.
        root_run_id: LangChain's id of the run's root.
        outcome: The run's outcome, for an account that has none of its own.
        nodes: The reports of its named nodes.
        path: Its way through an agent graph.
    """
    if account is None:
        return RunReport(
            run_id="",
            root_run_id=root_run_id,
            outcome=outcome,
            resumption_token="",
            summary=MetricSummary(resumption_token=""),
            config_key="",
            model_calls=0,
            failed_model_calls=0,
            retries=0,
            nodes=nodes or {},
        )
    identity = account.tracker.identity
    return RunReport(
        run_id=identity.run_id,
        root_run_id=root_run_id,
        outcome=account.outcome or outcome,
        resumption_token=account.token,
        summary=replace(account.tracker.summary, resumption_token=account.token),
        config_key=identity.config_key,
        model_calls=account.model_calls,
        failed_model_calls=account.failed_model_calls,
        retries=account.retries,
        models=tuple(account.models),
        nodes=nodes or {},
        path=path,
    )

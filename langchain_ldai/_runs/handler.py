"""`LdAiHandler`: what LangChain calls, and what the user sees of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, cast

from langchain_core.callbacks import BaseCallbackHandler

from langchain_ldai._base.forks import OfOneProcess
from langchain_ldai._base.options import check_count, check_function, check_seconds
from langchain_ldai._runs.config_sources import ConfigSource
from langchain_ldai._runs.first_token import carries_content, event_carries_content
from langchain_ldai._runs.marked_runs import MarkedRuns
from langchain_ldai._runs.named_nodes import NODE
from langchain_ldai._runs.observing import RunJudges, RunSpans, check_judges, check_span_maker
from langchain_ldai._runs.recorder import Collector, RunRecorder, StepKind, current_collectors, open_collectors
from langchain_ldai._runs.totals import MetricTotals, RunReport
from langchain_ldai._runs.tracker_factory import DurationMode, RunIds, Sealer, TrackerFactory
from langchain_ldai._runs.trackers import GraphRunTracker
from langchain_ldai._tracking.tracker import LdAiConfigTracker

if TYPE_CHECKING:
    from langchain_core.outputs import ChatGenerationChunk, GenerationChunk
    from langchain_core.runnables import RunnableConfig
    from tenacity import RetryCallState

_MODEL_TYPE: Final = "ls_model_type"
_MODEL_RUNS: Final = (None, "llm")
"""The run types with which LangChain starts a decision model, whose metadata names the type of the model."""

_MANAGER_NAMES: Final = ("copy", "handlers", "items", "parent_run_id")
"""What LangChain and LangGraph look for if `callbacks` is no list, or a config no dictionary."""


class _Absent:
    """An attribute that does not exist. The error says to put the handler into a list. A subclass may have it.

    A `__getattr__` could say so too, but would slow down all other attributes, and each token looks one up.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, handler: object, owner: object) -> NoReturn:
        remedy = "callbacks is a list, pass {'callbacks': [handler]} as the config"
        raise AttributeError(f"LdAiHandler has no attribute {self._name!r}: {remedy}")


_Id = object
"""LangChain's id of a step: a `UUID`, or what the caller gave as one."""

_Tags = list[str] | None


class LdAiHandler(OfOneProcess, BaseCallbackHandler):
    """Reports each run of a chain to LaunchDarkly: pass it in `callbacks=[...]` to any runnable.

    One handler serves any number of runs at once, from any threads and event loops. It runs inline, stores
    no inputs or outputs (but of runs drawn for a judge), never raises into the chain, and writes the
    `ldai_*` keys into the metadata of the run's start events. A `copy` of it is the handler itself.

    Example:
        handler = LdAiHandler(client.completion_config("support-bot", context))
        chain.invoke({"question": "How?"}, {"callbacks": [handler]})

    Args:
        config: The AI Config that the runs are counted for, ours or the official package's; or a function
            from the metadata of a run's root to one (`None`: leave that run alone), so that one handler
            serves many users. `None` where only `nodes` are tracked.
        nodes: AI Configs, or functions, by the names of LangGraph nodes. The handler counts what happens in
            such a node for the node's AI Config and not for `config`.
        on_run_end: The handler calls it with the report of each run, on the thread that ended the run.
        duration: What the duration measures: "model", the time with a model call in flight, or "run", the
            time from the root's start to its end.
        resume: Whether a `ldai_resumption_token` in a run's metadata continues that run of `config`. A named
            node opens a run of its own in each part.
        run_ids: Where a run's `runId` comes from: "new" for a new one, "root" for the id of the run's root in
            LangChain, or a function from the metadata of the root, or node, to an id (`None`: a new one). A
            server that repeats a run, in whichever process, then repeats its id.
        sealer: A `TokenSealer`. The handler then hands out sealed tokens, in the metadata and in reports, which
            you may give to clients that you do not trust, and `resume` takes a sealed one. The metadata names no
            AI Config. Trackers inside the process keep the plain token.
        judges: A `langchain_ldai.judges.Judges`, which has the judges of each AI Config score a share of its runs.
            Question and answer are kept for the runs that are drawn, until they are scored.
        spans: A `langchain_ldai.spans.Spans`, which makes OpenTelemetry spans: of each run, and of its model calls
            and tools. Or "mark", where another package makes spans of them, for a `MarkingExporter`.
        max_open_runs: How many runs may be open. One more closes the oldest as abandoned.
        run_timeout: Seconds. The handler closes a run as abandoned in which nothing starts or ends for so long.

    Raises:
        TypeError: If something else is given for an AI Config, or one that cannot be resumed although `resume` is
            set, or if an option is of another type.
        ValueError: If an option has a value it cannot have.
    """

    run_inline = True

    def __init__(
        self,
        config: ConfigSource | None,
        *,
        nodes: Mapping[str, ConfigSource] | None = None,
        on_run_end: Callable[[RunReport], object] | None = None,
        duration: DurationMode = "model",
        resume: bool = False,
        run_ids: RunIds = "new",
        sealer: Sealer | None = None,
        judges: RunJudges | None = None,
        spans: RunSpans | Literal["mark"] | None = None,
        max_open_runs: int = 10_000,
        run_timeout: float = 3600.0,
    ) -> None:
        check_function("on_run_end", on_run_end, "the report of the run")
        check_count("max_open_runs", max_open_runs)
        check_seconds("run_timeout", run_timeout)
        check_judges(judges)
        check_span_maker(spans)
        spans = MarkedRuns() if spans == "mark" else spans
        trackers = TrackerFactory(
            config=config,
            nodes=nodes or {},
            duration=duration,
            resume=resume,
            run_ids=run_ids,
            sealer=sealer,
            judges=judges,
            spans=spans,
        )
        self._marked_runs = spans if isinstance(spans, MarkedRuns) else None
        self._recorder = RunRecorder(trackers, on_run_end, max_open_runs=max_open_runs, run_timeout=run_timeout)
        self._awaiting = self._recorder.table.awaiting
        counted_for = [] if config is None else [_named(config)]
        counted_for += [f"{node!r}: {_named(source)}" for node, source in trackers.nodes.items()]
        self._counted_for = ", ".join(counted_for)

    def __repr__(self) -> str:  # it may come into a log, and shows no prompt
        return f"LdAiHandler({self._counted_for}, open_runs={self.open_runs})"

    @contextmanager
    def collect_runs(self) -> Generator[list[RunReport]]:
        """Collect the reports of this handler's runs that start in the block.

        A run that ends after the block is added to the list when it ends. Of nested blocks each gets every run.

        Example:
            with handler.collect_runs() as runs:
                chain.invoke({"question": "How?"}, {"callbacks": [handler]})
            print(runs[0].outcome)
        """
        collector = Collector(self._recorder)
        current_collectors.set((*open_collectors(), collector))
        try:
            yield collector.reports
            if not collector.has_seen_run:
                self._recorder.tell_of_no_run()
        finally:
            collector.is_open = False
            current_collectors.set(open_collectors())

    @staticmethod
    def current_config(runnable_config: RunnableConfig) -> Any:  # noqa: ANN401  of whatever make it was given
        """Return the AI Config that the current run, or named node, is counted for; `None` outside one.

        It was evaluated once for the run. Build the prompt and the model from it, and what you serve is what is
        counted.

        Example:
            def prompt(state, config):
                return LdAiHandler.current_config(config).messages

        Args:
            runnable_config: The config that a node, a tool or a `RunnableLambda` was called with, or
                `langgraph.config.get_config()`, as in middleware.

        Returns:
            The very object that the handler was given, or that its function returned, also if it is of the
            official package. A run of an agent graph has one only in the agents' nodes: the agent's.

        Raises:
            TypeError: If it is another object.
        """
        totals = _current_totals(runnable_config)
        return None if totals is None else totals.config

    @staticmethod
    def current_tracker(runnable_config: RunnableConfig) -> LdAiConfigTracker | None:
        """Return the tracker of the current run, or named node; `None` outside one.

        Example:
            def check(answer, config):
                LdAiHandler.current_tracker(config).track_feedback("positive")

        Args:
            runnable_config: The config that a node, a tool or a `RunnableLambda` was called with, or
                `langgraph.config.get_config()`, as in middleware.

        Returns:
            The tracker to record on; of the official package, if the AI Config is. A run of an agent graph has one
            only in the agents' nodes.

        Raises:
            TypeError: If it is another object.
        """
        totals = _current_totals(runnable_config)
        if totals is None:
            return None
        return cast(LdAiConfigTracker, getattr(totals.tracker, "original", totals.tracker))

    def flush(self, timeout: float | None = None) -> bool:
        """Close the runs that have ended but wait for a model call, and those silent for `run_timeout`.

        First Python collects the streams that the program dropped, so that they end. No run that is at work is
        closed.

        Args:
            timeout: The most seconds that this may take: to end such streams, and to wait for claims that are on
                their way to a ledger; `None` for no limit.

        Returns:
            Whether nothing is left to do.
        """
        return self._recorder.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Do what `flush` does, then close every open run as abandoned: for the end of a process.

        The handler sends what it knows of those runs and ignores what they do later. You may go on using it: it
        reports the runs that start after this.

        Args:
            timeout: As for `flush`.

        Returns:
            Whether nothing is left to do.

        Example:
            >>> handler = LdAiHandler(ai.completion_config("support-bot", context))
            >>> handler.close(5), ai.close(5)  # then close the LaunchDarkly client
            (True, True)
        """
        return self._recorder.flush(timeout, closes_all=True)

    @property
    def open_runs(self) -> int:
        """How many runs the handler holds: the open ones, and those that have ended but wait for a model call."""
        return len(self._recorder.table)

    # LangChain calls these at each step and each token. So they name the arguments that it always gives: for
    # others Python fills a dictionary.

    def on_chain_start(
        self,
        serialized: object,
        inputs: object,
        *,
        run_id: _Id,
        parent_run_id: _Id = None,
        tags: _Tags = None,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
        run_type: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Open a run, or note a step of one, which may be a decision model's call."""
        kind: StepKind | None = None
        if metadata and _MODEL_TYPE in metadata and run_type in _MODEL_RUNS:
            kind, kwargs["run_type"] = "decision", run_type
        self._recorder.start(kind, run_id, parent_run_id, tags, metadata, kwargs)

    def on_retriever_start(
        self, serialized: object, query: object, *, run_id: _Id, parent_run_id: _Id = None, **kwargs: Any
    ) -> None:
        """Open a run, or note a step of one."""
        self._recorder.start(None, run_id, parent_run_id, kwargs.get("tags"), kwargs.get("metadata"), kwargs)

    def on_chat_model_start(
        self, serialized: object, messages: object, *, run_id: _Id, parent_run_id: _Id = None, **kwargs: Any
    ) -> None:
        """Note a model call."""
        kwargs["asked"] = messages
        self._recorder.start("model", run_id, parent_run_id, kwargs.get("tags"), kwargs.get("metadata"), kwargs)

    def on_llm_start(
        self, serialized: object, prompts: object, *, run_id: _Id, parent_run_id: _Id = None, **kwargs: Any
    ) -> None:
        """Note a model call."""
        kwargs["asked"] = prompts
        self._recorder.start("model", run_id, parent_run_id, kwargs.get("tags"), kwargs.get("metadata"), kwargs)

    def on_tool_start(
        self, serialized: object, input_str: object, *, run_id: _Id, parent_run_id: _Id = None, **kwargs: Any
    ) -> None:
        """Note a tool call."""
        kwargs |= {"serialized": serialized, "asked": input_str}
        self._recorder.start("tool", run_id, parent_run_id, kwargs.get("tags"), kwargs.get("metadata"), kwargs)

    # Each token calls one of the next two. So they do the work of `key_of` themselves.

    def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],
        *,
        chunk: GenerationChunk | ChatGenerationChunk | None = None,
        run_id: _Id,
        parent_run_id: _Id = None,
        tags: _Tags = None,
        **kwargs: Any,
    ) -> None:
        """Note a model call's first chunk that carries something; a later chunk costs a look-up at most."""
        if self._awaiting and (step := self._awaiting.get(getattr(run_id, "int", run_id))):
            self._recorder.chunk(run_id, step, carries_content, token, chunk)

    def on_stream_event(
        self,
        event: object,
        *,
        run_id: _Id,
        parent_run_id: _Id = None,
        tags: _Tags = None,
        **kwargs: Any,
    ) -> None:
        """Note a model call's first chunk that carries something, of the v3 protocol (fact 31)."""
        if self._awaiting and (step := self._awaiting.get(getattr(run_id, "int", run_id))):
            self._recorder.chunk(run_id, step, event_carries_content, event)

    def on_chain_end(
        self, outputs: object, *, run_id: _Id, parent_run_id: _Id = None, tags: _Tags = None, **kwargs: Any
    ) -> None:
        """End a step, and with the root its run."""
        self._recorder.end(run_id, None, outputs)

    def on_llm_end(self, response: object, *, run_id: _Id, **kwargs: Any) -> None:
        """Note the end of a model call and what it used."""
        self._recorder.end(run_id, None, response)

    def on_tool_end(self, output: object, *, run_id: _Id, **kwargs: Any) -> None:
        """End a tool."""
        self._recorder.end(run_id, None, output)

    def on_retriever_end(self, documents: object, *, run_id: _Id, **kwargs: Any) -> None:
        """End a step."""
        self._recorder.end(run_id, None)

    def on_chain_error(self, error: BaseException, *, run_id: _Id, **kwargs: Any) -> None:
        """End a step that failed, and with the root its run."""
        self._recorder.end(run_id, error)

    def on_llm_error(self, error: BaseException, *, run_id: _Id, **kwargs: Any) -> None:
        """End a model call that failed, which tells what it had used (fact 93)."""
        self._recorder.end(run_id, error, kwargs.get("response"))

    def on_tool_error(self, error: BaseException, *, run_id: _Id, **kwargs: Any) -> None:
        """End a tool that failed."""
        self._recorder.end(run_id, error)

    def on_retriever_error(self, error: BaseException, *, run_id: _Id, **kwargs: Any) -> None:
        """End a step that failed."""
        self._recorder.end(run_id, error)

    def on_retry(self, retry_state: RetryCallState, *, run_id: _Id, **kwargs: Any) -> None:
        """Count a repeated attempt within a model call (fact 47)."""
        self._recorder.retried(run_id)

    if not TYPE_CHECKING:  # to a type checker they would exist
        copy, handlers, items, parent_run_id = map(_Absent, _MANAGER_NAMES)

    def __hash__(self) -> int:
        """Return 0, so that the handler comes first in a set: LangChain merges handlers as sets (fact 175)."""
        return 0


def _named(source: ConfigSource) -> str:
    """Return the key of an AI Config, or the name of a function to one."""
    key = getattr(source, "key", None)
    return repr(key) if isinstance(key, str) else getattr(source, "__qualname__", type(source).__name__)


def _current_totals(runnable_config: RunnableConfig) -> MetricTotals | None:
    """Return the totals that a runnable's config leads to, of the first handler that counts its run."""
    if not isinstance(runnable_config, Mapping):
        raise TypeError(
            f"a run is found in LangChain's config, which is a dictionary, not {type(runnable_config).__name__}: "
            "pass the config that the node or tool was called with, or langgraph.config.get_config()"
        )
    manager = runnable_config.get("callbacks")
    lc_run_id = getattr(manager, "parent_run_id", None)
    handlers = getattr(manager, "handlers", ()) if lc_run_id is not None else ()
    # Not by its class: a second copy of the package has a class of its own.
    recorders: list[Any] = [getattr(each, "_recorder", None) for each in handlers]
    recorders = [each for each in recorders if hasattr(each, "totals_at")]
    for recorder in recorders:
        totals: MetricTotals | None = recorder.totals_at(lc_run_id)
        if totals is not None:
            return None if isinstance(totals.tracker, GraphRunTracker) else totals
    node = (runnable_config.get("metadata") or {}).get(NODE)
    for recorder in recorders if isinstance(node, str) else ():
        recorder.tell_of_unnamed_node(lc_run_id, node)
    return None

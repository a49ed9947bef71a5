"""What sees a handler's runs beside their metrics: judges, which gather what they score, and spans."""

from __future__ import annotations

from collections.abc import Mapping
from reprlib import repr as short_repr
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from langchain_ldai._base.options import check_instance
from langchain_ldai._runs.outcome import Outcome
from langchain_ldai._runs.steps import Step, StepResult
from langchain_ldai._runs.trackers import RunTracker
from langchain_ldai._tracking.values import TokenUsage


class TraceIds(NamedTuple):
    """The ids of a root span, in hex; both are `None` where none is recorded."""

    trace_id: str | None = None
    span_id: str | None = None


NO_TRACE: Final = TraceIds()


class RunEnd(NamedTuple):
    """The end of a run, or of one of its named nodes.

    Args:
        outcome: How it ended.
        model_calls: How many model calls it made.
        tokens: What its model calls used, `None` where none has said.
        last_event: When the run's last event came, in seconds of `monotonic()`.
        trace: The ids of its root span.
    """

    outcome: Outcome
    model_calls: int
    tokens: TokenUsage | None
    last_event: float
    trace: TraceIds


class RunObserver(Protocol):
    """Sees what one run, or one of its named nodes, does.

    The recorder calls it outside its lock. If the run has steps in several threads, these call it at once. The
    recorder catches what the observer raises.

    Attributes:
        lost: The log message if the observer raises: what is lost.
    """

    lost: ClassVar[str]

    def step_started(self, step: Step, told: Mapping[str, Any]) -> None:
        """Take a model call or a tool call that starts.

        Args:
            step: The step: it has a `call`, or else it is a tool's.
            told: What LangChain tells of it: the arguments of the callback, and as "asked" what a model is asked
                (lists of messages, or prompts) or the text that a tool is given.
        """

    def step_ended(self, step: Step, output: object, error: BaseException | None, result: StepResult) -> None:
        """Take the end of a model call, of a tool call, and of any step that began a scope.

        Args:
            step: The step.
            output: What it gave back: a model call its result, or the partial result of a failure.
            error: What it raised, `None` where it ended well.
            result: What was read from a model call's result.
        """

    def run_closed(self, end: RunEnd) -> None:
        """Take the end of the run, after which no step of it starts or ends."""


class GatheredExchange(RunObserver, Protocol):
    """Gathers question and answer of one run, or of one named node, for the judges that were drawn for it."""

    @property
    def judges(self) -> tuple[str, ...]:
        """The keys of the judges."""


class RunJudges(Protocol):
    """Draws judges for runs, as `langchain_ldai.judges.Judges` does."""

    def draw(self, config: object, tracker: RunTracker, token: str) -> GatheredExchange | None:
        """Draw judges for a run, and return what gathers the exchange for them; `None` if none was drawn.

        Args:
            config: The AI Config that the run is counted for.
            tracker: The run's tracker.
            token: The resumption token as the handler hands it out.
        """

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until every exchange is scored; return `False` after `timeout` seconds."""


class RunSpan(RunObserver, Protocol):
    """Makes the root span of one run, or of one named node, and below it those of its model calls and tools."""

    @property
    def trace(self) -> TraceIds:
        """The ids of the root span."""

    def marks(self, marks: Mapping[str, str]) -> Mapping[str, str]:
        """Return the metadata that the start events of the run get, made from what those of every run get."""


class RunSpans(Protocol):
    """Makes the spans of runs, as `langchain_ldai.spans.Spans` does."""

    def begin(
        self, config: object, tracker: RunTracker, metadata: Mapping[str, object], parent: RunSpan | None
    ) -> RunSpan | None:
        """Begin the spans of a run, or of a named node; return `None` if nothing records them.

        Args:
            config: The AI Config that it is counted for.
            tracker: Its tracker.
            metadata: The metadata of the step that begins it.
            parent: What `begin` returned for the run that a named node is in; `None` for a run itself.
        """


def check_judges(judges: object) -> None:
    """Raise `TypeError` if an object cannot draw judges."""
    if judges is not None:
        check_instance("judges", judges, "is a langchain_ldai.judges.Judges(client, model=...)", ("draw", "flush"))


def check_span_maker(spans: object) -> None:
    """Raise unless a value is `None`, "mark" or an object that makes spans."""
    if isinstance(spans, str) and spans != "mark":
        raise ValueError(f'spans is "mark" or a langchain_ldai.spans.Spans, not {short_repr(spans)}')
    if spans is not None and spans != "mark":
        expected = 'is "mark" or a langchain_ldai.spans.Spans(), which takes tracer_provider='
        check_instance("spans", spans, expected, ("begin",))

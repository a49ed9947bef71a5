"""The spans of one run, or of one of its named nodes: a root, and below it those of model calls and tool calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import RLock
from time import time_ns
from typing import Any, ClassVar, Final

from opentelemetry.context import Context, get_current
from opentelemetry.trace import Link, SpanKind, Tracer, format_span_id, format_trace_id, set_span_in_context

from langchain_ldai._base.guard import call_each
from langchain_ldai._runs.observing import NO_TRACE, RunEnd, TraceIds
from langchain_ldai._runs.outcome import Outcome
from langchain_ldai._runs.steps import Step, StepResult
from langchain_ldai._runs.trackers import GraphRunTracker, RunTracker, served_by
from langchain_ldai._tracking.values import TokenUsage
from langchain_ldai.spans import _content, _names
from langchain_ldai.spans._ends import Attributes, Failure, SpanEnd
from langchain_ldai.spans._late_span import LateSpan, wall_time
from langchain_ldai.spans._reading import (
    UsageDetails,
    config_attributes,
    model_attributes,
    result_attributes,
    tool_attributes,
    usage_attributes,
    usage_details,
)
from langchain_ldai.spans._served import context_attributes, flag_attributes, run_attributes

MAX_EARLY_TOOLS: Final = 100
"""How many of the tools that were called before the first model call of a run get spans."""


class SharedByRun:
    """What the root spans of a run and of its named nodes share.

    Attributes:
        lock: Held while a span is made. It is reentrant, since whoever is told of a span's start may end the run.
        is_ai_run: Whether a model has been called; before that nothing of the run is recorded.
        early_tools: The tools that were called before that, each with the root span that it belongs to.
    """

    __slots__ = ("early_tools", "is_ai_run", "lock")

    def __init__(self) -> None:
        self.lock = RLock()
        self.is_ai_run = False
        self.early_tools: list[tuple[RootSpan, LateSpan]] = []


class RootSpan:
    """Makes the root span of a run, or of a named node, and the spans below it; see `RunObserver`.

    Its parent is the span that is current where the run starts; a node's is the run's root. No span is ever made
    current. The root is made at the run's first model call, with the start time of the run.

    Args:
        tracer: Makes the spans.
        config: The AI Config of the run.
        tracker: The run's tracker.
        conversation: The id of the conversation that the run is part of, "" when unknown.
        max_content: Characters of an attribute that shows content, 0 where none is to be shown.
        parent: The root span of the run that a named node is in, `None` for a run.
        links: The links of the root span to others.

    Attributes:
        trace: The ids of the root span.
    """

    lost: ClassVar[str] = "A span could not be made or ended, the trace of a run is not complete"

    def __init__(
        self,
        tracer: Tracer,
        config: object,
        tracker: RunTracker,
        *,
        conversation: str,
        max_content: int,
        parent: RootSpan | None,
        links: Sequence[Link] = (),
    ) -> None:
        self._tracer = tracer
        self._config = config
        self._tracker = tracker
        self._conversation: Attributes = {_names.CONVERSATION_ID: conversation} if conversation else {}
        self._max_content = max_content
        self._parent = parent
        self._shared: SharedByRun = SharedByRun() if parent is None else parent._shared
        self._graph = tracker if isinstance(tracker, GraphRunTracker) else None
        name = _names.INVOKE_AGENT if self._graph is None else _names.GRAPH
        self._root = LateSpan(name, SpanKind.INTERNAL, {**self._conversation}, self._shared.lock, links)
        self._around = get_current()
        self._is_made = False
        self._below: Context | None = None  # where calls start: none before the root is made, and after its end
        self._calls: dict[object, tuple[Step, LateSpan]] = {}
        self._details = UsageDetails()
        self._prompt: dict[str, str] = {}
        self._answer: dict[str, str] = {}
        self._ended_at = 0
        self._failure: Failure | None = None
        self.trace: TraceIds = NO_TRACE

    def marks(self, marks: Mapping[str, str]) -> Mapping[str, str]:
        """Return the marks as they are."""
        return marks

    def step_started(self, step: Step, told: Mapping[str, Any]) -> None:
        """Start the span of a call; that of a tool waits for the first model call of the run."""
        shared = self._shared
        with shared.lock:
            if step.call is not None and not shared.is_ai_run:
                self._begin_ai_run()
            if self._is_made and self._below is None:
                return
            asked: Attributes = {}
            call_each([(self._read_asked, step, told, asked), (self._start_call, step, told, asked)])

    def step_ended(self, step: Step, output: object, error: BaseException | None, result: StepResult) -> None:
        """End the span of a call, and note how the run, or a visit of the node, ended."""
        is_end = step.begins_visit and self._below is not None
        is_call = step.key in self._calls
        if not (is_end or is_call):
            return
        now = time_ns()
        failure = None if error is None else Failure.of(error, self._max_content)
        read: Attributes = {}
        ends: list[Sequence[Any]] = []
        if is_call:
            ends = [
                (self._read_result, step, output, result, read),
                (self._end_call, step, failure, read, now),
            ]
        if is_end:
            ends.append((self._note_end, failure, now))
        call_each(ends)

    def run_closed(self, end: RunEnd) -> None:
        """End the root span, and those of the calls that never ended."""
        now = time_ns()
        ended_at = self._ended_at or (self._parent._ended_at if self._parent is not None else 0) or now
        if end.outcome is Outcome.ABANDONED:
            now = ended_at = wall_time(end.last_event)
        failure = self._failure_for(end.outcome)
        with self._shared.lock:
            self._is_made, self._below = True, None
            calls = list(self._calls.values())
            self._calls.clear()
        root_end = SpanEnd.of(end.outcome, failure, self._final_attributes(end.outcome, end.tokens))
        ends = [(span.end, _end_of_open(step, end.outcome, failure), now) for step, span in calls]
        call_each([*ends, (self._root.end, root_end, ended_at)])

    def _begin_ai_run(self) -> None:
        """Make the spans of the tools that were called before the first model call; called under the lock."""
        shared = self._shared
        shared.is_ai_run = True
        early, shared.early_tools = shared.early_tools, []
        for root, span in early:
            if (below := root._context()) is not None:
                span.make(self._tracer, below)

    def _context(self) -> Context | None:
        """Return the context of the root span, which is made if it is not; called under the lock.

        It is `None` where nothing records the span, or after its end.
        """
        if not self._is_made:
            self._make()
        return self._below

    def _make(self) -> None:
        """Make the root span, if something records it."""
        try:
            around = self._around if self._parent is None else self._parent._context()
            if around is None:
                return
            served = served_by(self._tracker)
            attributes = self._root.attributes
            if self._graph is None:
                attributes |= {_names.OPERATION_NAME: _names.INVOKE_AGENT, **config_attributes(self._config)}
            attributes |= {**run_attributes(served), **context_attributes(served)}
            attributes[_names.CONFIG_VERSION] = self._tracker.identity.version
            span = self._root.make(self._tracer, around)
            if not span.is_recording():
                return
            span.add_event(_names.FEATURE_FLAG, flag_attributes(served), self._root.started)
            ids = span.get_span_context()
            self.trace = TraceIds(format_trace_id(ids.trace_id), format_span_id(ids.span_id))
            self._below = set_span_in_context(span, around)
        finally:
            self._is_made = True

    def _span_of(self, step: Step, told: Mapping[str, Any], asked: Attributes) -> LateSpan:
        """Return the span of a call, which is not made yet."""
        if step.call is None:
            attributes, kind = tool_attributes(told), SpanKind.INTERNAL
            name = attributes[_names.TOOL_NAME]
        else:
            attributes, kind = model_attributes(self._config, step.call, told.get("asked")), SpanKind.CLIENT
            name = attributes.get(_names.REQUEST_MODEL, "")
        name = f"{attributes[_names.OPERATION_NAME]} {name}".rstrip()
        given = attributes | self._conversation | asked
        return LateSpan(name, kind, given, self._shared.lock, started=step.started)

    def _read_asked(self, step: Step, told: Mapping[str, Any], asked: Attributes) -> None:
        """Read what a call was asked, if content is to be shown; the root shows that of the first model call."""
        if not self._max_content:
            return
        if step.call is None:
            asked |= _content.arguments_attributes(told, self._max_content)
            return
        prompt = _content.prompt_attributes(told.get("asked"), self._max_content)
        self._prompt = self._prompt or prompt
        asked |= prompt
        asked |= _content.tools_attributes(told, self._max_content)

    def _start_call(self, step: Step, told: Mapping[str, Any], asked: Attributes) -> None:
        """Start the span of a call; called under the lock."""
        shared, call = self._shared, (step, self._span_of(step, told, asked))
        if not shared.is_ai_run:
            if len(shared.early_tools) < MAX_EARLY_TOOLS:
                shared.early_tools.append((self, call[1]))
                self._calls[step.key] = call
        elif (below := self._context()) is not None:
            self._calls[step.key] = call
            call[1].make(self._tracer, below)

    def _read_result(self, step: Step, output: object, result: StepResult, read: Attributes) -> None:
        """Read what the span of a call gets at its end, and keep what the root's gets of it."""
        if step.call is None:
            if self._max_content:
                read |= _content.tool_result_attributes(output, self._max_content)
            return
        details = usage_details(output) if result.usage is not None else UsageDetails()  # not of a cache hit
        read |= result_attributes(step.call, output, result.usage, details)
        with self._shared.lock:
            self._details = self._details.plus(details)
        if self._max_content:
            answer = _content.answer_attributes(output, self._max_content)
            self._answer = answer or self._answer
            read |= answer

    def _end_call(self, step: Step, failure: Failure | None, read: Attributes, at: int) -> None:
        """End the span of a call, unless the run was closed meanwhile."""
        outcome = Outcome.SUCCESS if failure is None else failure.outcome
        with self._shared.lock:
            _, span = self._calls.pop(step.key, (None, None))
        if span is not None:
            span.end(SpanEnd.of(outcome, failure, read), at)

    def _note_end(self, failure: Failure | None, at: int) -> None:
        """Note how the run, or a visit of the node, ended."""
        self._ended_at = at
        self._failure = failure or self._failure

    def _final_attributes(self, outcome: Outcome, tokens: TokenUsage | None) -> Attributes:
        """Return what the root span gets at its end."""
        found: Attributes = {_names.OUTCOME: outcome.value}
        if self._graph is None:
            return found | usage_attributes(tokens, self._details) | self._prompt | self._answer
        if self._graph.journey is not None:
            found[_names.GRAPH_PATH] = "->".join(self._graph.journey.path)
        return found

    def _failure_for(self, outcome: Outcome) -> Failure | None:
        """Return what stopped the run or the node; `None` where the run ended without an error."""
        of_run = self._failure if self._parent is None else self._parent._failure
        for failure in (self._failure, of_run):
            if failure is not None and failure.outcome is outcome:
                return failure
        return None if of_run is None else Failure(outcome)


def _end_of_open(step: Step, outcome: Outcome, failure: Failure | None) -> SpanEnd:
    """Return how the span of a call ends that has not ended with its run.

    Args:
        step: The call.
        outcome: The run's outcome.
        failure: What stopped the run.
    """
    if outcome is not Outcome.SUCCESS:
        return SpanEnd.of(outcome, failure, {})
    is_stream = step.call is not None and step.call.streamed
    return SpanEnd.of(Outcome.CANCELLED if is_stream else Outcome.ABANDONED, None, {})

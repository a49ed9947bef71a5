"""`MarkingExporter`: exports the spans that another package makes, with LaunchDarkly's names on them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from operator import is_
from reprlib import repr as short_repr
from typing import Any, Final

from opentelemetry.trace import Status

from langchain_ldai._base.guard import Ids, Notices
from langchain_ldai._base.options import check_instance
from langchain_ldai._runs.handler import LdAiHandler
from langchain_ldai._runs.marked_runs import MarkedRuns
from langchain_ldai._runs.trackers import Served
from langchain_ldai.spans import _names
from langchain_ldai.spans._marks import Marks, read_marks, text_without_token, without_token
from langchain_ldai.spans._served import context_attributes, flag_attributes, run_attributes

try:
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
except ImportError as _error:
    raise ImportError("MarkingExporter needs opentelemetry-sdk: pip install opentelemetry-sdk") from _error

_log = logging.getLogger(__name__)

_UNKNOWN_RUN: Final = (
    "A span has the marks of a run that no handler of MarkingExporter knows, and is exported without the run's "
    'context [%s]: give the exporter every LdAiHandler, each with spans="mark"'
)


class MarkingExporter(SpanExporter):
    """Exports spans, and gives those of a run the names by which LaunchDarkly finds them.

    Another package makes the spans of chains, models and tools, and puts the metadata of each step on its span:
    OpenInference, OpenLLMetry, LangSmith and Langfuse do. A handler with `spans="mark"` marks the metadata. This
    exporter copies each span that has marks and adds the `launchdarkly.*` attributes, and at the root of a run
    the `feature_flag` event. It exports other spans as they are.

    The resumption token is metadata, too. Whoever has it can add to the run, so it is not exported.

    Args:
        exporter: What exports the spans. Its results and exceptions are those of this exporter.
        handlers: The handlers whose runs are marked.
        keep_token: Whether the resumption token stays on the spans.

    Raises:
        TypeError: If there is no handler, or an argument is of another type.
        ValueError: If a handler was made without `spans="mark"`.

    Example:
        handler = LdAiHandler(config, spans="mark")
        exporter = MarkingExporter(OTLPSpanExporter(), handler)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    """

    def __init__(self, exporter: SpanExporter, *handlers: LdAiHandler, keep_token: bool = False) -> None:
        methods = ("export", "shutdown", "force_flush")
        check_instance("exporter", exporter, "has export(), shutdown() and force_flush()", methods)
        if not isinstance(keep_token, bool):
            raise TypeError(f"keep_token is True or False, not {short_repr(keep_token)}")
        if not handlers:
            raise TypeError('give MarkingExporter the handlers that have spans="mark"')
        self._runs = [_runs_of(handler) for handler in handlers]
        self._exporter = exporter
        self._keeps_token = keep_token
        self._notices = Notices()

    def __repr__(self) -> str:
        return f"MarkingExporter({self._exporter!r})"

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans: those with marks as copies, the others as they are."""
        return self._exporter.export([self._translated(span) for span in spans])

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Have the exporter send what it holds, in `timeout_millis` milliseconds at most."""
        return self._exporter.force_flush(timeout_millis)

    def _translated(self, span: ReadableSpan) -> ReadableSpan:
        attributes: dict[str, Any] = dict(span.attributes or {})
        kept = attributes
        scope = span.instrumentation_scope
        marks = read_marks(attributes, scope.name if scope is not None else "")
        if not self._keeps_token:
            kept, span = without_token(attributes), _without_token_beside(span)
        if marks is None:
            return span if kept == attributes else _Copy(span, kept)
        served = self._served(marks)
        if not served.config_key:  # a sealed run that is not known
            return _Copy(span, {**kept, _names.RUN_ID: marks.run_id})
        added = run_attributes(served)
        if not marks.is_root:
            return _Copy(span, {**kept, **added})
        event = Event(_names.FEATURE_FLAG, flag_attributes(served), span.start_time)
        return _Copy(span, {**kept, **added, **context_attributes(served)}, (event, *span.events))

    def _served(self, marks: Marks) -> Served:
        """Return what a run was served: as a handler knows it, else as far as the marks tell."""
        for runs in self._runs:
            served = runs.served(marks.run_id)
            if served is not None and marks.config_key in ("", served.config_key):
                return served
        self._notices.once(_log, logging.WARNING, "unknown run", _UNKNOWN_RUN, Ids(run_id=marks.run_id))
        return Served(marks.run_id, marks.config_key, marks.variation_key)


class _Copy(ReadableSpan):
    """A copy of a span with other attributes and events; an ended span cannot be changed (fact 163)."""

    def __init__(
        self,
        span: ReadableSpan,
        attributes: Mapping[str, Any] | None,
        events: Sequence[Event] | None = None,
        status: Status | None = None,
    ) -> None:
        super().__init__(
            span.name,
            context=span.get_span_context(),
            parent=span.parent,
            resource=span.resource,
            attributes=attributes,
            events=span.events if events is None else events,
            links=span.links,
            kind=span.kind,
            status=status or span.status,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )
        self._original = span

    @property
    def dropped_attributes(self) -> int:
        """How many attributes of the span were dropped, as they were too many."""
        return self._original.dropped_attributes

    @property
    def dropped_events(self) -> int:
        """How many events were dropped."""
        return self._original.dropped_events

    @property
    def dropped_links(self) -> int:
        """How many links were dropped."""
        return self._original.dropped_links


def _without_token_beside(span: ReadableSpan) -> ReadableSpan:
    """Return a span without the token in its status and events, where the text of an exception may have it."""
    events, told = [_event_without_token(event) for event in span.events], span.status.description or ""
    description = text_without_token(told)
    if description == told and all(map(is_, events, span.events)):
        return span
    return _Copy(span, span.attributes, events, Status(span.status.status_code, description or None))


def _event_without_token(event: Event) -> Event:
    attributes = dict(event.attributes or {})
    kept = without_token(attributes)
    return event if kept == attributes else Event(event.name, kept, event.timestamp)


def _runs_of(handler: LdAiHandler) -> MarkedRuns:
    if not isinstance(handler, LdAiHandler):
        raise TypeError(f"after the exporter MarkingExporter takes LdAiHandlers, not {short_repr(handler)}")
    if handler._marked_runs is None:
        raise ValueError(f'{handler!r} has to mark its runs: make it with spans="mark"')
    return handler._marked_runs

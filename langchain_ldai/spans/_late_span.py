"""A span that can be made late."""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock
from time import monotonic, time_ns

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Tracer

from langchain_ldai.spans._ends import Attributes, SpanEnd
from langchain_ldai.spans._json import as_unicode, sendable


def wall_time(seconds: float) -> int:
    """Return a time of `monotonic()`, in seconds, as nanoseconds since 1970."""
    return time_ns() - int((monotonic() - seconds) * 1e9)


class LateSpan:
    """A span that may be made after what it tells of has started, or even ended, and may never be made.

    Args:
        name: Its name.
        kind: Its kind.
        attributes: What it gets at its start.
        lock: Held while it is made. It is reentrant, since whoever is told of its start may end what it tells of.
        links: Its links to other spans.
        started: When what it tells of started, in seconds of `monotonic()`; `None` for now.

    Attributes:
        attributes: What it gets at its start.
        started: When that was, in nanoseconds since 1970.
    """

    __slots__ = ("_end", "_kind", "_links", "_lock", "_name", "_span", "attributes", "started")

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        lock: RLock,
        links: Sequence[Link] = (),
        started: float | None = None,
    ) -> None:
        self._name = as_unicode(name)  # else an exporter drops the whole batch
        self._kind = kind
        self.attributes = attributes
        self._lock = lock
        self._links = links
        self.started = time_ns() if started is None else wall_time(started)
        self._span: Span | None = None
        self._end: tuple[SpanEnd, int] | None = None

    def make(self, tracer: Tracer, around: Context) -> Span:
        """Start it below the span of a context, and return it."""
        with self._lock:
            told = self._name, around, self._kind, sendable(self.attributes), self._links, self.started
            self._span = span = tracer.start_span(*told)
            if self._end is not None:
                self._end[0].apply(span, self._end[1])
        return span

    def show(self, event: str, attributes: Attributes, at: int) -> None:
        """Give it attributes, and an event that has the same ones; if it is not made, nothing is shown.

        Args:
            event: Name of the event.
            attributes: The attributes.
            at: When the event happened, in nanoseconds since 1970.
        """
        attributes = sendable(attributes)
        if self._span is not None:
            self._span.set_attributes(attributes)
            self._span.add_event(event, attributes, at)

    def end(self, end: SpanEnd, at: int) -> None:
        """End it, once; if it is not made yet, it ends when it is.

        Args:
            end: How it ends.
            at: When, in nanoseconds since 1970; at the earliest when it started.
        """
        at = max(at, self.started)
        with self._lock:
            span = self._span
            if span is None:
                self._end = end, at
        if span is not None:  # outside the lock: an exporter may take its time
            end.apply(span, at)

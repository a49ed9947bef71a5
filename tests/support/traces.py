"""Spans as an exporter gets them, and where they were started and ended."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import Tracer


class Trace(SpanProcessor):
    """Keeps the spans of one provider, and counts how often each started and ended.

    Attributes:
        provider: The provider.
        started: The spans that have started, in order.
    """

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(self)
        self.started: list[Span] = []
        self._news = asyncio.Event()
        self._ends: Counter[int] = Counter()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note that a span starts."""
        self.started.append(span)
        self._news.set()

    def on_end(self, span: ReadableSpan) -> None:
        """Note that a span ends."""
        self._ends[span.context.span_id] += 1

    @property
    def app(self) -> Tracer:
        """The application's own tracer."""
        return self.provider.get_tracer("app")

    @property
    def spans(self) -> list[Span]:
        """The spans that have ended, each once, in the order of their starts."""
        assert set(self._ends.values()) <= {1}
        ended = [span for span in self.started if self._ends[span.context.span_id]]
        return sorted(ended, key=lambda span: span.start_time or 0)

    @property
    def are_all_ended(self) -> bool:
        """Whether each span that started has ended."""
        return len(self.started) == len(self.spans)

    async def wait_for(self, name: str, count: int = 1) -> None:
        """Wait on an event loop until some spans of a name have started there."""
        while [span.name for span in self.started].count(name) < count:
            self._news = asyncio.Event()
            await self._news.wait()

    def paths(self) -> list[str]:
        """Return the names of each span's ancestors and its own."""
        return [self._path(span) for span in self.spans]

    def named(self, name: str) -> list[Span]:
        """Return the spans of a name."""
        return [span for span in self.spans if span.name == name]

    def _path(self, span: ReadableSpan) -> str:
        above = [each for each in self.started if span.parent and each.context.span_id == span.parent.span_id]
        return "/".join([*map(self._path, above), span.name])


def told(span: ReadableSpan) -> tuple[str, Mapping[str, Any]]:
    """Return a span's status and its attributes."""
    return span.status.status_code.name, dict(span.attributes or {})

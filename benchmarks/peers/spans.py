"""An OpenTelemetry exporter that counts spans and drops them."""

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult


class DroppingExporter(SpanExporter):
    """Takes every span that it is given, and sends none."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Count the spans."""
        self.spans += len(spans)
        return SpanExportResult.SUCCESS

    def recorded(self) -> int:
        """Return how many spans were exported."""
        return self.spans

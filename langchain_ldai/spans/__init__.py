"""Spans of a run, in the form that LaunchDarkly shows beside its AI Config; this needs the extra `otel`."""

from typing import TYPE_CHECKING

try:
    import opentelemetry.trace  # noqa: F401
except ImportError as _error:
    raise ImportError('Spans needs opentelemetry-api: pip install "langchain-ldai[otel]"') from _error

from langchain_ldai.spans._spans import Spans

if TYPE_CHECKING:
    from langchain_ldai.spans._marking import MarkingExporter

__all__ = ["MarkingExporter", "Spans"]


if not TYPE_CHECKING:  # for which any name would exist

    def __getattr__(name: str) -> object:
        """Import the exporter once it is used: it alone needs opentelemetry-sdk."""
        if name != "MarkingExporter":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from langchain_ldai.spans._marking import MarkingExporter

        globals()[name] = MarkingExporter
        return MarkingExporter

"""Spans of a run, in the form in which LaunchDarkly shows them beside its AI Config."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_ldai.spans._marking import MarkingExporter

__all__ = ["MarkingExporter"]


if not TYPE_CHECKING:  # for which any name would exist

    def __getattr__(name: str) -> object:
        """Import the exporter once it is used: it alone needs opentelemetry-sdk."""
        if name != "MarkingExporter":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from langchain_ldai.spans._marking import MarkingExporter

        globals()[name] = MarkingExporter
        return MarkingExporter

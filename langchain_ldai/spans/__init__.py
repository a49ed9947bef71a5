"""Spans of a run, in the form that LaunchDarkly shows beside its AI Config; this needs the extra `otel`."""

try:
    import opentelemetry.trace  # noqa: F401
except ImportError as _error:
    raise ImportError('Spans needs opentelemetry-api: pip install "langchain-ldai[otel]"') from _error

from langchain_ldai.spans._spans import Spans

__all__ = ["Spans"]

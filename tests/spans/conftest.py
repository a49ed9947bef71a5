"""A provider of spans, and a handler that makes some."""

import logging
from collections.abc import Callable, Iterator

import pytest
from opentelemetry.context import get_current

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, RunReport
from langchain_ldai.spans import Spans
from tests.support.traces import Trace


@pytest.fixture
def trace(caplog: pytest.LogCaptureFixture) -> Iterator[Trace]:
    """A provider that keeps its spans; at the end each has ended, once, and no span was left current."""
    before, trace = get_current(), Trace()
    with caplog.at_level(logging.WARNING):
        yield trace
    assert trace.are_all_ended
    assert get_current() == before
    assert not [record for record in caplog.get_records("call") if record.name.startswith("opentelemetry.sdk")]


@pytest.fixture
def make_handler(
    trace: Trace, config: LdAiCompletionConfig, reports: list[RunReport]
) -> Callable[..., LdAiHandler]:
    """Return a function to a handler that makes spans, from the options of `Spans` and of the handler."""

    def make(source: object = config, *, spans: dict[str, object] | None = None, **options: object) -> LdAiHandler:
        made = Spans(**{"tracer_provider": trace.provider, **(spans or {})})
        return LdAiHandler(source, spans=made, **{"on_run_end": reports.append, **options})

    return make


@pytest.fixture
def handler(make_handler: Callable[..., LdAiHandler]) -> LdAiHandler:
    """A handler that makes spans, without content."""
    return make_handler()

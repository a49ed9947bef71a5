"""The spans of a judge's run: a root that waits for the score, and has a link to the run that is judged."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from functools import partial
from time import time_ns
from typing import Any

from opentelemetry.context import Context, attach
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from langchain_ldai._runs.observing import RunEnd, RunSpan, TraceIds
from langchain_ldai._runs.trackers import RunTracker
from langchain_ldai._tracking.values import JudgeResult
from langchain_ldai.spans import _names
from langchain_ldai.spans._ends import Attributes
from langchain_ldai.spans._json import cut
from langchain_ldai.spans._run_spans import RootSpan


class JudgeSpans:
    """Makes the spans of one run of a judge, below the span that is current where this is made.

    Args:
        begin: Begins a root span, as `Spans.begin` does.
        judged: The ids of the judged run's root span.
        max_content: Characters of the explanation, 0 where none is to be shown.
    """

    def __init__(self, begin: Callable[..., RootSpan | None], judged: TraceIds, max_content: int) -> None:
        links = [Link(context)] if (context := _span_context(judged)).is_valid else []
        self._begin = begin
        self._make_root = partial(JudgeRoot, links=links)
        self._max_content = max_content
        self._parent = get_current_span().get_span_context()
        self._roots: list[JudgeRoot] = []

    def context(self) -> contextvars.Context:
        """Return a new context, in which nothing is set but the judge's parent span, as the current one."""
        context = contextvars.Context()
        if self._parent.is_valid:
            context.run(attach, set_span_in_context(NonRecordingSpan(self._parent), Context()))
        return context

    def begin(
        self, config: object, tracker: RunTracker, metadata: Mapping[str, object], parent: RunSpan | None
    ) -> RunSpan | None:
        """Do what `Spans.begin` does, for a root that waits for the score.

        A judge's model that is of the caller's own may call several models, each with a root.
        """
        root = self._begin(config, tracker, metadata, parent, self._make_root)
        if isinstance(root, JudgeRoot):
            self._roots.append(root)
        return root

    def scored(self, result: JudgeResult | None) -> None:
        """Show the score that the judge gave, if it gave one, on its last root, and let its roots end."""
        evaluation: Attributes = {}
        if result is not None and result.score is not None:
            evaluation[_names.EVALUATION_NAME] = result.judge_config_key or ""
            evaluation[_names.EVALUATION_SCORE] = result.score
            if result.reasoning and self._max_content:
                evaluation[_names.EVALUATION_EXPLANATION] = cut(result.reasoning, self._max_content)
        for root in self._roots:
            root.release(evaluation if root is self._roots[-1] else {})


class JudgeRoot(RootSpan):
    """The root span of a judge's run, which does not end before it is released."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._end: RunEnd | None = None
        self._is_released = False

    def run_closed(self, end: RunEnd) -> None:
        """End the spans, now or once they are released."""
        with self._shared.lock:
            self._end = end
            ends = self._is_released
        if ends:
            super().run_closed(end)

    def release(self, evaluation: Attributes) -> None:
        """Show a score, if there is one, and let the spans end."""
        if evaluation:
            self._root.show(_names.EVALUATION_RESULT, evaluation, self._ended_at or time_ns())
        with self._shared.lock:
            self._is_released = True
            end = self._end
        if end is not None:
            super().run_closed(end)


def _span_context(ids: TraceIds) -> SpanContext:
    """Return the context of a span, which is not valid where its ids are not known."""
    trace_id, span_id = (int(each or "0", 16) for each in ids)
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))

"""`Spans`: the option of a handler that makes OpenTelemetry spans of its runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib.metadata import version
from reprlib import repr as short_repr
from types import MappingProxyType
from typing import Any, Final

from opentelemetry.trace import NoOpTracer, ProxyTracer, Tracer, TracerProvider, get_tracer_provider

from langchain_ldai._base.forks import OfOneProcess
from langchain_ldai._base.guard import Guard
from langchain_ldai._base.options import check_count, check_function, check_instance, result_of
from langchain_ldai._runs.observing import RunSpan, TraceIds
from langchain_ldai._runs.trackers import RunTracker
from langchain_ldai.spans._judge_spans import JudgeSpans
from langchain_ldai.spans._names import SCOPE
from langchain_ldai.spans._run_spans import RootSpan

_log = logging.getLogger(__name__)

_NO_TRACERS: Final = (ProxyTracer, NoOpTracer)
_CONVERSATION_KEYS: Final = ("thread_id", "session_id")
_NO_CONVERSATION: Final = "The function given for conversation failed, the spans of a run name no conversation"
_ODD_CONVERSATION: Final = "The conversation in the metadata is no text, the spans of a run name no conversation"

_NO_PROVIDER: Final = (
    "Runs get no spans, as no OpenTelemetry tracer provider is set: call "
    "opentelemetry.trace.set_tracer_provider() before the first run, or give Spans(tracer_provider=...) one"
)

Conversation = str | Callable[[Mapping[str, Any]], str | None]
"""The id of a conversation, or a function from the metadata of a run's root to it (`None`: there is none)."""


class Spans(OfOneProcess):
    """Makes OpenTelemetry spans of a handler's runs, in the form that LaunchDarkly shows beside an AI Config.

    A run becomes a span `invoke_agent` below the span that is current where it starts. Below that, each model call
    becomes a span `chat <model>`, and each tool call a span `execute_tool <tool>`. A run that calls no model has
    no spans. Nothing is made while no tracer provider is set; that, and an exporter, are the application's.

    Args:
        capture_content: Whether the spans show prompts, answers, what tools are given and give back, and the texts
            of exceptions.
        max_length: Characters of an attribute that shows content; what is longer is cut.
        conversation: The id of the conversation that a run is part of, or a function from the metadata of the
            run's root to it. By default it is `thread_id` or `session_id` of the metadata.
        tracer_provider: Makes the tracer; by default OpenTelemetry's global one, which may be set later.

    Raises:
        TypeError: If an option is of another type.
        ValueError: If `max_length` is less than 1, or the id of the conversation is empty.

    Example:
        handler = LdAiHandler(config, spans=Spans(conversation=lambda metadata: metadata["chat_id"]))
    """

    def __init__(
        self,
        *,
        capture_content: bool = False,
        max_length: int = 32_768,
        conversation: Conversation | None = None,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        if not isinstance(capture_content, bool):
            raise TypeError(f"capture_content is True or False, not {short_repr(capture_content)}")
        check_count("max_length", max_length)
        if conversation == "":
            raise ValueError("conversation is the id of a conversation, or a function to it, not an empty text")
        if not isinstance(conversation, str):
            check_function("conversation", conversation, "the metadata of the run")
        if tracer_provider is not None:
            check_instance(
                "tracer_provider", tracer_provider, "is an OpenTelemetry TracerProvider", ("get_tracer",)
            )
        self._max_content = max_length if capture_content else 0
        self._conversation = conversation
        self._provider = tracer_provider
        self._tracer: Tracer | None = None
        self._version = version("langchain-ldai")
        self._guard = Guard()
        self._has_told = False

    def __repr__(self) -> str:
        return f"Spans(capture_content={self._max_content > 0})"

    def begin(
        self,
        config: object,
        tracker: RunTracker,
        metadata: Mapping[str, object],
        parent: RunSpan | None,
        make_root: Callable[..., RootSpan] = RootSpan,
    ) -> RootSpan | None:
        """Return what makes the spans of a run, or of a named node, that starts now; a handler calls this.

        Args:
            config: The AI Config that it is counted for.
            tracker: Its tracker.
            metadata: The metadata of the step that begins it.
            parent: What this returned for the run that a named node is in; `None` for a run itself.
            make_root: Makes it.

        Returns:
            `None` where no tracer provider is set.
        """
        tracer = self._tracer
        if tracer is None:
            if self._provider is None:
                # Until one is set, OpenTelemetry's stand-in, which asks for it.
                self._provider = get_tracer_provider()
            tracer = self._provider.get_tracer(SCOPE, self._version)
            if isinstance(tracer, _NO_TRACERS):
                if not self._has_told:  # a notice would cost each run more
                    self._has_told = True
                    _log.warning(_NO_PROVIDER)
                return None
            self._tracer = tracer
        return make_root(
            tracer,
            config,
            tracker,
            conversation=self._conversation_of(tracker, metadata),
            max_content=self._max_content,
            parent=parent if isinstance(parent, RootSpan) else None,
        )

    def for_judge(self, judged: TraceIds) -> JudgeSpans:
        """Return what makes the spans of a judge's run, below the span that is current now; `Judges` calls this.

        Args:
            judged: The ids of the judged run's root span.
        """
        return JudgeSpans(self.begin, judged, self._max_content)

    def _conversation_of(self, tracker: RunTracker, metadata: Mapping[str, object]) -> str:
        """Return the id of the conversation that a run is part of, "" where it is unknown."""
        if isinstance(self._conversation, str):
            return self._conversation
        given, run_id = self._conversation, tracker.identity.run_id
        if given is None:
            found = self._guard.call(_ODD_CONVERSATION, run_id, _id_in, metadata)
        else:
            found = self._guard.call(_NO_CONVERSATION, run_id, _given_id, given, metadata)
        return found or ""


def _id_in(metadata: Mapping[str, object]) -> str:
    """Return the id that the metadata of a run names, "" where it names none."""
    return next((str(metadata[key]) for key in _CONVERSATION_KEYS if metadata.get(key)), "")


def _given_id(conversation: Callable[[Mapping[str, Any]], object], metadata: Mapping[str, object]) -> str:
    """Return the id that the caller's function gives a run, "" where it gives none."""
    found = result_of(conversation, MappingProxyType(metadata))
    return "" if found is None else str(found)

"""Where a run's tracker comes from: an AI Config, ours or the official package's, or a function that gives one."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol, cast, runtime_checkable

from langchain_ldai.account import RunTracker
from langchain_ldai.metrics import Feedback, MetricSummary, TokenUsage
from langchain_ldai.resumption import RunIdentity, decode
from langchain_ldai.tracker import LdAiConfigTracker


@runtime_checkable
class AiConfig(Protocol):
    """An AI Config as a handler needs it: ours, or one of `launchdarkly-server-sdk-ai`."""

    @property
    def create_tracker(self) -> Callable[[], object]: ...


@runtime_checkable
class ResumableAiConfig(AiConfig, Protocol):
    """An AI Config whose runs can be continued."""

    def resume_tracker(self, token: str) -> object: ...


ConfigSource = AiConfig | Callable[[Mapping[str, object]], AiConfig | None]
"""An AI Config, or a function from a run's metadata to the one of that run (`None`: do not track it)."""


def check_source(name: str, source: object, *, resume: bool) -> None:
    """Raise where a source cannot give what a handler needs.

    Args:
        name: What the caller calls it, for the message.
        source: The AI Config or function given.
        resume: Whether runs are to be continued.

    Raises:
        TypeError: If it is neither an AI Config nor a function, or cannot resume although it should.
    """
    if not isinstance(source, AiConfig) and not callable(source):
        raise TypeError(
            f"{name} is an AI Config (it has create_tracker()) or a function from metadata to one, "
            f"not {type(source).__name__}"
        )
    if resume and isinstance(source, AiConfig) and not isinstance(source, ResumableAiConfig):
        raise TypeError(
            f"resume=True needs an AI Config with resume_tracker(), such as those of LdAiClient; "
            f"{name} is {type(source).__name__}"
        )


def config_of(source: ConfigSource, metadata: Mapping[str, object] | None) -> AiConfig | None:
    """Return the AI Config of a run with this metadata, which the source can read but not change."""
    if isinstance(source, AiConfig):
        return source
    return source(MappingProxyType(metadata or {}))


def served_model(config: AiConfig) -> str:
    """Return the name of the model that an AI Config serves, "" where it names none."""
    name = getattr(getattr(config, "model", None), "name", None)
    return name if isinstance(name, str) else ""


def same_model(served: str, called: str) -> bool:
    """Whether two names are of one model: the longer may have a vendor before it, a date or version behind it."""
    one, other = sorted((served.lower(), called.lower()), key=len)
    return re.search(rf"(^|[/.:]){re.escape(one)}([-@:](v?\d[\d.:]*|latest))*$", other) is not None


def in_our_form(tracker: object) -> RunTracker:
    """Return a tracker as a run needs it: ours as it is, an official one wrapped."""
    return tracker if isinstance(tracker, LdAiConfigTracker) else OfficialTracker(cast(_Official, tracker))


class _Official(Protocol):
    @property
    def resumption_token(self) -> str: ...
    def get_summary(self) -> object: ...
    def track_duration(self, duration: int) -> None: ...
    def track_time_to_first_token(self, time_to_first_token: int) -> None: ...
    def track_tokens(self, tokens: TokenUsage) -> None: ...
    def track_success(self) -> None: ...
    def track_error(self) -> None: ...
    def track_tool_call(self, tool_key: str) -> None: ...


class OfficialTracker:
    """A tracker of the official `launchdarkly-server-sdk-ai`, as a run uses one.

    What it lacks, such as `run_id`, is read from its token.

    Attributes:
        original: The tracker itself.
    """

    __slots__ = ("identity", "original", "resumption_token")

    def __init__(self, original: _Official) -> None:
        self.original = original
        self.resumption_token: str = original.resumption_token
        self.identity: RunIdentity = decode(self.resumption_token)

    @property
    def summary(self) -> MetricSummary:
        """What the tracker has recorded so far."""
        recorded = self.original.get_summary()
        values = {name: getattr(recorded, official, None) for name, official in _SUMMARY_FIELDS.items()}
        tokens, feedback = values["tokens"], getattr(recorded, "feedback", None)
        return MetricSummary(
            duration_ms=values["duration_ms"],
            time_to_first_token_ms=values["time_to_first_token_ms"],
            tokens=TokenUsage(tokens.total, tokens.input, tokens.output) if tokens else None,
            success=values["success"],
            feedback=Feedback(feedback["kind"].value) if feedback else None,
            tool_calls=tuple(values["tool_calls"] or ()),
            resumption_token=self.resumption_token,
        )

    def track_tool_call(self, key: str) -> None:
        """Record one call of a tool."""
        self.original.track_tool_call(key)

    def record_missing(
        self,
        *,
        time_to_first_token_ms: float | None = None,
        duration_ms: float | None = None,
        tokens: TokenUsage | None = None,
        success: bool | None = None,
    ) -> None:
        """Record those of the given metrics that have not been recorded."""
        known = self.summary
        if time_to_first_token_ms is not None and known.time_to_first_token_ms is None:
            self.original.track_time_to_first_token(int(time_to_first_token_ms))
        if duration_ms is not None and known.duration_ms is None:
            self.original.track_duration(int(duration_ms))
        if tokens and known.tokens is None:
            self.original.track_tokens(tokens)
        if success is not None and known.success is None:
            (self.original.track_success if success else self.original.track_error)()


_SUMMARY_FIELDS: Final = {
    "duration_ms": "duration_ms",
    "time_to_first_token_ms": "time_to_first_token",
    "tokens": "tokens",
    "success": "success",
    "tool_calls": "tool_calls",
}

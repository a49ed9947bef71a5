"""The figures of one tracker within a run: what is known of them and what is due; pure, the time passed in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, Protocol

from langchain_ldai.boundary import Delivery, Ids, Notices
from langchain_ldai.checks import check_instance
from langchain_ldai.claims import Claims
from langchain_ldai.journey import Journey
from langchain_ldai.metrics import MetricSummary, Slot, TokenUsage, Value
from langchain_ldai.outcome import Outcome, worst
from langchain_ldai.resumption import RunIdentity
from langchain_ldai.steps import Scope
from langchain_ldai.stopwatch import Stopwatch

DurationMode = Literal["model", "run"]

RUN_ID_KEY: Final = "ldai_run_id"
CONFIG_KEY_KEY: Final = "ldai_config_key"
VARIATION_KEY_KEY: Final = "ldai_variation_key"
RESUMPTION_TOKEN_KEY: Final = "ldai_resumption_token"
"""The metadata key under which a run's token is found, and, with `resume=True`, given."""

_RECORDED: Final[Mapping[Outcome | None, bool]] = {Outcome.SUCCESS: True, Outcome.ERROR: False}
"""The outcomes that are recorded, and whether as a success."""


class Sealer(Protocol):
    """What makes tokens safe to hand out, such as `langchain_ldai.sealing.TokenSealer`."""

    def seal(self, token: str) -> str: ...
    def unseal(self, sealed: str) -> str: ...


def check_sealer(sealer: object) -> None:
    """Raise `TypeError` where something that is to seal tokens cannot."""
    check_instance("sealer", sealer, "has seal() and unseal(), as TokenSealer has", ("seal", "unseal"))


class RunTracker(Protocol):
    """What a run needs of its tracker."""

    @property
    def claims(self) -> Claims | None: ...
    @property
    def notices(self) -> Notices | None: ...
    @property
    def identity(self) -> RunIdentity: ...
    @property
    def resumption_token(self) -> str: ...
    @property
    def summary(self) -> MetricSummary: ...
    def track_tool_call(self, key: str) -> None: ...
    def take_missing(self, values: dict[Slot, Value]) -> list[Delivery]: ...


@dataclass(slots=True)
class Due:
    """What has become final and is to be recorded, outside the lock.

    Args:
        tracker: Takes it.
        ids: What the run is found by in the log.
        values: Metrics by slot.
        tool_calls: The keys of the tools that were called.
        journey: The way through an agent graph.
    """

    tracker: RunTracker
    ids: Ids
    values: dict[Slot, Value]
    tool_calls: Sequence[str] = ()
    journey: Journey | None = None

    def deliveries(self) -> list[Delivery]:
        """Return a call for each metric, so that one that fails keeps no other back."""
        tracker = self.tracker
        found = tracker.take_missing(self.values) if self.values else []
        found += [(tracker.track_tool_call, (key,)) for key in self.tool_calls]
        if self.journey is not None:
            found.append((self.journey.record, ()))
        return found


class Account:
    """The figures of one AI Config in one run: of the run itself, or of one of its named nodes.

    Args:
        config: The AI Config that the figures are counted for, as it was given.
        tracker: Takes the metrics.
        lc_run_id: LangChain's id of the run's root.
        duration: What is timed: the model calls, or the visits (of the root, or of the node).
        served_model: Name of the model that the AI Config serves, "" when it names none.
        sealed: The sealed token, "" where the plain one is handed out.
        tool_keys: LaunchDarkly's keys of the tools that the AI Config serves, by the tools' names.

    Attributes:
        ids: What the run is found by in the log.
        token: The resumption token that is handed out.
        marks: What the start events of the run, or of the node, carry in their metadata.
        models: The models that were called, by name.
        tools: The keys of the tools that were called before the first model call.
        times_visits: Whether the visits are timed, and not the model calls.
        visits: The visit that started last, and those beside it.
        watch: What times them.
    """

    __slots__ = (
        "_first_token_known",
        "_tokens",
        "config",
        "failed_model_calls",
        "ids",
        "marks",
        "model_calls",
        "models",
        "outcome",
        "retries",
        "served_model",
        "times_visits",
        "token",
        "tool_keys",
        "tools",
        "tracker",
        "visits",
        "watch",
    )

    def __init__(
        self,
        config: object,
        tracker: RunTracker,
        lc_run_id: object,
        duration: DurationMode,
        served_model: str = "",
        sealed: str = "",
        tool_keys: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.config = config
        self.tracker = tracker
        self.served_model = served_model
        self.tool_keys = tool_keys
        identity = tracker.identity
        self.ids = Ids(lc_run_id, identity.run_id)
        self.token = sealed or tracker.resumption_token
        self.marks = {RESUMPTION_TOKEN_KEY: self.token, RUN_ID_KEY: identity.run_id}
        if not sealed:
            self.marks[CONFIG_KEY_KEY] = identity.config_key
            if identity.variation_key:
                self.marks[VARIATION_KEY_KEY] = identity.variation_key
        self.models: dict[str, None] = {}
        self.outcome: Outcome | None = None
        self.model_calls = 0
        self.failed_model_calls = 0
        self.retries = 0
        self.times_visits = duration == "run"
        self.visits: list[Scope] = []
        self.watch = Stopwatch()
        self.tools: list[str] = []
        self._first_token_known = False
        self._tokens: TokenUsage | None = None

    def visit_started(self, visit: Scope, now: float) -> None:
        """Note a visit of the node, or the start of the run."""
        self.visits = [each for each in self.visits if each.counts() and each.is_beside(visit)]
        self.visits.append(visit)
        if self.times_visits:
            self.watch.start(now)

    def visit_ended(self, started: float, now: float) -> None:
        """Note the end of a visit."""
        if self.times_visits:
            self.watch.stop(started, now)

    def settle(self, outcome: Outcome | None) -> None:
        """Note the outcome for good: the worst of the last visits, or that of the run where there was none."""
        if self.outcome is None:
            self.outcome = worst(visit.outcome for visit in self.visits if visit.counts()) or outcome

    def model_started(self, now: float) -> None:
        """Note a model call."""
        self.model_calls += 1
        if not self.times_visits:
            self.watch.start(now)

    def model_ended(self, started: float, now: float, usage: TokenUsage | None, *, failed: bool) -> None:
        """Note the end of a model call and what it used."""
        self.failed_model_calls += failed
        if not self.times_visits:
            self.watch.stop(started, now)
        if usage is not None:
            self._tokens = usage if self._tokens is None else self._tokens + usage

    def first_token(self, started: float, now: float) -> Due | None:
        """Note a model call's first chunk with content; only the first call's counts."""
        if self._first_token_known:
            return None
        self._first_token_known = True
        return Due(self.tracker, self.ids, {"time_to_first_token_ms": int((now - started) * 1000)})

    def success_due(self) -> Due | None:
        """Return the outcome, where it is one that is recorded."""
        success = _RECORDED.get(self.outcome)
        if success is None or not self.model_calls:
            return None
        return Due(self.tracker, self.ids, {"success": success})

    def final_due(self) -> Due | None:
        """Return everything that is final once the run is closed; nothing without a model call."""
        if not self.model_calls:
            return None
        values: dict[Slot, Value] = {"duration_ms": int(self.watch.elapsed() * 1000)}
        if self._tokens is not None:
            values["tokens"] = self._tokens
        success = _RECORDED.get(self.outcome)
        if success is not None:
            values["success"] = success
        return Due(self.tracker, self.ids, values)

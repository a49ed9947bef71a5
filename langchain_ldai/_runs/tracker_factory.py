"""Makes the tracker and the totals of a run, or of a named node: of a new run, or of the next part of one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from reprlib import repr as short_repr
from time import monotonic
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, cast
from weakref import WeakKeyDictionary

from langchain_ldai._base.guard import Guard, Ids
from langchain_ldai._base.options import check_function, check_instance, described, result_of
from langchain_ldai._runs.config_sources import (
    NO_TRACKER,
    AiConfig,
    ConfigSource,
    ResumableAiConfig,
    check_sources,
    config_of,
    remedy_for,
)
from langchain_ldai._runs.metadata import (
    CONFIG_KEY_KEY,
    JUDGE_KEY,
    RESUMPTION_TOKEN_KEY,
    RUN_ID_KEY,
    VARIATION_KEY_KEY,
)
from langchain_ldai._runs.observing import RunJudges, RunSpan, RunSpans
from langchain_ldai._runs.totals import MetricTotals
from langchain_ldai._runs.trackers import GraphRunTracker, RunTracker, adapter_of
from langchain_ldai._tracking.tracker import LdAiConfigTracker
from langchain_ldai._wire.ids import checked_run_id, uuid_of
from langchain_ldai._wire.tokens import is_token
from langchain_ldai.errors import WrongResultError
from langchain_ldai.ledgers._protocol import Claims, wait_for_all

_log = logging.getLogger(__name__)

DurationMode = Literal["model", "run"]

RunIds = Literal["new", "root"] | Callable[[Mapping[str, Any]], str | None]
"""Where a run's id comes from: "new" for a new one, "root" for LangChain's id of the root, or a function."""

_RUN_IDS_FAILED: Final = "The function given for run_ids failed, the run gets a new id"
_NO_CONFIG: Final = "The function given for {source} failed, {lost} is not counted"
_NOT_SEALED: Final = "sealer.seal() failed, {lost} is not counted"
_NOT_CONTINUED: Final = "A run is not continued, a new one opens"
_UNFIT_TOKEN: Final = "AI Config %r: a run is not continued, a new one opens: %s"
_PLAIN_FOR_SEALED: Final = (
    "the token given is a plain one; the handler has a sealer: give the token that it sealed"
)
_UNUSED_TOKEN: Final = (
    "AI Config %r: a resumption token is in the metadata, but there is no resume=True: a new run opens"
)
_MISNAMED_TOKEN: Final = (
    "AI Config %r: the metadata holds a resumption_token, which no handler reads: name it ldai_resumption_token. "
    "A new run opens"
)
_NO_DRAW: Final = "The judges of an AI Config could not be drawn, a run is not judged"
_NO_SPANS: Final = "The spans of a run could not be begun, it gets none"
_DISABLED: Final = "%s %r is disabled, and yet a run is counted for it: check config.enabled before the chain runs"


class Sealer(Protocol):
    """What makes tokens safe to hand out, such as `langchain_ldai.sealing.TokenSealer`."""

    def seal(self, token: str) -> str: ...
    def unseal(self, sealed: str) -> str: ...


def check_sealer(sealer: object) -> None:
    """Raise `TypeError` if an object cannot seal tokens."""
    check_instance("sealer", sealer, "has seal() and unseal(), as TokenSealer has", ("seal", "unseal"))


@dataclass(slots=True, kw_only=True, eq=False)
class TrackerFactory:
    """Makes the trackers of one handler's runs.

    Args:
        config: The AI Config of the runs, or a function to it; `None` where only nodes are tracked.
        nodes: The AI Configs of named LangGraph nodes, or functions to them, by the names of the nodes.
        duration: What the duration measures.
        resume: Whether a token that the caller gave continues its run.
        run_ids: Where the id of a run comes from.
        sealer: Seals the token that is handed out, and unseals the caller's.
        judges: Draws judges for runs, `None` without judges.
        spans: Makes the spans of runs, `None` without spans.

    Raises:
        TypeError: If something else is given for an AI Config, or one that cannot be resumed although `resume` is
            set, or if an option is of another type.
        ValueError: If an option has a value it cannot have.

    Attributes:
        guard: Catches what the caller's own functions and objects raise.
    """

    config: ConfigSource | None
    nodes: Mapping[str, ConfigSource]
    duration: DurationMode
    resume: bool
    run_ids: RunIds
    sealer: Sealer | None
    judges: RunJudges | None
    spans: RunSpans | None
    guard: Guard = field(init=False, default_factory=Guard)
    _claims: WeakKeyDictionary[Claims, None] = field(init=False, default_factory=WeakKeyDictionary)

    def __post_init__(self) -> None:
        if self.duration not in ("model", "run"):
            raise ValueError(f'duration is "model" or "run", not {short_repr(self.duration)}')
        if self.run_ids not in ("new", "root") and not callable(self.run_ids):
            expected = 'run_ids is "new", "root" or a function from metadata to an id'
            raise ValueError(f"{expected}, not {short_repr(self.run_ids)}")
        if callable(self.run_ids):
            check_function("run_ids", self.run_ids, "the metadata of the run")
        if not isinstance(self.resume, bool):
            raise TypeError(
                f"resume is True or False, not {short_repr(self.resume)}; a token goes into the metadata"
            )
        if self.sealer is not None:
            check_sealer(self.sealer)
        needed_for = "resume=True" if self.resume else "run_ids" if self.run_ids != "new" else ""
        check_sources(self.config, self.nodes, needed_for, self.guard)
        self.nodes = dict(self.nodes)

    def totals_for(
        self,
        source: ConfigSource | None,
        metadata: Mapping[str, object],
        lc_run_id: object,
        node: str = "",
        parent: RunSpan | None = None,
    ) -> MetricTotals | None:
        """Return new totals with a tracker of an AI Config; `None` if there is no AI Config or its tracker fails.

        Args:
            source: The AI Config, or a function to it; `None` where none is tracked.
            metadata: The metadata of the step that begins the run, or the node.
            lc_run_id: LangChain's id of the run's root.
            node: Name of the node that it is for, "" for the run itself.
            parent: The root span of the run that the node is in, if there is one.
        """
        failure = _NO_CONFIG
        try:
            config = config_of(source, metadata) if callable(source) else source
            if config is None:
                return None
            failure = NO_TRACKER
            is_asked_for = self.resume or self.run_ids != "new" or RESUMPTION_TOKEN_KEY in metadata
            made = self._asked_for(config, metadata, lc_run_id, node) if is_asked_for else config.create_tracker()
            tracker = made if type(made) is LdAiConfigTracker else adapter_of(made)
            failure = _NOT_SEALED
            sealed = "" if self.sealer is None else _sealed(self.sealer, tracker)
        except Exception as error:  # noqa: BLE001
            self._not_counted(error, failure, metadata, lc_run_id, node)
            return None
        identity, sender, token = tracker.identity, tracker._sender, sealed or tracker.resumption_token
        if sender is not None and sender.claims is not None:
            self._claims[sender.claims] = None
        marks = {RESUMPTION_TOKEN_KEY: token, RUN_ID_KEY: identity.run_id}
        if not sealed:
            marks[CONFIG_KEY_KEY] = identity.config_key
            if identity.variation_key:
                marks[VARIATION_KEY_KEY] = identity.variation_key
        ids = Ids(lc_run_id, identity.run_id)
        exchange, span = None, None
        if self.judges is not None and JUDGE_KEY not in metadata:  # nobody judges a judge's own run
            try:  # without the guard's call, for which every run would pay
                exchange = self.judges.draw(config, tracker, token)
            except Exception as error:  # noqa: BLE001
                self.guard.caught(error, ids, _NO_DRAW)
        if self.spans is not None:
            span = self.guard.call(_NO_SPANS, ids, self.spans.begin, config, tracker, metadata, parent)
        is_graph = isinstance(tracker, GraphRunTracker)
        times_visits = is_graph or self.duration == "run"
        shown = marks if span is None else span.marks(marks)
        totals = MetricTotals(config, tracker, ids, times_visits, token, shown, exchange=exchange, span=span)
        totals.observers = tuple(filter(None, (span, exchange)))
        if is_graph:  # a model call in a node warns of the node's AI Config alone
            self.tell_if_disabled(totals)
        return totals

    def _asked_for(self, config: AiConfig, metadata: Mapping[str, object], lc_run_id: object, node: str) -> object:
        """Return the tracker of the run that the token or `run_ids` names, else of a new run.

        The token continues the run itself. A named node's run is always new.
        """
        run_id = None if self.run_ids == "new" else self._id_for(metadata, lc_run_id)
        token = metadata.get(RESUMPTION_TOKEN_KEY)
        # A token beside a run id is not the caller's: a handler has written both (fact 23).
        if token is not None and not node and RUN_ID_KEY not in metadata:
            tracker = self._continued(config, token, run_id, lc_run_id)
            if tracker is not None:
                return tracker
        elif self.resume and "resumption_token" in metadata:
            key = getattr(config, "key", "")
            self.guard.notices.once(_log, logging.WARNING, "misnamed", _MISNAMED_TOKEN, key)
        if run_id is None or not isinstance(config, ResumableAiConfig):
            return config.create_tracker()
        return config.create_tracker(run_id=uuid_of(f"{run_id}/{node}") if node else run_id)

    def _id_for(self, metadata: Mapping[str, object], lc_run_id: object) -> str | None:
        """Return the id that `run_ids` gives a run; `None` where it gives none."""
        run_ids = self.run_ids
        try:
            given = result_of(run_ids, MappingProxyType(metadata)) if callable(run_ids) else str(lc_run_id)
            return self._storable(str(given)) if given else None
        except Exception as error:  # noqa: BLE001
            self.guard.caught(error, Ids(lc_run_id), _RUN_IDS_FAILED, remedy_for(error, metadata))
            return None

    def _storable(self, run_id: str) -> str:
        """Return an id that every ledger can hold; warn once where it is not the given one."""
        return checked_run_id(run_id, partial(self.guard.notices.once, _log, logging.WARNING, "run id"))

    def _continued(self, config: AiConfig, token: object, run_id: str | None, lc_run_id: object) -> object:
        """Return the tracker of the run that a caller's token names; log why and return `None` if there is none.

        Args:
            config: The AI Config of the run.
            token: What the caller gave as a token.
            run_id: The id that `run_ids` gave, which names this part of the run; `None` for the root's id.
            lc_run_id: LangChain's id of the run's root.
        """
        notices, key = self.guard.notices, getattr(config, "key", "")
        if not self.resume:
            notices.once(_log, logging.WARNING, "no resume", _UNUSED_TOKEN, key)
        if not self.resume or not isinstance(config, ResumableAiConfig):
            return None
        try:
            plain = cast(str, token) if self.sealer is None else self.sealer.unseal(cast(str, token))
            tracker = config.resume_tracker(plain)
            if type(tracker) is not LdAiConfigTracker:
                adapter_of(tracker, "resume_tracker")
            begin_part = getattr(tracker, "_begin_part", None)
            if begin_part is not None:  # the official package's trackers know no parts
                begin_part(run_id or self._storable(str(lc_run_id)))
            return tracker
        except (TypeError, ValueError) as error:
            is_plain = self.sealer is not None and isinstance(token, str) and is_token(token)
            known_by = (_NOT_CONTINUED, is_plain, type(error).__name__)
            cause = _PLAIN_FOR_SEALED if is_plain else error
            notices.each_minute(_log, logging.WARNING, known_by, _UNFIT_TOKEN, key, cause)
        except Exception as error:  # noqa: BLE001
            self.guard.caught(error, Ids(lc_run_id), _NOT_CONTINUED)
        return None

    def _not_counted(
        self, error: Exception, failure: str, metadata: Mapping[str, object], lc_run_id: object, node: str
    ) -> None:
        """Log why a run, or what happens in a named node, is not counted."""
        source, lost = (f"nodes[{node!r}]", "what happens in this node") if node else ("an AI Config", "this run")
        remedy = remedy_for(error, metadata) if failure is _NO_CONFIG else ""
        self.guard.caught(error, Ids(lc_run_id), failure.format(source=source, lost=lost), remedy)

    def tell_if_disabled(self, totals: MetricTotals) -> None:
        """Warn, once for each AI Config or agent graph, that a run is counted for it although it is disabled."""
        if getattr(totals.config, "enabled", True) is not False:
            return
        tracker = totals.tracker
        what = "Agent graph" if isinstance(tracker, GraphRunTracker) else "AI Config"
        key = tracker.identity.config_key
        notices = self.guard.notices if tracker._sender is None else tracker._sender.client.notices
        notices.once(_log, logging.WARNING, ("disabled", key), _DISABLED, what, key)

    def wait(self, deadline: float | None) -> bool:
        """Wait until the judges have scored, and the ledgers have answered every claim.

        Args:
            deadline: The `monotonic()` time at which to stop waiting; `None` to wait for ever.

        Returns:
            Whether nothing is left.
        """

        def left() -> float | None:
            return None if deadline is None else max(0.0, deadline - monotonic())

        is_judged = self.judges is None or self.judges.flush(left())
        # Only now: if the handler sees the judges' own calls, these were runs, with claims of their own.
        return wait_for_all(self._claims, left()) and is_judged


def _sealed(sealer: Sealer, tracker: RunTracker) -> str:
    sealed: object = sealer.seal(tracker.resumption_token)
    if not isinstance(sealed, str) or not sealed:
        raise WrongResultError(f"it returned a {described(sealed)} and no text")
    return sealed

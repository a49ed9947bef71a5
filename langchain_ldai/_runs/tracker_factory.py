"""Makes the tracker of a run, or of a named node: for a new run, or for the next part of one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from reprlib import repr as short_repr
from time import monotonic
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, cast
from weakref import WeakValueDictionary

from langchain_ldai._base.guard import Guard, Ids
from langchain_ldai._base.options import check_function, check_instance, described, result_of
from langchain_ldai._runs.config_sources import (
    NO_TRACKER,
    AiConfig,
    ConfigSource,
    ResumableAiConfig,
    check_sources,
    config_of,
)
from langchain_ldai._runs.metadata import JUDGE_KEY, RESUMPTION_TOKEN_KEY, RUN_ID_KEY, marks_of
from langchain_ldai._runs.observing import RunJudges, RunSpan, RunSpans
from langchain_ldai._runs.totals import MetricTotals
from langchain_ldai._runs.trackers import GraphRunTracker, RunTracker, as_run_tracker
from langchain_ldai._wire.ids import MAX_RUN_ID_LENGTH, run_id_fault, uuid_of
from langchain_ldai._wire.tokens import is_token
from langchain_ldai.errors import MAX_NAME_LENGTH, WrongResultError
from langchain_ldai.ledgers._protocol import Claims, wait_for_all

_log = logging.getLogger(__name__)

DurationMode = Literal["model", "run"]

RunIds = Literal["new", "root"] | Callable[[Mapping[str, Any]], str | None]
"""Where a run's id comes from: "new" for a new one, "root" for LangChain's id of the root, or a function."""

_RUN_IDS_FAILED: Final = "The function given for run_ids failed, the run gets a new id"
_NO_CONFIG: Final = "The function given for {source} failed, {lost} is not counted"
_MISSING_METADATA: Final = (
    ' (if it was looked up in the metadata, that holds {names}: pass {{"metadata": {{"{key}": ...}}}} in the '
    "config of the call)"
)
_UNSET_ENVIRONMENT: Final = " (the environment variable {key} is not set)"
_UNSET_VARIABLE: Final = (
    " (the context variable {name!r} is not set where the run starts: set it before the call, in the same task or "
    "thread, or pass the value in the metadata of the call)"
)
_NO_ATTRIBUTE: Final = ' (the metadata is a dictionary: metadata["{name}"])'
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
_UNFIT_ID: Final = (
    "the id that run_ids= gave a run %s, which not every ledger can hold: such a run is recorded under a UUID "
    "that follows from the id. Have run_ids= give UUIDs, or other texts of at most %s characters"
)


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
        judges: Draws judges for runs, `None` where nobody judges.
        spans: Makes the spans of runs, `None` where nobody does.

    Raises:
        TypeError: If an AI Config is none, or cannot be resumed although `resume` is set, or if an option is of
            another type.
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
    _claims: WeakValueDictionary[int, Claims] = field(init=False, default_factory=WeakValueDictionary)

    def __post_init__(self) -> None:
        if self.duration not in ("model", "run"):
            raise ValueError(f'duration is "model" or "run", not {self.duration!r}')
        if self.run_ids not in ("new", "root") and not callable(self.run_ids):
            raise ValueError(
                f'run_ids is "new", "root" or a function from metadata to an id, not {self.run_ids!r}'
            )
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
            parent: Makes the spans of the run that the node is in, if any are made.
        """
        failure, sealed = _NO_CONFIG, ""
        try:
            config = config_of(source, metadata) if callable(source) else source
            if config is None:
                return None
            failure = NO_TRACKER
            tracker = self._tracker_of(config, metadata, lc_run_id, node)
            if self.sealer is not None:
                failure = _NOT_SEALED
                sealed = _sealed(self.sealer, tracker)
        except Exception as error:  # noqa: BLE001
            name, lost = (
                (f"nodes[{node!r}]", "what happens in this node") if node else ("an AI Config", "this run")
            )
            remedy = _remedy(error, metadata) if failure is _NO_CONFIG else ""
            self.guard.caught(error, Ids(lc_run_id), failure.format(source=name, lost=lost), remedy)
            return None
        totals = self._totals_of(config, tracker, sealed, lc_run_id)
        if self.judges is not None:
            try:  # without the guard's call, for which every run would pay
                drawn = self.judges.draw(config, tracker, totals.token)
            except Exception as error:  # noqa: BLE001
                self.guard.caught(error, totals.ids, _NO_DRAW)
                drawn = None
            if drawn is not None and JUDGE_KEY not in metadata:  # what a judge is asked is not judged in turn
                totals.exchange, totals.observers = drawn, [drawn]
        if self.spans is not None:
            span = self.guard.call(_NO_SPANS, totals.ids, self.spans.begin, config, tracker, metadata, parent)
            if span is not None:
                totals.span, totals.marks = span, span.marks(totals.marks)
                totals.observers = [span, *totals.observers]
        return totals

    def _totals_of(self, config: AiConfig, tracker: RunTracker, sealed: str, lc_run_id: object) -> MetricTotals:
        """Return new totals of a tracker; `sealed` is its sealed token, "" where the plain one is handed out."""
        claims = None if tracker._sender is None else tracker._sender.claims
        if claims is not None:
            self._claims[id(claims)] = claims
        is_graph = isinstance(tracker, GraphRunTracker)
        times_visits = is_graph or self.duration == "run"
        token = sealed or tracker.resumption_token
        ids = Ids(lc_run_id, tracker.identity.run_id)
        marks = marks_of(tracker.identity, token, is_sealed=bool(sealed))
        totals = MetricTotals(config, tracker, ids, times_visits=times_visits, token=token, marks=marks)
        if is_graph:  # it is counted also where no model is called
            self.tell_if_disabled(totals)
        return totals

    def tell_if_disabled(self, totals: MetricTotals) -> None:
        """Warn once for each disabled AI Config, or agent graph, that a run is counted for it all the same."""
        if getattr(totals.config, "enabled", True) is not False:
            return
        tracker = totals.tracker
        what = "Agent graph" if isinstance(tracker, GraphRunTracker) else "AI Config"
        key = tracker.identity.config_key
        notices = self.guard.notices if tracker._sender is None else tracker._sender.client.notices
        notices.once(_log, logging.WARNING, ("disabled", key), _DISABLED, what, key)

    def wait(self, deadline: float | None) -> bool:
        """Wait until all that is judged is scored, and all that was recorded with a ledger is claimed and sent.

        Args:
            deadline: The time of `monotonic()` until which to wait at most.

        Returns:
            Whether nothing is left.
        """

        def left() -> float | None:
            return None if deadline is None else max(0.0, deadline - monotonic())

        is_judged = self.judges is None or self.judges.flush(left())
        return wait_for_all(list(self._claims.values()), left()) and is_judged

    def _tracker_of(
        self, config: AiConfig, metadata: Mapping[str, object], lc_run_id: object, node: str
    ) -> RunTracker:
        """Return the tracker of a new run, or of the run that the metadata names; a node's is always new."""
        given = str(lc_run_id) if self.run_ids == "root" else None
        if callable(self.run_ids):
            try:
                given = _given_id(self.run_ids, metadata)
            except Exception as error:  # noqa: BLE001
                self.guard.caught(error, Ids(lc_run_id), _RUN_IDS_FAILED, _remedy(error, metadata))
        run_id = self._held(given) if given else None
        # A token beside a run id is not the caller's: a handler has written both (fact 23).
        if not node and RESUMPTION_TOKEN_KEY in metadata and RUN_ID_KEY not in metadata:
            tracker = self._continued(config, metadata[RESUMPTION_TOKEN_KEY], run_id, lc_run_id)
            if tracker is not None:
                return tracker
        elif self.resume and "resumption_token" in metadata:
            key = getattr(config, "key", "")
            self.guard.notices.once(_log, logging.WARNING, "misnamed", _MISNAMED_TOKEN, key)
        if run_id is None or not isinstance(config, ResumableAiConfig):
            made = config.create_tracker()
        else:
            made = config.create_tracker(run_id=uuid_of(f"{run_id}/{node}") if node else run_id)
        return as_run_tracker(made)

    def _held(self, run_id: str) -> str:
        """Return an id as it is if every ledger can hold it, else a UUID that follows from it."""
        fault = run_id_fault(run_id)
        if not fault:
            return run_id
        self.guard.notices.once(_log, logging.WARNING, "run id", _UNFIT_ID, fault, MAX_RUN_ID_LENGTH)
        return uuid_of(run_id)

    def _continued(
        self, config: AiConfig, token: object, run_id: str | None, lc_run_id: object
    ) -> RunTracker | None:
        """Return the tracker of the run that a caller's token names; `None` if it is not to be continued.

        Args:
            config: The AI Config of the run.
            token: What the caller gave as a token.
            run_id: The id given for the run, which then names this part of it; `None` for the root's.
            lc_run_id: LangChain's id of the run's root.
        """
        if token is not None and not self.resume:
            key = getattr(config, "key", "")
            self.guard.notices.once(_log, logging.WARNING, "no resume", _UNUSED_TOKEN, key)
        if token is None or not self.resume or not isinstance(config, ResumableAiConfig):
            return None
        part = run_id or self._held(str(lc_run_id))
        return self.guard.call(_NOT_CONTINUED, Ids(lc_run_id), self._resumed, config, token, part)

    def _resumed(self, config: ResumableAiConfig, token: object, part: str) -> RunTracker | None:
        """Return the tracker of the run that a caller's token names; `None` if the token does not fit."""
        try:
            plain = cast(str, token) if self.sealer is None else self.sealer.unseal(cast(str, token))
            tracker = config.resume_tracker(plain)
        except (TypeError, ValueError) as error:
            is_plain = self.sealer is not None and isinstance(token, str) and is_token(token)
            cause = _PLAIN_FOR_SEALED if is_plain else error
            known_by = (_NOT_CONTINUED, is_plain, type(error).__name__)
            key = getattr(config, "key", "")
            self.guard.notices.each_minute(_log, logging.WARNING, known_by, _UNFIT_TOKEN, key, cause)
            return None
        begin_part = getattr(tracker, "_begin_part", None)
        if begin_part is not None:  # the official package's trackers know no parts
            begin_part(part)
        return as_run_tracker(tracker)


def _remedy(error: Exception, metadata: Mapping[str, object]) -> str:
    """Return what helps a function that missed a name in the metadata, or a context variable; "" for others."""
    cause = error.args[0] if isinstance(error, LookupError) and error.args else None
    if isinstance(cause, ContextVar) and _is_name(cause.name):
        return _UNSET_VARIABLE.format(name=cause.name)
    if isinstance(error, AttributeError) and isinstance(error.obj, MappingProxyType) and _is_name(error.name):
        return _NO_ATTRIBUTE.format(name=error.name)
    key = cause if isinstance(error, KeyError) else None
    if not _is_name(key):
        return ""
    if _raised_in(error) == os.__name__:
        return _UNSET_ENVIRONMENT.format(key=key)
    if key in metadata:
        return ""
    names = [name for name in metadata if _is_name(name)]
    return _MISSING_METADATA.format(names=short_repr(names) if names else "nothing", key=key)


def _raised_in(error: Exception) -> object:
    """Return the name of the module that raised an error: of a dictionary's, the one that looked into it."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return None if last is None else last.tb_frame.f_globals.get("__name__")


def _is_name(key: object) -> bool:
    return isinstance(key, str) and key.isidentifier() and len(key) <= MAX_NAME_LENGTH


def _sealed(sealer: Sealer, tracker: RunTracker) -> str:
    sealed: object = sealer.seal(tracker.resumption_token)
    if not isinstance(sealed, str) or not sealed:
        raise WrongResultError(f"it returned a {described(sealed)} and no text")
    return sealed


def _given_id(run_ids: Callable[[Mapping[str, Any]], object], metadata: Mapping[str, object]) -> str | None:
    """Return the id that the caller's function gives a run."""
    given = result_of(run_ids, MappingProxyType(metadata))
    return str(given) if given else None

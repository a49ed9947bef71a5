"""Makes the tracker of a run, or of a named node: for a new run, or for the next part of one."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from reprlib import repr as short_repr
from time import monotonic
from types import MappingProxyType
from typing import Any, Final, Literal, cast
from weakref import WeakValueDictionary

from langchain_ldai._base.guard import Guard, Ids
from langchain_ldai._base.options import check_function
from langchain_ldai._runs.judging import RunJudges
from langchain_ldai._runs.totals import (
    RESUMPTION_TOKEN_KEY,
    RUN_ID_KEY,
    DurationMode,
    MetricTotals,
    Sealer,
    check_sealer,
    marks_of,
)
from langchain_ldai._runs.trackers import (
    NO_TRACKER,
    AiConfig,
    ConfigResolver,
    ConfigSource,
    GraphRunTracker,
    ResumableAiConfig,
    RunTracker,
    as_run_tracker,
    check_sources,
    described,
    resolver_of,
)
from langchain_ldai._wire.tokens import MAX_RUN_ID_LENGTH, is_token, run_id_fault, uuid_of
from langchain_ldai.errors import WrongResultError
from langchain_ldai.ledgers._claims import Claims, wait_for_all

_log = logging.getLogger(__name__)

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
_NO_DRAW: Final = "The judges of an AI Config could not be drawn, a run is not judged"
_DISABLED: Final = "%s %r is disabled, and yet a run is counted for it: check config.enabled before the chain runs"
_UNFIT_ID: Final = (
    "the id that run_ids= gave a run %s, which not every ledger can hold: such a run is recorded under a UUID "
    "that follows from the id. Have run_ids= give UUIDs, or other texts of at most %s characters"
)


class TrackerFactory:
    """Makes the trackers of one handler's runs.

    Args:
        config: The AI Config of the runs, or a function to it; `None` where only nodes are tracked.
        nodes: The AI Configs of named LangGraph nodes, or functions to them, by the names of the nodes.
        duration: What the duration measures.
        resume: Whether a token that the caller gave continues its run.
        run_ids: Where the id of a run comes from.
        sealer: Seals the token that is handed out, and unseals the caller's.
        judges: Draws judges for runs.

    Raises:
        TypeError: If an AI Config is none, or cannot be resumed although `resume` is set, or if an option is of
            another type.
        ValueError: If an option has a value it cannot have.

    Attributes:
        guard: Catches what the caller's own functions and objects raise.
        resolver: Resolves the AI Config of a run.
        nodes: Resolve those of the named nodes.
        judges: Draws judges for runs; `None` where nobody judges.
    """

    def __init__(
        self,
        config: ConfigSource | None,
        nodes: Mapping[str, ConfigSource],
        *,
        duration: DurationMode,
        resume: bool,
        run_ids: RunIds,
        sealer: Sealer | None,
        judges: RunJudges | None,
    ) -> None:
        if duration not in ("model", "run"):
            raise ValueError(f'duration is "model" or "run", not {duration!r}')
        if run_ids not in ("new", "root") and not callable(run_ids):
            raise ValueError(f'run_ids is "new", "root" or a function from metadata to an id, not {run_ids!r}')
        if callable(run_ids):
            check_function("run_ids", run_ids, "the metadata of the run")
        if not isinstance(resume, bool):
            raise TypeError(f"resume is True or False, not {short_repr(resume)}; a token goes into the metadata")
        if sealer is not None:
            check_sealer(sealer)
        self.guard = Guard()
        check_sources(
            config, nodes, "resume=True" if resume else "run_ids" if run_ids != "new" else "", self.guard
        )
        self.resolver = resolver_of(config)
        self.nodes = {name: resolver_of(source) for name, source in nodes.items()}
        self._duration = duration
        self._resume = resume
        self._run_ids = run_ids
        self._sealer = sealer
        self.judges = judges
        self._claims: WeakValueDictionary[int, Claims] = WeakValueDictionary()

    def tracker_for(
        self, resolve: ConfigResolver, metadata: Mapping[str, object], lc_run_id: object, node: str = ""
    ) -> MetricTotals | None:
        """Return new totals with a tracker of an AI Config; `None` if there is no AI Config or its tracker fails.

        Args:
            resolve: Returns the AI Config.
            metadata: The metadata of the step that begins the run, or the node.
            lc_run_id: LangChain's id of the run's root.
            node: Name of the node that it is for, "" for the run itself.
        """
        failure, sealed = _NO_CONFIG, ""
        try:
            config = resolve(metadata)
            if config is None:
                return None
            failure = NO_TRACKER
            if not self._resume and not node and RESUMPTION_TOKEN_KEY in metadata:
                self._tell_of_unused_token(config, metadata)
            if self._run_ids == "new" and not self._resume:
                tracker = as_run_tracker(config.create_tracker())
            else:
                tracker = self._tracker_from_metadata(config, metadata, lc_run_id, node)
            if self._sealer is not None:
                failure = _NOT_SEALED
                sealed = _sealed(self._sealer, tracker)
        except Exception as error:  # noqa: BLE001
            source, lost = (
                (f"nodes[{node!r}]", "what happens in this node") if node else ("an AI Config", "this run")
            )
            self.guard.caught(error, Ids(lc_run_id), failure.format(source=source, lost=lost))
            return None
        return self._totals_of(config, tracker, sealed, lc_run_id)

    def _totals_of(self, config: AiConfig, tracker: RunTracker, sealed: str, lc_run_id: object) -> MetricTotals:
        """Return new totals of a tracker; `sealed` is its sealed token, "" where the plain one is handed out."""
        claims = None if tracker._sender is None else tracker._sender.claims
        if claims is not None:
            self._claims[id(claims)] = claims
        if getattr(config, "enabled", True) is False:
            self._tell_of_disabled(tracker)
        times_visits = self._duration == "run" or isinstance(tracker, GraphRunTracker)
        token = sealed or tracker.resumption_token
        ids = Ids(lc_run_id, tracker.identity.run_id)
        marks = marks_of(tracker.identity, token, is_sealed=bool(sealed))
        totals = MetricTotals(config, tracker, ids, times_visits=times_visits, token=token, marks=marks)
        if self.judges is not None:
            totals.exchange = self.guard.call(_NO_DRAW, ids, self.judges.draw, config, tracker)
        return totals

    def wait_for_claims(self, deadline: float | None) -> bool:
        """Wait until all that was recorded with a ledger is claimed in it and sent.

        Args:
            deadline: The time of `monotonic()` until which to wait at most.

        Returns:
            Whether nothing is left.
        """
        timeout = None if deadline is None else max(0.0, deadline - monotonic())
        return wait_for_all(list(self._claims.values()), timeout)

    def wait_for_judges(self, deadline: float | None) -> bool:
        """Do what `wait_for_claims` does, for the exchanges that are to be scored."""
        timeout = None if deadline is None else max(0.0, deadline - monotonic())
        return self.judges is None or self.judges.flush(timeout)

    def _tell_of_disabled(self, tracker: RunTracker) -> None:
        """Warn once for each AI Config that a run is counted for it although it is disabled."""
        what = "Agent graph" if isinstance(tracker, GraphRunTracker) else "AI Config"
        key = tracker.identity.config_key
        notices = self.guard.notices if tracker._sender is None else tracker._sender.client.notices
        notices.once(_log, logging.WARNING, ("disabled", key), _DISABLED, what, key)

    def _tracker_from_metadata(
        self, config: AiConfig, metadata: Mapping[str, object], lc_run_id: object, node: str
    ) -> RunTracker:
        """Return the tracker of a new run, or of the run that the metadata, or the root's id, names."""
        known = None
        if callable(self._run_ids):
            given = self.guard.call(_RUN_IDS_FAILED, Ids(lc_run_id), _given_id, self._run_ids, metadata)
            known = self._held(given) if given else None
        root = self._held(str(lc_run_id))
        run_id = known or (root if self._run_ids == "root" else None)
        tracker = None
        token = None if node or not self._resume else _callers_token(metadata)
        if token is not None and isinstance(config, ResumableAiConfig):
            ids, part = Ids(lc_run_id), known or root
            tracker = self.guard.call(_NOT_CONTINUED, ids, self._continued, config, token, part)
        return tracker or _new(config, run_id, node)

    def _held(self, run_id: str) -> str:
        """Return an id as it is if every ledger can hold it, else a UUID that follows from it."""
        fault = run_id_fault(run_id)
        if not fault:
            return run_id
        self.guard.notices.once(_log, logging.WARNING, "run id", _UNFIT_ID, fault, MAX_RUN_ID_LENGTH)
        return uuid_of(run_id)

    def _tell_of_unused_token(self, config: AiConfig, metadata: Mapping[str, object]) -> None:
        if _callers_token(metadata) is not None:
            key = getattr(config, "key", "")
            self.guard.notices.once(_log, logging.WARNING, "no resume", _UNUSED_TOKEN, key)

    def _continued(self, config: ResumableAiConfig, token: object, part: str) -> RunTracker | None:
        """Return the tracker of the run that a caller's token names; `None` if the token does not fit."""
        try:
            plain = cast(str, token) if self._sealer is None else self._sealer.unseal(cast(str, token))
            tracker = config.resume_tracker(plain)
        except (TypeError, ValueError) as error:
            is_plain = self._sealer is not None and isinstance(token, str) and is_token(token)
            cause = _PLAIN_FOR_SEALED if is_plain else error
            known_by = (_NOT_CONTINUED, is_plain, type(error).__name__)
            key = getattr(config, "key", "")
            self.guard.notices.each_minute(_log, logging.WARNING, known_by, _UNFIT_TOKEN, key, cause)
            return None
        begin_part = getattr(tracker, "_begin_part", None)
        if begin_part is not None:  # the official package's trackers know no parts
            begin_part(part)
        return as_run_tracker(tracker)


def _new(config: AiConfig, run_id: str | None, node: str) -> RunTracker:
    """Return the tracker of a new run; the id of a named node's run follows from the id given."""
    if run_id is None or not isinstance(config, ResumableAiConfig):
        return as_run_tracker(config.create_tracker())
    return as_run_tracker(config.create_tracker(run_id=uuid_of(f"{run_id}/{node}") if node else run_id))


def _sealed(sealer: Sealer, tracker: RunTracker) -> str:
    sealed: object = sealer.seal(tracker.resumption_token)
    if not isinstance(sealed, str) or not sealed:
        raise WrongResultError(f"it returned a {described(sealed)} and no text")
    return sealed


def _given_id(run_ids: Callable[[Mapping[str, Any]], object], metadata: Mapping[str, object]) -> str | None:
    """Return the id that the caller's function gives a run."""
    given = run_ids(MappingProxyType(metadata))
    if inspect.isawaitable(given):
        raise WrongResultError(f"it returned a {described(given)}")
    return str(given) if given else None


def _callers_token(metadata: Mapping[str, object]) -> object:
    """Return the token that the caller gave; a handler has written one that stands beside a run id (fact 23)."""
    return None if RUN_ID_KEY in metadata else metadata.get(RESUMPTION_TOKEN_KEY)

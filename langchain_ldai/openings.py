"""How the account of a run, or of a named node, is opened: for a new run, or for the next part of one."""

import logging
from collections.abc import Callable, Mapping
from reprlib import repr as short_repr
from time import monotonic
from types import MappingProxyType
from typing import Any, Literal, cast
from weakref import WeakValueDictionary

from langchain_ldai.account import (
    RESUMPTION_TOKEN_KEY,
    RUN_ID_KEY,
    Account,
    DurationMode,
    RunTracker,
    Sealer,
    check_sealer,
)
from langchain_ldai.adapters import GraphRunTracker
from langchain_ldai.boundary import Boundary
from langchain_ldai.claims import Claims
from langchain_ldai.errors import InvalidResumptionTokenError
from langchain_ldai.resumption import MAX_RUN_ID_LENGTH, run_id_fault, uuid_of
from langchain_ldai.slots import SlotTracker
from langchain_ldai.sources import AiConfig, Choose, ResumableAiConfig, in_our_form, served_model

_log = logging.getLogger(__name__)

RunIds = Literal["new", "root"] | Callable[[Mapping[str, Any]], str | None]
"""Where the id of a run comes from: a new one, LangChain's id of the root, or a function from its metadata."""


class Openings:
    """Opens the accounts of one handler's runs.

    Args:
        boundary: Catches what the caller's `run_ids` raises.
        duration: What the duration measures.
        resume: Whether a token that the caller gave continues its run.
        run_ids: Where the id of a run comes from.
        sealer: Seals the token that goes into the metadata, and unseals the caller's.

    Raises:
        TypeError: If an option is of another type.
        ValueError: If an option has a value it cannot have.
    """

    def __init__(
        self,
        boundary: Boundary,
        *,
        duration: DurationMode,
        resume: bool,
        run_ids: RunIds,
        sealer: Sealer | None,
    ) -> None:
        if duration not in ("model", "run"):
            raise ValueError(f'duration is "model" or "run", not {duration!r}')
        if run_ids not in ("new", "root") and not callable(run_ids):
            raise ValueError(f'run_ids is "new", "root" or a function from metadata to an id, not {run_ids!r}')
        if not isinstance(resume, bool):
            raise TypeError(f"resume is True or False, not {short_repr(resume)}; a token goes into the metadata")
        if sealer is not None:
            check_sealer(sealer)
        self._boundary = boundary
        self._duration = duration
        self._resume = resume
        self._run_ids = run_ids
        self._sealer = sealer
        self._told_of_replaced = False
        self._claims: WeakValueDictionary[int, Claims] = WeakValueDictionary()

    def open(
        self, choose: Choose, metadata: Mapping[str, object] | None, root_run_id: object, node: str = ""
    ) -> tuple[AiConfig, Account] | None:
        """Return an AI Config and a new account of it; `None` where there is no AI Config.

        Args:
            choose: Chooses the AI Config whose metrics the account takes.
            metadata: The metadata of the step that opens it.
            root_run_id: LangChain's id of the run's root.
            node: Name of the node whose account it is, "" for the run's own.
        """
        config = choose(metadata)
        if config is None:
            return None
        if self._run_ids == "new" and not self._resume:
            tracker = in_our_form(config.create_tracker())
        else:
            tracker = self._as_told(config, metadata or {}, root_run_id, node)
        if tracker.claims is not None:
            self._claims[id(tracker.claims)] = tracker.claims
        duration: DurationMode = "run" if isinstance(tracker, GraphRunTracker) else self._duration
        return config, Account(tracker, duration, served_model(config), self._sealer)

    def wait_for_claims(self, timeout: float | None) -> bool:
        """Wait until what was recorded is claimed in its ledger, where it has one, and sent.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether nothing is left.
        """
        deadline = None if timeout is None else monotonic() + timeout
        for claims in filter(None, [ref() for ref in self._claims.valuerefs()]):
            if not claims.wait(None if deadline is None else max(0.0, deadline - monotonic())):
                return False
        return True

    def _as_told(
        self, config: AiConfig, metadata: Mapping[str, object], root_run_id: object, node: str
    ) -> RunTracker:
        """Return the tracker of the run that the metadata, or the root's id, names."""
        known = None
        if callable(self._run_ids):
            given = self._boundary.run(root_run_id, self._run_ids, MappingProxyType(metadata))
            known = self._held(str(given)) if given else None
        root = self._held(str(root_run_id))
        run_id = known or (root if self._run_ids == "root" else None)
        token = _callers_token(metadata) if self._resume and not node else None
        tracker = self._continued(config, token, known or root) if token is not None else None
        return tracker or _new(config, run_id, node)

    def _held(self, run_id: str) -> str:
        """Return an id as it is where every ledger can hold it, else one that follows from it."""
        fault = run_id_fault(run_id)
        if not fault:
            return run_id
        if not self._told_of_replaced:
            self._told_of_replaced = True
            _log.warning(
                "an id that run_ids= chose for a run %s, which not every ledger can hold; such a run is recorded "
                "under a UUID that follows from the id. Have run_ids= choose UUIDs, or other texts of at most %s "
                "characters. Further such ids are not logged",
                fault,
                MAX_RUN_ID_LENGTH,
            )
        return uuid_of(run_id)

    def _continued(self, config: AiConfig, token: object, part: str) -> RunTracker | None:
        """Return the tracker of the run that a caller's token names; `None` where it names none that fits."""
        if not isinstance(config, ResumableAiConfig):
            return None
        try:
            plain = self._sealer.unseal(cast(str, token)) if self._sealer else cast(str, token)
            tracker = config.resume_tracker(plain)
        except (TypeError, InvalidResumptionTokenError) as error:
            _log.warning("a run is not continued, a new one opens: %s", error)
            return None
        if isinstance(tracker, SlotTracker):
            tracker.begin_part(part)
        return in_our_form(tracker)


def _new(config: AiConfig, run_id: str | None, node: str) -> RunTracker:
    """Return the tracker of a new run; where its id is known, that of a named node follows from it."""
    if run_id is None or not isinstance(config, ResumableAiConfig):
        return in_our_form(config.create_tracker())
    return in_our_form(config.create_tracker(run_id=uuid_of(f"{run_id}/{node}") if node else run_id))


def _callers_token(metadata: Mapping[str, object]) -> object:
    """Return the token that the caller gave; one beside a run id is a handler's mark (fact 23)."""
    return None if RUN_ID_KEY in metadata else metadata.get(RESUMPTION_TOKEN_KEY)

"""What every tracker has: slots that take one value each, whose events are sent once and outside the lock."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import ClassVar, Final, Generic, TypeVar

from langchain_ldai._base.guard import Delivery, Notices
from langchain_ldai._wire.tokens import GraphRunIdentity, RunIdentity
from langchain_ldai.ledgers._claims import ClaimingSend, Claims

Send = Callable[[str, Mapping[str, object], float], None]
"""Delivers one event: its name, its data, its metric value. The context is the sender's."""

Event = tuple[str, Mapping[str, object], float]
"""What `Send` takes."""

_OF_EACH_PART: Final = frozenset({"duration_ms", "path", "tokens"})

IdentityT = TypeVar("IdentityT", bound=RunIdentity | GraphRunIdentity)
SlotT = TypeVar("SlotT", bound=str)
ValueT = TypeVar("ValueT")


class SlotTracker(ABC, Generic[IdentityT, SlotT, ValueT]):
    """Records a value in each slot at most once, from any number of threads (spec section 4).

    Args:
        identity: Which run it is.
        token: The run's resumption token.
        data: What every event of the run carries.
        send: Delivers an event; a `ClaimingSend` once the slot is claimed in its ledger.

    Attributes:
        identity: Which run this is.
        resumption_token: The text with which another process can add to this run; always the same (spec sections
            6 and 7).
        claims: Where the slots are claimed beside in the tracker; `None` without a ledger.
        notices: What the client that made the tracker has logged, `None` for one made without a client.
    """

    __slots__ = (
        "_data",
        "_lock",
        "_part",
        "_recorded",
        "_send",
        "claims",
        "identity",
        "notices",
        "resumption_token",
    )

    _log: ClassVar[logging.Logger]
    _made_by: ClassVar[str]

    def __init__(self, identity: IdentityT, token: str, data: dict[str, object], send: Send) -> None:
        self.identity: Final = identity
        self.resumption_token: Final = token
        self._data = data
        self._send = send
        self.claims: Claims | None = send.claims if isinstance(send, ClaimingSend) else None
        self.notices: Notices | None = getattr(send, "notices", None)
        self._part = ""
        self._recorded: dict[SlotT, ValueT] = {}
        self._lock = threading.RLock()  # Python may collect, and so end, a run in the thread that holds it

    @property
    def run_id(self) -> str:
        """The run's id in LaunchDarkly, on every event of the run; the runs of a graph's nodes have their own."""
        return self.identity.run_id

    def begin_part(self, part: str) -> None:
        """Claim what each part of a continued run sends by itself, such as its tokens, for this part alone.

        Args:
            part: Which part, the same text wherever the part is run again.
        """
        self._part = part

    @abstractmethod
    def _events(self, slot: SlotT, value: ValueT) -> Sequence[Event]:
        """Return the events of a value."""

    def _report(self, slot: SlotT, value: ValueT) -> None:
        """Send the events of a value that has just been recorded."""
        for event in self._events(slot, value):
            self._send(*event)

    def take_missing(self, values: dict[SlotT, ValueT]) -> list[Delivery]:
        """Record those values whose slots are free, and return the calls that deliver them, to be made one by one.

        Args:
            values: By slot; the usage is one of which something is known.
        """
        with self._lock:
            if self._recorded:
                values = {slot: value for slot, value in values.items() if self._take(slot, value)}
            else:
                self._recorded.update(values)
        if self.claims is not None:
            return [(self._submit, (self.claims, slot, value)) for slot, value in values.items()]
        send = self._send
        return [(send, event) for slot, value in values.items() for event in self._events(slot, value)]

    def _track(self, caller: str, slot: SlotT, value: ValueT) -> None:
        if not self._record(slot, value):
            self._log.warning(
                "%s: already recorded for this run, dropped. Call create_tracker() on the %s for a new run. %s",
                caller,
                self._made_by,
                self._data,
            )

    def _record(self, slot: SlotT, value: ValueT) -> bool:
        if not self._take(slot, value):
            return False
        if self.claims is None:
            self._report(slot, value)
        else:
            self._submit(self.claims, slot, value)
        return True

    def _take(self, slot: SlotT, value: ValueT) -> bool:
        with self._lock:
            if slot in self._recorded:
                return False
            self._recorded[slot] = value
            return True

    def _submit(self, claims: Claims, slot: SlotT, value: ValueT, answer: Future[bool] | None = None) -> None:
        name = f"{slot}/{self._part}" if self._part and slot in _OF_EACH_PART else slot
        run_id, key, *_ = self.identity
        claims.submit(f"{run_id}/{key}", name, self._report, slot, value, answer=answer)

"""What every tracker has: slots that take one value each, whose events are sent once and outside the lock."""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import ClassVar, Final, Generic, TypeVar

from langchain_ldai.boundary import Delivery
from langchain_ldai.claims import ClaimingSend, Claims

Send = Callable[[str, Mapping[str, object], float], None]
"""Delivers one event: its name, its data, its metric value. The context is the sender's."""

Event = tuple[str, Mapping[str, object], float]

_OF_EACH_PART: Final = frozenset({"duration_ms", "path", "tokens"})

SlotT = TypeVar("SlotT", bound=str)
ValueT = TypeVar("ValueT")


class SlotTracker(ABC, Generic[SlotT, ValueT]):
    """Records a value in each slot at most once, from any number of threads (spec section 4).

    Args:
        run: Which run it is, as a ledger knows it.
        data: What every event of the run carries.
        send: Delivers an event; a `ClaimingSend` once the slot is claimed in its ledger.
    """

    __slots__ = ("_data", "_lock", "_part", "_recorded", "_run", "_send", "claims")

    _log: ClassVar[logging.Logger]
    _made_by: ClassVar[str]

    def __init__(self, run: str, data: dict[str, object], send: Send) -> None:
        self._run = run
        self._data = data
        self._send = send
        self.claims: Claims | None = send.claims if isinstance(send, ClaimingSend) else None
        self._part = ""
        self._recorded: dict[SlotT, ValueT] = {}
        self._lock = threading.Lock()

    def begin_part(self, part: str) -> None:
        """Claim what each part of a continued run sends by itself, such as its tokens, for this part alone.

        Args:
            part: Which part, the same text wherever the part is run again.
        """
        self._part = part

    @abstractmethod
    def _events(self, slot: SlotT, value: ValueT) -> list[Event]:
        """Return the events of a value that has just been recorded."""

    def _report(self, slot: SlotT, value: ValueT) -> None:
        for event in self._events(slot, value):
            self._send(*event)

    def _take_missing(self, values: dict[SlotT, ValueT]) -> list[Delivery]:
        """Record those values whose slots are free, and return what then delivers them."""
        with self._lock:
            for slot in values.keys() & self._recorded.keys():
                del values[slot]
            self._recorded.update(values)
        if self.claims is not None:
            return [(self._submit, (self.claims, slot, value)) for slot, value in values.items()]
        return [(self._send, event) for slot, value in values.items() for event in self._events(slot, value)]

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

    def _submit(self, claims: Claims, slot: SlotT, value: ValueT) -> Future[bool]:
        name = f"{slot}/{self._part}" if self._part and slot in _OF_EACH_PART else slot
        return claims.submit(self._run, name, self._report, slot, value)

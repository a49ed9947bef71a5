"""What every tracker has: slots that take one value each, whose events are sent once and outside the lock."""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Generic, TypeVar

Send = Callable[[str, Mapping[str, object], float], None]
"""Delivers one event: its name, its data, its metric value. The context is the sender's."""

SlotT = TypeVar("SlotT", bound=str)
ValueT = TypeVar("ValueT")


class SlotTracker(ABC, Generic[SlotT, ValueT]):
    """Records a value in each slot at most once, from any number of threads (spec section 4).

    Args:
        data: What every event of the run carries.
        send: Delivers an event.
    """

    __slots__ = ("_data", "_lock", "_recorded", "_send")

    _log: ClassVar[logging.Logger]
    _made_by: ClassVar[str]

    def __init__(self, data: Mapping[str, object], send: Send) -> None:
        self._data = dict(data)
        self._send = send
        self._recorded: dict[SlotT, ValueT] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def _report(self, slot: SlotT, value: ValueT) -> None:
        """Send the events of a value that has just been recorded."""

    def _track(self, caller: str, slot: SlotT, value: ValueT) -> None:
        if not self._record(slot, value):
            self._log.warning(
                "%s: already recorded for this run, dropped. Call create_tracker() on the %s for a new run. %s",
                caller,
                self._made_by,
                self._data,
            )

    def _record(self, slot: SlotT, value: ValueT) -> bool:
        with self._lock:
            if slot in self._recorded:
                return False
            self._recorded[slot] = value
        self._report(slot, value)
        return True

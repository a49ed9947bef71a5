"""At most once: a tracker keeps the record of its run's metrics, and sends what the record grants."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, ClassVar, Final, Generic, NoReturn, Self, TypeVar

from langchain_ldai._tracking.sending import EventSender
from langchain_ldai._tracking.values import Slot, TokenUsage, Value, check_usage, whole_milliseconds
from langchain_ldai._wire.events import MODEL_NAME, PROVIDER_NAME, Event
from langchain_ldai._wire.tokens import GraphRunIdentity, RunIdentity, token_and_fields
from langchain_ldai.ledgers._protocol import Claim

EventTable = Mapping[Slot, Callable[[Mapping[str, object], Any], list[Event]]]
"""By slot, the function that makes its events from the data of every event and the slot's value."""

NO_MODEL: Final = {MODEL_NAME: "", PROVIDER_NAME: ""}
"""What the events of a resumed run say of its model: the token does not name it."""

_DROPPED: Final = "already recorded for this run, dropped. Call create_tracker() on the"
_DUPLICATE: Final = {"feedback": "a thumb cannot be changed, and this run has one; dropped"}
"""What the log says of a second value, for slots where a new run is no remedy."""

_SECONDS: Final = "%s was given %r and records 0: it takes milliseconds. Is this a number of seconds?"

_ONCE_PER_PART: Final = frozenset({"duration_ms", "path", "tokens"})

IdentityT = TypeVar("IdentityT", bound=RunIdentity | GraphRunIdentity)


class OnceTracker(Generic[IdentityT]):
    """Sends the events of each slot of one run at most once, from any number of threads.

    It claims a slot in the run's record, and then in the ledger if there is one. After that it sends the events,
    outside every lock.

    Args:
        identity: Which run it is.
        sender: Sends the events.
        data: What else every event of the run carries. By default that says that the model is unknown.

    Attributes:
        identity: Which run this is.
        resumption_token: The text with which another process can add to this run. It never changes.
    """

    __slots__ = ("_data", "_lock", "_part", "_sender", "_values", "identity", "resumption_token")

    _log: ClassVar[logging.Logger]
    _made_by: ClassVar[str]
    _events_of: ClassVar[EventTable]
    _event_each_time: ClassVar[Callable[..., Event]]
    """Makes the event of a tool call, from the tool's key, or of an agent graph's handoff. Each counts."""

    def __init__(self, identity: IdentityT, sender: EventSender, data: Mapping[str, object] = NO_MODEL) -> None:
        self.identity: Final = identity
        token, fields = token_and_fields(identity)
        self.resumption_token: Final = token
        self._data: Final[Mapping[str, object]] = {**fields, **data, **sender.client.environment}
        self._sender = sender
        self._part = ""
        self._values: dict[str, Any] = {}
        self._lock = threading.RLock()  # Python may collect, and so end, a run in the thread that holds it

    @property
    def run_id(self) -> str:
        """The run's id in LaunchDarkly, on every event of the run; the runs of a graph's nodes have their own."""
        return self.identity.run_id

    def __repr__(self) -> str:  # it may come into a log, and shows no token
        run_id, key, *_ = self.identity
        return f"{type(self).__name__}(run_id={run_id!r}, key={key!r})"

    def __copy__(self) -> Self:
        return self

    def __reduce__(self) -> NoReturn:  # `copy.deepcopy` calls it too
        raise TypeError(
            f"{type(self).__name__} knows what its run has recorded, which a copy would record again: it can be "
            "neither deep-copied nor pickled. Pass on its `resumption_token`, and give that to `resume_tracker()`"
        )

    def track_duration(self, ms: float) -> None:
        """Record how long the run took, once.

        Args:
            ms: Milliseconds. They are sent as a whole number, rounded down. 0 is a measurement too.

        Raises:
            ValueError: If `ms` is negative or not a number.
        """
        self._track_time("track_duration", "duration_ms", ms)

    def _begin_part(self, part: str) -> None:
        """Let a part of a continued run claim its own duration, tokens and path in the ledger.

        Args:
            part: Which part, the same text wherever the part is run again.
        """
        self._part = part

    def _track_time(self, caller: str, slot: Slot, ms: float) -> None:
        """Record milliseconds; warn once for each client of a value that looks like seconds."""
        whole = whole_milliseconds(ms)
        if 0 < ms < 1:
            notices = self._sender.client.notices
            notices.once(self._log, logging.WARNING, ("seconds", caller), _SECONDS, caller, ms)
        self._track(caller, {slot: whole})

    def _track_usage(self, caller: str, usage: TokenUsage | None) -> None:
        """Record tokens, unless none are known (spec section 4.6)."""
        if usage is not None and (known := check_usage(usage)):
            self._track(caller, {"tokens": known})

    def _track(self, caller: str, values: Mapping[Slot, Value], each_time: Iterable[object] = ()) -> None:
        """Do what `_record` does, and log a warning of the slots that had a value.

        Args:
            caller: The public method, for the log.
            values: See `_record`.
            each_time: See `_record`.
        """
        due = self._record(values, each_time)
        if dropped := [slot for slot in values if slot not in due]:
            names = " and ".join(dropped)
            said = _DUPLICATE.get(names, f"{names} {_DROPPED} {self._made_by} for a new run")
            self._log.warning("%s: %s. %s", caller, said, self._data)

    def _record(
        self,
        values: Mapping[Slot, Value],
        each_time: Iterable[object] = (),
        *,
        events_of: EventTable | None = None,
        answer: Future[bool] | None = None,
    ) -> Mapping[Slot, Value]:
        """Record the values of those slots that have none yet, and send everything that is due in one call.

        Args:
            values: The values by slot: times in whole milliseconds, tokens as a usage with a part above 0.
            each_time: Tool calls or handoffs, as `_event_each_time` takes them.
            events_of: Makes the events of the slots in the place of `_events_of`.
            answer: Gets whether the ledger granted the slot. Without a ledger it gets nothing.

        Returns:
            What was recorded.
        """
        due: dict[Slot, Any] = {}
        with self._lock:
            for slot, value in values.items():
                if slot not in self._values:
                    due[slot] = self._values[slot] = value
        data, table, sender = self._data, events_of or self._events_of, self._sender
        sent: list[Event] = []
        for slot, value in due.items():
            events = table[slot](data, value)
            if sender.claims is None:
                sent += events
            else:
                self._send(events, slot, answer)
        sent += map(self._event_each_time, each_time)
        if sent:
            sender.client.send(sender.context, sent)
        return due

    def _send(self, events: list[Event], slot: str = "", answer: Future[bool] | None = None) -> None:
        """Send events: if they have a slot and there is a ledger, once it grants the slot, otherwise now."""
        claims = self._sender.claims
        if not slot or claims is None:
            self._sender.client.send(self._sender.context, events)
            return
        run_id, key, *_ = self.identity
        name = f"{slot}/{self._part}" if self._part and slot in _ONCE_PER_PART else slot
        claims.submit(Claim(f"{run_id}/{key}", name, self._sender.context, events, answer))

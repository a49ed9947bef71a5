"""At most once: a tracker keeps the record of its run's metrics, and sends what the record grants."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, ClassVar, Final, Generic, TypeVar

from langchain_ldai._tracking.sending import EventSender
from langchain_ldai._tracking.values import whole_milliseconds
from langchain_ldai._wire.events import ENVIRONMENT_ID, Event
from langchain_ldai._wire.tokens import GraphRunIdentity, RunIdentity, token_and_fields
from langchain_ldai.ledgers._protocol import Claim

EventTable = Mapping[str, Callable[[Any], Iterable[Event]]]
"""From a metric to the events of its value; their data is what they say beside the run's."""

_DROPPED: Final = "already recorded for this run, dropped. Call create_tracker() on the"
_DUPLICATE: Final = {"feedback": "a thumb cannot be changed, and this run has one; dropped"}
"""What the log says of a second value, by metric, where a new run is no remedy."""

_SECONDS: Final = "%s was given %r and records 0: it takes milliseconds. Is this a number of seconds?"

_ONCE_PER_PART: Final = frozenset({"duration_ms", "path", "tokens"})

IdentityT = TypeVar("IdentityT", bound=RunIdentity | GraphRunIdentity)
MetricT = TypeVar("MetricT", bound=str)


class OnceTracker(Generic[IdentityT, MetricT]):
    """Sends the events of each metric of one run at most once, from any number of threads.

    It claims a metric first, in the run's record and then in the ledger if there is one. It sends the events
    afterwards, outside every lock.

    Args:
        identity: Which run it is.
        sender: Sends the events.
        data: What every event of the run carries beside the identity.

    Attributes:
        identity: Which run this is.
        resumption_token: The text with which another process can add to this run. It never changes.
    """

    __slots__ = ("_data", "_lock", "_part", "_sender", "_values", "identity", "resumption_token")

    _log: ClassVar[logging.Logger]
    _made_by: ClassVar[str]
    _events_of: ClassVar[EventTable]

    def __init__(self, identity: IdentityT, sender: EventSender, data: Mapping[str, object]) -> None:
        self.identity: Final = identity
        token, fields = token_and_fields(identity)
        self.resumption_token: Final = token
        self._data = {**fields, **data}
        self._sender = sender
        self._part = ""
        self._values: dict[MetricT, object] = {}
        self._lock = threading.RLock()  # Python may collect, and so end, a run in the thread that holds it

    @property
    def run_id(self) -> str:
        """The run's id in LaunchDarkly, on every event of the run; the runs of a graph's nodes have their own."""
        return self.identity.run_id

    def __repr__(self) -> str:  # it may come into a log, and shows no token
        run_id, key, *_ = self.identity
        return f"{type(self).__name__}(run_id={run_id!r}, key={key!r})"

    def _begin_part(self, part: str) -> None:
        """Let a part of a continued run claim its own duration, tokens and path in the ledger.

        Args:
            part: Which part, the same text wherever the part is run again.
        """
        self._part = part

    def _recorded(self) -> dict[MetricT, Any]:
        """Return the values by metric, as they are now."""
        with self._lock:
            return self._values.copy()

    def _track(self, caller: str, values: Mapping[MetricT, object]) -> None:
        self._warn_of(caller, self._record(values))

    def _warn_of(self, caller: str, dropped: list[MetricT]) -> None:
        if dropped:
            names = " and ".join(dropped)
            said = _DUPLICATE.get(names, f"{names} {_DROPPED} {self._made_by} for a new run")
            self._log.warning("%s: %s. %s", caller, said, self._data)

    def _milliseconds(self, caller: str, ms: float) -> int:
        """Return milliseconds as they are sent; what looks like seconds is told once for each client."""
        whole = whole_milliseconds(ms)
        if 0 < ms < 1:
            notices = self._sender.client.notices
            notices.once(self._log, logging.WARNING, ("seconds", caller), _SECONDS, caller, ms)
        return whole

    def _record(
        self,
        values: Mapping[MetricT, object],
        *,
        further: Iterable[Event] = (),
        events_of: EventTable | None = None,
        answer: Future[bool] | None = None,
    ) -> list[MetricT]:
        """Record those metrics that have no value yet, and send everything that is due in one call.

        Args:
            values: By metric; times in whole milliseconds, and of tokens a usage of which something is known.
            further: Events without a limit, which are sent with those of the metrics.
            events_of: The events of the metrics, where they are not those of `_events_of`.
            answer: Gets whether the ledger granted the metric; left alone without a ledger.

        Returns:
            The metrics that had a value.
        """
        due: list[MetricT] = []
        dropped: list[MetricT] = []
        with self._lock:
            for metric, value in values.items():
                (dropped if metric in self._values else due).append(metric)
                self._values.setdefault(metric, value)
        table, claims, events = events_of or self._events_of, self._sender.claims, list[Event]()
        for metric in due:
            own = table[metric](values[metric])
            if claims is None:
                events += own
            else:
                claims.submit(self._claim_of(metric, self._with_data(own), answer))
        events += further
        if events:
            self._sender.client.send(self._sender.context, self._with_data(events))
        return dropped

    def _claim_of(self, metric: str, events: list[Event], answer: Future[bool] | None) -> Claim:
        run_id, key, *_ = self.identity
        slot = f"{metric}/{self._part}" if self._part and metric in _ONCE_PER_PART else metric
        return Claim(f"{run_id}/{key}", slot, self._sender.context, events, answer)

    def _with_data(self, events: Iterable[Event]) -> list[Event]:
        """Return events with what every event of the run carries; those that add nothing share one dictionary."""
        if ENVIRONMENT_ID not in self._data and (environment_id := self._sender.client.environment_id()):
            self._data = {**self._data, ENVIRONMENT_ID: environment_id}
        data = self._data
        return [(name, {**data, **more} if more else data, number) for name, more, number in events]

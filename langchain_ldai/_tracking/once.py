"""At most once: a run's record of its metrics, and the tracker that sends what the record grants."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, ClassVar, Final, Generic, TypeVar

from langchain_ldai._base.guard import Delivery, Notices
from langchain_ldai._tracking.values import whole_milliseconds
from langchain_ldai._wire.tokens import GraphRunIdentity, RunIdentity
from langchain_ldai.ledgers._claims import ClaimSubmitter, SendAfterClaim

Event = tuple[str, Mapping[str, object], float]
"""An event's name, its data, and its metric value."""

Send = Callable[[str, Mapping[str, object], float], None]
"""Sends one event for the context that the sender knows."""

EventTable = Mapping[str, Callable[[Any], Iterable[Event]]]
"""From a metric to the events of its value; their data is what they say beside the run's."""

_DROPPED: Final = "already recorded for this run, dropped. Call create_tracker() on the"
_DUPLICATE: Final = {"feedback": "a thumb cannot be changed, and this run has one; dropped"}
"""What the log says of a second value, by metric, where a new run is no remedy."""

_SECONDS: Final = "%s was given %r and records 0: it takes milliseconds. Is this a number of seconds?"

_ONCE_PER_PART: Final = frozenset({"duration_ms", "path", "tokens"})

IdentityT = TypeVar("IdentityT", bound=RunIdentity | GraphRunIdentity)
MetricT = TypeVar("MetricT", bound=str)


class RecordedMetrics(Generic[MetricT]):
    """The metrics of one run that have a value. The first value stands."""

    __slots__ = ("_lock", "_values")

    def __init__(self) -> None:
        self._values: dict[MetricT, object] = {}
        self._lock = threading.RLock()  # Python may collect, and so end, a run in the thread that holds it

    def claim(self, metric: MetricT, value: object) -> bool:
        """Record a metric's value; return `False`, and change nothing, if the metric has one."""
        with self._lock:
            if metric in self._values:
                return False
            self._values[metric] = value
            return True

    def snapshot(self) -> dict[MetricT, Any]:
        """Return the values by metric, as they are now."""
        with self._lock:
            return self._values.copy()


class OnceTracker(Generic[IdentityT, MetricT]):
    """Sends the events of each metric of one run at most once, from any number of threads.

    A metric is claimed first, in the run's record and then in the ledger if there is one. Its events are sent
    afterwards, outside every lock.

    Args:
        identity: Which run it is.
        token: The run's resumption token.
        data: What every event of the run carries.
        send: Sends an event.

    Attributes:
        identity: Which run this is.
        resumption_token: The text with which another process can add to this run. It never changes.
        claims: Claims metrics in the ledger; `None` without a ledger.
        notices: What the client that made the tracker has logged; `None` for one made without a client.
    """

    __slots__ = ("_data", "_part", "_recorded", "_send", "claims", "identity", "notices", "resumption_token")

    _log: ClassVar[logging.Logger]
    _made_by: ClassVar[str]
    _events_of: ClassVar[EventTable]

    def __init__(self, identity: IdentityT, token: str, data: dict[str, object], send: Send) -> None:
        self.identity: Final = identity
        self.resumption_token: Final = token
        self.claims: ClaimSubmitter | None = send.claims if isinstance(send, SendAfterClaim) else None
        self.notices: Notices | None = getattr(send, "notices", None)
        self._data = data
        self._send = send
        self._part = ""
        self._recorded: RecordedMetrics[MetricT] = RecordedMetrics()

    @property
    def run_id(self) -> str:
        """The run's id in LaunchDarkly, on every event of the run; the runs of a graph's nodes have their own."""
        return self.identity.run_id

    def __repr__(self) -> str:  # it may come into a log, and shows no token
        run_id, key, *_ = self.identity
        return f"{type(self).__name__}(run_id={run_id!r}, key={key!r})"

    def begin_part(self, part: str) -> None:
        """Let a part of a continued run claim its own duration, tokens and path in the ledger.

        Args:
            part: Which part, the same text wherever the part is run again.
        """
        self._part = part

    def take_missing(self, values: Mapping[MetricT, object]) -> list[Delivery]:
        """Claim those metrics that have no value yet, and return the calls that send them.

        Args:
            values: By metric; times in whole milliseconds, and of tokens a usage of which something is known.

        Returns:
            Calls to be made one by one, so that one that fails keeps no other back.
        """
        return [call for metric, value in values.items() for call in self._claim(metric, value) or ()]

    def _track(self, caller: str, metric: MetricT, value: object) -> None:
        if not self._record(metric, value):
            said = _DUPLICATE.get(metric, f"{_DROPPED} {self._made_by} for a new run")
            self._log.warning("%s: %s. %s", caller, said, self._data)

    def _milliseconds(self, caller: str, ms: float) -> int:
        """Return milliseconds as they are sent; what looks like seconds is told once for each client."""
        whole = whole_milliseconds(ms)
        if 0 < ms < 1 and self.notices is not None:
            self.notices.once(self._log, logging.WARNING, ("seconds", caller), _SECONDS, caller, ms)
        return whole

    def _record(
        self, metric: MetricT, value: object, *, further: Iterable[Event] = (), answer: Future[bool] | None = None
    ) -> bool:
        """Claim a metric and send its events; return `False` if the metric has a value."""
        calls = self._claim(metric, value, further, answer)
        for call, args in calls or ():
            call(*args)
        return calls is not None

    def _claim(
        self, metric: MetricT, value: object, further: Iterable[Event] = (), answer: Future[bool] | None = None
    ) -> list[Delivery] | None:
        """Claim a metric, and return the calls that send its events; `None` if the metric has a value.

        Args:
            metric: Which metric.
            value: Its value.
            further: Events that are sent with the metric's own.
            answer: Gets whether the ledger granted the metric; left alone without a ledger.
        """
        if not self._recorded.claim(metric, value):
            return None
        if self.claims is None:
            return [(self._send, event) for event in self._events(metric, value, further)]
        slot = f"{metric}/{self._part}" if self._part and metric in _ONCE_PER_PART else metric
        run_id, key, *_ = self.identity
        return [(self.claims.submit, (f"{run_id}/{key}", slot, answer, self._send_all, metric, value, further))]

    def _send_all(self, metric: str, value: object, further: Iterable[Event]) -> None:
        for event in self._events(metric, value, further):
            self._send(*event)

    def _events(self, metric: str, value: object, further: Iterable[Event]) -> list[Event]:
        events = (*self._events_of[metric](value), *further)
        return [(name, {**self._data, **more}, number) for name, more, number in events]

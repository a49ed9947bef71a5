"""A stand-in for `ldclient.LDClient` that keeps what it is told."""

import copy
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ldclient import Context


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One event as it was tracked, or as it arrived.

    Args:
        name: The event's name.
        context: Whom it is counted for.
        data: Its data, a copy.
        value: Its metric value.
    """

    name: str
    context: Context
    data: object
    value: float | None


def metrics_of(events: Iterable[RecordedEvent], run_id: str) -> dict[str, list[float]]:
    """Return the metric values of a run by event name, in order, so that a repeated one shows."""
    metrics: dict[str, list[float]] = {}
    for event in events:
        if isinstance(event.data, Mapping) and event.data.get("runId") == run_id and event.value is not None:
            metrics.setdefault(event.name, []).append(event.value)
    return metrics


class _Recorder:
    """What the recording clients have in common."""

    def __init__(self, flags: Mapping[str, object] | None = None) -> None:
        self._flags = dict(flags or {})
        self._events: list[RecordedEvent] = []
        self._lock = threading.RLock()  # Python may collect, and so end, a run in the thread that holds it

    @property
    def events(self) -> list[RecordedEvent]:
        """Every event tracked so far, in order; a copy."""
        with self._lock:
            return list(self._events)

    def metrics(self, run_id: str) -> dict[str, list[float]]:
        """Return the metric values of a run by event name, in order, so that a repeated one shows."""
        return metrics_of(self.events, run_id)

    def set_flag(self, key: str, value: object) -> None:
        """Serve this value for the flag from now on."""
        self._flags[key] = value

    def clear(self) -> None:
        """Forget the events so far."""
        with self._lock:
            self._events.clear()

    def track(
        self, event_name: str, context: Context, data: object = None, metric_value: float | None = None
    ) -> None:
        """Record an event, its data as it is now."""
        event = RecordedEvent(event_name, context, copy.deepcopy(data), metric_value)
        with self._lock:
            self._events.append(event)


class RecordingClient(_Recorder):
    """A stand-in for `LDClient` in a user's own tests: pass it to `LdAiClient`, then look at `events`.

    Args:
        flags: What to serve to every context, by flag key; like the real client's store, not copied.
    """

    def variation(self, key: str, context: Context, default: object) -> object:
        """Return the flag's value, or the default where there is no such flag."""
        return self._flags.get(key, default)


class AsyncRecordingClient(_Recorder):
    """A stand-in for `AsyncLDClient`: pass it to `AsyncLdAiClient`; see `RecordingClient`."""

    async def variation(self, key: str, context: Context, default: object) -> object:
        """Return the flag's value, or the default where there is no such flag."""
        return self._flags.get(key, default)

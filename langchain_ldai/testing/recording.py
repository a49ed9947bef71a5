"""Stand-ins for `ldclient`'s clients that keep what they are told."""

import copy
import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ldclient import Context
from ldclient.evaluation import EvaluationDetail

_log = logging.getLogger(__name__)


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
        """Record an event, its data as it is now; as the real clients do, take none of an invalid context."""
        if not context.valid:
            _log.warning("an event %r of an invalid context is not taken: %s", event_name, context.error)
            return
        event = RecordedEvent(event_name, context, copy.deepcopy(data), metric_value)
        with self._lock:
            self._events.append(event)

    def identify(self, context: Context) -> None:
        """Do nothing: whom events are counted for is in the events."""

    def is_offline(self) -> bool:
        """Whether it is offline, which it never is."""
        return False

    def _served(self, key: str, context: Context, default: object) -> EvaluationDetail:
        """Return what is served and why, as the real clients tell it."""
        if not context.valid:
            return EvaluationDetail(default, None, {"kind": "ERROR", "errorKind": "USER_NOT_SPECIFIED"})
        if key not in self._flags:
            return EvaluationDetail(default, None, {"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND"})
        return EvaluationDetail(self._flags[key], 0, {"kind": "FALLTHROUGH"})


class RecordingClient(_Recorder):
    """A stand-in for `LDClient` in a user's own tests: pass it to `LdAiClient`, then look at `events`.

    It is initialised at once. To flush or close it does nothing: what was tracked is in `events` already, and what
    is tracked later comes there too.

    Args:
        flags: What to serve to every context, by flag key; like the real client's store, not copied.
    """

    def variation(self, key: str, context: Context, default: object) -> object:
        """Return the flag's value, or the default where there is no such flag or the context is invalid."""
        return self._served(key, context, default).value

    def variation_detail(self, key: str, context: Context, default: object) -> EvaluationDetail:
        """Return the same as `variation`, and why."""
        return self._served(key, context, default)

    def is_initialized(self) -> bool:
        """Whether it is initialised, which it always is."""
        return True

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def postfork(self, start_wait: float = 5) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncRecordingClient(_Recorder):
    """A stand-in for `AsyncLDClient`: pass it to `AsyncLdAiClient`; see `RecordingClient`."""

    async def variation(self, key: str, context: Context, default: object) -> object:
        """Return the flag's value, or the default where there is no such flag or the context is invalid."""
        return self._served(key, context, default).value

    async def variation_detail(self, key: str, context: Context, default: object) -> EvaluationDetail:
        """Return the same as `variation`, and why."""
        return self._served(key, context, default)

    async def is_initialized(self) -> bool:
        """Whether it is initialised, which it always is."""
        return True

    async def start(self, start_wait: float = 5.0) -> None:
        """Do nothing."""

    async def flush(self) -> None:
        """Do nothing."""

    async def flush_and_wait(self, timeout: float) -> bool:  # noqa: ASYNC109  as the real one has it
        """Return at once: nothing waits to be delivered."""
        return True

    async def close(self) -> None:
        """Do nothing."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

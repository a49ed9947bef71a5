"""Stand-ins for `ldclient`'s clients that serve flags and keep the events they are given."""

import copy
import logging
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from ldclient import Context
from ldclient.evaluation import EvaluationDetail

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One event as it was tracked, or as it arrived.

    Args:
        name: The event's name.
        context: Whom it is counted for.
        data: A copy of its data.
        value: Its metric value.

    Example:
        >>> ai.completion_config("support-bot", context).create_tracker(run_id="run-1").track_success()
        >>> event = client.events[-1]
        >>> event.name, event.data["runId"], event.value
        ('$ld:ai:generation:success', 'run-1', 1)
    """

    name: str
    context: Context = field(hash=False)  # LaunchDarkly's has no hash
    data: Any = field(hash=False)  # JSON, into which a test looks
    value: float | None


_TOKEN: Final = re.compile(r"eyJ|[0-9a-f]{12}\.gAAAA")
"""How plain and sealed resumption tokens begin."""


def metrics_of(events: Iterable[RecordedEvent], run_id: str) -> dict[str, list[float]]:
    """Return the metric values of a run by event name, each with every value in order."""
    if not isinstance(run_id, str):
        raise TypeError(f"run_id is a str, as report.run_id and tracker.run_id are, not {type(run_id).__name__}")
    metrics: dict[str, list[float]] = {}
    for event in events:
        if isinstance(event.data, Mapping) and event.data.get("runId") == run_id and event.value is not None:
            metrics.setdefault(event.name, []).append(event.value)
    if not metrics and _TOKEN.match(run_id):
        raise ValueError("this is a resumption token, not the id of a run: give report.run_id")
    return metrics


def check_flags(flags: Mapping[str, object] | None) -> None:
    """Raise `TypeError` unless flags are a dictionary by key: one flag in their place would serve nothing."""
    is_one = isinstance(flags, Mapping) and "_ldMeta" in flags
    if flags is not None and (is_one or not isinstance(flags, Mapping)):
        given = "one flag" if is_one else type(flags).__name__
        raise TypeError(f'flags is a dictionary of flags by key, as in {{"support-bot": {{...}}}}, not {given}')


class _Recorder:
    """What the recording clients have in common."""

    def __init__(self, flags: Mapping[str, object] | None = None) -> None:
        check_flags(flags)
        self._flags = dict(flags or {})
        self._events: list[RecordedEvent] = []
        self._is_closed = False
        self._lock = threading.RLock()  # Python may collect, and so end, a run in the thread that holds it

    def __repr__(self) -> str:
        return f"{type(self).__name__}(flags={list(self._flags)}, events={len(self.events)})"

    @property
    def events(self) -> list[RecordedEvent]:
        """Every event tracked so far, in order; a copy."""
        with self._lock:
            return list(self._events)

    def metrics(self, run_id: str) -> dict[str, list[float]]:
        """Return the metric values of a run by event name; a metric that was sent twice has two values.

        Raises:
            TypeError: If the id is no text.
            ValueError: If a run's token is given in the place of its id.

        Example:
            >>> tracker = ai.completion_config("support-bot", context).create_tracker()
            >>> tracker.track_success()
            >>> client.metrics(tracker.run_id)
            {'$ld:ai:generation:success': [1]}
        """
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
        """Record an event with a copy of its data.

        Like the real clients, take no event of an invalid context, nor any once closed.

        Raises:
            TypeError: If the context is no `Context`.
        """
        if not isinstance(context, Context):
            raise _no_context(context)
        if self._is_closed:
            _log.warning("an event %r of a closed client is not taken", event_name)
            return
        if not context.valid:
            _log.warning("an event %r of an invalid context is not taken: %s", event_name, context.error)
            return
        event = RecordedEvent(event_name, context, copy.deepcopy(data), metric_value)
        with self._lock:
            self._events.append(event)

    def identify(self, context: Context) -> None:
        """Do nothing: each event says whom it is counted for."""

    def is_offline(self) -> bool:
        """Return that it is not offline."""
        return False

    def _served(self, key: str, context: Context, default: object) -> EvaluationDetail:
        """Return what is served and why, as the real clients tell it."""
        if not isinstance(context, Context):
            raise _no_context(context)
        if not context.valid:
            return EvaluationDetail(default, None, {"kind": "ERROR", "errorKind": "USER_NOT_SPECIFIED"})
        if key not in self._flags:
            return EvaluationDetail(default, None, {"kind": "ERROR", "errorKind": "FLAG_NOT_FOUND"})
        return EvaluationDetail(self._flags[key], 0, {"kind": "FALLTHROUGH"})


def _no_context(given: object) -> TypeError:
    return TypeError(f"a context is an ldclient.Context, not {type(given).__name__}: use Context.from_dict(...)")


class RecordingClient(_Recorder):
    """A stand-in for `LDClient` in your own tests: pass it to `LdAiClient`, then look at `events`.

    It is initialised at once and needs no flush: an event is in `events` once tracked. Once closed it takes
    no more, and what was tracked stays in `events`. `postfork` opens it again.

    Args:
        flags: What to serve to every context, by flag key; like the real client's store, not copied.

    Example:
        >>> from langchain_ldai.testing import RecordingClient
        >>> flag = {"_ldMeta": {"enabled": True, "variationKey": "short"}, "model": {"name": "gpt-4.1-mini"}}
        >>> client = RecordingClient({"support-bot": flag})
        >>> tracker = LdAiClient(client).completion_config("support-bot", context).create_tracker()
        >>> tracker.track_tokens(TokenUsage(total=17, input=14, output=3))
        >>> [event.name for event in client.events if event.name.startswith("$ld:ai:tokens:")]
        ['$ld:ai:tokens:total', '$ld:ai:tokens:input', '$ld:ai:tokens:output']
    """

    def variation(self, key: str, context: Context, default: object) -> object:
        """Return the flag's value, or the default where there is no such flag or the context is invalid."""
        return self._served(key, context, default).value

    def variation_detail(self, key: str, context: Context, default: object) -> EvaluationDetail:
        """Return the same as `variation`, and why."""
        return self._served(key, context, default)

    def is_initialized(self) -> bool:
        """Return that it is initialised."""
        return True

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Take no more events."""
        self._is_closed = True

    def postfork(self, start_wait: float = 5) -> None:
        """Take events again, where the client is closed."""
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncRecordingClient(_Recorder):
    """A stand-in for `AsyncLDClient` in your own tests: pass it to `AsyncLdAiClient`, then look at `events`.

    After `close` it takes no more events, and what was tracked stays.

    Args:
        flags: What to serve to every context, by flag key; like the real client's store, not copied.

    Example:
        >>> from langchain_ldai.testing import AsyncRecordingClient
        >>> client = AsyncRecordingClient(flags)
        >>> async def main() -> None:
        ...     config = await AsyncLdAiClient(client).completion_config("support-bot", context)
        ...     config.create_tracker(run_id="run-1").track_success()
        >>> asyncio.run(main())
        >>> client.metrics("run-1")
        {'$ld:ai:generation:success': [1]}
    """

    async def variation(self, key: str, context: Context, default: object) -> object:
        """Return the flag's value, or the default where there is no such flag or the context is invalid."""
        return self._served(key, context, default).value

    async def variation_detail(self, key: str, context: Context, default: object) -> EvaluationDetail:
        """Return the same as `variation`, and why."""
        return self._served(key, context, default)

    async def is_initialized(self) -> bool:
        """Return that it is initialised."""
        return True

    async def start(self, start_wait: float = 5.0) -> None:
        """Do nothing."""

    async def flush(self) -> None:
        """Do nothing."""

    async def flush_and_wait(self, timeout: float) -> bool:  # noqa: ASYNC109  as the real one has it
        """Return at once: nothing waits to be delivered."""
        return True

    async def close(self) -> None:
        """Take no more events."""
        self._is_closed = True

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

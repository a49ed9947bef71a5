"""A LaunchDarkly on this machine: it streams flags to a real client and keeps the events that arrive."""

import queue
import threading
from collections import defaultdict
from collections.abc import Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from ldclient import Context
from ldclient.config import Config

from langchain_ldai._protocol.flags import Change, FlagData, Json
from langchain_ldai._protocol.paths import BULK, PATHS
from langchain_ldai._protocol.stream import put
from langchain_ldai.testing.endpoints import LOSE_RESPONSE, Server
from langchain_ldai.testing.recording import RecordedEvent, check_flags, metrics_of

if TYPE_CHECKING:
    from ldclient.async_config import AsyncConfig

SDK_KEY: Final = "sdk-loopback"
HEARTBEAT_SECONDS: Final = 5.0

_Queue = queue.SimpleQueue[Change | None]


class LoopbackLaunchDarkly:
    """A LaunchDarkly on 127.0.0.1, within a `with` block: it serves flags to SDKs and keeps the events they send.

    Args:
        flags: What to serve to every context, by flag key; copied.
        sdk_key: The only SDK key to accept; without one, any.
        port: Port to listen on; 0 for a free one.
        heartbeat: Seconds after which a stream without a change shows that it lives.
        environment_id: Id of the environment that SDKs are told; without one they are told no id.

    Raises:
        TypeError: If `flags` is no dictionary by key, or a flag's value is not JSON.
        ValueError: If a flag's value holds NaN or an infinity.

    Example:
        >>> from ldclient import LDClient
        >>> from langchain_ldai.testing import LoopbackLaunchDarkly
        >>> with LoopbackLaunchDarkly(flags) as launchdarkly, LDClient(launchdarkly.config()) as client:
        ...     config = LdAiClient(client).completion_config("support-bot", context)
        ...     config.create_tracker(run_id="run-1").track_success()
        ...     client.flush()
        ...     arrived = launchdarkly.wait_for_events(1, "$ld:ai:generation:success")
        >>> arrived[0].data["runId"]
        'run-1'
    """

    def __init__(
        self,
        flags: Mapping[str, object] | None = None,
        *,
        sdk_key: str | None = None,
        port: int = 0,
        heartbeat: float = HEARTBEAT_SECONDS,
        environment_id: str | None = None,
    ) -> None:
        check_flags(flags)
        self.environment_id = environment_id
        self._data = FlagData(flags)
        self._sdk_key = sdk_key
        self._port = port
        self._heartbeat = heartbeat
        self._batches: list[tuple[str | None, list[Json]]] = []
        self._faults: dict[str, list[int]] = defaultdict(list)
        self._streams: set[_Queue] = set()
        self._changed = threading.Condition()
        self._server: Server | None = None

    @classmethod
    def from_file(cls, path: str | Path, *, sdk_key: str | None = None, port: int = 0) -> "LoopbackLaunchDarkly":
        """Return one that serves a JSON file in LaunchDarkly's format: `flags`, `segments` and `flagValues`.

        Args:
            path: Where the file is.
            sdk_key: The only SDK key to accept; without one, any.
            port: Port to listen on; 0 for a free one.

        Raises:
            ValueError: If the file is not JSON, or names a flag twice.
        """
        service = cls(sdk_key=sdk_key, port=port)
        service._data = FlagData.from_file(path)
        return service

    def __enter__(self) -> "LoopbackLaunchDarkly":
        if self._server is not None:
            raise RuntimeError("it listens already, in another `with` block")
        self._server = Server(self, self._port)
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        server = self._started()
        with self._changed:
            self._server = None
            self.drop_streams()
        server.stop()

    def _started(self) -> Server:
        if self._server is None:
            raise RuntimeError("it listens only within its `with` block")
        return self._server

    @property
    def url(self) -> str:
        """The address at which it listens.

        Raises:
            RuntimeError: If it is read outside the `with` block.
        """
        return f"http://127.0.0.1:{self._started().server_port}"

    def config(self, sdk_key: str = SDK_KEY, **options: object) -> Config:
        """Return a configuration for `LDClient`; options are those of `ldclient.config.Config`."""
        return Config(sdk_key, **{**self._options(), **options})  # type: ignore[arg-type]

    def async_config(self, sdk_key: str = SDK_KEY, **options: object) -> "AsyncConfig":
        """Return a configuration for `AsyncLDClient`; options are those of `AsyncConfig`."""
        from ldclient.async_config import AsyncConfig  # needs aiohttp

        return AsyncConfig(sdk_key, **{**self._options(), **options})  # type: ignore[arg-type]

    def _options(self) -> dict[str, object]:
        addresses = dict.fromkeys(("base_uri", "stream_uri", "events_uri"), self.url)
        return {**addresses, "diagnostic_opt_out": True, "initial_reconnect_delay": 0.1}

    def set_flag(self, key: str, value: object) -> None:
        """Serve a copy of this value to every context, also to connected clients.

        Raises:
            TypeError: If the value is not JSON.
            ValueError: If the value holds NaN or an infinity.
        """
        with self._changed:
            self._push(self._data.set(key, value))

    def delete_flag(self, key: str) -> None:
        """Serve nothing for this flag from now on.

        Raises:
            KeyError: If there is no such flag.
        """
        with self._changed:
            self._push(self._data.delete(key))

    def drop_streams(self) -> None:
        """End every open stream, as a load balancer would."""
        with self._changed:
            self._push(None)

    def fail_next(self, path: str = BULK, status: int = 503, times: int = 1) -> None:
        """Answer the next requests for a path with this HTTP status, and ignore what they bring.

        Args:
            path: "/bulk" for events, "/all" for the stream of flags, "/sdk/latest-all", or "/diagnostic".
            status: The HTTP status.
            times: How many requests.

        Raises:
            ValueError: If no SDK asks for that path.
        """
        if path not in PATHS:
            raise ValueError(f"{path!r} is none of {', '.join(PATHS)}")
        with self._changed:
            self._faults[path] += [status] * times

    def lose_next_response(self, times: int = 1) -> None:
        """Accept the next batches of events, then break the connection, so that the client sends them again."""
        with self._changed:
            self._faults[BULK] += [LOSE_RESPONSE] * times

    @property
    def batches(self) -> list[list[Json]]:
        """Every batch of events that arrived; one that an SDK sent twice is there twice."""
        with self._changed:
            return [batch for _, batch in self._batches]

    @property
    def events(self) -> list[Json]:
        """The events that arrived. Like the real service, it takes a batch that an SDK sends twice only once."""
        distinct: dict[object, list[Json]] = {}
        with self._changed:
            for position, (payload_id, batch) in enumerate(self._batches):
                distinct.setdefault(payload_id or position, batch)
        return [event for batch in distinct.values() for event in batch]

    def custom_events(self, name: str | None = None) -> list[RecordedEvent]:
        """Return the events that were sent with `track`, all or those of one name."""
        custom = [event for event in self.events if event.get("kind") == "custom"]
        return [
            RecordedEvent(str(event["key"]), _context(event), event.get("data"), event.get("metricValue"))  # type: ignore[arg-type]
            for event in custom
            if name in (None, event["key"])
        ]

    def metrics(self, run_id: str) -> dict[str, list[float]]:
        """Return the metric values of a run by event name; a metric that arrived twice has two values.

        Raises:
            ValueError: If a run's token is given in the place of its id.
        """
        return metrics_of(self.custom_events(), run_id)

    def wait_for_events(self, count: int, name: str | None = None, timeout: float = 5.0) -> list[RecordedEvent]:
        """Return the custom events, all or those of one name, once at least `count` have arrived.

        Raises:
            TimeoutError: If fewer have arrived within `timeout` seconds; the error says which.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.custom_events(name)) >= count, timeout):
                wanted = "events" if name is None else f"events {name!r}"
                arrived = [event.name for event in self.custom_events()]
                raise TimeoutError(f"{count} {wanted} were awaited for {timeout} s; what arrived: {arrived}")
            return self.custom_events(name)

    def accepts_key(self, sdk_key: str | None) -> bool:
        """Whether a request with this SDK key is served."""
        return self._sdk_key in (None, sdk_key)

    def take_fault(self, path: str) -> int | None:
        """Return the fault that the next request for a path is to have."""
        with self._changed:
            return self._faults[path].pop(0) if self._faults[path] else None

    def flag_data(self) -> Json:
        """Return every flag, as an SDK asks for them."""
        with self._changed:
            return self._data.snapshot()

    def accept(self, payload_id: str | None, batch: list[Json]) -> None:
        """Record a batch of events."""
        with self._changed:
            self._batches.append((payload_id, batch))
            self._changed.notify_all()

    def changes(self) -> Generator[Change | None, None, None]:
        """Yield every flag, then each change until the stream is dropped, and `None` where nothing changes."""
        stream = _Queue()
        with self._changed:
            stream.put(put(self.flag_data()))
            if self._server is None:
                stream.put(None)
            self._streams.add(stream)
        try:
            yield from _until_none(stream, self._heartbeat)
        finally:
            with self._changed:
                self._streams.discard(stream)

    def _push(self, change: Change | None) -> None:
        for stream in self._streams:
            stream.put(change)


def _until_none(stream: _Queue, heartbeat: float) -> Generator[Change | None, None, None]:
    while True:
        try:
            change = stream.get(timeout=heartbeat)
        except queue.Empty:
            yield None
            continue
        if change is None:
            return
        yield change


def _context(event: Json) -> Context:
    context = event.get("context")
    if isinstance(context, dict):
        return Context.from_dict(context)
    keys = event.get("contextKeys")
    kinds = [Context.create(key, kind) for kind, key in keys.items()] if isinstance(keys, dict) else []
    return kinds[0] if len(kinds) == 1 else Context.create_multi(*kinds)

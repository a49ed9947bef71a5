"""A LaunchDarkly on this machine: it streams flags to a real client and keeps the events it is sent."""

import json
import queue
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from ldclient import Context
from ldclient.config import Config

from langchain_ldai.testing.endpoints import BULK, LOSE_RESPONSE, Json, Server
from langchain_ldai.testing.recording import RecordedEvent, metrics_of

if TYPE_CHECKING:
    from ldclient.async_config import AsyncConfig

SDK_KEY: Final = "sdk-loopback"


class LoopbackLaunchDarkly:
    """Serves flags to server-side SDKs and records the events they send, on 127.0.0.1, for a `with` block.

    Args:
        flags: What to serve to every context, by flag key.
        sdk_key: The only SDK key to accept; without one, any.
        port: Port to listen on; 0 for a free one.
    """

    def __init__(
        self, flags: Mapping[str, object] | None = None, *, sdk_key: str | None = None, port: int = 0
    ) -> None:
        self._sdk_key = sdk_key
        self._flags = {key: _flag(key, 1, value) for key, value in (flags or {}).items()}
        self._batches: list[tuple[str | None, list[Json]]] = []
        self._faults: dict[str, list[int]] = defaultdict(list)
        self._streams: set[_Stream] = set()
        self._changed = threading.Condition()
        self._server = Server(self, port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @classmethod
    def from_file(cls, path: str | Path) -> "LoopbackLaunchDarkly":
        """Return one that serves a JSON file in LaunchDarkly's flag format: `flags`, and `flagValues`."""
        content = json.loads(Path(path).read_text("utf-8"))
        service = cls(content.get("flagValues"))
        service._flags |= content.get("flags", {})
        return service

    def __enter__(self) -> "LoopbackLaunchDarkly":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self.drop_streams()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

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
        """Serve this value to every context from now on, also to the clients that are connected."""
        with self._changed:
            version = self._version(key) + 1
            self._flags[key] = _flag(key, version, value)
            self._push("patch", {"path": f"/flags/{key}", "data": self._flags[key]})

    def delete_flag(self, key: str) -> None:
        """Serve nothing for this flag from now on."""
        with self._changed:
            version = self._version(key) + 1
            del self._flags[key]
            self._push("delete", {"path": f"/flags/{key}", "version": version})

    def drop_streams(self) -> None:
        """End every open stream, as a load balancer would."""
        with self._changed:
            self._push(_END, {})
            self._streams.clear()

    def fail_next(self, path: str = BULK, *, status: int = 503, times: int = 1) -> None:
        """Answer the next requests for a path with this HTTP status and take nothing from them."""
        with self._changed:
            self._faults[path] += [status] * times

    def lose_next_response(self, times: int = 1) -> None:
        """Accept the next batches of events, then break the connection, so that the client sends them again."""
        with self._changed:
            self._faults[BULK] += [LOSE_RESPONSE] * times

    @property
    def batches(self) -> list[list[Json]]:
        """Every batch of events as it arrived, also one that arrived before."""
        with self._changed:
            return [batch for _, batch in self._batches]

    @property
    def events(self) -> list[Json]:
        """The events that arrived; like the service, it drops a batch whose payload id it has seen."""
        with self._changed:
            distinct = {
                payload_id or position: batch for position, (payload_id, batch) in enumerate(self._batches)
            }
        return [event for batch in distinct.values() for event in batch]

    def custom_events(self, name: str | None = None) -> list[RecordedEvent]:
        """Return the events that were sent with `track`, all or those of one name."""
        custom = [event for event in self.events if event["kind"] == "custom" and name in (None, event["key"])]
        return [
            RecordedEvent(str(event["key"]), _context(event), event.get("data"), event.get("metricValue"))  # type: ignore[arg-type]
            for event in custom
        ]

    def metrics(self, run_id: str) -> dict[str, list[float]]:
        """Return the metric values of a run by event name, in order, so that a repeated one shows."""
        return metrics_of(self.custom_events(), run_id)

    def wait_for_events(self, count: int, name: str | None = None, timeout: float = 5.0) -> list[RecordedEvent]:
        """Return the custom events once at least `count` have arrived.

        Raises:
            TimeoutError: If they have not within `timeout` seconds; it says what has.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.custom_events(name)) >= count, timeout):
                arrived = [event.name for event in self.custom_events(name)]
                raise TimeoutError(f"{count} events were awaited for {timeout} s, {len(arrived)} came: {arrived}")
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
            return {"flags": dict(self._flags), "segments": {}}

    def accept(self, payload_id: str | None, batch: list[Json]) -> None:
        """Record a batch of events."""
        with self._changed:
            self._batches.append((payload_id, batch))
            self._changed.notify_all()

    def open_stream(self) -> "_Stream":
        """Return a new stream of every flag and then of each change."""
        with self._changed:
            stream = _Stream()
            stream.changes.put(("put", {"path": "/", "data": self.flag_data()}))
            self._streams.add(stream)
            return stream

    def _version(self, key: str) -> int:
        version = self._flags.get(key, {}).get("version", 0)
        return version if isinstance(version, int) else 0

    def _push(self, name: str, data: Json) -> None:
        for stream in self._streams:
            stream.changes.put((name, data))


_END: Final = "end"


class _Stream:
    """One client's stream of changes."""

    def __init__(self) -> None:
        self.changes: queue.SimpleQueue[tuple[str, Json]] = queue.SimpleQueue()
        self.is_open = True

    def next(self, timeout: float) -> tuple[str, Json] | None:
        """Return the next change, `None` where there is none for a while."""
        try:
            change = self.changes.get(timeout=timeout)
        except queue.Empty:
            return None
        self.is_open = change[0] != _END
        return change if self.is_open else None


def _flag(key: str, version: int, value: object) -> Json:
    """Return the smallest flag that serves a value to every context."""
    return {
        "key": key,
        "version": version,
        "on": True,
        "salt": key,
        "variations": [value],
        "fallthrough": {"variation": 0},
        "offVariation": 0,
    }


def _context(event: Json) -> Context:
    context = event.get("context")
    if isinstance(context, dict):
        return Context.from_dict(context)
    keys = event.get("contextKeys")
    kinds = [Context.create(key, kind) for kind, key in keys.items()] if isinstance(keys, dict) else []
    return kinds[0] if len(kinds) == 1 else Context.create_multi(*kinds)

"""A collector on loopback that takes spans over OTLP, as every tracing service does."""

from __future__ import annotations

import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


class CollectedEvent(NamedTuple):
    """An event of a span, as it arrived."""

    name: str
    attributes: dict[str, Any]
    time: int


class CollectedSpan(NamedTuple):
    """A span, as it arrived.

    Args:
        batch: The number of the request that brought it, of those to its path.
    """

    name: str
    scope: str
    span_id: bytes
    parent_id: bytes
    start: int
    attributes: dict[str, Any]
    events: list[CollectedEvent]
    batch: int


class OtlpCollector:
    """Serves any path of its address while its block runs.

    Attributes:
        spans: The spans that arrived, by path.
        bodies: The requests that arrived, by path.
    """

    def __init__(self) -> None:
        self.spans: dict[str, list[CollectedSpan]] = defaultdict(list)
        self.bodies: dict[str, list[bytes]] = defaultdict(list)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))

    @property
    def address(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, path: str, body: bytes) -> None:
        """Take the body of a request."""
        with self._lock:
            self.bodies[path].append(body)
            batch = len(self.bodies[path])
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        events = [
                            CollectedEvent(each.name, _attributes(each.attributes), each.time_unix_nano)
                            for each in span.events
                        ]
                        self.spans[path].append(
                            CollectedSpan(
                                span.name,
                                scope.scope.name,
                                span.span_id,
                                span.parent_span_id,
                                span.start_time_unix_nano,
                                _attributes(span.attributes),
                                events,
                                batch,
                            )
                        )


def _handler_of(collector: OtlpCollector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            collector.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None

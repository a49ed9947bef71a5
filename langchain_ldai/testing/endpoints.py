"""The HTTP endpoints that a server-side SDK uses, one connection a request."""

import gzip
import json
import socket
import struct
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Protocol

STREAM: Final = "/all"
POLL: Final = "/sdk/latest-all"
BULK: Final = "/bulk"
DIAGNOSTIC: Final = "/diagnostic"

LOSE_RESPONSE: Final = 0
"""A fault: take the request, then reset the connection instead of answering."""

HEARTBEAT_SECONDS: Final = 5.0

Json = dict[str, object]


class Service(Protocol):
    """What the endpoints serve from and record to."""

    def accepts_key(self, sdk_key: str | None) -> bool: ...
    def take_fault(self, path: str) -> int | None: ...
    def flag_data(self) -> Json: ...
    def accept(self, payload_id: str | None, batch: list[Json]) -> None: ...
    def open_stream(self) -> "Stream": ...


class Stream(Protocol):
    """One client's stream of changes."""

    def next(self, timeout: float) -> tuple[str, Json] | None: ...
    @property
    def is_open(self) -> bool: ...


class Server(ThreadingHTTPServer):
    """Serves until it is closed, and then waits for the requests in progress."""

    daemon_threads = False

    def __init__(self, service: Service, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.service = service

    def handle_error(self, request: object, client_address: object) -> None:
        """Leave a client that hung up alone."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """Stream the flags, or give them once."""
        if not self._refused():
            if self._path == STREAM:
                self._stream(self.server.service.open_stream())
            elif self._path == POLL:
                self._answer(200, json.dumps(self.server.service.flag_data()).encode())
            else:
                self._answer(404)

    def do_POST(self) -> None:
        """Take a batch of events."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self._fault_or_refusal()
        if fault is not None and fault != LOSE_RESPONSE:
            self._answer(fault)
            return
        if self._path == BULK:
            raw = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            self.server.service.accept(self.headers.get("X-LaunchDarkly-Payload-ID"), json.loads(raw))
        if fault == LOSE_RESPONSE:
            self._reset()
        else:
            self._answer(202 if self._path in (BULK, DIAGNOSTIC) else 404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""

    @property
    def _path(self) -> str:
        return self.path.split("?", 1)[0]

    def _fault_or_refusal(self) -> int | None:
        service = self.server.service
        return service.take_fault(self._path) if service.accepts_key(self.headers.get("Authorization")) else 401

    def _refused(self) -> bool:
        status = self._fault_or_refusal()
        if status is not None:
            self._answer(status)
        return status is not None

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _stream(self, stream: Stream) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        while stream.is_open:
            change = stream.next(HEARTBEAT_SECONDS)
            if change is None:
                self._chunk(b":\n")
            else:
                name, data = change
                self._chunk(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

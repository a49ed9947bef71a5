"""The HTTP endpoints that server-side SDKs use; each request has a connection of its own."""

import json
import logging
import socket
import struct
import sys
import threading
import weakref
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Final, Protocol

from langchain_ldai._protocol.batches import RefusedBatchError, read_batch
from langchain_ldai._protocol.flags import Change, Json
from langchain_ldai._protocol.paths import BULK, DIAGNOSTIC, ENVIRONMENT_HEADER, PAYLOAD_ID_HEADER, POLL, STREAM
from langchain_ldai._protocol.stream import HEARTBEAT, frame

_log = logging.getLogger(__name__)

LOSE_RESPONSE: Final = 0
"""A fault: take the request, then reset the connection instead of answering."""


class Service(Protocol):
    """What the endpoints serve from and record to."""

    environment_id: str | None

    def accepts_key(self, sdk_key: str | None) -> bool: ...
    def take_fault(self, path: str) -> int | None: ...
    def flag_data(self) -> Json: ...
    def accept(self, payload_id: str | None, batch: list[Json]) -> None: ...
    def changes(self) -> Generator[Change | None, None, None]: ...


class Server(ThreadingHTTPServer):
    """Serves until it is stopped, then waits for the requests in progress."""

    request_queue_size = 128

    def __init__(self, service: Service, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.service = service
        self._connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._requests: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> None:
        """Serve in a thread."""
        self._thread.start()

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection, and remember it while it lasts."""
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def process_request(self, request: object, client_address: object) -> None:
        """Answer a request in a daemon thread, so that no open stream keeps a program from ending."""
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._requests.add(thread)
        thread.start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log an error of ours, and pass over a client that hung up."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            _log.error("a request of %s failed", client_address, exc_info=True)

    def stop(self) -> None:
        """Take no more requests, answer those that have arrived, and close."""
        self.shutdown()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        self.server_close()
        for thread in (*self._requests, self._thread):
            thread.join()


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float | None] = 10
    server: Server

    def do_GET(self) -> None:
        """Stream the flags, or give them once."""
        status = self._fault_or_refusal()
        if status is not None:
            self._answer(status)
        elif self._path == STREAM:
            self._stream()
        elif self._path == POLL:
            self._answer(200, json.dumps(self.server.service.flag_data()).encode())
        else:
            self._answer(404)

    def do_POST(self) -> None:
        """Take a batch of events, or diagnostics."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self._fault_or_refusal()
        if fault is None:
            self._answer(self._receive(body))
        elif fault == LOSE_RESPONSE:
            self._receive(body)
            self._reset()
        else:
            self._answer(fault)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""

    @property
    def _path(self) -> str:
        return self.path.split("?", 1)[0]

    def _fault_or_refusal(self) -> int | None:
        service = self.server.service
        return service.take_fault(self._path) if service.accepts_key(self.headers.get("Authorization")) else 401

    def _receive(self, body: bytes) -> int:
        if self._path == BULK:
            try:
                batch = read_batch(body, self.headers.get("Content-Encoding"))
            except RefusedBatchError as refused:
                return refused.status
            self.server.service.accept(self.headers.get(PAYLOAD_ID_HEADER), batch)
        return 202 if self._path in (BULK, DIAGNOSTIC) else 404

    def _answer(self, status: int, body: bytes = b"") -> None:
        self._begin(status, {"Content-Length": str(len(body))})
        self.wfile.write(body)

    def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _stream(self) -> None:
        service = self.server.service
        told = {} if service.environment_id is None else {ENVIRONMENT_HEADER: service.environment_id}
        self._begin(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked", **told})
        with closing(service.changes()) as changes:
            for change in changes:
                self._chunk(HEARTBEAT if change is None else frame(change))
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

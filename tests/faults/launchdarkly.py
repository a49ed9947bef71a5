"""A LaunchDarkly on loopback that fails as it is told to, and remembers which events arrived, in order."""

import gzip
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, NamedTuple

from langchain_ldai._protocol.flags import FlagData
from tests.support.ports import kept_port

HEARTBEAT_SECONDS: Final = 0.5
CONFIG_KEY: Final = "support-bot"
AI_CONFIG: Final = {
    "_ldMeta": {"enabled": True, "variationKey": "friendly", "version": 3, "mode": "completion"},
    "model": {"name": "small-1"},
    "messages": [{"role": "system", "content": "You help."}],
}
_FLAGS: Final = json.dumps(FlagData({CONFIG_KEY: AI_CONFIG}).snapshot()).encode()


class Arrival(NamedTuple):
    """An event that arrived: who sent it, the sender's number for it, and its name."""

    lane: str
    number: int
    name: str


class Reply(NamedTuple):
    """How a request for /bulk is answered, and whether its events count as received.

    Attributes:
        drips_for: For how many seconds the answer comes byte by byte, until it is cut.
    """

    status: int
    is_received: bool = False
    retry_after: str | None = None
    is_cut: bool = False
    drips_for: float = 0.0


RECEIVED: Final = Reply(202, is_received=True)
CUT_BEFORE: Final = Reply(0, is_cut=True)
CUT_AFTER: Final = Reply(0, is_received=True, is_cut=True)

Fault = Callable[[bytes], Reply]
"""Says what a request for /bulk gets; it is given the body."""


def receive(body: bytes) -> Reply:
    """Receive every batch."""
    return RECEIVED


def answer(status: int, retry_after: str | None = None) -> Fault:
    """Refuse every batch with this status."""
    return lambda body: Reply(status, retry_after=retry_after)


def slow(seconds: float) -> Fault:
    """Receive every batch, and answer late."""

    def wait(body: bytes) -> Reply:
        time.sleep(seconds)
        return RECEIVED

    return wait


def drip(seconds: float) -> Fault:
    """Answer every batch byte by byte, without an end."""
    return lambda body: Reply(202, drips_for=seconds)


def refuse_larger(limit: int) -> Fault:
    """Refuse every batch of more than `limit` bytes with a 413."""
    return lambda body: Reply(413) if len(body) > limit else RECEIVED


def refuse_with(text: bytes) -> Fault:
    """Refuse every batch that holds this text with a 400."""
    return lambda body: Reply(400) if text in body else RECEIVED


class FaultyLaunchDarkly:
    """A LaunchDarkly within a `with` block. Like the real one, it takes a payload id once.

    Attributes:
        fault: What requests for /bulk get.
    """

    def __init__(self) -> None:
        self.fault: Fault = receive
        self._arrivals: list[Arrival] = []
        self._payload_ids: set[str] = set()
        self._lock = threading.Lock()
        self._next_replies: list[Reply] = []
        self._kept = ExitStack()  # also while it is away
        self._port = self._kept.enter_context(kept_port())
        self._server = _Server(self, self._port)

    def __enter__(self) -> "FaultyLaunchDarkly":
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop()
        self._kept.close()

    @property
    def url(self) -> str:
        """Where it listens, also after it was away."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def arrivals(self) -> list[Arrival]:
        """The numbered events that arrived, in order."""
        with self._lock:
            return list(self._arrivals)

    def reply_once(self, *replies: Reply) -> None:
        """Answer the next requests for /bulk like this."""
        with self._lock:
            self._next_replies += replies

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Have a fault within a block."""
        before, self.fault = self.fault, fault
        try:
            yield
        finally:
            self.fault = before

    @contextmanager
    def away(self) -> Iterator[None]:
        """Refuse connections within a block."""
        self._server.stop()
        try:
            yield
        finally:
            self._server = _Server(self, self._port)
            self._server.start()

    def receive(self, payload_id: str, body: bytes) -> Reply:
        """Take a batch, unless a fault says otherwise."""
        with self._lock:
            reply = self._next_replies.pop(0) if self._next_replies else None
        reply = reply or self.fault(body)
        arrivals: list[Arrival] = []
        try:
            arrivals = [found for event in json.loads(body) if (found := arrival_of(event))]
        except ValueError:
            reply = Reply(400)
        with self._lock:
            if reply.is_received and payload_id not in self._payload_ids:
                self._payload_ids.add(payload_id)
                self._arrivals += arrivals
        return reply


def arrival_of(event: dict[str, object]) -> Arrival | None:
    """Return what a custom event tells, if it carries a number."""
    data = event.get("data")
    if not isinstance(data, dict):
        return None
    lane, _, number = str(data.get("runId") or data.get("mark")).rpartition(":")
    return Arrival(lane, int(number), str(event["key"])) if lane else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, service: FaultyLaunchDarkly, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.service = service
        self.is_stopped = threading.Event()
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.is_stopped.set()
        self.server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: socket.socket, client_address: object) -> None:
        """Pass over a worker that was killed or hung up; anything else is a mistake here."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """Stream the flags, and show that the stream lives until the service goes away."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._chunk(b"event: put\ndata: " + b'{"path":"/","data":%s}\n\n' % _FLAGS)
        while not self.server.is_stopped.wait(HEARTBEAT_SECONDS):
            self._chunk(b":\n")
        self.close_connection = True

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_POST(self) -> None:
        """Take a batch of events."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        reply = RECEIVED
        if self.path.endswith("/bulk"):  # to a proxy, the whole address
            reply = self.server.service.receive(self.headers["X-LaunchDarkly-Payload-ID"], body)
        if reply.is_cut:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        self.send_response(reply.status)
        if reply.drips_for:
            self._drip(reply.drips_for)
            return
        if reply.retry_after is not None:
            self.send_header("Retry-After", reply.retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _drip(self, seconds: float) -> None:
        self.close_connection = True
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at and not self.server.is_stopped.wait(0.05):
            self.flush_headers()
            self.wfile.write(b"x")
            self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""

"""A server on loopback that takes events and keeps each request as it arrived, and a journal without files."""

import gzip
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

from langchain_ldai.delivery._event_encoder import EventEncoder
from langchain_ldai.delivery._http import EventsEndpoint

NO_ANSWER = 0
"""A status: the request is taken, and the connection ends without an answer."""

DRIPPING_HEADERS, DRIPPING_BODY = -1, -2
"""Statuses: the headers of an answer, or its body, come byte by byte, and never end."""


@dataclass(frozen=True)
class Request:
    """A request as it arrived; the names of its headers are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def events(self) -> list[dict]:
        """The events of the body."""
        body = gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body
        return json.loads(body)


@dataclass(frozen=True)
class Reply:
    """How the server answers."""

    status: int = 202
    headers: Mapping[str, str] = field(default_factory=dict)


class EventsServer:
    """Takes events on 127.0.0.1 within a `with` block.

    Args:
        certificate: A file with the server's certificate and key; with one, it speaks TLS and asks for one back.
        always: How to answer, unless `next_replies` says something else.

    Attributes:
        requests: What arrived.
        accepted: The events of the requests that were accepted, each payload id once.
        next_replies: How to answer the next requests; each answer is used once.
        refuse: Says whether an event is bad: a request that holds it gets a 400.
        is_dripping: Whether part of an answer that never ends is sent.
        status_of: Returns the status for a request whose events hold these numbers; 0 for the usual.
    """

    def __init__(self, certificate: str | None = None, always: Reply | None = None) -> None:
        self.requests: list[Request] = []
        self.accepted: list[dict] = []
        self.next_replies: list[Reply] = []
        self.refuse: Callable[[dict], bool] = lambda event: False
        self.status_of: Callable[[list[int]], int] = lambda numbers: 0
        self.is_dripping = threading.Event()
        self._ids: set[str] = set()
        self.always = always or Reply()
        self._scheme = "https" if certificate else "http"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = False  # so that leaving the block waits for them
        self._server.events = self
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            tls.load_verify_locations(certificate)
            tls.verify_mode = ssl.CERT_OPTIONAL
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    def __enter__(self) -> "EventsServer":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The address at which it listens."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    @property
    def events(self) -> list[dict]:
        """The events of all requests."""
        return [event for request in self.requests for event in request.events]

    def next_reply(self, request: Request) -> Reply:
        """Return the answer to a request, and keep its events if it is accepted."""
        if self.next_replies:
            reply = self.next_replies.pop(0)
        else:
            events = request.events
            status = 400 if any(map(self.refuse, events)) else self.status_of(_numbers_in(events))
            reply = Reply(status) if status else self.always
        payload_id = request.headers.get("x-launchdarkly-payload-id", "")
        if reply.status == 202 and payload_id not in self._ids:
            self._ids.add(payload_id)
            self.accepted += request.events
        return reply


def _numbers_in(events: list[dict]) -> list[int]:
    data = [event.get("data") for event in events]
    return [each["n"] for each in data if isinstance(each, dict) and "n" in each]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_POST(self) -> None:
        """Keep the request, and answer as the server was told."""
        events = self.server.events
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if isinstance(self.connection, ssl.SSLSocket):
            headers["client-certificate"] = "shown" if self.connection.getpeercert() else "none"
        request = Request(self.path, headers, body)
        events.requests.append(request)
        reply = events.next_reply(request)
        self.close_connection = True
        if reply.status in (DRIPPING_HEADERS, DRIPPING_BODY):
            self._drip(reply.status)
        elif reply.status != NO_ANSWER:
            self._answer(reply)

    def _drip(self, status: int) -> None:
        """Answer byte by byte, until the client hangs up."""
        self.send_response_only(202)
        if status == DRIPPING_BODY:
            self.send_header("Content-Length", "1000000")
            self.end_headers()
        self.flush_headers()
        while True:
            self.wfile.write(b"x")
            self.server.events.is_dripping.set()
            time.sleep(0.005)

    def _answer(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        for name, value in {"Content-Length": "0", "Connection": "close", **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def handle(self) -> None:
        """Pass over a client that hangs up, or trusts us not."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""


class MemoryJournal:
    """Keeps records in memory, and posts them when it is flushed or stopped.

    Attributes:
        records: What was not posted yet.
        refused: The key of each event that was refused, and why.
        flushes_requested: How often a flush was requested.
        is_stopped: Whether it was stopped.
    """

    def __init__(self, config: object) -> None:
        self.encoder = EventEncoder(config)
        self.last_date: float | None = None
        self.records: list[bytes] = []
        self.refused: list[tuple[str, str]] = []
        self.flushes_requested = 0
        self.is_stopped = False
        self._changed = threading.Condition()
        self._endpoint = EventsEndpoint(config)

    def append(self, record: bytes, events: int = 1) -> None:
        """Keep a record."""
        with self._changed:
            self.records.append(record)
            self._changed.notify_all()

    def wait_for_records(self, count: int) -> bool:
        """Return whether there are as many records, within 20 seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.records) >= count, 20)

    def refuse(self, key: str, reason: str) -> None:
        """Note a refusal."""
        self.refused.append((key, reason))

    def request_flush(self) -> None:
        """Count the request."""
        self.flushes_requested += 1

    def flush(self, timeout: float | None, is_given_up: Callable[[], bool] = lambda: False) -> bool:
        """Post the records as one batch."""
        if not self.records:
            return True
        records, self.records = self.records, []
        answer = self._endpoint.post(str(uuid4()), records)
        self.last_date = answer.date
        return answer.status == 202

    def stop(self) -> None:
        """Post what is left."""
        self.flush(None)
        self._endpoint.close()
        self.is_stopped = True

"""A loopback server that plays a model provider: one answer for every request, sent in parts."""

import json
import struct
import threading
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from typing import Final

WIRE: Final = Path(__file__).parent / "wire"
"""What the providers' interfaces document as their answers, one folder a provider."""

JSON: Final = "application/json"
SSE: Final = "text/event-stream"
NDJSON: Final = "application/x-ndjson"
EVENT_STREAM: Final = "application/vnd.amazon.eventstream"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider answers.

    Args:
        parts: The body, in the parts in which it arrives.
        content_type: What it is.
        status: The HTTP status.
        headers: Further headers.
        is_cut: Whether the connection breaks after the parts, before the body's end.
    """

    parts: Sequence[bytes]
    content_type: str = JSON
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    is_cut: bool = False

    def cut_after(self, parts: int) -> "Answer":
        """Return the answer of which only the first parts arrive."""
        return Answer(self.parts[:parts], self.content_type, self.status, self.headers, is_cut=True)


def body(name: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Return the answer in a file, by its name below `wire`, in one part."""
    return Answer([(WIRE / name).read_bytes()], status=status, headers=headers or {})


def events(name: str) -> Answer:
    """Return the answer in a file of server-sent events, an event a part."""
    blocks = (WIRE / name).read_text("utf-8").split("\n\n")
    return Answer([f"{block}\n\n".encode() for block in blocks if block.strip()], SSE)


def array(name: str) -> Answer:
    """Return the answer in a file of server-sent events as one JSON array instead, an item a part."""
    items = [part.removeprefix(b"data: ").strip() for part in events(name).parts]
    return Answer([b"[" + items[0], *(b"," + item for item in items[1:]), b"]"])


def lines(name: str) -> Answer:
    """Return the answer in a file of JSON lines, a line a part."""
    return Answer((WIRE / name).read_bytes().splitlines(keepends=True), NDJSON)


def aws_events(name: str) -> Answer:
    """Return the answer in a file of JSON lines, each an event and its payload, in AWS's binary framing.

    The payload of a `chunk`, which the Invoke API sends, is wrapped in base64.
    """
    parts = []
    for line in (WIRE / name).read_text("utf-8").splitlines():
        event = json.loads(line)
        payload = json.dumps(event["payload"]).encode()
        if event["event"] == "chunk":
            payload = json.dumps({"bytes": b64encode(payload).decode()}).encode()
        parts.append(_framed(event["event"], payload))
    return Answer(parts, EVENT_STREAM)


def _framed(event: str, payload: bytes) -> bytes:
    names = {":event-type": event, ":content-type": JSON, ":message-type": "event"}
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in names.items()
    )
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


@contextmanager
def serving(*answers: Answer, asked: list[bytes] | None = None) -> Iterator[str]:
    """Give the base URL of a server that answers every request with the answer.

    Args:
        answers: The answer; of several each request gets the next, and after the last the first.
        asked: Takes the body of each request.
    """
    turns = cycle(answers)

    class Provider(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if asked is not None:
                asked.append(body)
            answer = next(turns)
            self.send_response(answer.status)
            for name, value in {"Content-Type": answer.content_type, **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Connection", "close")
            self.end_headers()
            for part in answer.parts:
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                self.wfile.flush()
            if not answer.is_cut:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

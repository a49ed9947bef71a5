"""`python -m benchmarks.delivery` measures what `DurableEvents` costs a caller beside LaunchDarkly's processor.

All ways take turns in one process, once with nothing beside them and once beside a thread that computes. A server
on loopback takes the events.
"""

import gc
import logging
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from ldclient import AsyncLDClient, Context, LDClient
from ldclient.config import Config

from langchain_ldai.delivery import DurableEvents

ROUNDS: Final = 5_000
PAUSE_SECONDS: Final = 0.0005
"""Between two runs: a pace that LaunchDarkly's own processor keeps up with."""

USER: Final = Context.builder("user-1").name("Sandy").set("plan", "gold").build()
DATA: Final = {
    "runId": "0b6f3a52-6c1e-4f5e-9d2a-3f1d5c8e7a90",
    "configKey": "support-bot",
    "variationKey": "friendly",
    "version": 3,
    "modelName": "small-1",
    "providerName": "acme",
}
NAMES: Final = (
    "duration:total",
    "tokens:ttf",
    "tokens:total",
    "tokens:input",
    "tokens:output",
    "generation:success",
)
EVENTS: Final = [(f"$ld:ai:{name}", DATA, 1200) for name in NAMES]


class Server(BaseHTTPRequestHandler):
    """Takes events and forgets them."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def taking_events() -> Iterator[str]:
    """Run a server that takes events, and give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def track_each(client: LDClient | AsyncLDClient) -> None:
    """Hand a run's events over one by one."""
    for name, data, value in EVENTS:
        client.track(name, USER, data, value)


def measure(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Return how many microseconds each call took; the ways take turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        for _ in range(min(rounds, 100)):
            way()
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter_ns()
            way()
            found[name].append((time.perf_counter_ns() - started) / 1_000)
        time.sleep(PAUSE_SECONDS)
    return found


def rows(title: str, found: dict[str, list[float]]) -> list[str]:
    """Return a table of medians and 99th percentiles."""
    lines = [f"{title:34}{'median us':>10}{'p99 us':>10}"]
    for name, times in found.items():
        lines.append(f"{name:34}{statistics.median(times):10.1f}{statistics.quantiles(times, n=100)[98]:10.1f}")
    return lines


def compute(is_over: threading.Event) -> None:
    """Hold Python's lock until it is over."""
    while not is_over.is_set():
        sum(range(1_000))


def main(rounds: int = ROUNDS) -> str:
    """Return the tables."""
    with taking_events() as url, tempfile.TemporaryDirectory() as directory:
        events = DurableEvents(directory)
        plain = LDClient(Config("sdk-plain", events_uri=url, use_ldd=True), start_wait=0)
        durable = LDClient(
            Config("sdk-durable", events_uri=url, use_ldd=True, event_processor_class=events), start_wait=0
        )
        ways = {
            "six events, the SDK's track": lambda: track_each(plain),
            "six events, DurableEvents' track": lambda: track_each(durable),
            "six events, handed over at once": lambda: events.send_all(USER, EVENTS),
            "one event, the SDK's track": lambda: plain.track("one", USER, DATA, 1),
            "one event, DurableEvents' track": lambda: durable.track("one", USER, DATA, 1),
        }
        gc.collect()
        lines = rows("quiet", measure(ways, rounds))
        is_over = threading.Event()
        threading.Thread(target=compute, args=(is_over,), daemon=True).start()
        lines += ["", *rows("beside a busy thread", measure(ways, rounds // 5))]
        is_over.set()
        durable.close()
        plain.close()
    return "\n".join(lines)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.stdout.write(main() + "\n")

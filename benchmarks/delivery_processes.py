"""`python -m benchmarks.delivery_processes` measures whole processes, with and without `DurableEvents`.

It prints the CPU that a process spends on a run's six events until all have arrived, and how often an asynchronous
client holds its event loop up. Each measurement is a process of its own; the ways take turns. The parent takes the
events.
"""

import asyncio
import logging
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import Any, Final

from ldclient import AsyncLDClient, LDClient
from ldclient.async_config import AsyncConfig
from ldclient.config import Config
from ldclient.interfaces import AsyncEventProcessor

from benchmarks.delivery import EVENTS, USER, Server, track_each
from langchain_ldai.delivery import DurableEvents

RUNS: Final = 3_000
TURNS: Final = 5
RUNS_A_SECOND: Final = 300
LATE_SECONDS: Final = 0.005
"""How late a loop's turn is that counts as held up."""


class Nothing(AsyncEventProcessor):
    """Does nothing with an event, as cheaply as can be."""

    def __init__(self, config: AsyncConfig) -> None:
        pass

    def send_event(self, event: object) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""

    async def flush_and_wait(self, timeout: float) -> bool:  # noqa: ASYNC109  the SDK's name
        """Do nothing."""
        return True

    async def stop(self) -> None:
        """Do nothing."""


def cpu_of_runs(way: str, url: str, directory: str) -> float:
    """Return the CPU of a run's events in this process, in microseconds, until all have arrived."""
    events = DurableEvents(directory)
    processor = events if way == "DurableEvents, at once" else None
    config = Config(
        "sdk", events_uri=url, use_ldd=True, event_processor_class=processor, events_max_pending=6 * RUNS
    )
    client = LDClient(config, start_wait=0)
    give = {
        "nothing": lambda: None,
        "the SDK's track": lambda: track_each(client),
        "DurableEvents, at once": lambda: events.send_all(USER, EVENTS),
    }[way]
    before = time.process_time()
    for _ in range(RUNS):
        give()
        time.sleep(1 / (2 * RUNS_A_SECOND))
    client.close()
    return (time.process_time() - before) / RUNS * 1e6


def late_turns(way: str, url: str, directory: str) -> int:
    """Return how often the event loop of this process is held up while runs are recorded for ten seconds."""
    return asyncio.run(_late_turns(way, url, directory))


async def _late_turns(way: str, url: str, directory: str) -> int:
    processors = {"nothing": Nothing, "the SDK": None, "DurableEvents": DurableEvents(directory)}
    config = AsyncConfig("sdk", events_uri=url, use_ldd=True, event_processor_class=processors[way])
    late = 0
    async with AsyncLDClient(config) as client:
        await client.start()
        loop, ends_at = asyncio.get_running_loop(), time.monotonic() + 10
        next_run = time.monotonic()
        while (now := time.monotonic()) < ends_at:
            if now >= next_run:
                for name, data, value in EVENTS:
                    client.track(name, USER, data, value)
                next_run += 1 / RUNS_A_SECOND
            due = loop.time() + 0.001
            await asyncio.sleep(0.001)
            late += loop.time() - due > LATE_SECONDS
    return late


def in_a_process(call: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401  what the call returns
    """Return what a call returns in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool, tempfile.TemporaryDirectory() as directory:
        return pool.apply(call, (*arguments, directory))


def main() -> str:
    """Return the tables."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    cpu: dict[str, list[float]] = {"nothing": [], "the SDK's track": [], "DurableEvents, at once": []}
    late: dict[str, list[int]] = {"nothing": [], "the SDK": [], "DurableEvents": []}
    for _ in range(TURNS):
        for name, times in cpu.items():
            times.append(in_a_process(cpu_of_runs, name, url))
        for name, counts in late.items():
            counts.append(in_a_process(late_turns, name, url))
    server.shutdown()
    server.server_close()
    lines = [
        "CPU of a run's six events until they have arrived, us, and of the pauses alone (median of processes)"
    ]
    lines += [f"  {name:24}{statistics.median(times):8.1f}" for name, times in cpu.items()]
    lines += [f"turns of an event loop over {LATE_SECONDS * 1000:.0f} ms late in 10 s, by process"]
    lines += [f"  {name:24}{', '.join(map(str, counts))}" for name, counts in late.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.stdout.write(main() + "\n")

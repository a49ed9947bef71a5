"""`python -m benchmarks.delivery_processes` measures whole processes, with and without `DurableEvents`.

It prints the CPU that a process spends on a run's six events until all have arrived. Each measurement is a process
of its own; the ways take turns. The parent takes the events.
"""

import logging
import multiprocessing
import statistics
import sys
import tempfile
import time
from typing import Final

from ldclient import LDClient
from ldclient.config import Config

from benchmarks.delivery import EVENTS, USER, taking_events, track_each
from langchain_ldai.delivery import DurableEvents

RUNS: Final = 3_000
TURNS: Final = 5
RUNS_A_SECOND: Final = 300


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


def in_a_process(way: str, url: str) -> float:
    """Return what `cpu_of_runs` returns in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool, tempfile.TemporaryDirectory() as directory:
        return pool.apply(cpu_of_runs, (way, url, directory))


def main() -> str:
    """Return the table."""
    cpu: dict[str, list[float]] = {"nothing": [], "the SDK's track": [], "DurableEvents, at once": []}
    with taking_events() as url:
        for _ in range(TURNS):
            for name, times in cpu.items():
                times.append(in_a_process(name, url))
    lines = [
        "CPU of a run's six events until they have arrived, us, and of the pauses alone (median of processes)"
    ]
    lines += [f"  {name:24}{statistics.median(times):8.1f}" for name, times in cpu.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.stdout.write(main() + "\n")

"""How fast the local LaunchDarkly stores events, and answers the page over a million of them.

python -m benchmarks.desk
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from langchain_ldai._protocol.batches import custom_event
from langchain_ldai._protocol.flags import Json
from langchain_ldai._wire import events
from langchain_ldai.dev import view
from langchain_ldai.dev.queries import Filter, figures, latest_runs
from langchain_ldai.dev.store import Store

EVENTS = 1_000_000
RUNS_IN_A_BATCH = 150
NOW_MS = 1_750_000_000_000
USER: Json = {"kind": "user", "key": "user-1"}


def run(number: int, chance: random.Random) -> list[Json]:
    """Return the six events of a run."""
    tokens_in, tokens_out = chance.randrange(10, 900), chance.randrange(5, 500)
    values = {
        events.DURATION: int(chance.lognormvariate(7, 0.5)),
        events.TIME_TO_FIRST_TOKEN: int(chance.lognormvariate(5, 0.5)),
        events.TOKENS_TOTAL: tokens_in + tokens_out,
        events.TOKENS_INPUT: tokens_in,
        events.TOKENS_OUTPUT: tokens_out,
        events.SUCCESS if chance.random() < 0.95 else events.ERROR: 1,
    }
    data = {
        "runId": f"run-{number}",
        "configKey": "bot",
        "variationKey": chance.choice(("a", "b")),
        "version": 1,
    }
    at = NOW_MS + number * 3000
    return [custom_event(name, USER, data, value=value, created_ms=at) for name, value in values.items()]


def milliseconds(ask: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the median time of seven calls."""
    times = []
    for _ in range(7):
        start = clock()
        ask()
        times.append((clock() - start) * 1000)
    return sorted(times)[3]


def show(store: Store, wanted: Filter) -> None:
    """Make what the page shows."""
    view.comparison(figures(store, wanted))
    view.run_list(latest_runs(store, wanted, 50))


def main() -> None:
    """Fill a file, ask it what the page asks, and write down both times."""
    chance, stored, spent = random.Random(17), 0, 0.0
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory) / "runs.db")
        while stored < EVENTS:
            first = stored // 6
            batch = [one for number in range(first, first + RUNS_IN_A_BATCH) for one in run(number, chance)]
            start = time.perf_counter()
            store.accept(f"batch-{first}", batch)
            spent += time.perf_counter() - start
            stored += len(batch)
        sys.stdout.write(f"{stored:,} events stored, {stored / spent:,.0f} a second\n")
        for name, wanted in (
            ("all", Filter("bot")),
            ("successes", Filter("bot", outcome="success")),
            ("the last half", Filter("bot", since=NOW_MS + stored // 12 * 3000)),
        ):
            took, busy = (
                milliseconds(partial(show, store, wanted), clock)
                for clock in (time.perf_counter, time.process_time)
            )
            sys.stdout.write(f"{name}: {took:.0f} ms, of which the processor worked {busy:.0f} ms\n")
        store.close()


if __name__ == "__main__":
    main()

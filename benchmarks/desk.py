"""How fast the local LaunchDarkly stores events, and answers the page over a million of them.

python -m benchmarks.desk
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from langchain_ldai._protocol.batches import custom_event
from langchain_ldai._protocol.flags import Json
from langchain_ldai._wire import events
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


def fill(store: Store) -> None:
    """Store a million events, and tell how many a second of processor time takes."""
    chance, stored, spent = random.Random(17), 0, 0.0
    while stored < EVENTS:
        first = stored // 6
        batch = [one for number in range(first, first + RUNS_IN_A_BATCH) for one in run(number, chance)]
        start = time.process_time()
        store.accept(f"batch-{first}", batch)
        spent += time.process_time() - start
        stored += len(batch)
    sys.stdout.write(f"{stored:,} events stored, {stored / spent:,.0f} in a second of processor time\n")


@contextmanager
def serving(directory: Path) -> Iterator[tuple[str, int]]:
    """Run `langchain-ldai dev` over the file in a process of its own, and give its address and number."""
    (directory / "ai-configs.yaml").write_text("bot: {variations: {a: {}, b: {}}}\n", "utf-8")
    program = "from langchain_ldai._cli import main; main(['dev', '--port', '0', '--db', 'runs.db'])"
    server = subprocess.Popen([sys.executable, "-c", program], cwd=directory, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        lines = (re.search(r"(http://127\.0\.0\.1:\d+)$", line) for line in server.stdout)
        yield next(found[1] for found in lines if found), server.pid
    finally:
        server.terminate()
        server.wait(30)


def answers(url: str, path: str, pid: int) -> str:
    """Ask the server, and tell what an answer costs it, and how long it takes; the first apart from the others."""
    clock = ~pid << 3 | 2  # Linux's clock of another process's processor time, which does not depend on the load
    costs, times = [], []
    for _ in range(15):
        cost, start = time.clock_gettime(clock), time.perf_counter()
        with urllib.request.urlopen(f"{url}{path}", timeout=60) as answer:
            answer.read()
        times.append((time.perf_counter() - start) * 1000)
        costs.append((time.clock_gettime(clock) - cost) * 1000)
    told = (
        f"first {of[0]:.0f} ms, median {sorted(of)[7]:.0f} ms, worst {max(of):.0f} ms" for of in (costs, times)
    )
    return "processor {}; wall clock {}".format(*told)


def main() -> None:
    """Fill a file, and ask a server over it."""
    minutes = (time.time() * 1000 - NOW_MS) // 60_000 - EVENTS // 6 * 3000 // 60_000
    paths = {
        "all": "/view?config=bot",
        "no AI Config named": "/view",
        "successes": "/view?config=bot&outcome=success",
        "without outcome": "/view?config=bot&outcome=none",
        "one variation": "/view?config=bot&variation=a",
        "the last half": f"/view?config=bot&minutes={minutes + EVENTS // 12 * 3000 // 60_000:.0f}",
        "the last hour": f"/view?config=bot&minutes={minutes + 60:.0f}",
        "successes of the last day": f"/view?config=bot&outcome=success&minutes={minutes + 1440:.0f}",
        "a run": "/runs/5000",
        "comparison for programs": "/comparison.json?config=bot",
    }
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory) / "runs.db")
        fill(store)
        store.close()
        for name, path in paths.items():
            with serving(Path(directory)) as (url, pid):
                urllib.request.urlopen(f"{url}/favicon.ico").close()  # the start is over
                sys.stdout.write(f"{name}: {answers(url, path, pid)}\n")
    sys.stdout.write(f"load of the machine: {os.getloadavg()[0]:.1f}\n")


if __name__ == "__main__":
    main()

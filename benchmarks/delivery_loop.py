"""`python -m benchmarks.delivery_loop` counts how often an asynchronous client holds its event loop up.

Three clients live on one loop and take turns in short slices, since a machine's speed changes within seconds: one
whose event processor does nothing, LaunchDarkly's own, and `DurableEvents`. In each slice runs are recorded and
then flushed. A turn of the loop that comes late may be the machine's fault. So those are also counted in which the
process itself computed for as long: no other program causes these. The parent process takes the events.
"""

import asyncio
import logging
import math
import multiprocessing
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from ldclient import AsyncLDClient
from ldclient.async_config import AsyncConfig
from ldclient.interfaces import AsyncEventProcessor

from benchmarks.delivery import taking_events, track_each
from langchain_ldai.delivery import DurableEvents

ROUNDS: Final = 20
RECORDED_SECONDS: Final = 2.0
SLICE_SECONDS: Final = 2.5
"""Runs are recorded in the first part of a slice; what follows is for the flush."""

RUNS_A_SECOND: Final = 300
LATE_SECONDS: Final = 0.005
"""How late a loop's turn is that counts as held up."""

NOTHING: Final = "nothing"
MAX_CHANCE: Final = 0.05
"""How likely a difference may be by chance that still counts as one."""


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


@dataclass(slots=True)
class Slice:
    """What was seen in a slice.

    Args:
        late: How many turns came late.
        own: In how many of them the process itself computed for so long.
        worst: How late the latest turn came, in seconds.
    """

    late: int = 0
    own: int = 0
    worst: float = 0.0


async def slice_of(client: AsyncLDClient) -> Slice:
    """Record runs for a while, flush, and return how late the loop's turns came meanwhile."""
    seen, started = Slice(), time.monotonic()
    next_run, is_flushed = started, False
    while (now := time.monotonic()) < started + SLICE_SECONDS:
        if now >= started + RECORDED_SECONDS:
            if not is_flushed:
                await client.flush()
            is_flushed = True
        elif now >= next_run:
            track_each(client)
            next_run += 1 / RUNS_A_SECOND
        due, computed = time.monotonic() + 0.001, time.process_time()
        await asyncio.sleep(0.001)
        lateness = time.monotonic() - due
        if lateness > LATE_SECONDS:
            seen.late += 1
            seen.own += time.process_time() - computed > LATE_SECONDS
        seen.worst = max(seen.worst, lateness)
    await client.flush_and_wait(10)  # so that nothing of this slice falls into the next
    return seen


async def slices(url: str, directory: str, rounds: int) -> dict[str, list[Slice]]:
    """Return the slices of each way."""
    processors = {NOTHING: Nothing, "the SDK": None, "DurableEvents": DurableEvents(directory)}
    async with AsyncExitStack() as stack:
        clients = {}
        for way, processor in processors.items():
            config = AsyncConfig(
                "sdk", events_uri=url, use_ldd=True, event_processor_class=processor, flush_interval=1_000
            )
            clients[way] = await stack.enter_async_context(AsyncLDClient(config))
            await clients[way].start()
            await slice_of(clients[way])
        found: dict[str, list[Slice]] = {way: [] for way in clients}
        for number in range(rounds):
            for way in list(clients)[:: -1 if number % 2 else 1]:
                found[way].append(await slice_of(clients[way]))
    return found


def in_this_process(url: str, rounds: int) -> dict[str, list[Slice]]:
    """Return the slices of each way, measured on a loop of this process."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(slices(url, directory, rounds))


def chance_of(more: int, fewer: int) -> float:
    """Return how likely so many pairs with more, or still more of them, are by chance (the sign test)."""
    pairs = more + fewer
    return sum(math.comb(pairs, count) for count in range(more, pairs + 1)) / 2**pairs


def table(found: dict[str, list[Slice]]) -> list[str]:
    """Return a line for each way: its late turns, and whether they are more than where nothing is done."""
    lines = [f"{'':16}{'late':>8}{'computing':>11}{'worst ms':>10}   slices with more, and fewer, than nothing"]
    for way, seen in found.items():
        totals = f"{sum(each.late for each in seen):8}{sum(each.own for each in seen):11}"
        line = f"{way:16}{totals}{max(each.worst for each in seen) * 1e3:10.1f}"
        if way != NOTHING:
            pairs = [(each.late, none.late) for each, none in zip(seen, found[NOTHING], strict=True)]
            more, fewer = sum(mine > none for mine, none in pairs), sum(mine < none for mine, none in pairs)
            verdict = "more often" if chance_of(more, fewer) < MAX_CHANCE else "no more often"
            line += f"   {more}, {fewer}: {verdict}"
        lines.append(line)
    return lines


def main(rounds: int = ROUNDS) -> str:
    """Return the table."""
    with taking_events() as url, multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(in_this_process, (url, rounds))
    title = (
        f"turns of an event loop over {LATE_SECONDS * 1000:.0f} ms late, in {rounds} slices of {SLICE_SECONDS} s "
        f"each with {RUNS_A_SECOND} runs a second; and those in which the process itself computed for so long"
    )
    return "\n".join([title, *table(found)])


if __name__ == "__main__":
    sys.stdout.write(main() + "\n")

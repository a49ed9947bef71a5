"""Runs that are made again after their worker died, with a ledger that grants each metric once."""

import random
import time
from collections.abc import Collection
from typing import Final

from langchain_ldai.ledgers import SqliteLedger
from tests.faults.case import Table
from tests.faults.launchdarkly import slow
from tests.faults.loads import FOR_EVER, SHARED, Client, Pace, Target, runner
from tests.faults.progress import ProgressFile
from tests.faults.scene import Scene

TABLE: Final = Table()
_ANSWER_SECONDS: Final = 0.005
_RATE: Final = 25
"""Runs a second: a run makes some five claims, so that the ledger keeps up."""


class SlowLedger(SqliteLedger):
    """A ledger that is some way off: it has granted a claim for a while when the worker hears of it."""

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """Claim, and answer after 5 ms."""
        granted = super().claim(run, slots, claimant)
        time.sleep(_ANSWER_SECONDS)
        return granted


def make_runs(target: Target, first: int, seen: int, end: int) -> None:
    """Make the runs from `first` to `end`, with a ledger.

    Args:
        target: Where their events go.
        first: The first run.
        seen: How many runs were made before.
        end: The first run that is not made.
    """
    client = Client(target)
    ledger = SlowLedger(target.folder.parent / "claims.db")
    ai = client.ai(ledger=ledger)
    progress = ProgressFile(target.folder, SHARED, end)
    run = runner(ai, SHARED)
    pace = Pace(_RATE)
    for number in range(first, end):
        run(number)
        if number >= seen:
            progress.note(number + 1)
        pace.wait()
    ai.close(60)
    client.ld.close()
    ledger.close()


@TABLE.case("100 workers are killed, and every run is made again, with a ledger that takes 5 ms")
def killed_workers_with_a_ledger(scene: Scene) -> None:
    """Each worker begins with the runs of the one before it; the last one makes them all again."""
    scene.launchdarkly.fault = slow(0.1)
    scene.change_target(flush_interval=0.5)
    moments = random.Random(7)
    first = seen = 0
    for _ in range(scene.size(full=100, small=5)):
        worker = scene.start(make_runs, first=first, seen=seen, end=FOR_EVER)
        scene.wait_until_done(SHARED, seen + moments.randrange(2, scene.size(full=25, small=12)))
        worker.kill()
        first, seen = seen, scene.done(SHARED)
    scene.finish(scene.start(make_runs, first=0, seen=seen, end=seen))
    scene.play_next_process()

"""Blocks of an arm that alternate with blocks of a baseline, in one process, and figures of their differences."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import Final, NamedTuple

from langchain_core.callbacks import BaseCallbackHandler

Callbacks = Callable[[], list[BaseCallbackHandler]]
"""Gives the handlers of one run."""
Block = Callable[[Callbacks], object]
Figure = dict[str, float]
TAIL_SECONDS: Final = 0.002
"""How long a block waits at its end, so that the work of its background threads is counted to it."""


def nothing() -> int:
    """Return 0, for arms that record nothing."""
    return 0


@dataclass(frozen=True, slots=True)
class Arm:
    """Something to run the cases with."""

    name: str
    callbacks: Callbacks
    recorded: Callable[[], int] = nothing  # how much it has recorded and delivered so far
    settle: Callable[[], object] = nothing  # delivers what it has recorded; this is not timed


@dataclass(frozen=True, slots=True)
class Case:
    """Something that users run: a row of the table in `cases.py`."""

    name: str
    unit: str  # what the costs are given for
    units: int  # in a block
    blocks: int  # of an arm in a round; many short ones, as a machine's speed changes within a second
    block: Block
    base: Block | None = None  # is done as well and subtracted, such as a shorter stream
    section: str = "cases"  # those are for all arms, "calls" for no handler, and any other for ours alone
    open_runs: Sequence[int] = ()  # ours is measured with each number of other runs open


class Sample(NamedTuple):
    """What a unit took, in microseconds: of the CPU in all threads, and by the clock on the wall."""

    cpu: float
    wall: float


Pairs = list[tuple[Sample, Sample]]
"""Samples of an arm, each with that of the baseline beside it."""


def figure(values: Iterable[float]) -> Figure:
    """Return the median and its 95 % interval (the sign test's), which no interrupted block moves."""
    ordered = sorted(values)
    last, places = len(ordered) - 1, 1.96 * math.sqrt(len(ordered))
    low, high = max(math.floor((last - places) / 2), 0), min(math.ceil((last + places) / 2), last)
    bounds = {"median": statistics.median(ordered), "low": ordered[low], "high": ordered[high]}
    return {name: round(value, 4) for name, value in bounds.items()}


def timed(block: Block, callbacks: Callbacks) -> Sample:
    """Return what a block takes, in a context of its own."""
    context = copy_context()
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    context.run(block, callbacks)
    time.sleep(TAIL_SECONDS)
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    return Sample(cpu / 1e3, wall / 1e3 - TAIL_SECONDS * 1e6)


def sample(case: Case, arm: Arm) -> Sample:
    """Return what a unit takes in one block."""
    taken = timed(case.block, arm.callbacks)
    less = Sample(0, 0) if case.base is None else timed(case.base, arm.callbacks)
    return Sample((taken.cpu - less.cpu) / case.units, (taken.wall - less.wall) / case.units)


def paired(case: Case, arm: Arm, baseline: Arm, first: int) -> Pairs:
    """Return the samples of alternating blocks; garbage is collected before each and not within."""
    pairs: Pairs = []
    turns = [arm] if arm is baseline else [arm, baseline]
    gc.collect()
    gc.freeze()  # what stays, such as what a package keeps of its traces, is not gone through before each block
    gc.disable()
    try:
        for number in range(first, first + case.blocks):
            taken: dict[str, Sample] = {}
            for each in turns[:: -1 if number % 2 else 1]:
                gc.collect()
                taken[each.name] = sample(case, each)
            pairs.append((taken[arm.name], taken[baseline.name]))
    finally:
        gc.enable()
    for each in turns:
        each.settle()
    return pairs


def rotated(arms: Sequence[Arm], by: int) -> list[Arm]:
    """Return the arms beginning with another one, every other time backwards: none always follows the same."""
    start = by % len(arms)
    return [*arms[start:], *arms[:start]][:: -1 if by % 2 else 1]


def measure(case: Case, arms: Sequence[Arm], baseline: Arm, rounds: int) -> dict[str, Pairs]:
    """Return the pairs of each arm by its name; each round has every arm once."""
    found: dict[str, Pairs] = {arm.name: [] for arm in arms}
    for number in range(rounds):
        for arm in rotated(arms, number):
            found[arm.name] += paired(case, arm, baseline, number)
    return found


def summary(pairs: Pairs) -> dict[str, Figure]:
    """Return what a unit takes with an arm, and how much more than with the baseline, by either clock."""
    return {
        "cpu_us": figure(ours.cpu for ours, _ in pairs),
        "wall_us": figure(ours.wall for ours, _ in pairs),
        "added_cpu_us": figure(ours.cpu - base.cpu for ours, base in pairs),
        "added_wall_us": figure(ours.wall - base.wall for ours, base in pairs),
    }


def recorded(case: Case, arm: Arm) -> int:
    """Return how much an arm records in a block; this warms both up, and what is subtracted from it."""
    if case.base is not None:
        timed(case.base, arm.callbacks)
    arm.settle()
    before = arm.recorded()
    timed(case.block, arm.callbacks)
    arm.settle()
    return arm.recorded() - before

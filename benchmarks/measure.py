"""Interleaved rounds, and the differences of blocks that ran one right after the other."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import asdict, dataclass
from typing import Final, Literal

from benchmarks.arms import NO_OP, Arm, Callbacks

Block = Callable[[Callbacks], object]
Clock = Literal["cpu", "wall"]

_PLACES_FOR_95_PERCENT: Final = 1.96

TAIL_SECONDS: Final = 0.002
"""How long a block waits at its end, so that its background threads' work is counted to it."""


@dataclass(frozen=True, slots=True)
class Case:
    """Something that users run.

    Args:
        name: What the report calls it.
        unit: What the costs are given for.
        units: How many of them there are in a block.
        block: Does it, with the handlers given.
        base: What is done once more and subtracted, such as a shorter stream.
        blocks: How many blocks an arm has in a round; many short ones that alternate with the no-op's, since a
            machine's speed changes within a second by more than what is to be seen.
    """

    name: str
    unit: str
    units: int
    block: Block
    base: Block | None = None
    blocks: int = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """What a unit took, in microseconds: of the CPU in all threads, and by the clock on the wall."""

    cpu: float
    wall: float

    def minus(self, other: "Sample") -> "Sample":
        """Return what it took more than another."""
        return Sample(self.cpu - other.cpu, self.wall - other.wall)


@dataclass(frozen=True, slots=True)
class Figure:
    """A median, and the bounds between which that of endless measuring lies in 19 of 20 cases.

    Unlike a mean it does not move where some blocks were interrupted, and unlike quartiles the bounds tell how
    well it is known: they are the values so many places below and above the middle (the sign test's).
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Figure":
        """Sum up some values, at least one."""
        ordered = sorted(values)
        count = len(ordered)
        places = _PLACES_FOR_95_PERCENT * math.sqrt(count)
        low, high = math.floor((count - 1 - places) / 2), math.ceil((count - 1 + places) / 2)
        return cls(statistics.median(ordered), ordered[max(low, 0)], ordered[min(high, count - 1)])

    def to_json(self) -> dict[str, float]:
        """Return it as it is written."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


Samples = Mapping[str, Sequence[Sample]]


def timed(block: Block, callbacks: Callbacks) -> Sample:
    """Return what a block takes, in a context of its own."""
    context = copy_context()
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    context.run(block, callbacks)
    time.sleep(TAIL_SECONDS)
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    return Sample(cpu / 1e3, wall / 1e3 - TAIL_SECONDS * 1e6)


def sample(case: Case, arm: Arm) -> Sample:
    """Return what a unit of a case takes with an arm, in one block."""
    taken = timed(case.block, arm.callbacks)
    if case.base is not None:
        taken = taken.minus(timed(case.base, arm.callbacks))
    return Sample(taken.cpu / case.units, taken.wall / case.units)


def alternated(case: Case, arms: Sequence[Arm]) -> list[list[Sample]]:
    """Return the samples of each arm's blocks, which alternate; what they recorded is delivered afterwards.

    Garbage is collected before each block and not within it: all begin with the same memory.
    """
    taken: list[list[Sample]] = [[] for _ in arms]
    gc.collect()
    gc.freeze()  # what stays, such as what a package keeps of its traces, is not gone through before each block
    gc.disable()
    try:
        for number in range(case.blocks):
            for place in range(len(arms))[:: -1 if number % 2 else 1]:
                gc.collect()
                taken[place].append(sample(case, arms[place]))
    finally:
        gc.enable()
    for arm in arms:
        arm.settle()
    return taken


def rotated(arms: Sequence[Arm], by: int) -> list[Arm]:
    """Return the arms beginning with another one, every other time backwards: none always follows the same."""
    start = by % len(arms)
    order = [*arms[start:], *arms[:start]]
    return order[::-1] if by % 2 else order


def recorded(case: Case, arm: Arm) -> int:
    """Return how much an arm records in a case; this warms both up."""
    arm.settle()
    before = arm.recorded()
    copy_context().run(case.block, arm.callbacks)
    arm.settle()
    return arm.recorded() - before


def beside(arm: str) -> str:
    """Return the name under which the no-op's samples beside an arm's are kept."""
    return f"{NO_OP} beside {arm}"


def measure(case: Case, arms: Sequence[Arm], rounds: int) -> Samples:
    """Return the samples of all blocks of each arm by its name; the rounds interleave the arms.

    Where the no-op is among them, its blocks alternate with those of each other arm.
    """
    samples: dict[str, list[Sample]] = {}
    no_op = next((arm for arm in arms if arm.name == NO_OP), None)
    for number in range(rounds):
        for arm in rotated(arms, number):
            turns = [(arm.name, arm)]
            if no_op is not None and arm is not no_op:
                turns.insert(number % 2, (beside(arm.name), no_op))
            taken = alternated(case, [each for _, each in turns])
            for (name, _), each in zip(turns, taken, strict=True):
                samples.setdefault(name, []).extend(each)
    return samples


def added(samples: Samples, arm: str, baseline: str, clock: Clock) -> list[float]:
    """Return by how much an arm exceeded another in each pair of blocks."""
    pairs = zip(samples[arm], samples[baseline], strict=True)
    return [getattr(ours.minus(theirs), clock) for ours, theirs in pairs]

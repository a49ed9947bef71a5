"""How many bytes each open run holds, and what a run leaves behind once it is complete."""

import gc
import tracemalloc
from collections.abc import Iterable
from contextvars import copy_context
from statistics import median

from benchmarks.arms import NO_OP, NONE, Arm
from benchmarks.callbacks import close, opened

Bytes = dict[str, float]
_PASSES = 3
_SENDERS = 5
"""Threads with which a LaunchDarkly client sends; each keeps what it sent last."""


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _pass(arm: Arm, count: int) -> Bytes:
    before = _traced()
    runs = opened(arm.callbacks, count)
    while_open = _traced()
    close(runs)
    del runs
    for _ in range(1 + _SENDERS):
        arm.settle()
    return {"open": (while_open - before) / count, "completed": (_traced() - before) / count}


def _held(arm: Arm, count: int) -> Bytes:
    # The first pass fills what is filled once, such as caches.
    _, *passes = (_pass(arm, count) for _ in range(1 + _PASSES))
    return {when: median(held[when] for held in passes) for when in ("open", "completed")}


def measure_memory(arms: Iterable[Arm], count: int) -> dict[str, Bytes]:
    """Return the bytes of a run, beyond those with a handler that does nothing, by the arm's name.

    Args:
        arms: What to measure; the one that does nothing is among them.
        count: How many runs are opened at once.
    """
    tracemalloc.start()
    try:
        held = {arm.name: copy_context().run(_held, arm, count) for arm in arms if arm.name != NONE}
    finally:
        tracemalloc.stop()
    least = held.pop(NO_OP)
    return {name: {when: round(bytes_[when] - least[when], 1) for when in least} for name, bytes_ in held.items()}

"""`python -m benchmarks.bytecodes` counts what spans cost: bytecodes of a run, which no busy machine changes.

Those of the thread that runs the chain count, of whichever package, beyond those with a handler that does nothing.
"""

import asyncio
import gc
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Final

from benchmarks.arms import NO_OP, OURS, SPANS, SPANS_OFF, Delivery, spans_arm
from benchmarks.cases import Size, all_cases
from benchmarks.measure import Arm
from benchmarks.report import MAKE_SPANS, table
from benchmarks.suite import make_arms

CASES: Final = ("invoke", "ainvoke", "agent", "graph")
WITH_CONTENT: Final = "with content"


def counted(action: Callable[[], object]) -> int:
    """Return how many bytecodes an action executes in this thread, once it is warm."""
    executed = 0

    def trace(frame: FrameType, event: str, arg: object) -> Callable[..., Any]:
        nonlocal executed
        executed += event == "opcode"
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return trace

    action()
    gc.disable()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
        gc.enable()
    return executed


def added(size: Size, peers: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return how many bytecodes each arm adds to a run, by case.

    Args:
        size: How much a case is.
        peers: The other packages that are compared.
    """
    with Delivery() as delivery, asyncio.Runner() as runner:
        cases = [
            case
            for case in all_cases(size, runner, delivery)
            if case.section == "cases" and case.name.partition("-")[0] in CASES
        ]
        made = {arm.name: arm for arm in make_arms(delivery, cases[0], [NO_OP, *peers])}
        content = spans_arm(delivery, capture_content=True)
        arms: dict[str, Arm] = {name: made[name] for name in (OURS, SPANS_OFF, SPANS)}
        arms |= {WITH_CONTENT: content, **{name: made[name] for name in peers}}
        found: dict[str, dict[str, int]] = {}
        for case in cases:
            least, *others = (
                counted(lambda arm=arm, case=case: case.block(arm.callbacks)) // case.units
                for arm in (made[NO_OP], *arms.values())
            )
            found[case.name] = {name: count - least for name, count in zip(arms, others, strict=True)}
    return found


def main() -> None:
    """Print the counts as a table."""
    warnings.showwarning = lambda *_, **__: None
    logging.disable(logging.WARNING)
    counts = added(Size(), MAKE_SPANS)
    rows = {f"{name}, per run": [f"{count:,}" for count in each.values()] for name, each in counts.items()}
    sys.stdout.write(table(["added bytecodes", *next(iter(counts.values()))], rows))


if __name__ == "__main__":
    main()

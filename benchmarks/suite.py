"""Runs everything that was asked for, and returns it as it is written to `results.json`."""

import gc
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks import peers
from benchmarks.arms import EVENTS, FLOOR, NO_OP, NONE, OURS, Arm, built_in, nothing
from benchmarks.calls import measure_calls
from benchmarks.cases import Loop, Size, all_cases, invoke_case, token_cases
from benchmarks.delivery import Delivery
from benchmarks.growth import Extent, added_by_case, measure_growth, ours_alone
from benchmarks.imports import measure_imports
from benchmarks.machine import machine, versions
from benchmarks.measure import Case, Figure, Samples, added, beside, measure, recorded
from benchmarks.memory import measure_memory

Results = dict[str, Any]
Say = Callable[[str], object]

SECTIONS: Final = ("tokens", "calls", "memory", "growth", "imports")
ALWAYS: Final = (NO_OP, FLOOR, EVENTS, OURS)
"""The arms without which nothing can be compared."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to run, and how much of it.

    Args:
        rounds: Rounds of each case.
        cases: Names of cases and sections; empty for all.
        arms: Names of arms; empty for all.
        size: How much there is in a block.
        extent: How far the growth is followed.
        calls: How often a block of `calls` makes its call.
        open_runs: How many runs are opened to weigh them.
        imports: How many processes import the package.
    """

    rounds: int = 12
    cases: Collection[str] = ()
    arms: Collection[str] = ()
    size: Size = field(default_factory=Size)
    extent: Extent = field(default_factory=Extent)
    calls: int = 500
    open_runs: int = 200
    imports: int = 15


def _checked(wanted: Collection[str], known: Sequence[str]) -> Collection[str]:
    if unknown := sorted(set(wanted) - set(known)):
        raise ValueError(f"unknown: {', '.join(unknown)}; there are: {', '.join(known)}")
    return wanted or known


def make_arms(delivery: Delivery, wanted: Collection[str] = ()) -> list[Arm]:
    """Return the arms, those of the peers that are installed among them.

    Args:
        delivery: The client that those which send to LaunchDarkly send with.
        wanted: Names of arms; empty for all. Those that the others are compared with are always made.

    Raises:
        ValueError: If there is no such arm.
        RuntimeError: If an arm that is to record something does not.
    """
    known = [NONE, *ALWAYS, *(peer.name for peer in peers.PEERS)]
    names = {*_checked(wanted, known), *ALWAYS}
    arms = [arm for arm in built_in(delivery) if arm.name in names]
    arms += [peer.make(delivery) for peer in peers.installed() if peer.name in names]
    probe = invoke_case(1)
    for arm in arms:
        if arm.recorded is not nothing and not recorded(probe, arm):
            raise RuntimeError(f"{arm.name} records nothing of a chain: it is switched off")
    return arms


def _summary(samples: Samples, name: str) -> dict[str, dict[str, float]]:
    baseline = beside(name) if name != NO_OP else NO_OP
    return {
        "cpu_us": Figure.of(sample.cpu for sample in samples[name]).to_json(),
        "wall_us": Figure.of(sample.wall for sample in samples[name]).to_json(),
        "added_cpu_us": Figure.of(added(samples, name, baseline, "cpu")).to_json(),
        "added_wall_us": Figure.of(added(samples, name, baseline, "wall")).to_json(),
    }


def run_case(case: Case, arms: Sequence[Arm], rounds: int) -> Results:
    """Return what a case takes with each arm, per unit, and how much each arm recorded in one block."""
    arms = [arm for arm in arms if arm.name != EVENTS or case.unit == "run"]
    counts = {arm.name: recorded(case, arm) for arm in arms}
    samples = measure(case, arms, rounds)
    figures = {arm.name: {"recorded": counts[arm.name], **_summary(samples, arm.name)} for arm in arms}
    return {"unit": case.unit, "units": case.units, "blocks": case.blocks * rounds, "arms": figures}


def run(options: Options, say: Say) -> Results:
    """Run what was asked for.

    Args:
        options: What that is.
        say: Told what begins.

    Raises:
        ValueError: If there is no such case or arm.
        RuntimeError: If an arm records nothing.
    """
    with Delivery() as delivery, Loop() as loop:
        cases = {case.name: case for case in all_cases(loop, options.size)}
        wanted = _checked(options.cases, [*cases, *SECTIONS])
        arms = make_arms(delivery, options.arms)
        results: Results = {"rounds": options.rounds, "machine": machine(), "versions": versions()}
        results |= {"absent": peers.absent(), "arms": [arm.name for arm in arms], "cases": {}}
        for name in [name for name in cases if name in wanted]:
            say(name)
            results["cases"][name] = run_case(cases[name], arms, options.rounds)
        size = options.size
        sections: dict[str, Callable[[], object]] = {
            "tokens": lambda: added_by_case(
                token_cases(loop, size.chunks, 4 * size.streams), ours_alone(delivery), options.rounds
            ),
            "calls": lambda: measure_calls(delivery, options.calls, options.rounds),
            "growth": lambda: measure_growth(delivery, options.extent, options.rounds),
            "memory": lambda: measure_memory(arms, options.open_runs),
            "imports": lambda: measure_imports(options.imports),
        }
        for name in [name for name in sections if name in wanted]:
            say(name)
            results[name] = sections[name]()
        gc.unfreeze()
    return results

"""What the figures are to be, and whether they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.arms import EVENTS, FLOOR, NO_OP, NONE, OURS
from benchmarks.suite import Results

OWN: Final = (FLOOR, EVENTS, OURS)
"""The arms that are no other package's and add something."""

TIMES_THE_FLOOR: Final = {"invoke": 1.25, "ainvoke": 1.25, "agent": 1.5}
TOKEN_MICROSECONDS: Final = 0.3
FAR_BELOW: Final = ("langfuse", "openinference", "posthog", "langsmith")
FAR_BELOW_CASES: Final = ("invoke", "ainvoke", "astream")
FAR_BELOW_TIMES: Final = 5
OPEN_RUNS_GROWTH: Final = 0.10
IMPORT_MILLISECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Target:
    """Something to reach.

    Args:
        text: What is to hold.
        measured: What was measured.
        met: Whether it holds.
    """

    text: str
    measured: str
    met: bool


def added_cpu(case: Results, arm: str) -> float:
    """Return the microseconds of CPU per unit that an arm adds in a case to a handler that does nothing."""
    added: float = case["arms"][arm]["added_cpu_us"]["median"]
    return added


def is_clear(case: Results, arm: str) -> bool:
    """Whether an arm surely adds something in a case, so that its median says how much."""
    least: float = case["arms"][arm]["added_cpu_us"]["low"]
    return least > 0


def times(case: Results, arm: str, of: str) -> float | None:
    """Return how many times as much as another an arm adds; `None` where either adds nothing to speak of."""
    cost, other = added_cpu(case, arm), added_cpu(case, of)
    return cost / other if min(cost, other) > 0 and case["unit"] != "token" else None


def peers_in(case: Results) -> list[str]:
    """Return the other packages that record something in a case."""
    own = (NONE, NO_OP, *OWN)
    return [name for name, arm in case["arms"].items() if arm["recorded"] and name not in own]


def _floor(cases: Results) -> Iterator[Target]:
    for name in [name for name in TIMES_THE_FLOOR if name in cases]:
        ratio = times(cases[name], OURS, FLOOR)
        measured = "the floor adds nothing" if ratio is None else f"{ratio:.2f}"
        met = ratio is not None and ratio <= TIMES_THE_FLOOR[name]
        yield Target(f"{name}: at most {TIMES_THE_FLOOR[name]} times the floor", measured, met)


def _tokens(tokens: Results) -> Iterator[Target]:
    for name, figure in tokens.items():
        cost = figure["median"]
        text = f"{name}: a token after the first within {TOKEN_MICROSECONDS} us of no-op"
        yield Target(text, f"{cost:+.2f} us", cost <= TOKEN_MICROSECONDS)


def _peers(cases: Results) -> Iterator[Target]:
    for name, case in cases.items():
        ours = added_cpu(case, OURS)
        over = {peer: added_cpu(case, peer) for peer in peers_in(case)}
        if over:
            least = min(over, key=over.__getitem__)
            measured = f"{ours:.2f} us; {least} {over[least]:.2f} us"
            yield Target(f"{name}: below every other package", measured, ours < over[least])
        far = {peer: cost for peer, cost in over.items() if peer in FAR_BELOW}
        if far and name in FAR_BELOW_CASES:
            least = min(far, key=far.__getitem__)
            measured = f"{far[least] / ours:.1f} times ({least})" if ours > 0 else f"{ours:.2f} us"
            met = far[least] >= FAR_BELOW_TIMES * max(ours, 0)
            yield Target(f"{name}: {FAR_BELOW_TIMES} times below {', '.join(far)}", measured, met)


def _others(results: Results) -> Iterator[Target]:
    if "growth" in results:
        by_open: dict[str, dict[str, Any]] = results["growth"]["run, by other runs open"]
        costs = [figure["median"] for figure in by_open.values()]
        spread = max(costs) / min(costs) - 1 if min(costs) > 0 else float("inf")
        text = f"a run's cost with {' to '.join([min(by_open, key=int), max(by_open, key=int)])} others open"
        yield Target(f"{text} within {OPEN_RUNS_GROWTH:.0%}", f"{spread:.0%}", spread <= OPEN_RUNS_GROWTH)
    if "imports" in results:
        took, unwanted = results["imports"]["ours_ms"]["median"], results["imports"]["unwanted_modules"]
        yield Target(f"import at most {IMPORT_MILLISECONDS} ms", f"{took:.1f} ms", took <= IMPORT_MILLISECONDS)
        yield Target("import of nothing optional", ", ".join(unwanted) or "nothing", not unwanted)


def targets(results: Results) -> list[Target]:
    """Return the targets of what was measured."""
    cases = results["cases"]
    return [*_floor(cases), *_tokens(results.get("tokens", {})), *_peers(cases), *_others(results)]

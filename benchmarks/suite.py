"""Runs what was asked for of the table of cases, and returns it as it is written to `results.json`."""

import asyncio
import gc
import os
import platform
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from benchmarks.arms import EVENTS, NO_OP, NONE, OWN, Delivery, own_arms, sending, shared
from benchmarks.cases import Size, all_cases, opened
from benchmarks.footprint import imports, memory
from benchmarks.measure import Arm, Case, Figure, measure, nothing, recorded, summary
from benchmarks.peers import ABSENT, INSTALLED, PEERS, versions
from benchmarks.report import SECTIONS, Results
from langchain_ldai import LdAiHandler

PACKAGES: Final = ("langchain-ldai", "langchain-core", "langchain", "langgraph", "launchdarkly-server-sdk")


def checked(wanted: Collection[str], known: Collection[str]) -> Collection[str]:
    """Return what is wanted, or all that is known; an unknown name raises `ValueError`."""
    if unknown := sorted(set(wanted) - set(known)):
        raise ValueError(f"unknown: {', '.join(unknown)}; there are: {', '.join(known)}")
    return wanted or known


def make_arms(delivery: Delivery, probe: Case, wanted: Collection[str] = ()) -> list[Arm]:
    """Return our own arms, which are always made, and those of the peers that are wanted and installed.

    Raises:
        ValueError: If no arm has a name that is wanted.
        RuntimeError: If an arm that is to record something records nothing of the probe.
    """
    names = checked(wanted, [NONE, NO_OP, *OWN, *PEERS])
    arms = [arm for arm in own_arms(delivery) if arm.name != NONE or arm.name in names]
    arms += [Arm(name, *PEERS[name].make(delivery)) for name in INSTALLED if name in names]
    for arm in arms:
        if arm.recorded is not nothing and not recorded(probe, arm):
            raise RuntimeError(f"{arm.name} records nothing of a chain: it is switched off")
    return arms


def of_all(case: Case, arms: Sequence[Arm], baseline: Arm, rounds: int) -> Results:
    """Return what a case takes with each arm, per unit, and how much each arm recorded in one block."""
    arms = [arm for arm in arms if arm.name != EVENTS or case.unit == "run"]
    counts = {arm.name: recorded(case, arm) for arm in arms}
    pairs = measure(case, arms, baseline, rounds)
    figures = {name: {"recorded": counts[name], **summary(each)} for name, each in pairs.items()}
    return {"unit": case.unit, "units": case.units, "blocks": case.blocks * rounds, "arms": figures}


def of_ours(case: Case, delivery: Delivery, baseline: Arm, rounds: int) -> dict[str, Figure]:
    """Return the CPU of a single call, or what ours adds, by the case's name or by how many runs are open."""
    if case.section == "calls":
        arm = Arm(case.name, shared(), settle=delivery.settle)
        return {case.name: summary(measure(case, [arm], arm, rounds)[case.name])["cpu_us"]}
    arms = []
    for count in case.open_runs or [0]:
        handler = LdAiHandler(delivery.config, max_open_runs=20_000)
        arms.append(sending(str(count) if case.open_runs else case.name, handler, delivery))
        opened(arms[-1].callbacks, count)
    for arm in (baseline, *arms):
        recorded(case, arm)
    return {name: summary(pairs)["added_cpu_us"] for name, pairs in measure(case, arms, baseline, rounds).items()}


def machine() -> dict[str, object]:
    """Return the model of the CPU, how many cores there are, and the system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    system = f"{platform.system()} {platform.machine()}"
    return {"cpu": (models or [platform.processor()])[0], "cores": os.cpu_count(), "system": system}


def run(
    size: Size, say: Callable[[str], object], cases: Collection[str] = (), arms: Collection[str] = ()
) -> Results:
    """Return the results of these cases, sections and arms, all where none is named; an unknown name raises."""
    with Delivery() as delivery, asyncio.Runner() as runner:
        table = all_cases(size, runner, delivery)
        footprint = {"memory": lambda: memory(made, size.held), "imports": lambda: imports(size.imports)}
        names = [case.name for case in table if case.section == "cases"]
        wanted = checked(cases, [*names, *SECTIONS, *footprint])
        made = make_arms(delivery, table[0], arms)
        baseline = next(arm for arm in made if arm.name == NO_OP)
        used = {"python": platform.python_version(), **versions(*PACKAGES)}
        results: Results = {"rounds": size.rounds, "machine": machine(), "versions": used, "absent": ABSENT}
        results |= {"arms": [arm.name for arm in made], "cases": {}, "ours": {}}
        for case in table:
            if case.section == "cases" and case.name in wanted:
                say(case.name)
                results["cases"][case.name] = of_all(case, made, baseline, size.rounds)
            elif case.section in wanted:
                say(f"{SECTIONS[case.section]}: {case.name}")
                figures = of_ours(case, delivery, baseline, size.rounds)
                results["ours"].setdefault(case.section, {}).update(figures)
        for name in [name for name in footprint if name in wanted]:
            say(name)
            results[name] = footprint[name]()
        gc.unfreeze()
    return results

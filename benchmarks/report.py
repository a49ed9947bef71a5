"""The results as tables in Markdown, as a chart, and beside the targets."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.arms import DURABLE, FLOOR, NO_OP, NONE, OURS, OWN, SPANS
from benchmarks.measure import Figure

Results = dict[str, Any]
SECTIONS: Final = {
    "tokens": "a token after the first",
    "calls": "a single call",
    "open": "a run, by other runs open",
    "depth": "a step, by depth",
    "chunks": "a token, by chunks",
}
TIMES_THE_FLOOR: Final = {"invoke": 1.25, "ainvoke": 1.25, "agent": 1.5}
FAR_BELOW: Final = ("langfuse", "openinference", "posthog", "langsmith")
MAKE_SPANS: Final = ("openinference", "openllmetry")
"""The packages that make spans as ours does with `spans=`."""
LEGEND: Final = """\
Medians of {} to {} pairs of blocks, over a handler that does nothing. durable is ours with `delivery=`; spans off
and spans are ours with `spans=`, without and with a provider that records. In brackets: events and ours to the
floor, the others to ours. n/s: not significant, as the 95 % interval reaches 0; n/a: nothing is recorded."""


Target = tuple[str, str, bool]
"""Something to reach, what was measured, and whether that is it."""


def number(value: float | None) -> str:
    """Return a number with about three digits that count; `None` is one that may be 0."""
    if value is None:
        return "n/s"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def clear(figure: Figure) -> float | None:
    """Return the median; `None` where it may be 0."""
    return figure["median"] if figure["low"] > 0 else None


def shown(figure: Figure) -> str:
    """Return a median and its interval; of what may be nothing, the interval alone."""
    return f"{number(clear(figure))} ({number(figure['low'])} to {number(figure['high'])})"


def added(case: Results, arm: str) -> float | None:
    """Return the microseconds of CPU per unit that an arm adds to the baseline; `None` where that may be 0."""
    return clear(case["arms"][arm]["added_cpu_us"])


def times(case: Results, arm: str, of: str) -> float | None:
    """Return how many times as much as another an arm adds; `None` for tokens, and where that may be nothing."""
    cost, other = added(case, arm), added(case, of)
    return cost / other if cost and other and case["unit"] != "token" else None


def peers_in(case: Results) -> list[str]:
    """Return the other packages that record something in a case."""
    return [name for name, arm in case["arms"].items() if arm["recorded"] and name not in (NONE, NO_OP, *OWN)]


def table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Return a table in Markdown; the rows by their names."""
    lines = [columns, *([name, *cells] for name, cells in rows.items())]
    heading, *others = (f"| {' | '.join(line)} |\n" for line in lines)
    return "".join([heading, f"|---{'|--:' * (len(columns) - 1)}|\n", *others])


def _cell(case: Results, arm: str) -> str:
    if arm not in peers_in(case) and (arm not in OWN or arm not in case["arms"]):
        return "n/a"
    cost, ratio = added(case, arm), times(case, arm, FLOOR if arm in OWN else OURS)
    return number(cost) + (f" ({ratio:.2f} x)" if ratio and arm != FLOOR else "")


def markdown(results: Results) -> str:
    """Return what the page of costs shows: the added CPU, and what it was measured with."""
    cases, arms = results["cases"], [arm for arm in results["arms"] if arm not in (NONE, NO_OP)]
    rows = {f"{name}, per {case['unit']}": [_cell(case, arm) for arm in arms] for name, case in cases.items()}
    blocks = [case["blocks"] for case in cases.values()] or [0]
    lines = [LEGEND.format(min(blocks), max(blocks))]
    if tokens := results["ours"].get("tokens"):
        costs = ", ".join(f"{name} {shown(figure)}" for name, figure in tokens.items())
        lines.append(f"A token after the first, ours beside the no-op alone and so with more blocks, µs: {costs}.")
    used = ", ".join(f"{package} {version}" for package, version in results["versions"].items())
    absent = f"; not installed: {', '.join(results['absent'])}" if results["absent"] else ""
    lines.append(f"{results['machine']['cpu']}, {results['machine']['cores']} cores; {used}{absent}.")
    return "\n".join([table(["added CPU, µs", *arms], rows), *lines]) + "\n"


def details(results: Results) -> str:
    """Return what the page of costs does not show, but for the parts of each case, as tables."""
    tables = [
        table([SECTIONS[section], "CPU, µs"], {row: [shown(figure)] for row, figure in figures.items()})
        for section, figures in results["ours"].items()
    ]
    if memory := results.get("memory"):
        rows = {arm: [number(size) for size in held.values()] for arm, held in memory.items()}
        tables.append(table(["memory of a run, bytes", "open", "completed"], rows))
    if took := results.get("imports"):
        rows = {name: [shown(each), number(took["least_ms"][name])] for name, each in took["ms"].items()}
        tables.append(table(["import, ms", "median", "least"], rows))
    reached = {text: [measured, "pass" if met else "MISS"] for text, measured, met in targets(results)}
    return "\n".join([*tables, table(["target", "measured", ""], reached)])


def _beside_peers(name: str, case: Results) -> Iterator[Target]:
    ours, over = added(case, OURS), {peer: added(case, peer) for peer in peers_in(case)}
    far = [peer for peer in over if peer in FAR_BELOW and name in ("invoke", "ainvoke", "astream")]
    below = f"{name}, µs: 5 times below {', '.join(far)}"
    if "launchdarkly" in over and DURABLE in case["arms"]:
        durable, theirs = added(case, DURABLE), over["launchdarkly"]
        met = (theirs or 0) > (durable or 0)
        yield f"{name}, µs: with delivery= below launchdarkly", f"{number(durable)}; {number(theirs)}", met
    for peer in [each for each in MAKE_SPANS if each in over and SPANS in case["arms"]]:
        spans, theirs = added(case, SPANS), over[peer]
        met = spans is None or (theirs or 0) > spans
        yield f"{name}, µs: with spans= below {peer}", f"{number(spans)}; {number(theirs)}", met
    for text, peers, factor in ((f"{name}, µs: below every other package", [*over], 1), (below, far, 5)):
        if peers:
            least = min(peers, key=lambda peer: over[peer] or 0)
            met = ours is None or (over[least] or 0) > factor * ours
            yield text, f"{number(ours)}; {least} {number(over[least])}", met


def targets(results: Results) -> Iterator[Target]:
    """Yield the targets of what was measured."""
    for name, case in results["cases"].items():
        if most := TIMES_THE_FLOOR.get(name):
            ratio = times(case, OURS, FLOOR)
            yield f"{name}: at most {most} times the floor", number(ratio), ratio is not None and ratio <= most
        yield from _beside_peers(name, case)
    for name, figure in results["ours"].get("tokens", {}).items():
        yield f"{name}: a token after the first within 0.3 µs", shown(figure), figure["median"] <= 0.3
    if costs := [figure["median"] for figure in results["ours"].get("open", {}).values()]:
        spread = max(costs) / min(costs) - 1 if min(costs) > 0 else float("inf")
        yield "a run's cost with other runs open within 10 %", f"{spread:.0%}", spread <= 0.1
    if took := results.get("imports"):
        figure, unwanted = took["ms"]["langchain_ldai"], took["unwanted_modules"]
        yield "import at most 30 ms", shown(figure), figure["median"] <= 30
        yield "import of nothing optional", ", ".join(unwanted) or "nothing", not unwanted


def write(results: Results, folder: Path) -> None:
    """Write `results.json` and `results.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    reached = [{"text": text, "measured": measured, "met": met} for text, measured, met in targets(results)]
    whole = {**results, "targets": reached}
    (folder / "results.json").write_text(json.dumps(whole, indent=2) + "\n", "utf-8")
    (folder / "results.md").write_text(markdown(results), "utf-8")


def show_on_page(results: Results, page: Path) -> None:
    """Put the figures between the page's two marks, so that it never shows other ones than the last."""
    before, begin, rest = page.read_text("utf-8").partition("<!-- make bench writes what follows -->\n")
    _, end, after = rest.partition("\n<!-- to here -->")
    if not end:
        raise ValueError(f"{page} has no place for the figures")
    page.write_text(f"{before}{begin}\n{markdown(results)}{end}{after}", "utf-8")


def plot(results: Results, path: Path) -> None:
    """Write the added CPU of each case as a chart in SVG, on white, so that it can be read on a dark page too."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Chart

    # The same figures make the same file.
    mpl.rcParams.update({"svg.hashsalt": "langchain_ldai", "svg.fonttype": "path", "font.size": 9})
    cases = results["cases"]
    arms = [arm for arm in results["arms"] if arm in OWN or any(arm in peers_in(case) for case in cases.values())]
    chart, width = Chart(figsize=(12, 4.8), facecolor="white", layout="constrained"), 0.85 / len(arms)
    axes = chart.subplots()
    for position, arm in enumerate(arms):
        costs = {
            place + position * width: added(case, arm) or 0
            for place, case in enumerate(cases.values())
            if arm in peers_in(case) or (arm in OWN and arm in case["arms"])
        }
        axes.bar([*costs], [*costs.values()], width, label=arm, color="black" if arm == OURS else f"C{position}")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.05)
    axes.set_ylabel("added CPU, µs (logarithmic)")
    labels = [f"{name}\nper {case['unit']}" for name, case in cases.items()]
    axes.set_xticks([place + (len(arms) - 1) * width / 2 for place in range(len(cases))], labels)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(ncols=len(arms), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    chart.savefig(path, format="svg", metadata={"Date": None})

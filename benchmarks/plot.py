"""The added CPU of each case as a chart."""

from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.arms import OURS
from benchmarks.suite import Results
from benchmarks.targets import OWN, added_cpu, peers_in

_LEAST_MICROSECONDS: Final = 0.05
"""What is less is drawn so, as a logarithmic axis has no place for it."""


def plot(results: Results, path: Path) -> None:
    """Write the chart as SVG, on white, so that it can be read on a dark page too."""
    # The same figures make the same file.
    mpl.rcParams.update({"svg.hashsalt": "langchain_ldai", "svg.fonttype": "path", "font.size": 9})
    cases = results["cases"]
    arms = [arm for arm in results["arms"] if arm in OWN or any(arm in peers_in(case) for case in cases.values())]
    chart = Figure(figsize=(12, 4.8), facecolor="white", layout="constrained")
    axes = chart.subplots()
    width = 0.85 / len(arms)
    for position, arm in enumerate(arms):
        shown = [
            (place + position * width, added_cpu(case, arm))
            for place, case in enumerate(cases.values())
            if arm in case["arms"] and arm in (*OWN, *peers_in(case))
        ]
        places, heights = [place for place, _ in shown], [max(added, _LEAST_MICROSECONDS) for _, added in shown]
        axes.bar(places, heights, width, label=arm, color="black" if arm == OURS else f"C{position}")
    axes.set_yscale("log")
    axes.set_ylim(bottom=_LEAST_MICROSECONDS)
    axes.set_ylabel("added CPU, µs (logarithmic)")
    middle = (len(arms) - 1) * width / 2
    labels = [f"{name}\nper {case['unit']}" for name, case in cases.items()]
    axes.set_xticks([place + middle for place in range(len(cases))], labels)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(ncols=len(arms), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    chart.savefig(path, format="svg", metadata={"Date": None})

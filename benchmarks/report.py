"""The results as tables for the terminal, as JSON, and as Markdown."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.arms import EVENTS, FLOOR, NO_OP, NONE, OURS
from benchmarks.suite import Results
from benchmarks.targets import OWN, added_cpu, is_clear, peers_in, targets, times


def number(value: float) -> str:
    """Return a number with about three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def figure(value: dict[str, float]) -> str:
    """Return a median and the interval it lies in."""
    return f"{number(value['median'])} ({number(value['low'])} to {number(value['high'])})"


def _ratio(case: Results, arm: str, of: str) -> str:
    ratio = times(case, arm, of)
    return "" if ratio is None or arm in (NONE, NO_OP) else f"{ratio:.2f}"


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position else "left")
    return table


def case_tables(results: Results) -> Iterator[Table]:
    """Yield a table of each case."""
    columns = ["", "added CPU, us", "/ floor", "/ ours", "added wall, us", "CPU, us", "recorded"]
    for name, case in results["cases"].items():
        table = _table(f"{name}, per {case['unit']}", columns)
        for arm, taken in case["arms"].items():
            added, wall, cpu = (figure(taken[key]) for key in ("added_cpu_us", "added_wall_us", "cpu_us"))
            compared = _ratio(case, arm, FLOOR), _ratio(case, arm, OURS)
            table.add_row(arm, added, *compared, wall, cpu, str(taken["recorded"]))
        yield table


def section_tables(results: Results) -> Iterator[Table]:
    """Yield a table of each of the other sections that were measured."""
    singles = {"token after the first": "tokens", "single call": "calls"}
    measured = {title: results[section] for title, section in singles.items() if section in results}
    for name, rows in {**measured, **results.get("growth", {})}.items():
        table = _table(name, ["", "CPU, us"])
        for row, value in rows.items():
            table.add_row(row, figure(value))
        yield table
    if "memory" in results:
        table = _table("memory of a run, bytes", ["", "open", "completed"])
        for arm, held in results["memory"].items():
            table.add_row(arm, number(held["open"]), number(held["completed"]))
        yield table
    if "imports" in results:
        imports = results["imports"]
        table = _table("import, ms", ["", "median", "least"])
        table.add_row("langchain_core.callbacks, ldclient", figure(imports["base_ms"]), "")
        table.add_row("langchain_ldai over them", figure(imports["ours_ms"]), number(imports["ours_least_ms"]))
        table.add_row("LdAiClient and LdAiHandler", figure(imports["names_ms"]), number(imports["names_least_ms"]))
        yield table


def show(results: Results, console: Console) -> None:
    """Print everything."""
    for table in (*case_tables(results), *section_tables(results)):
        console.print(table)
    for peer in results["absent"]:
        console.print(f"left out, as not installed: {peer}")
    table = _table("targets", ["", "measured", ""])
    for target in targets(results):
        table.add_row(target.text, target.measured, "pass" if target.met else "MISS")
    console.print(table)


def _cell(case: Results, arm: str) -> str:
    if arm not in case["arms"] or (arm not in OWN and arm not in peers_in(case)):
        return "n/a"
    figure = case["arms"][arm]["added_cpu_us"]
    if not is_clear(case, arm):
        return f"< {number(figure['high'])}" if figure["high"] > 0 else "0"
    to = FLOOR if arm in (EVENTS, OURS) else OURS
    ratio = _ratio(case, arm, to) if arm != FLOOR and is_clear(case, to) else ""
    return number(added_cpu(case, arm)) + (f" ({ratio} x)" if ratio else "")


def _tokens(results: Results) -> Iterator[str]:
    if "tokens" in results:
        costs = ", ".join(
            f"{name} {value['median']:+.2f} ({value['low']:+.2f} to {value['high']:+.2f})"
            for name, value in results["tokens"].items()
        )
        yield f"A token after the first, ours beside the no-op alone and so with more blocks, µs: {costs}."


def markdown(results: Results) -> str:
    """Return the added CPU as a table in Markdown, and below it what it was measured with."""
    arms = [arm for arm in results["arms"] if arm not in (NONE, NO_OP)]
    lines = ["| " + " | ".join(["added CPU, µs", *arms]) + " |", "|---" + "|--:" * len(arms) + "|"]
    for name, case in results["cases"].items():
        row = [f"{name}, per {case['unit']}", *(_cell(case, arm) for arm in arms)]
        lines.append("| " + " | ".join(row) + " |")
    used = ", ".join(f"{package} {version}" for package, version in results["versions"].items())
    left_out = f"; not installed: {', '.join(results['absent'])}" if results["absent"] else ""
    where = f"{results['machine']['cpu']}, {results['machine']['cores']} cores"
    blocks = [case["blocks"] for case in results["cases"].values()]
    lines += [
        "",
        f"Medians of {min(blocks, default=0)} to {max(blocks, default=0)} pairs of blocks, over a handler that",
        "does nothing; where that may be 0, the upper end of its 95 % interval after <. In brackets: events and",
        "ours to the floor, the others to ours; n/a where a package records nothing.",
        *_tokens(results),
        f"{where}; {used}{left_out}.",
    ]
    return "\n".join(lines) + "\n"


def write(results: Results, folder: Path) -> None:
    """Write `results.json` and `results.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {**results, "targets": [asdict(target) for target in targets(results)]}
    (folder / "results.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(markdown(results), encoding="utf-8")


def show_in_readme(results: Results, readme: Path) -> None:
    """Put the Markdown between the README's two marks, so that it never shows other figures than the last ones."""
    before, begin, rest = readme.read_text(encoding="utf-8").partition("<!-- make bench writes what follows -->\n")
    _, end, after = rest.partition("\n<!-- to here -->")
    if not end:
        raise ValueError(f"{readme} has no place for the figures")
    readme.write_text(f"{before}{begin}\n{markdown(results)}{end}{after}", encoding="utf-8")

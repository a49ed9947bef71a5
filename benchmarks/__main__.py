"""Run the benchmark: `make bench`, or `python -m benchmarks --help`."""

import argparse
import logging
import os
import warnings
from pathlib import Path

from rich.console import Console

from benchmarks.cases import Size
from benchmarks.growth import Extent
from benchmarks.report import show, show_in_readme, write
from benchmarks.suite import Options, run

FOLDER = Path(__file__).parent


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, help="rounds of each case")
    parser.add_argument("--cases", type=_names, default=[], help="cases and sections, separated by commas")
    parser.add_argument("--arms", type=_names, default=[], help="handlers, separated by commas")
    parser.add_argument("--quick", action="store_true", help="a few rounds of little, to see that it works")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of what is written")
    return parser.parse_args()


def _options(arguments: argparse.Namespace) -> Options:
    chosen = {"cases": arguments.cases, "arms": arguments.arms}
    if not arguments.quick:
        return Options(rounds=arguments.rounds or Options().rounds, **chosen)
    size = Size(chains=5, blocks=1, streams=1, graphs=1, crowds=1)
    extent = Extent((1, 10, 100, 1_000), (1, 10, 100), (10, 100, 1_000), runs=5)
    rounds = arguments.rounds or 5
    return Options(rounds, size=size, extent=extent, calls=100, open_runs=50, imports=3, **chosen)


def _quieten() -> None:
    # They would be written from within what is timed, and LangChain's own filters undo those set here.
    warnings.showwarning = lambda *_, **__: None
    # A tracer that the environment asks for is no arm.
    logging.disable(logging.WARNING)
    os.environ["LANGSMITH_TRACING"] = os.environ["LANGCHAIN_TRACING_V2"] = "false"


def main() -> None:
    """Run what the command line asks for, print it, and write it down."""
    arguments, console = _arguments(), Console()
    if not console.is_terminal:
        console.width = 140
    _quieten()
    with console.status("making the arms") as status:

        def say(name: str) -> None:
            status.update(f"measuring {name}")
            if not console.is_terminal:  # where a status shows nothing
                console.print(f"measuring {name}")

        results = run(_options(arguments), say)
    write(results, arguments.out)
    from benchmarks.plot import plot  # needs matplotlib, which nothing else here does

    plot(results, arguments.out / "results.svg")
    if arguments.out == FOLDER:
        show_in_readme(results, FOLDER.parent / "README.md")
    show(results, console)
    console.print(f"written to {arguments.out}: results.json, results.md, results.svg")


if __name__ == "__main__":
    main()

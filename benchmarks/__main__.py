"""Run the benchmark: `make bench`, or `python -m benchmarks --help`."""

import argparse
import logging
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.cases import Size
from benchmarks.report import details, markdown, plot, show_on_page, write
from benchmarks.suite import run

FOLDER: Final = Path(__file__).parent
QUICK: Final = Size(rounds=5, blocks=0.03, calls=100, most=1_000, held=50, imports=3)


def _say(name: str) -> None:
    sys.stderr.write(f"measuring {name}\n")


def main() -> None:
    """Run what the command line asks for, print it, and write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, help="rounds of each case")
    parser.add_argument("--cases", default="", help="cases and sections, separated by commas")
    parser.add_argument("--arms", default="", help="handlers, separated by commas")
    parser.add_argument("--quick", action="store_true", help="a few rounds of little, to see that it works")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of what is written")
    asked = parser.parse_args()
    size = QUICK if asked.quick else Size()
    # Warnings would be written from within what is timed, and LangChain's own filters undo those set here.
    warnings.showwarning = lambda *_, **__: None
    logging.disable(logging.WARNING)
    # A tracer that the environment asks for is no arm.
    os.environ["LANGSMITH_TRACING"] = os.environ["LANGCHAIN_TRACING_V2"] = "false"
    cases, arms = ([name for name in text.split(",") if name] for text in (asked.cases, asked.arms))
    results = run(replace(size, rounds=asked.rounds or size.rounds), _say, cases, arms)
    write(results, asked.out)
    plot(results, asked.out / "results.svg")
    if asked.out == FOLDER:
        show_on_page(results, FOLDER.parent / "docs" / "costs.md")
    sys.stdout.write(
        f"{markdown(results)}\n{details(results)}\nwritten to {asked.out}: results.json, results.md, results.svg\n"
    )


if __name__ == "__main__":
    main()

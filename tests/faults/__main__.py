"""Prints what is lost and doubled in each case: python -m tests.faults [CASE ...] [--size small|full]."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.case import Case
from tests.faults.cases import CASES
from tests.faults.scene import Outcome, WorkerFailedError
from tests.support.fork_server import ForkServer

_ROW = "{:<84} {:>8} {:>16} {:>15} {:>5} {:>15} {:>18} {:>6}"


def main() -> int:
    """Play the cases, and return 1 if durable delivery loses, doubles or disorders an event in one of them."""
    arguments = _arguments()
    chosen = [case for case in CASES if not arguments.cases or case.name in arguments.cases]
    failed = failures(chosen, is_full=arguments.size == "full")
    if failed:
        _say(f"events are lost, doubled or disordered with DurableEvents: {', '.join(failed)}")
    return bool(failed)


def failures(cases: list[Case], *, is_full: bool) -> list[str]:
    """Play cases, print a row of each, and return the names of those that fail with durable delivery."""
    note = "" if is_full else "at a small size; the titles say the full one"
    _say(_ROW.format(note, "", "lost", "doubled", "dead", "out of order", "memory grows", ""))
    _say(_ROW.format("case", "events", *["without / with"] * 2, "with", *["without / with"] * 2, "s"))
    failed = []
    with ForkServer("tests.faults.loads") as forks, tempfile.TemporaryDirectory() as folder:
        for case in cases:
            began = time.monotonic()
            try:
                without, with_it = case.run_both(forks, Path(folder), is_full=is_full)
            except (WorkerFailedError, TimeoutError) as error:
                _say(f"{case.title}: {error}")
                failed.append(case.name)
                continue
            _say(_row(case, without, with_it, time.monotonic() - began))
            if not with_it.is_perfect:
                failed.append(case.name)
    return failed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    names = [case.name for case in CASES]
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {', '.join(names)}; all without one")
    parser.add_argument("--size", choices=["small", "full"], default="small")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - set(names):
        parser.error(f"there is no case {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return arguments


def _row(case: Case, without: Outcome, with_it: Outcome, seconds: float) -> str:
    return _ROW.format(
        case.title,
        f"{with_it.events:,}",
        f"{without.lost / max(without.events, 1):.0%} / {with_it.lost:,}",
        f"{without.doubled:,} / {with_it.doubled:,}",
        f"{with_it.dead:,}",
        f"{without.disordered:,} / {with_it.disordered:,}",
        f"{without.grown_kib:,} / {with_it.grown_kib:,} KiB",
        f"{seconds:.1f}",
    )


def _say(line: str) -> None:
    print(line.rstrip(), flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())

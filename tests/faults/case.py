"""A case, and how it is played: without and with durable delivery, side by side."""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.scene import Outcome, Scene
from tests.support.fork_server import ForkServer

Play = Callable[..., None]


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        title: What happens, in a reader's words.
        play: Lets it happen in a scene; where there are variants, it is given one more argument.
        variants: What is played all at once and summed up.
    """

    title: str
    play: Play
    variants: tuple[object, ...] = ()

    @property
    def name(self) -> str:
        """What the command calls the case."""
        return self.play.__name__.replace("_", "-")

    def run(self, forks: ForkServer, folder: Path, *, is_durable: bool, is_full: bool) -> Outcome:
        """Play the case on one side, and return what became of its events."""

        def run_one(variant: Sequence[object], part: Path) -> Outcome:
            with Scene(forks, part, is_durable=is_durable, is_full=is_full) as scene:
                self.play(scene, *variant)
                return scene.outcome()

        variants = [(variant,) for variant in self.variants] or [()]
        parts = [folder / f"{self.name}-{is_durable}-{number}" for number in range(len(variants))]
        with ThreadPoolExecutor(len(variants)) as pool:
            return sum_up(list(pool.map(run_one, variants, parts)))

    def run_both(self, forks: ForkServer, folder: Path, *, is_full: bool) -> tuple[Outcome, Outcome]:
        """Play the case without and with durable delivery, at the same time."""
        with ThreadPoolExecutor(2) as pool:
            sides = [
                pool.submit(self.run, forks, folder, is_durable=is_durable, is_full=is_full)
                for is_durable in (False, True)
            ]
            without, with_it = (side.result() for side in sides)
            return without, with_it


def sum_up(outcomes: list[Outcome]) -> Outcome:
    """Return the sums; of the growth of memory, the largest."""
    *_, last = itertools.accumulate(outcomes, _add)
    return last


def _add(one: Outcome, other: Outcome) -> Outcome:
    return Outcome(
        one.events + other.events,
        one.lost + other.lost,
        one.doubled + other.doubled,
        one.dead + other.dead,
        one.disordered + other.disordered,
        max(one.grown_kib, other.grown_kib),
    )


class Table:
    """Cases in order."""

    def __init__(self) -> None:
        self.cases: Final[list[Case]] = []

    def case(self, title: str, variants: Sequence[object] = ()) -> Callable[[Play], Play]:
        """Take a function in as a case."""

        def take(play: Play) -> Play:
            self.cases.append(Case(title, play, tuple(variants)))
            return play

        return take

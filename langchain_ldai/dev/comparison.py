"""Variations side by side: each measure, its value for each variation, and the difference to the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from langchain_ldai.dev.figures import Variation
from langchain_ldai.dev.queries import Judge
from langchain_ldai.dev.statistics import (
    Counts,
    Distribution,
    Interval,
    Share,
    compare_means,
    compare_medians,
    compare_shares,
)


@dataclass(frozen=True)
class Unit:
    """How a number is written.

    Args:
        factor: What the number is multiplied with.
        digits: Digits after the point.
        suffix: What follows the number.
        difference_suffix: What follows a difference.
    """

    factor: float
    digits: int
    suffix: str
    difference_suffix: str

    def write(self, value: float | None) -> str:
        """Return a value as text, "-" for none."""
        return "-" if value is None else f"{value * self.factor:,.{self.digits}f}{self.suffix}"

    def write_short(self, value: float) -> str:
        """Return a value along an axis, with no more digits than it has."""
        return f"{value * self.factor:,.12g}"

    def write_difference(self, interval: Interval) -> str:
        """Return a difference and its interval as text."""
        low, high = (f"{end * self.factor:+,.{self.digits}f}" for end in (interval.low, interval.high))
        middle = f"{interval.difference * self.factor:+,.{self.digits}f}{self.difference_suffix}"
        noise = "" if interval.shows else ", may be noise"
        return f"{middle} ({low} to {high}){noise}"


PERCENT: Final = Unit(100, 1, " %", " points")
MILLISECONDS: Final = Unit(1, 0, " ms", " ms")
NUMBER: Final = Unit(1, 0, "", "")
PER_RUN: Final = Unit(1, 2, "", "")
SCORE: Final = Unit(1, 3, "", "")


@dataclass(frozen=True)
class Measure:
    """Something that is compared.

    Args:
        key: Its name for programs.
        label: Its name for people.
        unit: How its values are written.
        good: 1 where more is better, -1 where less is, 0 where neither is.
        value: Its value for a variation.
        compare: How much the second variation exceeds the first; without it no interval is known, as of a tail.
    """

    key: str
    label: str
    unit: Unit
    good: int
    value: Callable[[Variation], float | None]
    compare: Callable[[Variation, Variation], Interval | None] = lambda first, second: None


def _share(key: str, label: str, of: Callable[[Variation], Share]) -> Measure:
    def compare(first: Variation, second: Variation) -> Interval | None:
        return compare_shares(of(first), of(second))

    return Measure(key, label, PERCENT, 1, lambda v: of(v).value, compare)


def _median(key: str, label: str, unit: Unit, of: Callable[[Variation], Distribution]) -> Measure:
    def compare(first: Variation, second: Variation) -> Interval | None:
        return compare_medians(of(first), of(second))

    return Measure(key, label, unit, -1, lambda v: of(v).median, compare)


def _mean(key: str, label: str, unit: Unit, of: Callable[[Variation], Counts]) -> Measure:
    def compare(first: Variation, second: Variation) -> Interval | None:
        return compare_means(of(first), of(second))

    return Measure(key, label, unit, 0, lambda v: of(v).mean, compare)


_MEASURES: Final = (
    Measure("runs", "Runs", NUMBER, 0, lambda v: v.runs),
    _share("success_rate", "Success rate", lambda v: v.success),
    _median("duration_median", "Duration, median", MILLISECONDS, lambda v: v.duration),
    Measure("duration_p95", "Duration, 95th percentile", MILLISECONDS, -1, lambda v: v.duration.percentile_95),
    _median("first_token_median", "Time to first token, median", MILLISECONDS, lambda v: v.first_token),
    Measure(
        "first_token_p95",
        "Time to first token, 95th percentile",
        MILLISECONDS,
        -1,
        lambda v: v.first_token.percentile_95,
    ),
    _median("tokens_median", "Tokens, median", NUMBER, lambda v: v.tokens),
    _share("positive_feedback", "Positive feedback", lambda v: v.feedback),
    Measure("feedback", "Runs with feedback", NUMBER, 0, lambda v: v.feedback.of),
    _mean("tool_calls", "Tool calls in a run, mean", PER_RUN, lambda v: v.tool_calls),
)

_NO_SCORES: Final = Counts(0, 0.0, 0.0)


def judge_names(judges: Iterable[Judge]) -> dict[Judge, str]:
    """Return what to call each judge: its key, with the metric where one judge has several or has no key."""
    listed = sorted(set(judges))
    keys = Counter(judge.key for judge in listed)
    return {
        judge: judge.key if judge.key and keys[judge.key] == 1 else f"{judge.key} {judge.metric}".strip()
        for judge in listed
    }


def _measures_of_scores(judge: Judge, name: str) -> tuple[Measure, Measure]:
    """Return what is compared of a judge's scores; whether more is better depends on what it judges."""

    def scores(variation: Variation) -> Counts:
        return variation.scores.get(judge, _NO_SCORES)

    return (
        _mean(f"score:{name}", f"Score by {name}, mean", SCORE, scores),
        Measure(f"scored:{name}", f"Runs scored by {name}", NUMBER, 0, lambda v: scores(v).count),
    )


METHODS: Final = (
    "Each difference is to the first variation, with the interval that holds the true difference 95 times in 100: "
    "for medians by Price and Bonett, for shares by Newcombe, for means by Welch. "
    "Where the interval holds zero, the difference may be noise."
)


@dataclass(frozen=True)
class Cell:
    """The value of a measure for one variation, and how much it exceeds the first one's."""

    value: float | None
    difference: Interval | None

    def verdict(self, measure: Measure) -> str:
        """Return "better" or "worse" where the difference shows one, else ""."""
        if self.difference is None or not self.difference.shows or not measure.good:
            return ""
        return "better" if self.difference.difference * measure.good > 0 else "worse"


def compare(variations: Sequence[Variation]) -> list[tuple[Measure, list[Cell]]]:
    """Return every measure with its cell for every variation, each compared with the first."""
    judges = judge_names(judge for variation in variations for judge in variation.scores)
    scores = [measure for judge in judges.items() for measure in _measures_of_scores(*judge)]
    return [
        (
            measure,
            [
                Cell(measure.value(variation), measure.compare(variations[0], variation) if number else None)
                for number, variation in enumerate(variations)
            ],
        )
        for measure in (*_MEASURES, *scores)
    ]


def as_json(variations: Sequence[Variation]) -> list[dict[str, object]]:
    """Return the comparison for programs: one entry a variation."""
    entries: list[dict[str, object]] = [{"variation": variation.name} for variation in variations]
    for measure, cells in compare(variations):
        for entry, cell in zip(entries, cells, strict=True):
            entry[measure.key] = cell.value
            if cell.difference is not None:
                entry[f"{measure.key}_difference"] = {
                    "value": cell.difference.difference,
                    "low": cell.difference.low,
                    "high": cell.difference.high,
                }
    return entries


def as_text(variations: Sequence[Variation]) -> str:
    """Return the comparison as a table for a terminal."""
    header = ["", *(variation.name or "(no variation)" for variation in variations)]
    lines = [header]
    for measure, cells in compare(variations):
        lines.append([measure.label, *(measure.unit.write(cell.value) for cell in cells)])
        if any(cell.difference for cell in cells):
            written = measure.unit.write_difference
            lines.append(["", *(written(cell.difference) if cell.difference else "" for cell in cells)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            printable(text).ljust(width) if column == 0 else printable(text).rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def printable(text: str) -> str:
    """Return a text for a terminal: an SDK may send names that would move its cursor, or end the line."""
    return "".join(character if character.isprintable() else "?" for character in text)

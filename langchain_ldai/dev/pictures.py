"""Distributions, courses over time and a run's timeline, drawn by leather in the style sheet's colours."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final, NamedTuple, Self
from xml.etree import ElementTree

import leather

from langchain_ldai._wire import events
from langchain_ldai.dev.comparison import MILLISECONDS, PERCENT, Unit
from langchain_ldai.dev.figures import Step, Variation
from langchain_ldai.dev.markup import Markup, element
from langchain_ldai.dev.queries import Metric, Run
from langchain_ldai.dev.statistics import Distribution

SERIES: Final = 6
"""For how many variations the style sheet has colours; pictures show no more."""

_MOST_BARS: Final = 40
_MOST_TICKS: Final = 6
_WIDTH: Final = 420
_HEIGHT: Final = 210
_DASHES: Final = ("none", "6,3", "2,3", "8,3,2,3", "12,4", "1,4")
_LONGEST_NAME: Final = 24
_MOST_MARKS: Final = 12
_DAY: Final = 86_400_000
_FURTHER_DIGITS: Final = re.compile(r"(?<=\.\d\d)\d+")
"""What of a place in a picture is too small to see."""

_Written = Callable[[float, int, int], str]
"""What writes the value at a tick, given which of how many ticks it is."""

_Points = list[tuple[float, float | None]]
"""Where a line goes; `None` interrupts it."""


class _Scale:
    """A linear scale from zero; leather's own takes longer to find its ticks than all else of a picture.

    Args:
        ticks: Where there are ticks, from zero to the end of the scale.
    """

    def __init__(self, ticks: Sequence[float]) -> None:
        self._ticks = ticks
        self._end = ticks[-1] or 1

    @classmethod
    def up_to(cls, value: float) -> Self:
        """Return a scale that reaches a value, with a few ticks at round numbers."""
        width = _round(value or 1, _MOST_TICKS)
        return cls([width * number for number in range(math.ceil(value / width) + 1)])

    def contains(self, value: float) -> bool:
        """Whether a value is on the scale."""
        return 0 <= value <= self._end

    def project(self, value: float, start: float, end: float) -> float:
        """Return the place of a value between the places of zero and of the scale's end."""
        return start + (end - start) * (value / self._end)

    def ticks(self) -> Sequence[float]:
        """Return the values at which there are ticks."""
        return self._ticks


class _Line(NamedTuple):
    """A variation's line.

    Args:
        series: Which of the style sheet's colours it has.
        name: What the legend calls it.
        points: Where it goes.
    """

    series: int
    name: str
    points: _Points


def distributions(
    variations: Sequence[Variation], pick: Callable[[Variation], Distribution], title: str, unit: Unit
) -> Markup:
    """Return which share of the runs has which value: a histogram's outline for each variation, over one scale.

    What lies beyond the scale, less than the largest hundredth of a variation's values, is in the last bar.
    """
    shown = [(series, variation) for series, variation in enumerate(variations[:SERIES]) if len(pick(variation))]
    if not shown:
        return Markup()
    width, number = bars(max(pick(variation).percentile_99 or 0 for _, variation in shown))
    lines = [
        _Line(
            series,
            f"{short(variation.name)}: median {unit.write(pick(variation).median)}",
            _outline(pick(variation), width, number),
        )
        for series, variation in shown
    ]
    return _lines(title, lines, _Scale.up_to(width * number), _ticks(unit), PERCENT)


def _round(greatest: float, parts: int) -> float:
    """Return the smallest round number that, times so many parts, is greater than a value."""
    zeros = math.floor(math.log10(max(greatest / parts, sys.float_info.min)))
    return next(number for digit in (1, 2, 5, 10) if (number := digit * 10.0**zeros) * parts > greatest)


def bars(greatest: float) -> tuple[int, int]:
    """Return width and number of a histogram's bars; each starts where a band starts, and holds whole bands."""
    width = max(int(_round(max(greatest, 1), _MOST_BARS)), 1)
    return width, int(greatest // width) + 1


def _outline(values: Distribution, width: int, bars: int) -> _Points:
    """Return the outline of a histogram, each bar as high as its share of the values."""
    below = [*(values.below(width * bar) for bar in range(bars)), len(values)]
    shares = [(after - before) / len(values) for before, after in pairwise(below)]
    return [
        (0, 0),
        *((width * (bar + side), share) for bar, share in enumerate(shares) for side in (0, 1)),
        (width * bars, 0),
    ]


def over_time(
    variations: Sequence[Variation], value: Callable[[Step], float | None], title: str, unit: Unit
) -> Markup:
    """Return a value over time: a line for each variation, over one scale that starts at zero."""
    start = min((step.start for variation in variations for step in variation.over_time), default=0)
    courses = [
        _Line(
            series,
            short(variation.name),
            _visible((step.start - start, value(step)) for step in variation.over_time),
        )
        for series, variation in enumerate(variations[:SERIES])
    ]
    lines = [line for line in courses if any(y is not None for _, y in line.points)]
    if not lines:
        return Markup()
    end = max(x for line in lines for x, _ in line.points)
    form = "%H:%M:%S" if end < _DAY else "%m-%d %H:%M"

    def time_of(at: float, place: int, count: int) -> str:
        return datetime.fromtimestamp((start + at) / 1000).strftime(form)

    return _lines(title, lines, _Scale([0, end / 2, end] if end else [0]), time_of, unit)


def _visible(points: Iterable[tuple[float, float | None]]) -> _Points:
    """Return each point twice, so that one that stands alone is a line, which is drawn as a dot."""
    return [point for point in points for _ in range(2)]


def _lines(title: str, lines: Sequence[_Line], x_scale: _Scale, written: _Written, unit: Unit) -> Markup:
    """Return a picture of lines over scales that start at zero, with a legend where there are several."""
    chart = leather.Chart()
    for line in lines:
        colour, dashes = f"var(--series-{line.series})", _DASHES[line.series]
        chart.add_line(line.points, name=line.name, stroke_color=colour, stroke_dasharray=dashes)
    highest = max(y for line in lines for _, y in line.points if y is not None)
    chart.set_x_scale(x_scale)
    chart.set_y_scale(_Scale.up_to(highest))
    chart.add_x_axis(tick_formatter=written)
    chart.add_y_axis(tick_formatter=_ticks(unit))
    return _picture(chart, title, [line.name for line in lines])


def _ticks(unit: Unit) -> _Written:
    """Return what writes the values along an axis: the last one with the unit."""
    return lambda value, place, count: unit.write_short(value) + unit.suffix * (place == count - 1)


def timeline(run: Run, metrics: Sequence[Metric]) -> Markup:
    """Return a run from its start to its end, with its first token and its tool calls."""
    start, end = start_and_end(run, metrics)
    marks: list[tuple[float, str]] = []
    for metric in metrics:
        if metric.name == events.TOOL_CALL:
            marks.append((metric.at - start, metric.detail or "tool"))
        elif metric.name == events.TIME_TO_FIRST_TOKEN:
            marks.append((run.first_token or 0, "first token"))
    shown = [(at, short(label)) for at, label in marks if 0 <= at <= end - start][:_MOST_MARKS]
    labels = ["run", *(label for _, label in shown)]
    points: _Points = [(0, 0), (end - start, 0)]
    for row, (at, _) in enumerate(shown, 1):
        points += [(at, None), *_visible([(at, row)])]
    chart = leather.Chart()
    chart.add_line(points, stroke_color="var(--accent)", width=9)
    chart.set_x_scale(_Scale.up_to(end - start))
    chart.set_y_scale(_Scale(range(len(labels))))
    chart.add_x_axis(tick_formatter=_ticks(MILLISECONDS))
    chart.add_y_axis(tick_formatter=lambda row, *_: labels[row])
    told = [f"{label} after {MILLISECONDS.write(at)}" for at, label in shown]
    return _picture(chart, "Timeline", [*told, f"end after {MILLISECONDS.write(end - start)}"])


def start_and_end(run: Run, metrics: Sequence[Metric]) -> tuple[int, int]:
    """Return when a run began and ended: its duration is recorded at its end, and feedback may come later."""
    durations = (events.DURATION, events.GRAPH_DURATION)
    end = next((metric.at for metric in metrics if metric.name in durations), run.ended)
    return min(run.started, end - int(run.duration or 0)), end


def _picture(chart: leather.Chart, title: str, parts: Sequence[str]) -> Markup:
    """Return a chart; its name tells what the picture shows."""
    drawn = chart.to_svg_group(_WIDTH, _HEIGHT)
    for node in drawn.iter():
        node.attrib.update({name: _FURTHER_DIGITS.sub("", value) for name, value in node.attrib.items()})
    told = element("title", f"{title}: {'; '.join(parts)}")
    shown = Markup(ElementTree.tostring(drawn, encoding="unicode"))
    return element("svg", told, shown, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", class_="picture")


def short(name: str) -> str:
    """Return a variation's or a tool's name as a picture has room for it."""
    if len(name) > _LONGEST_NAME:
        return f"{name[: _LONGEST_NAME - 1]}…"
    return name or "no variation"

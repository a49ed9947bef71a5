"""Distributions, courses over time and a run's timeline as SVG; colours come from the style sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from langchain_ldai._wire import events
from langchain_ldai.dev.comparison import MILLISECONDS, Unit
from langchain_ldai.dev.markup import Markup, element, together
from langchain_ldai.dev.queries import Metric, Run, Step, Variation
from langchain_ldai.dev.statistics import Distribution

SERIES: Final = 6
"""For how many variations the style sheet has colours."""

_BARS: Final = 30
_WIDTH: Final = 420
_ROW: Final = 64
_HEIGHT: Final = 140


def distributions(
    variations: Sequence[Variation], pick: Callable[[Variation], Distribution], title: str, unit: Unit
) -> Markup:
    """Return how often each value occurs: a row of bars for each variation, over one scale.

    What lies beyond the scale, at most the largest hundredth of a variation's values, is in the last bar.
    """
    shown = [(number, variation) for number, variation in enumerate(variations) if len(pick(variation))]
    if not shown:
        return Markup()
    ends = (pick(variation).ranked(-(-len(pick(variation)) * 99 // 100)) for _, variation in shown)
    end = max(1, *ends)
    rows = [
        element(
            "g",
            _bars(pick(variation), end),
            element(
                "text",
                f"{variation.name or 'no variation'}: median {unit.write(pick(variation).median)}",
                x=0,
                y=12,
            ),
            class_=f"series-{series % SERIES}",
            transform=f"translate(0 {row * _ROW})",
        )
        for row, (series, variation) in enumerate(shown)
    ]
    height = len(shown) * _ROW
    scale = [
        element("text", unit.write(end * part / 2), x=_WIDTH * part / 2, y=height + 14, text_anchor=anchor)
        for part, anchor in enumerate(("start", "middle", "end"))
    ]
    return _picture(title, height + 20, *rows, *scale)


def _bars(values: Distribution, end: float) -> Markup:
    below = [0, *(values.up_to(end * bar / _BARS) for bar in range(1, _BARS)), len(values)]
    counts = [after - before for before, after in pairwise(below)]
    width, tallest, room = _WIDTH / _BARS, max(counts), _ROW - 20
    bars = [
        element(
            "rect",
            x=f"{number * width + 1:.1f}",
            y=f"{_ROW - room * count / tallest:.1f}",
            width=f"{width - 2:.1f}",
            height=f"{room * count / tallest:.1f}",
        )
        for number, count in enumerate(counts)
        if count
    ]
    middle = f"{min((values.median or 0) / end, 1) * _WIDTH:.1f}"
    return together(*bars, element("line", x1=middle, x2=middle, y1=16, y2=_ROW, class_="median"))


def over_time(
    variations: Sequence[Variation], value: Callable[[Step], float | None], title: str, unit: Unit
) -> Markup:
    """Return a value over time: a line for each variation, over one scale that starts at zero."""
    values = [
        found for variation in variations for step in variation.over_time if (found := value(step)) is not None
    ]
    if not values:
        return Markup()
    top = max(values) if max(values) > 0 else 1
    lines = [
        element(
            "g",
            element("title", variation.name or "no variation"),
            *_line([value(step) for step in variation.over_time], top),
            class_=f"line series-{series % SERIES}",
        )
        for series, variation in enumerate(variations)
    ]
    axis = element("line", x1=0, x2=_WIDTH, y1=_HEIGHT, y2=_HEIGHT, class_="axis")
    return _picture(title, _HEIGHT + 4, axis, *lines, element("text", unit.write(top), x=0, y=12))


def _line(values: Sequence[float | None], top: float) -> list[Markup]:
    points = [
        (f"{(step + 0.5) * _WIDTH / len(values):.1f}", f"{_HEIGHT - found / top * (_HEIGHT - 20):.1f}")
        for step, found in enumerate(values)
        if found is not None
    ]
    line = element("polyline", points=" ".join(f"{x},{y}" for x, y in points))
    return [line, *(element("circle", cx=x, cy=y, r=2) for x, y in points)]


def start_and_end(run: Run, metrics: Sequence[Metric]) -> tuple[int, int]:
    """Return when a run began and ended: its duration is recorded at its end, and feedback may come later."""
    durations = (events.DURATION, events.GRAPH_DURATION)
    end = next((metric.at for metric in metrics if metric.name in durations), run.ended)
    return min(run.started, end - int(run.duration or 0)), end


def timeline(run: Run, metrics: Sequence[Metric]) -> Markup:
    """Return a run from its start to its end, with its first token and its tool calls."""
    end = next(
        (metric.at for metric in metrics if metric.name in (events.DURATION, events.GRAPH_DURATION)), run.ended
    )
    start = min(run.started, end - int(run.duration or 0))
    length = max(end - start, 1)
    marks = [
        (start + run.first_token, "first token")
        if metric.name == events.TIME_TO_FIRST_TOKEN and run.first_token is not None
        else (metric.at, metric.detail or "tool")
        for metric in metrics
        if metric.name in (events.TIME_TO_FIRST_TOKEN, events.TOOL_CALL)
    ]
    drawn = [
        together(
            element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=16 + 16 * row, y2=_HEIGHT / 2, class_="mark"),
            element(
                "text", label, x=f"{x:.1f}", y=12 + 16 * row, text_anchor="start" if x < _WIDTH / 2 else "end"
            ),
        )
        for row, (at, label) in enumerate(marks[:3])
        if 0 <= (x := (at - start) / length * _WIDTH) <= _WIDTH
    ]
    bar = element("rect", x=0, y=_HEIGHT / 2, width=_WIDTH, height=14, rx=4, class_="run")
    text = element("text", MILLISECONDS.write(length), x=_WIDTH, y=_HEIGHT / 2 + 30, text_anchor="end")
    return _picture("Timeline of the run", _HEIGHT // 2 + 36, bar, *drawn, text)


def _picture(title: str, height: float, *children: Markup) -> Markup:
    return element(
        "svg", element("title", title), *children, viewBox=f"0 0 {_WIDTH} {height}", role="img", class_="picture"
    )

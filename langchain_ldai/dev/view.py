"""The parts of the page, and of the report in HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from langchain_ldai._wire.tokens import GraphRunIdentity, RunIdentity, encode
from langchain_ldai.dev import pictures
from langchain_ldai.dev.arrivals import NO_RUN_ID
from langchain_ldai.dev.comparison import (
    METHODS,
    MILLISECONDS,
    NUMBER,
    PERCENT,
    SCORE,
    Cell,
    Measure,
    Unit,
    compare,
    judge_names,
)
from langchain_ldai.dev.figures import Step, Variation
from langchain_ldai.dev.markup import Markup, element, together
from langchain_ldai.dev.queries import OUTCOMES, Metric, Run
from langchain_ldai.dev.statistics import Distribution

_FEEDBACK: Final = {1: "positive", -1: "negative"}
_DISTRIBUTIONS: Final[tuple[tuple[str, str, Unit, Callable[[Variation], Distribution]], ...]] = (
    ("Duration", "Durations", MILLISECONDS, lambda v: v.duration),
    ("Time to first token", "Times to first token", MILLISECONDS, lambda v: v.first_token),
    ("Tokens", "Tokens", NUMBER, lambda v: v.tokens),
)
_COURSES: Final[tuple[tuple[str, Unit, Callable[[Step], float | None]], ...]] = (
    ("Runs", NUMBER, lambda step: step.runs),
    ("Success rate", PERCENT, lambda step: step.success.value),
    ("Mean duration", MILLISECONDS, lambda step: step.duration),
)


def comparison(variations: Sequence[Variation]) -> Markup:
    """Return the variations side by side: a table, distributions and courses over time."""
    if not variations:
        return element("p", "No run matches the filter.", class_="quiet")
    names = [
        together(
            series < pictures.SERIES and element("span", class_=f"swatch series-{series}"), _named(variation.name)
        )
        for series, variation in enumerate(variations)
    ]
    rows = [
        element(
            "tr",
            element("th", measure.label, scope="row"),
            *(_cell(measure, cell) for cell in cells),
            id=f"measure-{measure.key}",
        )
        for measure, cells in compare(variations)
    ]
    return together(
        _table("Variations side by side", ["Measure", *names], rows, class_="comparison"),
        element("p", METHODS, class_="quiet"),
        _distributions(variations),
        _courses(variations),
    )


def _table(label: str, columns: Iterable[str], rows: Iterable[Markup], **attributes: str) -> Markup:
    """Return a table that scrolls by itself where the page is too narrow for it."""
    header = element("tr", *(element("th", column, scope="col") for column in columns))
    table = element("table", element("thead", header), element("tbody", *rows), **attributes)
    return element("div", table, class_="wide", tabindex=0, role="region", aria_label=label)


def _cell(measure: Measure, cell: Cell) -> Markup:
    verdict = cell.verdict(measure)
    difference = cell.difference and measure.unit.write_difference(cell.difference)
    return element(
        "td",
        element("span", measure.unit.write(cell.value), class_="value", data_value=cell.value),
        difference and element("span", difference, verdict and f": {verdict}", class_=f"difference {verdict}"),
    )


def _distributions(variations: Sequence[Variation]) -> Markup:
    drawn = [
        (caption, pictures.distributions(variations, of, title, unit))
        for caption, title, unit, of in _DISTRIBUTIONS
    ]
    return _figures("Distributions", drawn)


def _courses(variations: Sequence[Variation]) -> Markup:
    drawn = [
        (caption, pictures.over_time(variations, value, f"{caption} over time", unit))
        for caption, unit, value in _COURSES
    ]
    starts = [step.start for variation in variations for step in variation.over_time]
    return _figures(f"Over time, from {when(min(starts))} to {when(max(starts))}", drawn)


def _figures(title: str, drawn: Sequence[tuple[str, Markup]]) -> Markup:
    figures = [element("figure", element("figcaption", caption), picture) for caption, picture in drawn if picture]
    return together(element("h2", title), element("div", *figures, class_="figures"))


def run_list(runs: Sequence[Run]) -> Markup:
    """Return the list of runs."""
    if not runs:
        return element("p", "No run matches the filter.", class_="quiet")
    rows = [
        element("tr", *(element("td", cell(run)) for cell in _COLUMNS.values()), data_run_id=run.run_id)
        for run in runs
    ]
    return _table("Latest runs", _COLUMNS, rows, class_="runs")


def feedback_of(run: Run) -> Markup:
    """Return a run's feedback, or buttons to give it where there is none; an agent graph's run takes none."""
    if run.feedback is not None:
        return element("span", _FEEDBACK[run.feedback], class_=f"feedback {_FEEDBACK[run.feedback]}")
    if run.graph == run.config:
        return Markup("")
    return together(
        _button(run, "+1", "positive", "positive feedback on", data_feedback="positive"),
        _button(run, "-1", "negative", "negative feedback on", data_feedback="negative"),
    )


def _button(run: Run, text: str, kind: str, label: str, **attributes: str) -> Markup:
    named = {"id": f"{kind}-{run.id}", "aria_label": f"{label} {run.run_id}"}
    return element("button", text, type="button", **named, data_run=run.id, **attributes)


def run_details(run: Run, metrics: Sequence[Metric]) -> Markup:
    """Return one run: its timeline, its ids and its metrics."""
    facts = {
        "runId": run.run_id,
        "AI Config": run.config,
        "Variation": f"{_named(run.variation)}, version {run.version}",
        "Agent graph": run.graph,
        "Model": run.model,
        "Context": run.context,
        "Outcome": OUTCOMES[run.outcome or "none"],
        "Scores": scores_of(run),
        "Tokens": f"{NUMBER.write(run.tokens_in)} in, {NUMBER.write(run.tokens_out)} out",
        "Resumption token": token_of(run),
    }
    listed = [together(element("dt", name), element("dd", fact)) for name, fact in facts.items() if fact]
    start, _ = pictures.start_and_end(run, metrics)
    rows = [
        element(
            "tr",
            element("td", f"+{(metric.at - start) / 1000:,.3f} s"),
            element("td", f"{metric.name} {metric.detail}".strip()),
            element("td", f"{metric.value:g}"),
        )
        for metric in metrics
    ]
    table = _table("Metrics of the run", ("Recorded", "Metric", "Value"), rows)
    return together(pictures.timeline(run, metrics), element("dl", *listed), table)


def token_of(run: Run) -> str:
    """Return the run's resumption token, "" for a run whose SDK sends no id."""
    if run.run_id.startswith(NO_RUN_ID):
        return ""
    if run.graph == run.config:
        return encode(GraphRunIdentity(run.run_id, run.graph, run.variation, run.version))
    return encode(RunIdentity(run.run_id, run.config, run.variation, run.version, run.graph))


def scores_of(run: Run) -> str:
    """Return what judges gave a run, "" where none did."""
    names = judge_names(judge for judge, _ in run.scores)
    return ", ".join(f"{names[judge]} {SCORE.write(score)}" for judge, score in run.scores)


def when(at_ms: int) -> str:
    """Return a time as people here write it."""
    return datetime.fromtimestamp(at_ms / 1000).strftime("%Y-%m-%d %H:%M:%S")


def _named(variation: str) -> str:
    return variation or "no variation"


_COLUMNS: Final[Mapping[str, Callable[[Run], str]]] = {
    "Started": lambda run: when(run.started),
    "AI Config": lambda run: run.config,
    "Variation": lambda run: _named(run.variation),
    "Outcome": lambda run: element(
        "span", OUTCOMES[run.outcome or "none"], class_=f"outcome {run.outcome or 'none'}"
    ),
    "Duration": lambda run: MILLISECONDS.write(run.duration),
    "First token": lambda run: MILLISECONDS.write(run.first_token),
    "Tokens": lambda run: NUMBER.write(run.tokens),
    "Context": lambda run: run.context,
    "runId": lambda run: element("code", run.run_id[:8], title=run.run_id),
    "Scores": scores_of,
    "Feedback": feedback_of,
    "Timeline": lambda run: _button(run, "Open", "open", "Timeline of"),
}
"""What the list shows of a run, by the column's heading."""

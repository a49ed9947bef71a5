"""Runs as CSV and JSON, for other programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

from langchain_ldai.dev.queries import Judge, Run

Form = Callable[[Iterable[Run], Mapping[Judge, str]], Iterator[str]]
"""What writes runs, given what to call each judge that may have scored them."""

_FIELDS = tuple(name for name in Run._fields if name not in ("id", "scores"))


def as_csv(runs: Iterable[Run], judges: Mapping[Judge, str]) -> Iterator[str]:
    """Yield the lines of a CSV file; an apostrophe keeps a spreadsheet from running a text as a formula."""
    yield _line([*_FIELDS, *(f"score:{name}" for name in judges.values())])
    for run in runs:
        scores = dict(run.scores)
        values = [*(getattr(run, name) for name in _FIELDS), *map(scores.get, judges)]
        yield _line([_harmless(value) for value in values])


def as_json_lines(runs: Iterable[Run], judges: Mapping[Judge, str]) -> Iterator[str]:
    """Yield the lines of a JSON array: one object a run."""
    start = "[\n"
    for run in runs:
        scores = {judges[judge]: score for judge, score in run.scores if judge in judges}
        yield start + json.dumps({**{name: getattr(run, name) for name in _FIELDS}, "scores": scores})
        start = ",\n"
    yield "[]\n" if start == "[\n" else "\n]\n"


def in_blocks(lines: Iterator[str]) -> Iterator[str]:
    """Yield some lines at a time: a server passes each text on by itself, which takes longer than to write it."""
    while block := "".join(islice(lines, 500)):
        yield block


def _line(values: Iterable[object]) -> str:
    written = io.StringIO()
    csv.writer(written).writerow(values)
    return written.getvalue()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value

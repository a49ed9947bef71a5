"""Runs as CSV and JSON, for other programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator

from langchain_ldai.dev.queries import Run

_FIELDS = tuple(name for name in Run._fields if name != "id")


def as_csv(runs: Iterable[Run]) -> Iterator[str]:
    """Yield the lines of a CSV file; an apostrophe keeps a spreadsheet from running a text as a formula."""
    yield _line(_FIELDS)
    for run in runs:
        yield _line([_harmless(getattr(run, name)) for name in _FIELDS])


def as_json_lines(runs: Iterable[Run]) -> Iterator[str]:
    """Yield the lines of a JSON array: one object a run."""
    start = "[\n"
    for run in runs:
        yield start + json.dumps({name: getattr(run, name) for name in _FIELDS})
        start = ",\n"
    yield "[]\n" if start == "[\n" else "\n]\n"


def _line(values: Iterable[object]) -> str:
    written = io.StringIO()
    csv.writer(written).writerow(values)
    return written.getvalue()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value

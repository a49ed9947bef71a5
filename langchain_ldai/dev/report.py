"""The comparison for a terminal, a pull request and programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping
from typing import Final

from langchain_ldai.dev import comparison, queries
from langchain_ldai.dev.figures import Variation, figures
from langchain_ldai.dev.markup import Markup, element, together
from langchain_ldai.dev.page_files import STATIC
from langchain_ldai.dev.queries import Filter
from langchain_ldai.dev.store import Store

Figures = Mapping[str, list[Variation]]
"""The variations of each AI Config."""


def report(store: Store, kind: str, wanted: Filter) -> str:
    """Return the comparison of every AI Config's variations, or of those of one AI Config.

    Args:
        store: Where the runs are.
        kind: One of `KINDS`.
        wanted: Which runs to look at.
    """
    for_programs = kind == "json"
    compared, keys, nothing = {}, queries.configs(store), "There are no runs."
    if wanted.config and keys and wanted.config not in keys:
        nothing = f"There are no runs of {wanted.config!r}; there are of {', '.join(map(repr, keys))}."
    for key in keys:
        if wanted.config in ("", key):
            found = figures(store, wanted._replace(config=key), None if for_programs else queries.MOST_SHOWN)
            compared[key if for_programs else queries.heading(store, key)] = found
    return KINDS[kind]({key: found for key, found in compared.items() if found}, nothing)


def _as_text(figures: Figures, nothing: str) -> str:
    if not figures:
        return f"{nothing}\n"
    tables = [
        f"{comparison.printable(config)}\n\n{comparison.as_text(variations)}\n"
        for config, variations in figures.items()
    ]
    return "\n".join([*tables, f"{textwrap.fill(comparison.METHODS, 100)}\n"])


def _as_json(figures: Figures, nothing: str) -> str:
    listed = [
        {"config": config, "variations": comparison.as_json(variations)} for config, variations in figures.items()
    ]
    return json.dumps(listed, indent=2) + "\n"


def _as_html(figures: Figures, nothing: str) -> str:
    from langchain_ldai.dev import view  # its pictures need the extra `local`, and a text needs none

    parts = [
        together(element("h1", config), view.comparison(variations)) for config, variations in figures.items()
    ] or [element("p", nothing)]
    head = together(
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", "AI Configs compared"),
        element("style", Markup((STATIC / "page.css").read_text("utf-8"))),
    )
    page = element("html", element("head", head), element("body", element("main", *parts)), lang="en")
    return f"<!doctype html>\n{page}\n"


KINDS: Final[Mapping[str, Callable[[Figures, str], str]]] = {"text": _as_text, "html": _as_html, "json": _as_json}
"""The forms of a report, each made of the figures, and of what a person is told where there are none."""

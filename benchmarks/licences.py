"""`make licences` lists the licences of what the package brings along, from what is installed beside it."""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import metadata, requires
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parent.parent
LISTED: Final = ROOT / "requirements" / "licences.md"

HEADING: Final = """# Licences of the dependencies

`make licences` makes this list: from `pyproject.toml`, and from what the packages that are installed in `.venv`
say of themselves. It holds what `pip install langchain-ldai` brings along, and each of the extras.

| package | licence | comes with |
|---|---|---|
"""


def needed(requirements: Iterable[str], extras: frozenset[str] = frozenset()) -> Iterator[Requirement]:
    """Return those requirements that hold here, with these extras."""
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def packages_of(requirements: Iterable[str]) -> set[str]:
    """Return the names of the packages that come with some requirements, and with those of each of them."""
    found: set[tuple[str, frozenset[str]]] = set()
    open_ones = list(needed(requirements))
    while open_ones:
        requirement = open_ones.pop()
        name, extras = re.sub(r"[-_.]+", "-", requirement.name).lower(), frozenset(requirement.extras)
        if (name, extras) not in found:
            found.add((name, extras))
            open_ones += needed(requires(name) or (), extras)
    return {name for name, _ in found}


def licence_of(package: str) -> str:
    """Return what an installed package says of its licence: as an expression, as text, or by a classifier."""
    about = metadata(package)
    expressions, texts = (about.get_all(name) or [""] for name in ("License-Expression", "License"))
    classes = [each for each in about.get_all("Classifier") or () if each.startswith("License")]
    return (
        expressions[0] or texts[0].partition("\n")[0] or ", ".join(each.rpartition(" :: ")[2] for each in classes)
    )


def table() -> str:
    """Return the whole list."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    base = packages_of(project["dependencies"])
    extras = {extra: packages_of(given) for extra, given in project["optional-dependencies"].items()}
    rows = []
    for package in sorted(base.union(*extras.values())):
        brought_by = [] if package in base else [f"`{extra}`" for extra in extras if package in extras[extra]]
        rows.append(f"| {package} | {licence_of(package)} | {', '.join(brought_by) or 'the package'} |\n")
    return HEADING + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(table())

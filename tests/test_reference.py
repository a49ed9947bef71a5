"""What code, tests and docs refer to exists: facts and rules by their numbers, files by their names."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
FACTS: Final = (ROOT / "docs" / "reference" / "langchain-facts.md").read_text("utf-8")
RULES: Final = (ROOT / "docs" / "reference" / "launchdarkly-rules.md").read_text("utf-8")
ARCHITECTURE: Final = (ROOT / "docs" / "architecture.md").read_text("utf-8")
FOLDERS: Final = ("langchain_ldai", "tests", "benchmarks", "cookbook", "docs")
SOURCES: Final = [
    *ROOT.glob("*.md"),
    *(path for folder in FOLDERS for kind in ("*.py", "*.md") for path in (ROOT / folder).rglob(kind)),
]
SOURCES.remove(Path(__file__))

LIST: Final = r"(\d[\d.]*\b(?:(?:,|\s+and|\s+to)\s+\d[\d.]*\b)*)"
"""Numbers as a sentence lists them: `48, 49`, `34 to 36`, `5 and 6`."""


def numbers(text: str) -> Iterator[str]:
    """Yield each number of a list, those of ranges too."""
    for first, last in re.findall(r"(\d+(?:\.\d+)?)(?:\s+to\s+(\d+))?", text):
        yield from map(str, range(int(first), int(last) + 1)) if last else [first]


def cited(pattern: str, text: str) -> set[str]:
    """Return the numbers that a text cites, rule 9 of section 2 as `2.9`."""
    text = re.sub(r"(\d),\s+rule\s+(\d)", r"\1.\2", text)
    return {number for found in re.finditer(pattern, text, re.IGNORECASE) for number in numbers(found[1])}


def absent(pattern: str, known: set[str]) -> list[tuple[str, str]]:
    """Return the numbers that are cited and not known, each with the file that cites it."""
    return [
        (str(path.relative_to(ROOT)), number)
        for path in SOURCES
        for number in sorted(cited(pattern, path.read_text("utf-8")) - known)
    ]


def functions(path: Path) -> dict[str, str]:
    """Return the tests of a file and their docstrings."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, kinds)]
    return {node.name: ast.get_docstring(node) or "" for node in found if node.name.startswith("test_")}


@cache
def rules_by_test() -> dict[str, str]:
    """Return the docstring of each test."""
    return {
        f"{path.relative_to(ROOT).as_posix()}::{name}": rule
        for path in SOURCES
        if path.name.startswith("test_")
        for name, rule in functions(path).items()
    }


FACT: Final = rf"\bfacts?\s+{LIST}"
SECTION: Final = rf"\bspec(?:\s+sections?)?\s+{LIST}"


def test_each_fact_is_listed_once() -> None:
    """The facts are numbered from 1, in order; the first 174 keep their numbers."""
    listed = re.findall(r"^(\d+)\. ", FACTS, re.MULTILINE)

    assert listed == [str(number) for number in range(1, len(listed) + 1)]
    assert len(listed) >= 174


def test_each_fact_that_is_cited_is_listed() -> None:
    """Whoever reads `(fact 47)` finds fact 47."""
    assert absent(FACT, set(re.findall(r"^(\d+)\. ", FACTS, re.MULTILINE))) == []


def test_each_test_of_a_fact_exists() -> None:
    """A test that is renamed or moved takes its entry along; a fact names each of its tests once."""
    entries = re.split(r"^\d+\. ", FACTS, flags=re.MULTILINE)
    named = [re.findall(r"`(\S+::\S+)`", entry) for entry in entries]

    assert sorted({name for names in named for name in names} - set(rules_by_test())) == []
    assert [names for names in named if len(set(names)) < len(names)] == []


def test_each_test_that_cites_a_fact_is_listed() -> None:
    """Whoever reads a fact finds the tests that hold it."""
    citing = [name for name, rule in rules_by_test().items() if cited(FACT, rule)]

    assert [name for name in citing if f"`{name}`" not in FACTS] == []


def test_each_rule_that_is_cited_is_listed() -> None:
    """Whoever reads `(spec section 4)`, `(spec 2.16)` or `(spec 2, rule 16)` finds the section and the rule."""
    sections = set(re.findall(r"^## (\d+)\. ", RULES, re.MULTILINE))
    rules = set(re.findall(r"^- \*\*(\d+\.\d+)\*\*", RULES, re.MULTILINE))
    newer = set(re.findall(r"^## Generation 2, section (\d+): ", RULES, re.MULTILINE))

    assert absent(SECTION, sections | rules) == []
    assert absent(r"\bgeneration\s+2,?\s+sections?\s+" + LIST, newer) == []


def test_each_file_that_the_architecture_names_exists() -> None:
    """A file that is renamed, moved or split takes its name on the page along; the page stays short."""
    files = set(re.findall(r"`([\w/]+\.py)`", ARCHITECTURE))
    folders = set(re.findall(r"`([\w/]+)/`", ARCHITECTURE))

    assert [name for name in sorted(files) if not (ROOT / "langchain_ldai" / name).is_file()] == []
    assert [name for name in sorted(folders) if not (ROOT / "langchain_ldai" / name).is_dir()] == []
    assert len(files) > 20
    assert len(ARCHITECTURE.splitlines()) < 200


def test_lists_of_numbers_are_read() -> None:
    """Single numbers, lists and ranges are all cited."""
    text = "(fact 47), (facts 48, 49), (facts 8, 31, 34 to\n36), facts 5 and 6, a fact 7. But 8"

    assert cited(FACT, text) == {"47", "48", "49", "8", "31", "34", "35", "36", "5", "6", "7"}
    assert cited(SECTION, "(spec sections 1 to 3), (spec 2.16), (spec 2, rule 9)") == {*"123", "2.16", "2.9"}

"""A how-to page says what to install for the code that it shows, and shows whole programs."""

import ast
import builtins
import re
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docs.blocks import PAGES

HOW_TOS: Final = {name: path for name, path in PAGES.items() if "/how-to/" in name}
OWN: Final = "langchain-ldai"
packages_of_modules = cache(packages_distributions)
MODULES_NOT_HERE: Final = {
    "ldai": "launchdarkly-server-sdk-ai",
    "ldobserve": "launchdarkly-observability",
    "ldotel": "launchdarkly-observability",
}
"""Modules that are not in every environment of the tests, and the packages that bring them."""

OF_THE_READER: Final = {"shop"}
NEEDED_BY_OURS: Final = {
    "langchain_ldai.chat_models": "langchain",
    "langchain_ldai.ledgers.redis": "redis",
    "langchain_ldai.sealing": "cryptography",
    "langchain_ldai.server.fastapi": "fastapi",
    "langchain_ldai.server": "starlette",
    "langchain_ldai.spans": "opentelemetry-api",
}
"""The package that an edge of ours needs, which its extra brings."""


@cache
def brought(name: str, extras: frozenset[str]) -> frozenset[str]:
    """Return a package and all that its installation brings along, as far as they are installed here."""
    found = {name}
    try:
        needed = [Requirement(each) for each in requires(name) or ()]
    except PackageNotFoundError:
        needed = []
    for each in needed:
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            found |= brought(canonicalize_name(each.name), frozenset(each.extras))
    return frozenset(found)


def installed(text: str) -> set[str]:
    """Return the packages that a page's reader has: ours, and what the page installs."""
    found = set(brought(OWN, frozenset()))
    for line in re.findall(r"pip install (.+?)(?: +#.*)?(?: && .*)?$", text, re.MULTILINE):
        for each in line.replace('"', "").split():
            wanted = Requirement(each)
            found |= brought(canonicalize_name(wanted.name), frozenset(wanted.extras))
    return found


def imported(text: str) -> set[str]:
    """Return the modules that a page's Python code imports, but for those of Python itself."""
    found: set[str] = set()
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Import):
                found |= {each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return {module for module in found if module.partition(".")[0] not in sys.stdlib_module_names}


def is_there(module: str, packages: set[str]) -> bool:
    """Return whether a module comes with one of some packages, and so does what it needs."""
    needed = next((package for ours, package in NEEDED_BY_OURS.items() if module.startswith(ours)), None)
    top = module.partition(".")[0]
    sources = packages_of_modules().get(top, [MODULES_NOT_HERE.get(top, top)])
    is_imported = any(canonicalize_name(each) in packages for each in sources)
    return top in OF_THE_READER or (is_imported and (needed is None or needed in packages))


@pytest.mark.parametrize("path", HOW_TOS.values(), ids=HOW_TOS)
def test_what_a_page_installs_before_a_block_is_enough_for_it(path: Path) -> None:
    """What a block imports comes with the package itself, or with what the page said to install before it."""
    text = path.read_text("utf-8")
    blocks = re.finditer(r"^```python\n.*?^```", text, re.MULTILINE | re.DOTALL)

    missing = {
        module
        for block in blocks
        for module in imported(block[0])
        if not is_there(module, installed(text[: block.start()]))
    }

    assert missing == set()


def unbound(block: str) -> set[str]:
    """Return the names that a block uses and neither it nor Python itself makes."""
    used, made = set[str](), set(dir(builtins))
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.alias):
            made.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
    return used - made


@pytest.mark.parametrize("path", HOW_TOS.values(), ids=HOW_TOS)
def test_a_block_that_makes_an_application_is_a_whole_program(path: Path) -> None:
    """Whoever saves such a block as `app.py` can start it: it imports all that it names."""
    blocks = re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)

    assert [unbound(each) for each in blocks if "\napp = FastAPI(" in each and unbound(each)] == []


@pytest.mark.parametrize("path", HOW_TOS.values(), ids=HOW_TOS)
def test_a_page_closes_the_client_that_it_makes_where_the_reader_sees_it(path: Path) -> None:
    """A program that is saved from a page sends its metrics: a client that is not closed loses them."""
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL))
    plain = re.findall(
        r"""^(\w+) = LDClient\(Config\(os\.environ\["LAUNCHDARKLY_SDK_KEY"\]\)\)$""", code, re.MULTILINE
    )

    assert [name for name in plain if f"{name}.close()" not in code] == []

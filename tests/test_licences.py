"""What the package brings along is under licences that oblige whoever uses it to nothing but to name them."""

import re

import pytest
from packaging.requirements import Requirement

from benchmarks.licences import LISTED, licence_of, packages_of
from tests.test_wheel import PROJECT

ROWS = re.findall(r"^\| (\S+) \| (.*) \| (.*) \|$", LISTED.read_text("utf-8"), re.MULTILINE)[1:]
LICENCES = {name: licence for name, licence, _ in ROWS if name != "---"}

ACCEPTED = re.compile(r"MIT(-0)?|Apache([- ]| License, Version )2\.0|BSD-[23]-Clause|PSF-2\.0|MPL-2\.0")
"""MPL-2.0 obliges those alone who change the package itself."""

ALL = [*PROJECT["dependencies"], *(each for extra in PROJECT["optional-dependencies"].values() for each in extra)]


@pytest.mark.parametrize("package", LICENCES)
def test_a_listed_licence_is_one_that_is_accepted(package: str) -> None:
    """Each part of it, where it is an expression."""
    parts = [part.strip("() ") for part in re.split(r" AND | OR ", LICENCES[package])]

    assert [part for part in parts if not ACCEPTED.fullmatch(part)] == []


def test_every_dependency_of_the_package_is_listed() -> None:
    """`make licences` was run after a dependency was added."""
    assert {Requirement(each).name for each in ALL} <= set(LICENCES)


def test_what_the_dependencies_bring_along_is_found() -> None:
    """With their extras, as installed here."""
    assert {"langchain-core", "pydantic", "aiohttp", "cryptography"} <= packages_of(ALL)
    assert licence_of("langchain-core") == "MIT"

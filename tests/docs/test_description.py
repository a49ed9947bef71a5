"""What the package index shows: the README, which must not link to files that the index lacks."""

import importlib.util
import re
from types import ModuleType
from typing import Final

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

from tests.docs.blocks import ROOT

RELATIVE: Final = re.compile(r"\]\((?![a-z]+:|#)")


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """The build's own module."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_description_links_to_no_file_of_the_repository() -> None:
    """What is built has the README for its description, with no link that leads nowhere, and no comment."""
    built = ProjectMetadata(str(ROOT), PluginManager()).core

    assert built.readme.startswith("# langchain-ldai\n")
    assert built.readme_content_type == "text/markdown"
    assert not RELATIVE.search(built.readme)
    assert "<!--" not in built.readme


def test_links_become_absolute_once_the_repository_has_an_address(build: ModuleType) -> None:
    """Pictures and links get the address in front of them; those to other sites stay."""
    readme = "![one](docs/a.svg) [two](docs/b.md#c) [three](https://example.com)\n"

    assert build.description(readme, "https://example.com/main/") == (
        "![one](https://example.com/main/docs/a.svg) [two](https://example.com/main/docs/b.md#c) "
        "[three](https://example.com)\n"
    )
    assert build.description(readme, "") == " two [three](https://example.com)\n"

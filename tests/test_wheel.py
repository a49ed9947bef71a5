"""The wheel that is released: what is in it, and that it works without the source tree."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
USE_PACKAGE = Path(__file__).parent / "support" / "use_package.py"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZipFile]:
    """The wheel, built from this source tree and opened."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [built] = folder.iterdir()
    with ZipFile(built) as opened:
        yield opened


@pytest.fixture(scope="module")
def about(wheel: ZipFile) -> Message:
    """What the wheel says of itself."""
    text = wheel.read(f"langchain_ldai-{PROJECT['version']}.dist-info/METADATA").decode("utf-8")
    return HeaderParser().parsestr(text)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: ZipFile) -> None:
    """Every file of the package is in it, `py.typed` too, and beside them only what describes the wheel."""
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = ROOT / "langchain_ldai"

    assert "langchain_ldai/py.typed" in names
    assert names == {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_its_licence(wheel: ZipFile, about: Message) -> None:
    """By name, and as text."""
    [licence] = [name for name in wheel.namelist() if name.endswith(".dist-info/licenses/LICENSE")]

    assert about["License-Expression"] == "Apache-2.0"
    assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()


def test_the_wheel_says_what_it_needs(about: Message) -> None:
    """The version, the Pythons and every extra are those of `pyproject.toml`."""
    assert about["Version"] == PROJECT["version"]
    assert about["Requires-Python"] == PROJECT["requires-python"]
    assert about.get_all("Provides-Extra") == sorted(PROJECT["optional-dependencies"])
    assert set(PROJECT["classifiers"]) <= set(about.get_all("Classifier"))


def test_the_wheel_works_without_the_source_tree(wheel: ZipFile, tmp_path: Path) -> None:
    """Unpacked elsewhere it is imported from there, records a run, and its optional rooms load."""
    wheel.extractall(tmp_path)
    code = "import runpy, sys; sys.path.insert(0, sys.argv[1]); runpy.run_path(sys.argv[2], run_name='__main__')"
    command = [sys.executable, "-I", "-c", code, str(tmp_path), str(USE_PACKAGE)]

    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    found = json.loads(printed)
    assert Path(found["file"]).is_relative_to(tmp_path)
    assert (found["version"], found["license"], found["is typed"]) == (PROJECT["version"], "Apache-2.0", True)
    assert found["metrics"] == ["$ld:ai:duration:total", "$ld:ai:generation:success"]
    assert set(found["edges"].values()) == {"imported"}


def test_the_changelog_begins_with_this_version() -> None:
    """Whoever reads the page on the package index finds what the version brings."""
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    assert headings[0] == PROJECT["version"]

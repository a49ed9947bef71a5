"""What the package promises to export, and what importing it costs."""

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import langchain_ldai
from langchain_ldai import ledgers, spans

ROOT = Path(langchain_ldai.__file__).parent


def test_the_exported_names_are_classes_and_functions_of_the_package() -> None:
    """`__all__` is sorted, and each of its names is the package's own, where `dir` and an import find it."""
    exported = {name: getattr(langchain_ldai, name) for name in langchain_ldai.__all__}

    assert langchain_ldai.__all__ == sorted(langchain_ldai.__all__)
    assert set(langchain_ldai.__all__) <= set(dir(langchain_ldai))
    assert all(
        value.__name__ == name and value.__module__.startswith("langchain_ldai")
        for name, value in exported.items()
    )


def test_type_checkers_see_the_exported_names() -> None:
    """What is imported late is imported for type checkers at once, by the same names."""
    tree = ast.parse(Path(langchain_ldai.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))

    assert sorted(alias.name for line in block.body for alias in line.names) == langchain_ldai.__all__


def test_the_version_is_that_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what pip shows, and `dir` names it before anybody has asked for it."""
    monkeypatch.delitem(vars(langchain_ldai), "__version__", raising=False)

    assert "__version__" in dir(langchain_ldai)
    assert langchain_ldai.__version__ == version("langchain-ldai")


def test_a_name_that_is_none_of_the_packages_is_an_error() -> None:
    """A misspelt name is an `AttributeError`, and an import of it an `ImportError`."""
    with pytest.raises(AttributeError, match="no attribute 'LdAiHandle'"):
        langchain_ldai.LdAiHandle  # noqa: B018
    with pytest.raises(ImportError):
        from langchain_ldai import LdAiHandle  # noqa: F401


@pytest.mark.parametrize(("room", "late"), [(ledgers, "SqliteLedger"), (spans, "MarkingExporter")])
def test_a_room_imports_a_late_name_and_no_other(
    room: ModuleType, late: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for its use is there once it is asked for; a misspelt name is an error here too."""
    monkeypatch.delitem(vars(room), late, raising=False)

    assert getattr(room, late).__name__ == late
    with pytest.raises(AttributeError, match=f"no attribute '{late}s'"):
        getattr(room, f"{late}s")


def test_every_exported_name_has_a_docstring() -> None:
    """Each export says its contract."""
    assert all(getattr(langchain_ldai, name).__doc__ for name in langchain_ldai.__all__)


def test_importing_the_package_waits_for_no_room() -> None:
    """`import langchain_ldai` imports none of its rooms; using the handler imports no heavy part of LangChain."""
    code = """
import sys, ldclient, langchain_core.callbacks.base
before = set(sys.modules)
import langchain_ldai
print(sorted(set(sys.modules) - before))
from langchain_ldai import LdAiClient, LdAiHandler
heavy = {"langchain_core.messages", "langchain_core.outputs", "langchain_core.runnables", "tenacity"}
print(sorted(heavy & (set(sys.modules) - before)))
"""

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.splitlines() == ["['langchain_ldai']", "[]"]


def test_importing_the_package_imports_no_framework() -> None:
    """Neither LangGraph, langchain, a server framework nor the official SDK comes with the core."""
    unwanted = {"langgraph", "langchain", "fastapi", "starlette", "ldai", "aiohttp", "rich"}
    code = f"""
import sys, ldclient
import langchain_core.callbacks, langchain_core.globals, langchain_core.runnables
before = set(sys.modules)  # langchain-core 0.3 looks for langchain itself
from langchain_ldai import LdAiClient, LdAiHandler
print(sorted({unwanted} & (set(sys.modules) - before)))
"""

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"


def test_no_file_is_long() -> None:
    """A file that outgrows 500 lines is more than one idea."""
    files = [*ROOT.rglob("*.py"), *Path(__file__).parent.rglob("*.py")]

    assert [path.name for path in files if len(path.read_text("utf-8").splitlines()) > 500] == []

"""What the package promises to export, and what importing it costs."""

import subprocess
import sys
from pathlib import Path

import langchain_ldai

ROOT = Path(langchain_ldai.__file__).parent


def test_the_exported_names_are_the_public_ones() -> None:
    """`__all__` is sorted and names every public class, and nothing else is public."""
    public = {name for name, value in vars(langchain_ldai).items() if isinstance(value, type)}

    assert langchain_ldai.__all__ == sorted(langchain_ldai.__all__)
    assert set(langchain_ldai.__all__) == public


def test_every_exported_name_has_a_docstring() -> None:
    """Each export says its contract."""
    assert all(vars(langchain_ldai)[name].__doc__ for name in langchain_ldai.__all__)


def test_importing_the_package_imports_no_framework() -> None:
    """Neither LangGraph, langchain, a server framework nor the official SDK comes with the core."""
    unwanted = {"langgraph", "langchain", "fastapi", "starlette", "ldai", "aiohttp", "rich"}
    code = f"""
import sys, ldclient
import langchain_core.callbacks, langchain_core.globals, langchain_core.runnables
before = set(sys.modules)  # langchain-core 0.3 looks for langchain itself
import langchain_ldai
print(sorted({unwanted} & (set(sys.modules) - before)))
"""

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"


def test_no_file_is_long() -> None:
    """A file that outgrows 300 lines is two rooms in one."""
    files = [*ROOT.rglob("*.py"), *Path(__file__).parent.rglob("*.py")]

    assert [path.name for path in files if len(path.read_text("utf-8").splitlines()) > 300] == []

"""How Sphinx makes the site: Markdown pages, and a reference from the package's docstrings."""

from __future__ import annotations

import inspect
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "langchain-ldai"
author = "The authors of langchain-ldai"
version = release = metadata.version("langchain-ldai")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid"]

maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"langchain-ldai {release}"
html_static_path = ["_static"]
html_extra_path = ["llms.txt"]
html_copy_source = False

myst_enable_extensions = ["colon_fence"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3

default_role = "literal"  # docstrings put names between single backticks
autodoc_class_signature = "mixed"
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True, "inherited-members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Types of Python, of LangChain and of private rooms have no page here. Pages and sections must exist.
nitpick_ignore_regex = [("py:.*", ".*")]

EXAMPLE = "Example:"
NOT_FOR_USERS = """
accept accepts_key begin_part changes check_client claims_with close_for_fork flag_data prepare_fork
reset_after_fork send_all take_fault take_missing to_payload use
"""
"""What the package's rooms call of each other."""
PRIVATE = ("_origin: ", "identity: ")
"""What only the package passes to a class that a client makes."""


def show_code(app: Sphinx, what: str, name: str, item: object, options: object, lines: list[str]) -> None:
    """Have an example that is plain code, with no prompts and no prose, shown as code."""
    if EXAMPLE not in lines:
        return
    begin = lines.index(EXAMPLE) + 1
    indented = [line for line in lines[begin:] if line.startswith(" ")]
    if indented and not any(">>>" in line for line in lines[begin:]):
        lines[begin - 1 : begin] = [EXAMPLE, "    .. code-block:: python", ""]
        for number in range(begin + 2, len(lines)):
            if lines[number] and not lines[number].startswith(" "):
                break
            lines[number] = f"    {lines[number]}" if lines[number] else ""


def hide_signature(
    app: Sphinx, what: str, name: str, item: object, options: object, signature: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """Show no arguments of a class that nobody makes but a client."""
    return ("", returned) if what == "class" and any(each in (signature or "") for each in PRIVATE) else None


def skip_foreign(app: Sphinx, what: str, name: str, item: object, skip: bool, options: object) -> bool | None:
    """Leave out what a class has from Python and LangChain, and what only LangChain and the package call."""
    owner = getattr(getattr(item, "fget", item), "__module__", None)
    is_foreign = not owner.startswith("langchain_ldai") if owner else inspect.isroutine(item)
    return True if is_foreign or name in NOT_FOR_USERS.split() or name.startswith("on_") else None


def setup(app: Sphinx) -> None:
    """Have Sphinx call `show_code` before napoleon reads the docstring's sections, and the two others."""
    app.connect("autodoc-process-docstring", show_code, priority=400)
    app.connect("autodoc-process-signature", hide_signature)
    app.connect("autodoc-skip-member", skip_foreign)

"""What the pages' harness takes for a block, and what it does with it."""

from pathlib import Path

import pytest

from tests.docs.blocks import try_page

FENCE = "```"


def page(folder: Path, text: str) -> Path:
    """Return a page with this text, in which `'''` stands for a fence."""
    path = folder / "page.md"
    path.write_text(text.replace("'''", FENCE), "utf-8")
    return path


def test_a_block_that_prints_another_text_fails(tmp_path: Path) -> None:
    """A text under a block is what the block prints, to the letter."""
    shown = page(tmp_path, "'''python\nprint('a')\n'''\n\n'''text\nb\n'''\n")

    with pytest.raises(AssertionError):
        try_page(shown, {})


def test_a_check_in_a_comment_runs(tmp_path: Path) -> None:
    """A check that readers do not see finds the names of the blocks above it, and what it was given."""
    shown = page(tmp_path, "'''python\nx = 1\n'''\n\n<!-- check: python\ny = x + given\n-->\n")

    assert try_page(shown, {"given": 2})["y"] == 3


def test_a_block_that_no_test_can_run_is_marked(tmp_path: Path) -> None:
    """A block in another language fails without a mark, and is left with one."""
    unmarked = "'''sh\nexit 1\n'''\n"

    with pytest.raises(AssertionError, match="a block of sh is neither run nor marked"):
        try_page(page(tmp_path, unmarked), {})
    try_page(page(tmp_path, f"<!-- not run: it ends the shell -->\n{unmarked}"), {})


def test_marked_python_is_python(tmp_path: Path) -> None:
    """Python code that is not run is at least read."""
    mark = "<!-- not run: it needs a server -->\n"

    try_page(page(tmp_path, f"{mark}'''python\nraise ValueError\n'''\n"), {})
    with pytest.raises(SyntaxError):
        try_page(page(tmp_path, f"{mark}'''python\nraise ValueError(\n'''\n"), {})


def test_code_that_needs_a_module_runs_where_the_module_is(tmp_path: Path) -> None:
    """Without the module the code is at least read."""
    shown = page(
        tmp_path,
        "<!-- needs json.decoder -->\n'''python\nx = 1\n'''\n\n<!-- needs json.none -->\n'''python\nx = 2\n'''\n",
    )

    assert try_page(shown, {})["x"] == 1


def test_json_is_read(tmp_path: Path) -> None:
    """JSON that a page shows is JSON."""
    with pytest.raises(ValueError, match="Expecting"):
        try_page(page(tmp_path, "'''json\n{\n'''\n"), {})


def test_what_is_for_the_site_is_left(tmp_path: Path) -> None:
    """Pictures and directives are no code."""
    try_page(page(tmp_path, "'''mermaid\nflowchart\n'''\n\n'''{toctree}\nindex\n'''\n"), {})

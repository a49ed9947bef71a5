"""The blocks of code on a page, and how each kind of them is tried."""

import contextlib
import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Final

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, FencedCodeBlockLexer

ROOT: Final = Path(__file__).parent.parent.parent
_PATHS: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES: Final = {path.relative_to(ROOT).as_posix(): path for path in _PATHS}
MARK: Final = re.compile(r"<!-- not run: (.+) -->\n\s*\Z")
"""What stands above a block that no test can run, with the reason."""

NEEDS: Final = re.compile(r"<!-- needs (\S+) -->\n\s*\Z")
"""What stands above Python code that runs only with a module that some versions of LangChain have."""

FOR_THE_SITE: Final = re.compile(r"mermaid|\{[a-z-]+\}.*")
"""What is no code, but a picture or a directive of the site's generator."""


@dataclass
class Page:
    """A page that is being tried.

    Args:
        module: What its Python code has in common.
        printed: What its last block of Python code printed.
    """

    module: ModuleType
    printed: str = ""

    def run(self, example: Example) -> None:
        """Run Python code, and keep what it prints."""
        printed = io.StringIO()
        code = compile("\n" * (example.line + example.parsed.line_offset) + example.parsed, example.path, "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, vars(self.module))
        self.printed = printed.getvalue()

    def compare(self, example: Example) -> None:
        """Compare a text with what the Python code above it printed."""
        assert str(example.parsed) == self.printed, f"shown:\n{example.parsed}\nprinted:\n{self.printed}"


def _parse_json(example: Example) -> None:
    json.loads(example.parsed)


def _compile(example: Example) -> None:
    compile(example.parsed, example.path, "exec")


def _leave(example: Example) -> None:
    """Do nothing: the mark above the block says why."""


@dataclass
class Blocks:
    """Reads a page's blocks.

    Args:
        page: The page.
    """

    page: Page

    def __call__(self, document: Document) -> list[Region]:
        """Return the blocks of a document, each with what tries it; a check in a comment is a block too."""
        shown = FencedCodeBlockLexer(language=".*", mapping={"language": "arguments", "source": "source"})
        hidden = DirectiveInHTMLCommentLexer(directive="check", arguments="python")
        regions = [*shown(document), *hidden(document)]
        return [found for region in regions if (found := self._with_evaluator(region, document.text)) is not None]

    def _with_evaluator(self, region: Region, text: str) -> Region | None:
        language = region.lexemes["arguments"]
        if FOR_THE_SITE.fullmatch(language):
            return None
        region.parsed = region.lexemes["source"]
        above = text[: region.start]
        needed = NEEDS.search(above)
        is_marked = bool(MARK.search(above)) or (needed is not None and find_spec(needed[1]) is None)
        region.evaluator = self._evaluator(language, is_marked=is_marked)
        return region

    def _evaluator(self, language: str, *, is_marked: bool) -> Callable[[Example], None]:
        if is_marked:
            return _compile if language == "python" else _leave
        known = {"python": self.page.run, "text": self.page.compare, "json": _parse_json}
        assert language in known, f"a block of {language or 'no language'} is neither run nor marked as not run"
        return known[language]


def try_page(path: Path, given: dict[str, object]) -> dict[str, object]:
    """Run a page's code, compare what it prints with what the page shows, and return the names it made.

    Args:
        path: The page.
        given: Names that its checks find at hand.
    """
    module = ModuleType(f"page_{path.stem.replace('-', '_').lower()}")
    vars(module).update(given)
    sys.modules[module.__name__] = module
    try:
        for example in Sybil([Blocks(Page(module))]).parse(path).examples():
            example.evaluate()
    finally:
        del sys.modules[module.__name__]
    return vars(module)

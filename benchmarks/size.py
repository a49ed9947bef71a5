"""`make size` counts the package's lines of code, by room and file.

Blank lines, comments and docstrings do not count.
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent.parent / "langchain_ldai"
CORE: Final = ("_runs", "_tracking", "_wire", "_base")
"""The rooms whose sum `make size` prints: observing, tracking, wire and base."""

_LAYOUT: Final = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(source: str) -> int:
    """Return how many lines hold code. A string that is a statement by itself counts as a docstring."""
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in _LAYOUT
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            code.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code)


def room(path: Path) -> str:
    """Return the room of a file: its folder in the package, or the file's own name."""
    return path.parts[0] if len(path.parts) > 1 else path.stem


def table(package: Path) -> str:
    """Return a table of the lines of code in each room, in each file and in the core."""
    files = {path.relative_to(package): code_lines(path.read_text("utf-8")) for path in package.rglob("*.py")}
    rooms: Counter[str] = Counter()
    for path, lines in files.items():
        rooms[room(path)] += lines
    rows = []
    for name, total in sorted(rooms.items(), key=lambda item: (-item[1], item[0])):
        rows.append(f"{total:6}  {name}")
        inside = sorted((path for path in files if room(path) == name), key=lambda path: (-files[path], path))
        rows += [f"{'':8}{files[path]:6}  {path.as_posix()}" for path in inside]
    rows.append(f"{sum(rooms[name] for name in CORE):6}  observing, tracking, wire and base")
    rows.append(f"{rooms.total():6}  in all")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(table(PACKAGE) + "\n")

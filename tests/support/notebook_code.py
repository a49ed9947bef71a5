"""Prints a notebook's code as a function, in which `await` may stand."""

import json
import sys
import textwrap
from pathlib import Path


def code(path: Path) -> str:
    """Return the code of a notebook's cells as one function."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    body = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return f"async def notebook() -> None:\n{textwrap.indent(body, '    ')}"


if __name__ == "__main__":
    sys.stdout.write(code(Path(sys.argv[1])))

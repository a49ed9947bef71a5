"""What `make size` and `make frames` count."""

from pathlib import Path

from benchmarks.frames import measured
from benchmarks.size import code_lines, table

CODE = '''"""A docstring
of two lines."""

# a comment
from typing import Final

LIMIT: Final = 3  # a comment behind code
"""What it is."""


def f(
    text: str,
) -> str:
    """A docstring."""

    def g() -> str:
        """Another."""
        return """a text

of three lines"""

    return text + g()
'''


def test_only_code_counts() -> None:
    """Blank lines, comments and docstrings do not; a text that is a value does, with its blank lines."""
    assert code_lines(CODE) == 10


def test_files_are_summed_up_by_room(tmp_path: Path) -> None:
    """A file belongs to its folder, or stands for itself."""
    files = {
        "_runs/run.py": 4,
        "_runs/handler.py": 3,
        "_tracking/slots.py": 2,
        "errors.py": 7,
        "ledgers/deep/x.py": 1,
    }
    for name, lines in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("pass\n" * lines, "utf-8")

    found = [line.split() for line in table(tmp_path).splitlines()]

    assert found == [
        ["7", "_runs"],
        ["4", "_runs/run.py"],
        ["3", "_runs/handler.py"],
        ["7", "errors"],
        ["7", "errors.py"],
        ["2", "_tracking"],
        ["2", "_tracking/slots.py"],
        ["1", "ledgers"],
        ["1", "ledgers/deep/x.py"],
        ["9", "observing,", "tracking,", "wire", "and", "base"],
        ["17", "in", "all"],
    ]


def test_frames_are_those_of_the_package() -> None:
    """Both are counted from the handler on, the same each time, and no frame of LangChain's is among them."""
    first, second = measured(), measured()

    assert first == second
    for entered in first.values():
        assert entered[0][1] == "on_chain_start"
        assert len(entered) > 5
        assert all((Path("langchain_ldai") / file).is_file() for file, _ in entered)

"""What is served while a person edits the file."""

from pathlib import Path

import pytest

from langchain_ldai.dev.document import ConfigsFileError
from langchain_ldai.dev.served_configs import ServedConfigs

BOT = "bot: {variations: {a: {model: one}}}\n"
DESK = "desk: {variations: {a: {}}}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of two AI Configs."""
    path = tmp_path / "ai-configs.yaml"
    path.write_text(BOT + DESK, "utf-8")
    return path


def test_a_saved_file_changes_what_differs(path: Path) -> None:
    """Connected clients are told of the configs that changed, came or went, and of no other."""
    configs = ServedConfigs(path)
    assert (list(configs.modes), configs.changes()) == (["bot", "desk"], [])

    path.write_text(BOT.replace("one", "another") + "new: {variations: {a: {}}}\n", "utf-8")
    changes = configs.changes()

    assert [(name, data["path"]) for name, data in changes] == [
        ("delete", "/flags/desk"),
        ("patch", "/flags/bot"),
        ("patch", "/flags/new"),
    ]
    assert changes[1][1]["data"]["version"] == 2
    assert list(configs.snapshot()["flags"]) == ["bot", "new"]
    assert configs.changes() == []


def test_the_last_good_version_stays(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A version that cannot be served, or a file that is gone, is told once and changes nothing."""
    configs = ServedConfigs(path)
    path.write_text("bot: 3\n", "utf-8")
    assert [configs.changes(), configs.changes()] == [[], []]
    assert configs.problem.startswith("ai-configs.yaml, line 1: bot is 3;")
    path.unlink()
    assert configs.changes() == []
    assert configs.problem == "ai-configs.yaml cannot be read: No such file or directory"
    assert len(caplog.records) == 2
    assert configs.modes == {"bot": "completion", "desk": "completion"}

    path.write_text(BOT + DESK, "utf-8")

    assert (configs.changes(), configs.problem) == ([], "")


def test_a_file_that_is_wrong_from_the_start_is_an_error(tmp_path: Path) -> None:
    """Without a good version there is nothing to serve."""
    with pytest.raises(ConfigsFileError):
        ServedConfigs(tmp_path / "ai-configs.yaml")

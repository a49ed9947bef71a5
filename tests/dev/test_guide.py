"""The guide to the local LaunchDarkly shows what works."""

import re
from pathlib import Path

from langchain_ldai.dev.configs_file import read_configs

GUIDE = Path(__file__).parent.parent.parent / "docs" / "on-your-desk.md"


def test_the_guides_file_is_served(tmp_path: Path) -> None:
    """The AI Configs that the guide shows can be served as they are, and its picture is there."""
    text = GUIDE.read_text("utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "ai-configs.yaml"
    path.write_text(shown, "utf-8")

    flags = read_configs(path)

    assert [len(flags["support-bot"][name]) for name in ("variations", "rules")] == [2, 1]
    for picture in re.findall(r"\]\((images/[^)]*)\)", text):
        assert (GUIDE.parent / picture).is_file()

"""The README: short, and its first example delivers by itself."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.docs.blocks import PAGES, ROOT, try_page

README: Final = PAGES["README.md"]
PICTURE: Final = ROOT / "docs" / "_static" / "overview.svg"
ONCE: Final = [
    "$ld:ai:duration:total",
    "$ld:ai:generation:success",
    "$ld:ai:sdk:info",
    "$ld:ai:tokens:input",
    "$ld:ai:tokens:output",
    "$ld:ai:tokens:total",
    "$ld:ai:usage:completion-config",
]


@pytest.fixture
def names(launchdarkly: LoopbackLaunchDarkly, provider: str, tmp_path: Path) -> Mapping[str, object]:
    """The names that the README's first example makes, run as whoever pastes it runs it."""
    text = README.read_text("utf-8")
    code = re.search(r"^```python\n.*?^```$", text, re.MULTILINE | re.DOTALL)
    assert code is not None
    pasted = tmp_path / "pasted.md"
    pasted.write_text(code[0], "utf-8")
    return try_page(pasted, {})


def test_the_readme_is_short() -> None:
    """What is too long for it has a page of its own."""
    assert len(README.read_text("utf-8").splitlines()) <= 160


def test_the_first_example_delivers_by_itself(
    launchdarkly: LoopbackLaunchDarkly, names: Mapping[str, object]
) -> None:
    """Whoever pastes it, and nothing after it, has each of these events in LaunchDarkly once when it ends."""
    assert sorted(event.name for event in launchdarkly.custom_events()) == ONCE
    assert launchdarkly.metrics(names["runs"][0].run_id)["$ld:ai:tokens:total"] == [17]


def test_the_feedback_of_the_second_example_counts_for_the_run_of_the_first(
    launchdarkly: LoopbackLaunchDarkly, provider: str
) -> None:
    """Both examples, one after the other, are one run with a thumb."""
    names = try_page(README, {})

    (feedback,) = launchdarkly.custom_events("$ld:ai:feedback:user:positive")
    assert feedback.data["runId"] == names["runs"][0].run_id


def test_the_picture_shows_what_arrives(launchdarkly: LoopbackLaunchDarkly, names: Mapping[str, object]) -> None:
    """The picture names the metrics of the first example, and the feedback that comes later."""
    (run,) = names["runs"]
    shown = re.findall(r">(\$ld:[\w:]+)<", PICTURE.read_text("utf-8"))

    assert sorted(shown) == sorted([*launchdarkly.metrics(run.run_id), "$ld:ai:feedback:user:positive"])


def test_the_first_example_says_what_is_wrong_where_nothing_is_served(
    launchdarkly: LoopbackLaunchDarkly, provider: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where targeting is off, the example calls no model and says what to look at."""
    launchdarkly.set_flag("support-bot", {"_ldMeta": {"enabled": False}})
    code = next(block for block in re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.M | re.S))

    exec(compile(code, README, "exec"), {})

    assert "is targeting on?" in capsys.readouterr().out
    assert launchdarkly.custom_events("$ld:ai:generation:success") == []

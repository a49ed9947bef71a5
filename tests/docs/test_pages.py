"""The pages do what they show."""

import tempfile
from pathlib import Path

import pytest

from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.docs.blocks import PAGES, try_page


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_a_pages_code_does_what_the_page_shows(
    path: Path, launchdarkly: LoopbackLaunchDarkly, provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block of a page runs, in order, and prints the text under it, or a mark says why it cannot run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # the real one may hold another run's events

    try_page(path, {"launchdarkly": launchdarkly})

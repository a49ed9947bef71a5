"""A real Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, expect, sync_playwright

from tests.support.leaving_out import leave_out

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

SECONDS_TO_SHOW = 120
"""How long a test waits for what a page is to show."""


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Run the Chromium that is on the PATH, without a window."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        leave_out(f"there is no Chromium on the PATH, by none of the names {', '.join(NAMES)}")
    expect.set_options(timeout=SECONDS_TO_SHOW * 1000)
    with sync_playwright() as playwright:
        limit = SECONDS_TO_SHOW * 1000
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"], timeout=limit)
        try:
            yield browser
        finally:
            browser.close()

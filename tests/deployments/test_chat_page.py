"""The chat in a web page: what its visitors see, and what each of them leaves in LaunchDarkly."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from langchain_ldai.sealing import TokenSealer
from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.deployments.servers import ROOT, running
from tests.support.chains import POSITIVE, SUCCESS
from tests.support.leaving_out import leave_out
from tests.support.ports import kept_port


@pytest.fixture
def launchdarkly() -> Iterator[LoopbackLaunchDarkly]:
    """A LaunchDarkly that serves the AI Config of the recipes."""
    with LoopbackLaunchDarkly.from_file(ROOT / "cookbook" / "flags.json") as service:
        yield service


@pytest.fixture
def server(launchdarkly: LoopbackLaunchDarkly, tmp_path: Path) -> Iterator[str]:
    """The recipe's server."""
    environment = {
        "LAUNCHDARKLY_URL": launchdarkly.url,
        "LEDGER_FILE": str(tmp_path / "ledger.db"),
        "TOKEN_KEYS": TokenSealer.generate_key(),
    }
    app = ["--app-dir", ROOT / "cookbook", "tests.deployments.driven_chat_page:app"]
    with kept_port() as port:
        command = [sys.executable, "-m", "uvicorn", *app, "--port", port]
        with running(command, port, "/", environment, tmp_path, tmp_path / "log") as address:
            yield address


def ask(browser: httpx.Client) -> tuple[str, str]:
    """Open the page and ask; return the token and the answer."""
    browser.get("/")
    response = browser.post("/chat", json={"question": "How do I switch it off?"})
    first, *others = [json.loads(line) for line in response.text.splitlines()]
    return first["token"], "".join(line["text"] for line in others)


def test_each_visitor_has_a_run_and_one_thumb(server: str, launchdarkly: LoopbackLaunchDarkly) -> None:
    """Two visitors' runs are counted for each of them, and a thumb for the run that it is on, once."""
    with (
        httpx.Client(base_url=server, timeout=60) as ada,
        httpx.Client(base_url=server, timeout=60) as grace,
    ):
        (token, answer), (_, other_answer) = ask(ada), ask(grace)
        statuses = [ada.post("/feedback", json={"token": token, "kind": "positive"}).status_code for _ in "12"]
        visitors = [ada.cookies["visitor"], grace.cookies["visitor"]]

    runs = {event.data["runId"]: event.context.key for event in launchdarkly.wait_for_events(2, SUCCESS, 60)}
    (thumb,) = launchdarkly.wait_for_events(1, POSITIVE, 60)
    assert (answer, other_answer, statuses) == ("Hold the button", "Hold the button", [202, 409])
    assert list(runs.values()) == visitors
    assert (runs[thumb.data["runId"]], thumb.context.key) == (visitors[0], visitors[0])


def test_who_has_not_opened_the_page_gets_no_answer(server: str, launchdarkly: LoopbackLaunchDarkly) -> None:
    """Without the cookie, neither a question nor a thumb is taken."""
    asked = httpx.post(f"{server}/chat", json={"question": "How?"}, timeout=60)
    thumb = httpx.post(f"{server}/feedback", json={"token": "x", "kind": "positive"}, timeout=60)

    assert (asked.status_code, thumb.status_code) == (401, 401)


def test_a_visitor_asks_and_clicks_in_a_browser(
    server: str, launchdarkly: LoopbackLaunchDarkly, tmp_path: Path
) -> None:
    """The page streams the answer, shows the thumbs, takes the first click, and then disables both."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        leave_out("there is no Chromium on the PATH")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]

    done = subprocess.run(
        [chromium, *options, "--dump-dom", f"{server}/driven"],
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
    )

    (thumb,) = launchdarkly.wait_for_events(1, POSITIVE, 60)
    (success,) = launchdarkly.wait_for_events(1, SUCCESS, 60)
    assert re.search(r'<p id="answer"[^>]*>Hold the button</p>', done.stdout)
    assert re.search(r'<span id="said"[^>]*>Thank you</span>', done.stdout)
    assert len(re.findall(r"<button data-kind[^>]* disabled", done.stdout)) == 2
    assert thumb.data["runId"] == success.data["runId"]

"""The page in a real browser."""

import os
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from langchain_ldai._wire import events
from langchain_ldai.dev.queries import Filter, latest_runs
from langchain_ldai.dev.simulation import simulated_runs
from tests.dev.conftest import Desk, running
from tests.dev.sending import NOON, event
from tests.support.browser import SECONDS_TO_SHOW, running_chromium

pytestmark = pytest.mark.no_cover  # what the page asks, test_page.py asks too

HOSTILE = "<img src=x onerror=document.title='owned'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, desk: Desk) -> Iterator[Page]:
    """A page on which no error may show, and from which no request may leave."""
    problems: list[str] = []
    with browser.new_context(permissions=["clipboard-read", "clipboard-write"]) as context:
        context.set_default_timeout(SECONDS_TO_SHOW * 1000)
        page = context.new_page()
        page.on("console", lambda line: problems.append(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda sent: None if sent.url.startswith(desk.url) else problems.append(sent.url))
        yield page
    assert problems == []


def fill(desk: Desk, count: int = 300) -> list[list[dict]]:
    """Store simulated runs, and return their events."""
    runs = list(simulated_runs(count, NOON))
    desk.store.accept(None, [metric for run in runs for metric in run])
    return runs


def value(page: Page, measure: str, column: int) -> str:
    """Return what a cell of the comparison shows."""
    return page.locator(f"#measure-{measure} td").nth(column).locator(".value").inner_text()


def test_figures_are_those_of_the_raw_events(page: Page, desk: Desk) -> None:
    """What a person reads equals what the events say."""
    runs = fill(desk)
    page.goto(desk.url)
    page.wait_for_selector("#measure-runs")

    for column, name in enumerate(("brief", "friendly")):
        own = [
            {metric["key"]: metric["metricValue"] for metric in run}
            for run in runs
            if run[-1]["data"]["variationKey"] == name
        ]
        good = sum(events.SUCCESS in run for run in own)
        durations = [run[events.DURATION] for run in own]
        rated = [run for run in own if events.FEEDBACK_POSITIVE in run or events.FEEDBACK_NEGATIVE in run]
        liked = sum(events.FEEDBACK_POSITIVE in run for run in rated)
        assert value(page, "runs", column) == str(len(own))
        assert value(page, "success_rate", column) == f"{good / len(own) * 100:.1f} %"
        assert value(page, "duration_median", column) == f"{statistics.median(durations):,.0f} ms"
        assert value(page, "positive_feedback", column) == f"{liked / len(rated) * 100:.1f} %"
    assert "noise" not in page.locator("#measure-duration_median td").nth(1).inner_text()
    assert page.locator("#figures svg").count() == 6


def test_the_first_run_and_later_ones_appear_by_themselves(page: Page, desk: Desk) -> None:
    """The empty page shows the lines to add, and turns into the list without a reload."""
    page.goto(desk.url)
    expect(page.locator("#lines")).to_contain_text(f'url = "{desk.url}"')
    page.click("#copy")
    expect(page.locator("#copy")).to_have_text("Copied")
    assert desk.url in page.evaluate("navigator.clipboard.readText()")

    for number in (1, 2):
        desk.ask("/bulk", [event(events.SUCCESS, run=f"run-{number}", at=int(time.time() * 1000) + number)])
        expect(page.locator("#runs tbody tr")).to_have_count(number)

    expect(page.locator("#empty")).to_be_hidden()
    expect(page.locator("#state")).to_have_text("live")


def test_feedback_from_the_page_arrives_once(page: Page, desk: Desk) -> None:
    """A click records it, and the buttons give way to what was given."""
    desk.store.accept(None, [event(events.SUCCESS)])
    page.goto(desk.url)

    page.get_by_role("button", name="negative feedback on run-1").click()

    expect(page.locator("#runs .feedback")).to_have_text("negative")
    expect(page.locator("#runs [data-feedback]")).to_have_count(0)
    (row,) = desk.store.select(
        "SELECT value, count FROM metrics WHERE name = :name", {"name": events.FEEDBACK_NEGATIVE}
    )
    assert row == (1, 1)


def test_a_run_opens_and_closes_by_keyboard(page: Page, desk: Desk) -> None:
    """Enter opens the timeline, Escape closes it, and the focus is where it was, whenever news came."""
    desk.store.accept(None, [event(events.DURATION, 1000), event(events.TOOL_CALL, toolKey="search")])
    page.goto(desk.url)
    opener = page.get_by_role("button", name="Timeline of run-1")

    opener.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#run")).to_contain_text("Resumption token")
    expect(page.locator("#run svg text", has_text="search")).to_have_count(1)
    for number in (2, 3):
        desk.ask("/bulk", [event(events.SUCCESS, run=f"run-{number}")])
        expect(page.locator("#runs tbody tr")).to_have_count(number)
        page.keyboard.press("Escape")
        expect(page.locator("#run")).to_be_hidden()
        expect(opener).to_be_focused()


def test_filters_narrow_figures_and_list(page: Page, desk: Desk) -> None:
    """Variation, outcome and the variation to compare with are chosen on the page, and survive the way back."""
    fill(desk)
    page.goto(desk.url)
    page.wait_for_selector("#measure-runs")

    page.select_option("#compare_to", "friendly")
    expect(page.locator("#figures thead th").nth(1)).to_have_text("friendly")
    page.select_option("#variation", "brief")
    expect(page.locator("#figures thead th")).to_have_count(2)
    page.select_option("select[name=outcome]", "error")

    errors = len(latest_runs(desk.store, Filter(outcome="error", variation="brief"), 1000))
    expect(page.locator("#measure-runs .value")).to_have_text(str(errors))
    assert "variation=brief&outcome=error" in (page.locator("#csv").get_attribute("href") or "")
    page.goto(f"{desk.url}/login")
    page.go_back()
    expect(page.locator("#measure-runs .value")).to_have_text(str(errors))
    expect(page.locator("#variation")).to_have_value("brief")
    expect(page.locator("select[name=outcome]")).to_have_value("error")


def test_no_value_runs_as_a_script(page: Page, desk: Desk) -> None:
    """A hostile name is shown as text, in the list, the figures, the filters and the timeline."""
    names = dict.fromkeys(("configKey", "variationKey", "toolKey", "modelName"), HOSTILE)
    desk.store.accept(None, [event(name, 5, run=HOSTILE, **names) for name in (events.TOOL_CALL, events.DURATION)])
    page.goto(desk.url)
    page.locator("[data-run]", has_text="Open").click()
    expect(page.locator("#details dd").first).to_have_text(HOSTILE)

    assert page.locator("main img, dialog img").count() == 0
    assert page.title() == "LaunchDarkly on your desk"


def test_a_file_that_cannot_be_served_shows(page: Page, desk: Desk) -> None:
    """The page names line and field, until the file is right again."""
    page.goto(desk.url)
    good = desk.file.read_text()
    desk.file.write_text("support-bot: 3\n")
    expect(page.locator("#problem")).to_contain_text("ai-configs.yaml, line 1: support-bot is 3")

    desk.file.write_text(good)

    expect(page.locator("#problem")).to_be_hidden()


def test_a_picture_without_others_beside_it_is_no_larger(page: Page, desk: Desk) -> None:
    """Runs that have only durations, as those of a model for tests, do not blow up their one distribution."""
    desk.store.accept(None, [event(events.DURATION, 10 + number, run=f"run-{number}") for number in range(9)])
    page.goto(desk.url)
    page.wait_for_selector("#measure-runs")

    # In one call: the page may draw its figures anew at any time.
    widths = "figures => figures.map(figure => figure.getBoundingClientRect().width)"
    alone, first_of_three, *_ = page.locator("figure").evaluate_all(widths)

    assert alone == pytest.approx(first_of_three)


def test_the_token_is_asked_for_once(browser: Browser, tmp_path: Path) -> None:
    """A wrong one is told, the right one opens the page."""
    with running(tmp_path, token="secret") as desk, browser.new_context() as context:
        context.set_default_timeout(SECONDS_TO_SHOW * 1000)
        page = context.new_page()
        page.goto(desk.url)
        for token in ("wrong", "secret"):
            page.fill("input[name=token]", token)
            page.click("button")
            if token == "wrong":
                expect(page.get_by_role("alert")).to_have_text("This is not the token.")

        expect(page.locator("#lines")).to_contain_text('Config("the token"')
        expect(page).to_have_url(re.compile(r"/$"))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_everyone_can_use_the_page(page: Page, desk: Desk, theme: str, width: int, tmp_path: Path) -> None:
    """Axe finds nothing serious, wide or narrow, in both themes, and nothing is wider than the window.

    `make screenshots` keeps what the page looks like.
    """
    fill(desk)
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(desk.url)
    page.wait_for_selector("#measure-runs")

    listed = Axe().run(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("[data-run]", has_text="Open").first.click()
    expect(page.locator("#details dl")).to_be_visible()
    opened = Axe().run(page)

    for found in (listed, opened):
        serious = [fault for fault in found.response["violations"] if fault["impact"] in ("serious", "critical")]
        assert serious == [], found.generate_report()
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    kept = Path(os.environ.get("SCREENSHOTS", tmp_path)) / f"page-{theme}-{width}.png"
    assert page.screenshot(path=kept)

"""What the page's server answers, to whom, and that no value becomes markup."""

import csv
import io
import json
import re
import textwrap
import threading
import time
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ldclient import Context

from langchain_ldai import InvalidResumptionTokenError, LdAiClient
from langchain_ldai._wire import events
from langchain_ldai.dev import subscribers
from langchain_ldai.dev.queries import Filter, latest_runs
from langchain_ldai.dev.store import Store, StoreError
from langchain_ldai.dev.subscribers import Subscribers
from langchain_ldai.dev.view import token_of
from langchain_ldai.testing import RecordingClient
from tests.dev.conftest import Desk, running
from tests.dev.sending import ACCURACY, event, simulated
from tests.support.chains import QUESTION, chain

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


def fill(desk: Desk, count: int = 60) -> None:
    """Store runs of two variations, and one of another AI Config."""
    desk.store.accept(None, [metric for run in simulated(count) for metric in run])
    desk.store.accept(None, [event(events.SUCCESS, run="other", configKey="triage", at=int(time.time() * 1000))])


def view(desk: Desk, query: str = "") -> dict[str, str]:
    """Return what the page gets to show."""
    return json.loads(desk.ask(f"/view?{query}").text)


class Tags(HTMLParser):
    """Collects tags, attribute names and texts."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_loads_nothing_from_elsewhere(desk: Desk) -> None:
    """Page, script and style come from here, with a policy that allows nothing else."""
    page = desk.ask("/")

    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert set(re.findall(r'(?:src|href)="([^"]+)"', page.text)) == {
        "/static/page.css",
        "/static/page.js",
        "/runs.csv",
        "/runs.json",
        "/report?format=html",
        "/report?format=text",
    }
    assert [desk.ask(f"/static/page.{kind}").status for kind in ("css", "js", "xyz")] == [200, 200, 404]
    assert desk.ask("/favicon.ico").status == 204


def test_the_lines_of_the_empty_page_bring_the_first_run(desk: Desk) -> None:
    """Whoever pastes them sees the run of his chain."""
    lines = view(desk)["empty"]

    exec(textwrap.dedent(lines), {"chain": chain(), "inputs": QUESTION})

    assert "empty" not in view(desk)
    assert latest_runs(desk.store, Filter("support-bot"), 10)[0].outcome == "success"


def test_the_view_follows_the_filters(desk: Desk) -> None:
    """What is unknown filters nothing."""
    fill(desk)

    everything = view(desk, "config=support-bot")
    assert (everything["configs"], everything["config"]) == (["support-bot", "triage"], "support-bot")
    assert everything["variations"] == ["brief", "friendly"]
    assert everything["runs"].count("data-run-id=") == 50
    assert view(desk, "config=support-bot&outcome=odd&minutes=odd") == everything
    assert view(desk, "config=triage&minutes=15")["runs"].count("data-run-id=") == 1
    assert view(desk, "config=support-bot&minutes=15")["runs"].startswith("<p")
    assert ">friendly</td>" not in view(desk, "config=support-bot&variation=brief")["runs"]


def test_the_report_follows_the_filters(desk: Desk) -> None:
    """All of them, as the comparison of one AI Config does."""
    fill(desk)

    chosen = "config=support-bot&variation=brief&outcome=error"
    (compared,) = json.loads(desk.ask(f"/report?format=json&{chosen}").text)

    assert compared == json.loads(desk.ask(f"/comparison.json?{chosen}").text)
    assert [found["variation"] for found in compared["variations"]] == ["brief"]


@pytest.mark.parametrize("query", ["", "config=nothing&variation=brief"])
def test_the_page_opens_on_the_ai_config_that_ran_last(desk: Desk, query: str) -> None:
    """Also where its key is the last in the alphabet, or the address names an AI Config that there is not."""
    for key in ("support-bot", "triage"):
        desk.ask("/bulk", [event(events.SUCCESS, run=key, configKey=key, at=int(time.time() * 1000))])
        shown = view(desk, query)

        assert shown["config"] == key
        assert f">{key}</td>" in shown["runs"]


@pytest.mark.parametrize("first", ["brief", "friendly"])
def test_any_variation_can_be_the_one_to_compare_with(desk: Desk, first: str) -> None:
    """It comes first and has no difference."""
    fill(desk)

    found = json.loads(desk.ask(f"/comparison.json?config=support-bot&compare_to={first}").text)

    compared = [entry["variation"] for entry in found["variations"]]
    assert compared[0] == first
    assert ["success_rate_difference" in entry for entry in found["variations"]] == [False, True]
    shown = view(desk, f"config=support-bot&compare_to={first}")["figures"]
    assert shown.index(f">{compared[0]}<") < shown.index(f">{compared[1]}<")


def test_the_one_to_compare_with_is_shown_however_few_runs_it_has(desk: Desk) -> None:
    """The page says that it is the one, so the differences are to it."""
    for number in range(25):
        runs = [f"{number}-{run}" for run in range(1 if number == 7 else 2)]
        desk.store.accept(None, [event(events.SUCCESS, run=run, variationKey=f"v{number}") for run in runs])

    figures = view(desk, "config=support-bot&compare_to=v7")["figures"]
    unchosen = view(desk, "config=support-bot")

    assert unchosen["compare_to"] == re.findall(r"(v[0-9]+)</th>", unchosen["figures"])[0]
    headers = re.findall(r"(v[0-9]+)</th>", figures)
    assert headers[0] == "v7"
    assert len(headers) == 20


def test_no_value_becomes_markup(desk: Desk) -> None:
    """Every text that a program can send is shown as the text that it is."""
    data = {"configKey": HOSTILE, "variationKey": HOSTILE, "modelName": HOSTILE, "graphKey": HOSTILE}
    batch = [event(name, 5, run=HOSTILE, **data) for name in (events.DURATION, events.TIME_TO_FIRST_TOKEN)]
    batch += [event(events.TOOL_CALL, run=HOSTILE, toolKey=HOSTILE, **data), event(HOSTILE, run=HOSTILE, **data)]
    desk.store.accept(None, [{**one, "context": {"kind": HOSTILE, "key": HOSTILE}} for one in batch])

    shown = view(desk)
    parts = [shown["figures"], shown["runs"], desk.ask("/runs/1").text]

    for part in map(Tags, parts):
        assert "img" not in part.tags
        assert not {name for name in part.attributes if name.startswith("on") or name == "style"}
        assert any(HOSTILE in text for text in part.texts)


def test_a_run_has_a_timeline_ids_and_metrics(desk: Desk) -> None:
    """The token shown resumes the run; tool calls and the first token are on the timeline."""
    at = int(time.time() * 1000) - 10_000
    desk.store.accept(
        None,
        [
            event(events.TIME_TO_FIRST_TOKEN, 120, at=at + 120),
            event(events.TOOL_CALL, toolKey="search", at=at + 500),
            event(events.DURATION, 1000, at=at + 1000),
            event(events.SUCCESS, at=at + 1000),
            event(ACCURACY, 0.8, judgeConfigKey="accuracy", at=at + 3000),
        ],
    )
    (run,) = latest_runs(desk.store, Filter(), 10)

    details = desk.ask(f"/runs/{run.id}").text

    assert ">first token</text>" in details
    assert ">search</text>" in details
    assert "1,000 ms" in details
    times = ["+0.120 s", "+0.500 s", "+1.000 s", "+1.000 s", "+3.000 s"]
    assert re.findall(r"<td>(\+[0-9.]+ s)</td>", details) == times
    assert "<dd>accuracy 0.800</dd>" in details
    assert "<td>accuracy 0.800</td>" in view(desk)["runs"]
    assert token_of(run) in details
    context = Context.create("user-1")
    assert LdAiClient(RecordingClient()).create_tracker(token_of(run), context).run_id == "run-1"
    assert [desk.ask(f"/runs/{number}").status for number in (99, 10**30, "9" * 5000, "x")] == [404] * 4


def test_a_run_of_a_graph_has_a_graphs_token(desk: Desk) -> None:
    """Graph and node have tokens of different forms."""
    desk.store.accept(None, [event(events.GRAPH_DURATION, 9, configKey="desk", graphKey="desk")])
    (run,) = latest_runs(desk.store, Filter(), 10)

    with pytest.raises(InvalidResumptionTokenError):
        LdAiClient(RecordingClient()).create_tracker(token_of(run), Context.create("user-1"))
    assert token_of(run) in desk.ask(f"/runs/{run.id}").text


def test_a_run_without_an_id_has_no_token(desk: Desk) -> None:
    """There is nothing to resume where an older SDK sends no `runId`."""
    desk.store.accept(None, [event(events.SUCCESS, runId=None)])

    assert "Resumption token" not in desk.ask("/runs/1").text


def test_feedback_from_the_page_arrives_once(desk: Desk) -> None:
    """The first counts, a second is a 409, and what is no feedback or no run is told."""
    desk.store.accept(None, [event(events.SUCCESS)])

    statuses = [desk.ask("/runs/1/feedback", {"kind": kind}).status for kind in ("positive", "negative")]

    assert statuses == [202, 409]
    assert latest_runs(desk.store, Filter(), 1)[0].feedback == 1
    for number in (99, 10**30):
        assert desk.ask(f"/runs/{number}/feedback", {"kind": "positive"}).status == 404
    for nonsense in ({"kind": "fine"}, {"kind": []}, [], b"{", b"[" * 9_000, b" " * 20_000):
        assert desk.ask("/runs/1/feedback", nonsense).status == 400


def test_feedback_that_cannot_be_stored_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is a 507 here too."""

    def fail(*given):
        raise StoreError("the disk is full")

    monkeypatch.setattr(desk.store, "add_feedback", fail)

    assert desk.ask("/runs/1/feedback", {"kind": "positive"}).status == 507


def test_news_of_runs_comes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens is told of new runs, also of another server's, and else that the server lives."""
    monkeypatch.setattr(subscribers, "HEARTBEAT_SECONDS", 0.01)
    with running(tmp_path) as desk, urllib.request.urlopen(f"{desk.url}/news", timeout=30) as news:
        assert news.readline() == b"data: start\n"
        while news.readline() != b": still here\n":
            pass
        desk.ask("/bulk", [event(events.SUCCESS)])
        while news.readline() != b"data: runs\n":
            pass
        other = Store(desk.store.path)
        other.accept(None, [event(events.SUCCESS, run="of another server")])
        while news.readline() != b"data: runs\n":
            pass
        other.close()


def test_a_server_that_stops_lets_everyone_go(tmp_path: Path) -> None:
    """Open streams of pages and SDKs end, so that they do not hold up the end."""
    with running(tmp_path) as desk:
        streams = [urllib.request.urlopen(desk.url + path, timeout=30) for path in ("/news", "/all")]
        for stream in streams:
            assert stream.readline()

    for stream in streams:
        assert stream.read() is not None
        stream.close()


@pytest.mark.asyncio
async def test_news_that_waits_is_not_repeated() -> None:
    """Who is slow is told once that there are runs, and a list of changes is told in full."""
    for latest_only, expected in ((True, [b"start", b"news"]), (False, [b"start", b"news", b"news"])):
        pages = Subscribers(b"alive", latest_only=latest_only)
        received = pages.news(b"start")
        heard = [await anext(received)]
        pages.publish(b"news")
        pages.publish(b"news")
        pages.close()

        assert heard + [news async for news in received] == expected
        assert [news async for news in pages.news(b"late")] == [b"late"]


def test_runs_are_exported(desk: Desk) -> None:
    """CSV and JSON hold the same runs; a spreadsheet runs none of their texts."""
    fill(desk)
    desk.store.accept(None, [event(events.SUCCESS, run="=1+1", configKey="formula")])

    rows = list(csv.DictReader(io.StringIO(desk.ask("/runs.csv?config=support-bot").text)))
    runs = json.loads(desk.ask("/runs.json?config=support-bot").text)

    assert [row["run_id"] for row in rows] == [run["run_id"] for run in runs] == [f"run-{n}" for n in range(60)]
    assert [row["duration"] for row in rows] == [str(run["duration"]) for run in runs]
    scores = [run["scores"].get("accuracy") for run in runs]
    assert [row["score:accuracy"] for row in rows] == ["" if score is None else str(score) for score in scores]
    assert 10 < sum(score is not None for score in scores) < 50
    assert "\r\n'=1+1,formula," in desk.ask("/runs.csv?config=formula").text
    assert json.loads(desk.ask("/runs.json?config=nothing").text) == []
    assert desk.ask("/runs.csv").headers["Content-Disposition"] == 'attachment; filename="runs.csv"'


def test_pages_of_other_sites_get_nothing(desk: Desk) -> None:
    """Neither under a name that was made to lead here nor by sending a form; SDKs send no such header."""
    desk.store.accept(None, [event(events.SUCCESS)])

    assert desk.ask("/view", Host="evil.example").status == 421
    assert desk.ask("/view", Host="[::1").status == 421
    assert desk.ask("/view", Host="localhost:8030").status == 200
    assert desk.ask("/runs/1/feedback", {"kind": "positive"}, Sec_Fetch_Site="cross-site").status == 403
    assert desk.ask("/runs/1/feedback", {"kind": "positive"}, Sec_Fetch_Site="same-origin").status == 202


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    """SDKs send it as their key, browsers get a cookie for it that does not hold it, and others get nothing."""
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    with running(tmp_path, token="secret") as desk:
        assert desk.ask("/").headers["Location"] == "/login"
        assert desk.ask("/login").status == desk.ask("/static/page.css").status == 200
        assert desk.ask("/login", b"token=wrong", **form).status == 401
        answer = desk.ask("/login", b"token=secret", **form)
        cookie = answer.headers["Set-Cookie"]
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "secret" not in cookie
        assert desk.ask("/view", Cookie=cookie.partition(";")[0]).status == 200
        for path in ("/view", "/sdk/latest-all", "/all", "/runs.csv"):
            assert desk.ask(path, Authorization="wrong", Cookie="langchain_ldai_dev=wrong; ]=").status == 401
        assert desk.ask("/bulk", [event(events.SUCCESS)]).status == 401
        assert desk.ask("/bulk", [event(events.SUCCESS)], Authorization="secret").status == 202
        assert desk.ask("/sdk/latest-all", Authorization="secret", Host="desk.example").status == 200


def test_two_who_ask_at_once_are_answered(desk: Desk) -> None:
    """The store is read while it is written to."""
    fill(desk)
    answers: list[int] = []
    askers = [threading.Thread(target=lambda: answers.append(desk.ask("/view").status)) for _ in range(4)]
    for asker in askers:
        asker.start()
    fill(desk, 500)
    for asker in askers:
        asker.join(30)

    assert answers == [200] * 4

"""Feedback that is recorded after its request was refused, or got no answer, still passes its comment on."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable

import httpx
import pytest
from starlette.applications import Starlette

from langchain_ldai import LdAiClient
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.server import FeedbackReceived, feedback_routes
from langchain_ldai.testing import RecordingClient
from tests.ledgers.fakes import Held
from tests.server.conftest import Open, user_of
from tests.support.threads import start_no_thread

NEGATIVE = "$ld:ai:feedback:user:negative"
PATIENCE_SECONDS = 30
LEDGER_SECONDS = "langchain_ldai.server.feedback.LEDGER_SECONDS"
Run = tuple[str, str]


class Heard:
    """What `on_feedback` was called with, in each of the ways in which it may be written."""

    def __init__(self) -> None:
        self.comments: list[str | None] = []
        self.was_called = threading.Event()

    def plain(self, feedback: FeedbackReceived) -> None:
        """Hear a comment."""
        self.comments.append(feedback.comment)
        self.was_called.set()

    async def coroutine(self, feedback: FeedbackReceived) -> None:
        """Hear a comment, after a while."""
        await asyncio.sleep(0.001)
        self.plain(feedback)

    def given_awaitable(self, feedback: FeedbackReceived) -> Awaitable[None]:
        """Return what hears a comment once it is awaited."""
        return self.coroutine(feedback)

    async def wait(self) -> None:
        """Wait until it is called."""
        assert await asyncio.to_thread(self.was_called.wait, PATIENCE_SECONDS)


@pytest.fixture
def heard() -> Heard:
    """What `on_feedback` is called with."""
    return Heard()


@pytest.fixture
def ledger() -> Held:
    """A ledger that answers late."""
    return Held()


@pytest.fixture
def open_app(
    client: RecordingClient, ledger: Held, sealer: TokenSealer, monkeypatch: pytest.MonkeyPatch
) -> Callable[[object], Starlette]:
    """A maker of applications whose requests wait for the ledger for a moment only."""

    def opened(on_feedback: object) -> Starlette:
        ai = LdAiClient(client, ledger=ledger)
        routes = feedback_routes(ai, sealer, context_for=user_of, on_feedback=on_feedback)
        monkeypatch.setattr(LEDGER_SECONDS, 0.05)
        return Starlette(routes=routes)

    return opened


def thumb(run: Run) -> dict[str, str]:
    """Return what a browser posts."""
    return {"token": run[1], "kind": "negative", "comment": "too salty"}


WAYS = ["plain", "coroutine", "given_awaitable"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.asyncio
async def test_a_comment_is_heard_though_its_request_was_answered_with_503(
    way: str, browser: Open, client: RecordingClient, heard: Heard, ledger: Held, open_app, run: Run, monkeypatch
) -> None:
    """Once the claim is granted, `on_feedback` is called; a request that comes again gets 409 and is not heard."""
    posts = browser(open_app(getattr(heard, way)))

    first = await posts.post("/feedback", json=thumb(run))
    assert (first.status_code, heard.comments) == (503, [])
    ledger.gate.set()
    monkeypatch.setattr(LEDGER_SECONDS, PATIENCE_SECONDS)
    await heard.wait()
    second = await posts.post("/feedback", json=thumb(run))

    assert (second.status_code, heard.comments) == (409, ["too salty"])
    assert client.metrics(run[0]) == {NEGATIVE: [1]}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.asyncio
async def test_a_comment_is_heard_though_its_request_was_cancelled(
    way: str, browser: Open, heard: Heard, ledger: Held, open_app, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that gives a request up, as at its end, loses no comment of feedback that is recorded."""
    app = open_app(getattr(heard, way))
    monkeypatch.setattr(LEDGER_SECONDS, PATIENCE_SECONDS)
    request = asyncio.create_task(browser(app).post("/feedback", json=thumb(run)))
    assert await asyncio.to_thread(ledger.was_asked.wait, PATIENCE_SECONDS)

    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    ledger.gate.set()
    await heard.wait()

    assert heard.comments == ["too salty"]


@pytest.mark.asyncio
async def test_a_comment_is_heard_though_the_answer_cannot_be_sent(
    heard: Heard, ledger: Held, open_app, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose connection breaks before the answer has recorded feedback all the same."""
    app = open_app(heard.plain)
    monkeypatch.setattr(LEDGER_SECONDS, PATIENCE_SECONDS)
    ledger.gate.set()
    body = f'{{"token": "{run[1]}", "kind": "negative", "comment": "too salty"}}'.encode()
    scope = {"type": "http", "method": "POST", "path": "/feedback", "query_string": b""}
    scope["headers"] = [(b"content-type", b"application/json")]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body}

    async def send(message: object) -> None:
        raise OSError("the connection is broken")

    with pytest.raises(OSError, match="broken"):
        await app(scope, receive, send)
    await heard.wait()

    assert heard.comments == ["too salty"]


@pytest.mark.parametrize("on_feedback", [None, "plain"])
@pytest.mark.asyncio
async def test_feedback_that_is_refused_late_is_not_heard(
    on_feedback: str | None, browser: Open, heard: Heard, ledger: Held, open_app, run: Run, monkeypatch
) -> None:
    """Of two requests that wait at once one is recorded, and one comment heard, where somebody listens."""
    posts = browser(open_app(on_feedback and getattr(heard, on_feedback)))

    answers = await asyncio.gather(*(posts.post("/feedback", json=thumb(run)) for _ in range(2)))
    ledger.gate.set()
    monkeypatch.setattr(LEDGER_SECONDS, PATIENCE_SECONDS)
    answers.append(await posts.post("/feedback", json=thumb(run)))
    if on_feedback:
        await heard.wait()

    assert [answer.status_code for answer in answers] == [503, 503, 409]
    assert len(heard.comments) == (1 if on_feedback else 0)


def post_and_end(app: Starlette, run: Run) -> int:
    """Post feedback to an application whose event loop ends with the answer."""

    async def posted() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            return (await http.post("/feedback", json=thumb(run))).status_code

    return asyncio.run(posted())


@pytest.mark.parametrize("threads", [True, False], ids=["thread", "no-thread"])
def test_a_plain_function_hears_a_comment_after_the_event_loop_has_ended(
    threads: bool, heard: Heard, ledger: Held, open_app, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs no loop, and where no thread can be started any more it is called without."""
    assert post_and_end(open_app(heard.plain), run) == 503
    if not threads:
        monkeypatch.setattr(threading.Thread, "start", start_no_thread)

    ledger.gate.set()

    assert heard.was_called.wait(PATIENCE_SECONDS)
    assert heard.comments == ["too salty"]


def test_a_comment_that_no_event_loop_can_take_is_told_in_the_log(
    client: RecordingClient, heard: Heard, ledger: Held, open_app, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """A coroutine function cannot be called after its loop; the log names the run and the remedy."""
    told = threading.Event()
    caplog.handler.addFilter(lambda record: told.set() or True)
    assert post_and_end(open_app(heard.coroutine), run) == 503
    told.clear()
    caplog.set_level(logging.ERROR)

    ledger.gate.set()

    assert told.wait(PATIENCE_SECONDS)
    assert (client.metrics(run[0]), heard.comments) == ({NEGATIVE: [1]}, [])
    assert f"feedback on run {run[0]} is recorded, but not passed on" in caplog.text
    assert "give a plain function" in caplog.text
    assert "too salty" not in caplog.text

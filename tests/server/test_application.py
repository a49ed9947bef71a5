"""The feedback route within an application: whose feedback it is, where comments go, who may post."""

import logging
import runpy
import sys
from collections.abc import Callable, Iterable

import pytest
from ldclient import Context
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response

from langchain_ldai import Feedback, LdAiClient, server
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.server import FeedbackReceived, feedback_routes
from langchain_ldai.testing import RecordingClient
from tests.server.conftest import Open, user_of

pytestmark = pytest.mark.asyncio

Run = tuple[str, str]


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_what_was_said_beside_it_goes_to_its_own_place(
    is_async: bool, ai: LdAiClient, browser: Open, run: Run, sealer: TokenSealer, caplog, client
) -> None:
    """The comment reaches `on_feedback`, and neither LaunchDarkly nor a log; both functions may be async."""
    caplog.set_level(logging.DEBUG)
    received: list[FeedbackReceived] = []

    async def context_for(request) -> Context:
        return Context.create("ada")

    async def on_feedback(feedback: FeedbackReceived) -> None:
        received.append(feedback)

    routes = feedback_routes(
        ai,
        sealer,
        context_for=context_for if is_async else lambda request: Context.create("ada"),
        on_feedback=on_feedback if is_async else received.append,
    )
    body = {"token": run[1], "kind": "negative", "comment": "too salty"}
    for _ in range(2):
        await browser(Starlette(routes=routes)).post("/feedback", json=body)

    expected = FeedbackReceived(run[0], "support-bot", Feedback.NEGATIVE, "too salty", Context.create("ada"))
    assert received == [expected]
    assert "too salty" not in caplog.text + repr(client.events) + repr(received)
    assert run[1] not in caplog.text


async def test_whom_the_application_does_not_know_it_refuses_itself(
    ai: LdAiClient, browser: Open, run: Run, sealer: TokenSealer, client: RecordingClient
) -> None:
    """What `context_for` raises as `HTTPException` is the answer, in JSON, and nothing is recorded."""

    def context_for(request) -> Context:
        raise HTTPException(403, "log in first")

    app = Starlette(routes=feedback_routes(ai, sealer, context_for=context_for))

    answer = await browser(app).post("/feedback", json={"token": run[1], "kind": "positive"})

    assert (answer.status_code, answer.json()) == (
        403,
        {"error": {"code": "forbidden", "message": "log in first"}},
    )
    assert client.metrics(run[0]) == {}


SECRET = "ada's password"


def fails(given: object) -> object:
    """Fail."""
    raise KeyError(SECRET)


async def fails_later(given: object) -> object:
    """Fail once it is awaited."""
    raise KeyError(SECRET)


CONTEXT_FOR = {
    "fails": fails,
    "fails-awaited": fails_later,
    "none": lambda request: None,
    "no-context": lambda request: "ada",
    "invalid-context": lambda request: Context.create(""),
}


@pytest.mark.parametrize("context_for", CONTEXT_FOR.values(), ids=CONTEXT_FOR)
async def test_a_context_for_that_fails_is_answered_in_json(
    context_for: object, ai: LdAiClient, browser: Open, run: Run, sealer: TokenSealer, client, caplog
) -> None:
    """The answer is 500 and says nothing of the error, the log has it once, and no feedback counts for nobody."""
    caplog.set_level(logging.ERROR)
    posts = browser(Starlette(routes=feedback_routes(ai, sealer, context_for=context_for)))

    answers = [await posts.post("/feedback", json={"token": run[1], "kind": "positive"}) for _ in range(3)]

    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in answers} == {
        (500, "internal_server_error")
    }
    assert client.metrics(run[0]) == {}
    (record,) = caplog.records
    assert "context_for" in record.message
    assert run[0] in record.message
    assert SECRET not in record.message + answers[0].text


@pytest.mark.parametrize("on_feedback", [fails, fails_later])
async def test_an_on_feedback_that_fails_changes_no_answer(
    on_feedback: object, ai: LdAiClient, browser: Open, config, sealer: TokenSealer, client, caplog
) -> None:
    """Feedback is recorded and accepted; the log has the error once, without its message."""
    caplog.set_level(logging.ERROR)
    routes = feedback_routes(ai, sealer, context_for=user_of, on_feedback=on_feedback)
    trackers = [config.create_tracker() for _ in range(2)]

    for tracker in trackers:
        body = {"token": sealer.seal(tracker.resumption_token), "kind": "positive"}
        assert (await browser(Starlette(routes=routes)).post("/feedback", json=body)).status_code == 202

    assert all(client.metrics(tracker.run_id) for tracker in trackers)
    (record,) = caplog.records
    assert "on_feedback" in record.message
    assert "KeyError" in record.message
    assert SECRET not in record.message


async def test_a_sealer_that_fails_is_answered_in_json(ai: LdAiClient, browser: Open, caplog) -> None:
    """A sealer of the application's own may need what cannot be reached: 500, also for pages of other sites."""

    class Unreachable:
        def seal(self, token: str) -> str:
            return token

        unseal = staticmethod(fails)

    origin = "https://shop.example"
    routes = feedback_routes(ai, Unreachable(), context_for=user_of, allow_origins=[origin])
    posts = browser(Starlette(routes=routes))

    answer = await posts.post("/feedback", json={"token": "t", "kind": "positive"}, headers={"origin": origin})

    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_server_error")
    assert answer.headers["access-control-allow-origin"] == origin
    assert SECRET not in caplog.text + answer.text


async def test_a_context_for_that_returns_a_users_name_is_told_how_to_make_a_context(
    ai: LdAiClient, browser: Open, run: Run, sealer: TokenSealer, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what to use in its place."""
    posts = browser(Starlette(routes=feedback_routes(ai, sealer, context_for=lambda request: "ada")))

    await posts.post("/feedback", json={"token": run[1], "kind": "positive"})

    assert "an ldclient.Context, not str: use Context.create(...)" in caplog.messages[0]


async def test_whom_the_application_does_not_know_uses_up_no_limit(
    ai: LdAiClient, browser: Open, run: Run, sealer: TokenSealer
) -> None:
    """`context_for` is asked before a request counts, so that strangers keep no user from the route."""

    def context_for(request) -> Context:
        if "x-user" not in request.headers:
            raise HTTPException(401, "log in first")
        return user_of(request)

    posts = browser(Starlette(routes=feedback_routes(ai, sealer, context_for=context_for, limit="1/hour")))
    body = {"token": run[1], "kind": "positive"}

    strangers = [await posts.post("/feedback", json=body) for _ in range(3)]
    user = [await posts.post("/feedback", json=body, headers={"x-user": "ada"}) for _ in range(2)]

    assert [answer.status_code for answer in strangers + user] == [401, 401, 401, 202, 429]
    assert strangers[0].json() == {"error": {"code": "unauthorized", "message": "log in first"}}


@pytest.mark.parametrize("listed", [list, iter])
async def test_other_sites_may_not_post_unless_they_are_named(
    listed: Callable[[list[str]], Iterable[str]],
    ai: LdAiClient,
    app: Starlette,
    browser: Open,
    run: Run,
    sealer: TokenSealer,
) -> None:
    """Without `allow_origins` no CORS header is sent; with it, to the origins named."""
    shop, asks = "https://shop.example", {"access-control-request-method": "POST"}
    asks["access-control-request-headers"] = "authorization, content-type"  # for `context_for`, and for JSON
    named = Starlette(routes=feedback_routes(ai, sealer, context_for=user_of, allow_origins=listed([shop])))

    closed = await browser(app).options("/feedback", headers={"origin": shop, **asks})
    opened = await browser(named).options("/feedback", headers={"origin": shop, **asks})
    other = await browser(named).options("/feedback", headers={"origin": "https://other.example", **asks})
    posted = await browser(named).post(
        "/feedback", json={"token": run[1], "kind": "positive"}, headers={"origin": shop}
    )

    assert (closed.status_code, opened.status_code) == (405, 200)
    assert "access-control-allow-origin" not in {*closed.headers, *other.headers}
    assert opened.headers["access-control-allow-origin"] == posted.headers["access-control-allow-origin"] == shop
    assert posted.status_code == 202


async def test_a_client_that_hangs_up_is_no_error(app: Starlette, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever leaves before the body has arrived is not logged; middleware gets an answer, as it waits for one."""
    sent = []

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def go_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=go_on)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/feedback",
        "headers": [(b"content-type", b"application/json")],
        "query_string": b"",
    }

    await app(scope, receive, send)

    assert sent[0]["status"] == 400
    assert caplog.text == ""


async def test_a_limit_is_one(ai: LdAiClient, sealer: TokenSealer) -> None:
    """Another text is refused at construction."""
    for limit in ("often", "5"):
        with pytest.raises(ValueError, match=f"limit is a rate limit, such as '5/minute', not '{limit}'"):
            feedback_routes(ai, sealer, context_for=user_of, limit=limit)


async def test_the_client_comes_before_the_sealer(ai: LdAiClient, sealer: TokenSealer) -> None:
    """Who mixes them up is told the order."""
    with pytest.raises(TypeError, match="not TokenSealer: the client comes first, then the sealer"):
        feedback_routes(sealer, ai, context_for=user_of)


async def test_starlette_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages the error names the extra."""
    monkeypatch.setitem(sys.modules, "langchain_ldai.server.feedback", None)  # as without starlette

    with pytest.raises(
        ImportError,
        match=r'pip install "langchain-ldai\[server\]", or for FastAPI "langchain-ldai\[fastapi\]"$',
    ):
        runpy.run_path(server.__file__)


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("feedback", ValueError, "path begins with a slash, as in '/feedback', not 'feedback'"),
        (5, TypeError, "not int"),
    ],
)
async def test_a_path_begins_with_a_slash(
    path: object, error: type[Exception], said: str, ai: LdAiClient, sealer: TokenSealer
) -> None:
    """Another is refused where the routes are made."""
    with pytest.raises(error, match=said):
        feedback_routes(ai, sealer, context_for=user_of, path=path)

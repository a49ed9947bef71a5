"""The feedback route in a FastAPI application: the same rules, and described by the application itself."""

import importlib
import logging
import re
import runpy
import sys

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException
from ldclient import Context
from starlette.applications import Starlette
from starlette.routing import Mount

from langchain_ldai import LdAiClient
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.server import FeedbackReceived, feedback_openapi, feedback_routes
from langchain_ldai.server.fastapi import feedback_router
from langchain_ldai.testing import RecordingClient
from tests.server.conftest import Open, user_of

Run = tuple[str, str]

NOT_MOUNTED = r"feedback_routes\(\) returns a list of routes, neither a router nor an application"


def current_user(x_user: str = Header()) -> Context:
    """Return whose request it is, as the application's other routes would be told."""
    if x_user == "stranger":
        raise HTTPException(403, "log in first")
    return Context.create(x_user)


@pytest.fixture
def received() -> list[FeedbackReceived]:
    """What was passed on."""
    return []


@pytest.fixture
def app(ai: LdAiClient, sealer: TokenSealer, received: list[FeedbackReceived]) -> FastAPI:
    """An application that takes feedback below a prefix."""
    app = FastAPI()
    router = feedback_router(
        ai, sealer, context=Depends(current_user), limit="3/minute", on_feedback=received.append
    )
    app.include_router(router, prefix="/api")
    return app


@pytest.mark.asyncio
async def test_feedback_is_recorded_for_whom_the_dependency_says(
    app: FastAPI, browser: Open, run: Run, client: RecordingClient, received: list[FeedbackReceived]
) -> None:
    """It is counted for the user whom `Depends` found, and passed on."""
    posted = {"token": run[1], "kind": "negative", "comment": "too salty"}

    answer = await browser(app).post("/api/feedback", json=posted, headers={"X-User": "ada"})

    assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    assert client.metrics(run[0]) == {"$ld:ai:feedback:user:negative": [1]}
    assert client.events[-1].context == Context.create("ada")
    assert [feedback.comment for feedback in received] == ["too salty"]


@pytest.mark.asyncio
async def test_what_is_refused_is_refused_as_by_the_routes(
    app: FastAPI, ai: LdAiClient, browser: Open, run: Run, sealer: TokenSealer
) -> None:
    """Each request gets the very answer that it gets from `feedback_routes`."""
    routes = feedback_routes(ai, sealer, context_for=user_of, limit="3/minute")
    token = {"token": run[1], "kind": "positive"}
    bodies = [{"token": "forged", "kind": "positive"}, {**token, "kind": "up"}, {**token, "comment": "x" * 20_000}]
    answers: list[list[tuple[int, object]]] = []

    for application, path in ((app, "/api/feedback"), (Starlette(routes=[*routes]), "/feedback")):
        send = browser(application).post
        got: list[httpx.Response] = [await send(path, json=body, headers={"X-User": "ada"}) for body in bodies]
        got.append(await send(path, content="kind=positive", headers={"X-User": "ada"}))
        answers.append([(answer.status_code, answer.json()) for answer in got])

    assert answers[0] == answers[1]
    assert [status for status, _ in answers[0]] == [401, 400, 413, 415]


@pytest.mark.asyncio
async def test_a_thumb_cannot_be_changed(app: FastAPI, browser: Open, run: Run) -> None:
    """A second thumb gets a 409 that says so, and too many requests a 429."""
    send = browser(app).post

    answers = [
        await send("/api/feedback", json={"token": run[1], "kind": kind}, headers={"X-User": "ada"})
        for kind in ("positive", "negative", "negative", "negative")
    ]

    assert [answer.status_code for answer in answers] == [202, 409, 409, 429]
    assert answers[1].json()["error"]["message"] == "A thumb cannot be changed, and this run has one"


@pytest.mark.asyncio
async def test_the_dependency_refuses_as_in_other_routes(
    app: FastAPI, browser: Open, run: Run, client: RecordingClient
) -> None:
    """What `Depends` raises the application answers in its own way, and nothing is recorded."""
    posted = {"token": run[1], "kind": "positive"}

    answer = await browser(app).post("/api/feedback", json=posted, headers={"X-User": "stranger"})

    assert (answer.status_code, answer.json()) == (403, {"detail": "log in first"})
    assert client.metrics(run[0]) == {}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"key": "ada"}, r"is an ldclient.Context, not dict: use Context.from_dict\("),
        ("ada", "is an ldclient.Context, not str"),
        (Context.create(""), "is a Context that is valid, which this one is not"),
    ],
    ids=["dictionary", "text", "invalid"],
)
async def test_a_dependency_that_tells_no_context_is_logged(
    given: object, said: str, ai: LdAiClient, browser: Open, run: Run, sealer: TokenSealer, caplog
) -> None:
    """The request gets a 500, and the log says what the function returned and what to use."""
    app = FastAPI()
    app.include_router(feedback_router(ai, sealer, context=Depends(lambda: given)))

    answer = await browser(app).post("/feedback", json={"token": run[1], "kind": "positive"})

    assert answer.status_code == 500
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage().startswith(
        "The function given for context_for, or the Depends given for context, failed"
    )
    assert re.search(said, record.getMessage())


def test_the_application_describes_the_route(app: FastAPI) -> None:
    """Its OpenAPI has the request, each answer, and that a thumb cannot be changed, as the routes' own has."""
    [post] = [methods["post"] for path, methods in app.openapi()["paths"].items() if path == "/api/feedback"]
    [described] = [methods["post"] for methods in feedback_openapi()["paths"].values()]

    assert "one thumb, which cannot be changed" in post["description"]
    assert post["description"] == described["description"]
    assert set(described["responses"]) <= set(post["responses"])
    assert post["responses"]["409"]["description"] == "The run has a thumb already, which cannot be changed"
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert sorted(schema["properties"]) == ["comment", "kind", "token"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (
            {"context": current_user},
            TypeError,
            r"context is Depends\(...\) of a function .*, not function",
        ),
        ({"path": "feedback"}, ValueError, "path begins with a slash, as in '/feedback', not 'feedback'"),
        ({"path": None}, TypeError, "path is a str, not NoneType"),
        ({"ai": "sdk-key"}, TypeError, "ai is an LdAiClient, or an AsyncLdAiClient"),
    ],
    ids=["context", "slash", "path", "ai"],
)
def test_a_router_that_would_take_no_feedback_is_refused(
    options: dict[str, object], error: type[Exception], said: str, ai: LdAiClient, sealer: TokenSealer
) -> None:
    """It raises where it is made, and says what to give."""
    given = {"ai": ai, "sealer": sealer, "context": Depends(current_user), **options}

    with pytest.raises(error, match=said):
        feedback_router(**given)


def test_routes_that_are_taken_for_a_router_say_what_to_do(ai: LdAiClient, sealer: TokenSealer) -> None:
    """FastAPI's `include_router` does not take a list; the error names `feedback_router`."""
    routes = feedback_routes(ai, sealer, context_for=user_of)

    with pytest.raises(AttributeError, match=rf"{NOT_MOUNTED}.*include_router\(feedback_router"):
        APIRouter().include_router(routes)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["mount", "nested"])
async def test_routes_that_are_taken_for_an_application_say_what_to_do(
    name: str, ai: LdAiClient, sealer: TokenSealer, browser: Open
) -> None:
    """A list that is mounted, or that stands among the routes, fails at the first request."""
    routes = feedback_routes(ai, sealer, context_for=user_of)
    wrong = {"mount": Mount("/x", app=routes), "nested": routes}[name]

    with pytest.raises((TypeError, AttributeError), match=NOT_MOUNTED):
        await browser(Starlette(routes=[wrong])).post("/x/feedback", json={})


def test_fastapi_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error names the extra."""
    module = importlib.import_module("langchain_ldai.server.fastapi")
    monkeypatch.setitem(sys.modules, "fastapi", None)

    with pytest.raises(
        ImportError, match=r'^feedback_router needs fastapi: pip install "langchain-ldai\[fastapi\]"$'
    ):
        runpy.run_path(module.__file__)

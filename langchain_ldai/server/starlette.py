"""The feedback route for Starlette, and its description as a route of its own."""

import re
from collections.abc import Awaitable, Callable, Sequence
from reprlib import repr as short_repr
from typing import TYPE_CHECKING, Final, NoReturn

from limits.aio.storage import Storage
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from langchain_ldai._base.guard import Guard
from langchain_ldai._base.options import check_texts
from langchain_ldai._configs.client import AsyncLdAiClient, LdAiClient
from langchain_ldai._runs.tracker_factory import Sealer
from langchain_ldai.server.feedback import (
    ContextFor,
    FeedbackTaker,
    OnFeedback,
    answered,
    check_called,
    check_path,
)
from langchain_ldai.server.openapi import feedback_openapi

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/]+")

_NOT_MOUNTED: Final = (
    "feedback_routes() returns a list of routes, neither a router nor an application: give them to Starlette as "
    "routes=[*routes], or to a Mount as routes=routes; for FastAPI, include_router(feedback_router(...))"
)


def feedback_routes(
    ai: LdAiClient | AsyncLdAiClient,
    sealer: Sealer,
    *,
    context_for: ContextFor,
    path: str = "/feedback",
    limit: str = "5/minute",
    limit_storage: Storage | None = None,
    on_feedback: OnFeedback | None = None,
    allow_origins: Sequence[str] = (),
) -> list[BaseRoute]:
    """Return the routes `POST /feedback` and `GET /feedback/openapi.json`, for Starlette.

    For FastAPI there is `langchain_ldai.server.fastapi.feedback_router`.

    `POST /feedback` takes `{"token": ..., "kind": "positive" or "negative", "comment": ...}`. It answers 202, or
    with an error in JSON; the error is the same for forged, expired and plain tokens. A run takes one thumb, which
    cannot be changed: a second one gets a 409.

    Args:
        ai: Records the feedback, through its ledger. Without a ledger, each process records feedback on a run
            once: where several processes take feedback, give the client a ledger that they share.
        sealer: Unseals the tokens.
        context_for: Says whom a request comes from, before the request counts for the limit. A plain function is
            called in a thread. To refuse a request, it raises `starlette.exceptions.HTTPException`. Any other
            error that it raises is logged, and the request gets a 500.
        path: Where the route is; it begins with a slash.
        limit: How many requests a run gets, as `limits` writes it: "5/minute", or several: "5/minute; 20/day".
        limit_storage: Where requests are counted, from `limits.aio.storage`; without it, in this process. While it
            fails, requests get a 503.
        on_feedback: Called with each `FeedbackReceived` once it is recorded, even if its request got a 503 or was
            given up before that. A plain function is called in a thread, a coroutine function on the event loop as
            long as the loop runs. What it raises is logged, and changes no answer.
        allow_origins: Origins whose pages may call the route from a browser, as in "https://example.com". They may
            send an `Authorization` header for `context_for`, and no cookies.

    Raises:
        TypeError: If an option is of another type.
        ValueError: If `path` begins with no slash, `limit` cannot be read, or an origin is no origin.

    Example:
        >>> from starlette.applications import Starlette
        >>> from starlette.testclient import TestClient
        >>> from langchain_ldai.sealing import TokenSealer
        >>> sealer = TokenSealer([TokenSealer.generate_key()])
        >>> def context_for(request: Request) -> Context:
        ...     return Context.create(request.headers["X-Authenticated-User"])  # which only your gateway sets
        >>> app = Starlette(routes=feedback_routes(ai, sealer, context_for=context_for))

        A client sends the sealed token of the run that it got with the answer:

        >>> tracker = ai.completion_config("support-bot", context).create_tracker()
        >>> posted = {"token": sealer.seal(tracker.resumption_token), "kind": "positive"}
        >>> TestClient(app).post("/feedback", json=posted, headers={"X-Authenticated-User": "user-1"})
        <Response [202 Accepted]>
    """
    check_path(path)
    check_called("context_for is a function from a request to a Context", context_for)
    allow_origins = _checked_origins(allow_origins)
    feedback = FeedbackTaker(ai, sealer, limit=limit, limit_storage=limit_storage, on_feedback=on_feedback)
    document = feedback_openapi(path)

    async def take(request: Request) -> Response:
        return await feedback.take(request, context_for)

    async def openapi(request: Request) -> Response:
        mounted_at = request.scope.get("root_path", "")
        return JSONResponse({**document, "servers": [{"url": mounted_at}]} if mounted_at else document)

    cors = Middleware(
        CORSMiddleware,
        allow_origins=allow_origins,
        allow_methods=["POST"],
        allow_headers=["Authorization"],
        expose_headers=["Retry-After"],
    )
    post = _Endpoint(["POST"], take, feedback.boundary)
    get = _Endpoint(["GET", "HEAD"], openapi, feedback.boundary)
    return _Routes(
        [
            Route(path, post, name="feedback", middleware=[cors] if allow_origins else None),
            Route(f"{path.rstrip('/')}/openapi.json", get, name="feedback_openapi"),
        ]
    )


def _checked_origins(allow_origins: Sequence[str]) -> Sequence[str]:
    origins = check_texts("allow_origins is a list of origins", allow_origins, "an origin")
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"an origin is a scheme and a host, as in 'https://example.com', not {short_repr(origin)}"
            )
    return origins


class _Routes(list[BaseRoute]):
    """A list of routes, which says what it is where it is taken for a router or an application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, as an application was expected.

        Raises:
            TypeError: Always. It says what to do with the routes.
        """
        raise TypeError(_NOT_MOUNTED)

    if not TYPE_CHECKING:  # for which any name would exist

        def __getattr__(self, name: str) -> NoReturn:
            """Say what to do with the routes."""
            raise AttributeError(f"{_NOT_MOUNTED} (it has no {name!r})")


class _Endpoint:
    """Answers requests of some methods; it answers in JSON also where it refuses a request or fails."""

    def __init__(
        self, methods: list[str], answer: Callable[[Request], Awaitable[Response]], boundary: Guard
    ) -> None:
        self._methods = methods
        self._answer = answer
        self._boundary = boundary

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await answered(self._boundary, self._answer_allowed, request)
        await response(scope, receive, send)

    async def _answer_allowed(self, request: Request) -> Response:
        if request.method not in self._methods:
            allowed = ", ".join(self._methods)
            raise HTTPException(405, f"Only {allowed} is supported here", {"Allow": allowed})
        return await self._answer(request)

"""The feedback route: a sealed token and a thumb in, feedback on the token's run recorded."""

import asyncio
import inspect
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from ldclient import Context
from limits import parse_many
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from pydantic import ValidationError
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from langchain_ldai.account import Sealer, check_sealer
from langchain_ldai.checks import check_instance
from langchain_ldai.client import AsyncLdAiClient, LdAiClient
from langchain_ldai.errors import InvalidResumptionTokenError, LedgerUnavailableError, without_message
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.metrics import Feedback
from langchain_ldai.resumption import RunIdentity, decode
from langchain_ldai.server.openapi import (
    ERRORS,
    MAX_BODY_BYTES,
    FeedbackRequest,
    feedback_openapi,
)

_log = logging.getLogger(__name__)

LEDGER_SECONDS: Final = 10.0
"""How long a request waits for the ledger."""

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/]+")

RETRY_SECONDS: Final = 30
"""When to come again after the ledger did not answer."""


@dataclass(frozen=True, slots=True)
class FeedbackReceived:
    """Feedback that has been recorded.

    Args:
        run_id: Id of the run that gave the answer.
        config_key: Key of the run's AI Config.
        kind: What the user thought.
        comment: What the user wrote, which LaunchDarkly does not take; `None` where nothing.
        context: Whom it is counted for.
    """

    run_id: str
    config_key: str
    kind: Feedback
    comment: str | None = field(repr=False)
    context: Context


ContextFor = Callable[[Request], Context | Awaitable[Context]]
OnFeedback = Callable[[FeedbackReceived], object]


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
    """Return the routes `POST /feedback` and `GET /feedback/openapi.json`, for Starlette and FastAPI.

    The first takes `{"token": ..., "kind": "positive" or "negative", "comment": ...}` and answers 202, or with an
    error in JSON: one and the same for forged, expired and plain tokens.

    Args:
        ai: Records the feedback, through its ledger. Without one, feedback on a run is recorded once in this
            process; where several take it, give the client a ledger that they share.
        sealer: Unseals the tokens.
        context_for: Says whom a request comes from; a plain function is called in a thread. To refuse a request,
            it raises `starlette.exceptions.HTTPException`.
        path: Where the route is.
        limit: How many requests a run gets, as `limits` writes it: "5/minute", or several: "5/minute; 20/day".
        limit_storage: Where they are counted, from `limits.aio.storage`; in this process unless told otherwise.
        on_feedback: Called with each `FeedbackReceived` once it is recorded and answered; a plain function in a
            thread. What it raises reaches the server.
        allow_origins: Origins whose pages may call the route from a browser, as in "https://example.com". They may
            send an `Authorization` header for `context_for`, and no cookies.

    Raises:
        TypeError: If an option is of another type.
        ValueError: If `limit` cannot be read, or an origin is none.
    """
    check_instance("ai", ai, "is an LdAiClient, or an AsyncLdAiClient", ("with_ledger", "create_tracker"))
    _check(sealer, context_for, limit_storage, on_feedback, allow_origins)
    ledger = MemoryLedger() if ai.ledger is None else ai.ledger
    recording = ai.with_ledger(ledger, timeout=LEDGER_SECONDS)  # nobody waits for longer
    limiter = _Limiter(limit, limit_storage or MemoryStorage())
    feedback = _FeedbackRoute(recording, sealer, context_for, limiter, on_feedback)
    document = feedback_openapi(path)

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
    post = _Endpoint(["POST"], feedback)
    get = _Endpoint(["GET", "HEAD"], openapi)
    return [
        Route(path, post, name="feedback", middleware=[cors] if allow_origins else None),
        Route(f"{path.rstrip('/')}/openapi.json", get, name="feedback_openapi"),
    ]


def _check(
    sealer: object, context_for: object, limit_storage: object, on_feedback: object, allow_origins: Sequence[str]
) -> None:
    check_sealer(sealer)
    if not callable(context_for):
        raise TypeError(f"context_for is a function from a request to a Context, not {type(context_for).__name__}")
    if not (limit_storage is None or isinstance(limit_storage, Storage)):
        raise TypeError(f"limit_storage is one of limits.aio.storage, not {type(limit_storage).__name__}")
    if not (on_feedback is None or callable(on_feedback)):
        raise TypeError(f"on_feedback is a function of FeedbackReceived, not {type(on_feedback).__name__}")
    if isinstance(allow_origins, str):
        raise TypeError("allow_origins is a list of origins, not one text")
    for origin in allow_origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"an origin is a scheme and a host, as in 'https://example.com', not {origin!r}")


class _Endpoint:
    """Answers requests of some methods; whatever it refuses, it refuses in JSON."""

    def __init__(self, methods: list[str], answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._methods = methods
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._response(Request(scope, receive))
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        try:
            if request.method not in self._methods:
                allowed = ", ".join(self._methods)
                raise HTTPException(405, f"Only {allowed} is supported here", {"Allow": allowed})
            return await self._answer(request)
        except HTTPException as error:
            return _refusal(error)


class _Limiter:
    """Counts the requests of each run; forged tokens do not come so far, and so take no memory."""

    def __init__(self, limit: str, storage: Storage) -> None:
        self._limits = parse_many(limit)
        self._limiter = FixedWindowRateLimiter(storage)
        failures = storage.base_exceptions
        known = failures if isinstance(failures, tuple) else (failures,)
        self._failures: tuple[type[Exception], ...] = (StorageError, *known)

    async def hit(self, run_id: str) -> None:
        try:
            for limit in self._limits:
                if not await self._limiter.hit(limit, __name__, run_id):
                    reset_time, _ = await self._limiter.get_window_stats(limit, __name__, run_id)
                    seconds = max(1, math.ceil(reset_time - time.time()))
                    raise HTTPException(429, "Too many requests for this run", {"Retry-After": str(seconds)})
        except self._failures as error:
            _log.error("the storage of the rate limit failed: %s", without_message(error))
            raise _unavailable() from None


@dataclass(frozen=True, slots=True)
class _FeedbackRoute:
    ai: LdAiClient | AsyncLdAiClient
    sealer: Sealer
    context_for: ContextFor
    limiter: _Limiter
    on_feedback: OnFeedback | None

    async def __call__(self, request: Request) -> Response:
        feedback = await _read(request)
        token, identity = self._unsealed(feedback.token)
        await self.limiter.hit(identity.run_id)
        context = await self._context(request)
        kind = Feedback(feedback.kind)
        await self._record(token, context, kind)
        received = FeedbackReceived(identity.run_id, identity.config_key, kind, feedback.comment, context)
        task = BackgroundTask(self.on_feedback, received) if self.on_feedback else None
        return JSONResponse({"status": "accepted"}, 202, background=task)

    def _unsealed(self, sealed: str) -> tuple[str, RunIdentity]:
        try:
            token = self.sealer.unseal(sealed)
        except InvalidResumptionTokenError as error:
            _log.info("feedback is refused: %s", error)
            raise HTTPException(401, "The token is not valid, or no longer") from None
        try:
            return token, decode(token)
        except InvalidResumptionTokenError:
            raise HTTPException(400, "The token is of a run of an agent graph, which takes no feedback") from None

    async def _context(self, request: Request) -> Context:
        context = await run_in_threadpool(self.context_for, request)
        if inspect.isawaitable(context):
            context = await context
        if not (isinstance(context, Context) and context.valid):
            raise TypeError("context_for returns a valid ldclient.Context: feedback is not counted for another")
        return context

    async def _record(self, token: str, context: Context, kind: Feedback) -> None:
        recording = self.ai.create_tracker(token, context).record_feedback(kind)
        try:
            is_recorded = await asyncio.wait_for(asyncio.wrap_future(recording), LEDGER_SECONDS)
        except (LedgerUnavailableError, TimeoutError):
            raise _unavailable() from None
        if not is_recorded:
            raise HTTPException(409, "Feedback on this run has been recorded already")


def _unavailable() -> HTTPException:
    return HTTPException(503, "Feedback cannot be recorded now", {"Retry-After": str(RETRY_SECONDS)})


def _refusal(error: HTTPException) -> JSONResponse:
    status = error.status_code
    code = ERRORS.get(status) or next((known.name.lower() for known in HTTPStatus if known == status), "refused")
    return JSONResponse({"error": {"code": code, "message": str(error.detail)}}, status, error.headers)


async def _read(request: Request) -> FeedbackRequest:
    content_type, _, _ = request.headers.get("content-type", "").partition(";")
    if content_type.strip().lower() != "application/json":
        raise HTTPException(415, "The content type is application/json")
    body = bytearray()
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            if len(body) + len(chunk) > MAX_BODY_BYTES:
                raise HTTPException(413, f"The body has more than {MAX_BODY_BYTES:,} bytes")
            body += chunk
    try:
        return FeedbackRequest.model_validate_json(body)
    except ValidationError as error:
        raise HTTPException(400, _reason(error)) from None


def _reason(error: ValidationError) -> str:
    """Return what is wrong with which field; a field that is unknown is not named, as it may say anything."""
    wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field_name = wrong["loc"][0] if wrong["loc"] and wrong["loc"][0] in FeedbackRequest.model_fields else "body"
    return f"{field_name}: {wrong['msg']}"

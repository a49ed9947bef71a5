"""The feedback route: it takes a sealed token and a thumb, and records feedback on the token's run."""

import asyncio
import inspect
import logging
import math
import re
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Final, TypeVar

from ldclient import Context
from limits import parse_many
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from pydantic import ValidationError
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from langchain_ldai._base.guard import Guard, Ids
from langchain_ldai._base.options import check_instance
from langchain_ldai._configs.client import AsyncLdAiClient, LdAiClient
from langchain_ldai._runs.totals import Sealer, check_sealer
from langchain_ldai._tracking.values import Feedback
from langchain_ldai._wire.tokens import RunIdentity, decode
from langchain_ldai.errors import InvalidResumptionTokenError, LedgerUnavailableError
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.server.openapi import (
    ERRORS,
    MAX_BODY_BYTES,
    FeedbackRequest,
    feedback_openapi,
)

_log = logging.getLogger(__name__)
_A = TypeVar("_A")
_T = TypeVar("_T")

LEDGER_SECONDS: Final = 10.0
"""How long a request waits for the ledger to answer."""

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/]+")

RETRY_SECONDS: Final = 30
"""When a client is told to come again where the ledger did not answer."""

_REQUEST_FAILED: Final = "A feedback request could not be answered and got a 500"
_CONTEXT_FOR_FAILED: Final = "The function given for context_for failed; the request got a 500"
_STORAGE_FAILED: Final = "The limit_storage failed; the feedback request got a 503"
_ON_FEEDBACK_FAILED: Final = "The function given for on_feedback failed; the feedback is recorded all the same"


@dataclass(frozen=True, slots=True)
class FeedbackReceived:
    """Feedback that has been recorded.

    Args:
        run_id: LaunchDarkly's id of the run that gave the answer.
        config_key: Key of the run's AI Config.
        kind: What the user thought.
        comment: What the user wrote, `None` where nothing. LaunchDarkly does not take it: keep it yourself.
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

    `POST /feedback` takes `{"token": ..., "kind": "positive" or "negative", "comment": ...}`. It answers 202, or
    with an error in JSON; the error is the same for forged, expired and plain tokens.

    Args:
        ai: Records the feedback, through its ledger. Without a ledger, each process records feedback on a run
            once: where several processes take feedback, give the client a ledger that they share.
        sealer: Unseals the tokens.
        context_for: Says whom a request comes from, before the request counts for the limit. A plain function is
            called in a thread. To refuse a request, it raises `starlette.exceptions.HTTPException`. Any other
            error that it raises is logged, and the request gets a 500.
        path: Where the route is.
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
        ValueError: If `limit` cannot be read, or an origin is no origin.

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
    check_instance("ai", ai, "is an LdAiClient, or an AsyncLdAiClient", ("with_ledger", "create_tracker"))
    _check(sealer, context_for, limit_storage=limit_storage, on_feedback=on_feedback)
    _check_origins(allow_origins)
    ledger = MemoryLedger() if ai.ledger is None else ai.ledger
    recording = ai.with_ledger(ledger, timeout=LEDGER_SECONDS)  # nobody waits for longer
    limiter = _Limiter(limit, limit_storage or MemoryStorage())
    boundary = Guard()
    feedback = _FeedbackRoute(recording, sealer, context_for, limiter, on_feedback, boundary)
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
    post = _Endpoint(["POST"], feedback, boundary)
    get = _Endpoint(["GET", "HEAD"], openapi, boundary)
    return [
        Route(path, post, name="feedback", middleware=[cors] if allow_origins else None),
        Route(f"{path.rstrip('/')}/openapi.json", get, name="feedback_openapi"),
    ]


def _check(sealer: object, context_for: object, *, limit_storage: object, on_feedback: object) -> None:
    check_sealer(sealer)
    if not callable(context_for):
        raise TypeError(f"context_for is a function from a request to a Context, not {type(context_for).__name__}")
    if not (limit_storage is None or isinstance(limit_storage, Storage)):
        raise TypeError(f"limit_storage is one of limits.aio.storage, not {type(limit_storage).__name__}")
    if not (on_feedback is None or callable(on_feedback)):
        raise TypeError(f"on_feedback is a function of FeedbackReceived, not {type(on_feedback).__name__}")


def _check_origins(allow_origins: Sequence[str]) -> None:
    if isinstance(allow_origins, str):
        raise TypeError("allow_origins is a list of origins, not one text")
    for origin in allow_origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"an origin is a scheme and a host, as in 'https://example.com', not {origin!r}")


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
        response = await self._boundary.call_async(_REQUEST_FAILED, Ids(), self._response, request)
        await (response or _refusal(_failed()))(scope, receive, send)

    async def _response(self, request: Request) -> ASGIApp:
        try:
            if request.method not in self._methods:
                allowed = ", ".join(self._methods)
                raise HTTPException(405, f"Only {allowed} is supported here", {"Allow": allowed})
            return await self._answer(request)
        except HTTPException as error:
            return _refusal(error)
        except ClientDisconnect:
            return _no_answer


class _Limiter:
    """Counts the requests of each run. Forged tokens are refused before, and so take no memory here."""

    def __init__(self, limit: str, storage: Storage) -> None:
        self._limits = parse_many(limit)
        self._limiter = FixedWindowRateLimiter(storage)

    async def count(self, run_id: str) -> int:
        """Count a request, and return the seconds until the run may have another; 0 within the limits."""
        for limit in self._limits:
            if not await self._limiter.hit(limit, __name__, run_id):
                reset_time, _ = await self._limiter.get_window_stats(limit, __name__, run_id)
                return max(1, math.ceil(reset_time - time.time()))
        return 0


@dataclass(frozen=True, slots=True)
class _FeedbackRoute:
    ai: LdAiClient | AsyncLdAiClient
    sealer: Sealer
    context_for: ContextFor
    limiter: _Limiter
    on_feedback: OnFeedback | None
    boundary: Guard
    tasks: set[asyncio.Task[None]] = field(default_factory=set)  # an event loop holds its tasks weakly

    async def __call__(self, request: Request) -> Response:
        posted = await _read(request)
        run = self._unsealed(posted.token)
        context = await self._context(request, run.run_id)
        await self._keep_limit(run.run_id)
        feedback = FeedbackReceived(run.run_id, run.config_key, Feedback(posted.kind), posted.comment, context)
        await self._record(run, feedback)
        return JSONResponse({"status": "accepted"}, 202, background=self._passing_on(feedback))

    def _unsealed(self, sealed: str) -> RunIdentity:
        try:
            token = self.sealer.unseal(sealed)
        except InvalidResumptionTokenError as error:
            _log.info("feedback is refused: %s", error)
            raise HTTPException(401, "The token is not valid, or no longer") from None
        try:
            return decode(token)
        except InvalidResumptionTokenError:
            raise HTTPException(400, "The token is of a run of an agent graph, which takes no feedback") from None

    async def _context(self, request: Request, run_id: str) -> Context:
        context = await self.boundary.call_async(_CONTEXT_FOR_FAILED, run_id, self._call_context_for, request)
        if isinstance(context, Context):
            return context
        raise context or _failed()

    async def _call_context_for(self, request: Request) -> Context | HTTPException:
        try:
            context = await _call(self.context_for, request)
        except HTTPException as refusal:
            return refusal
        if not (isinstance(context, Context) and context.valid):
            raise TypeError("context_for returns a valid ldclient.Context: feedback is not counted for another")
        return context

    async def _keep_limit(self, run_id: str) -> None:
        seconds = await self.boundary.call_async(_STORAGE_FAILED, run_id, self.limiter.count, run_id)
        if seconds is None:
            raise _unavailable()
        if seconds:
            raise HTTPException(429, "Too many requests for this run", {"Retry-After": str(seconds)})

    async def _record(self, run: RunIdentity, feedback: FeedbackReceived) -> None:
        recording = self.ai._tracker_of(run, feedback.context).record_feedback(feedback.kind)
        try:
            is_recorded = await asyncio.wait_for(asyncio.wrap_future(recording), LEDGER_SECONDS)
        except (LedgerUnavailableError, TimeoutError, asyncio.CancelledError) as error:
            # The ledger may still grant the claim: the next request for the run then gets a 409.
            recording.add_done_callback(partial(self._pass_on_late, feedback, asyncio.get_running_loop()))
            if isinstance(error, asyncio.CancelledError):
                raise
            raise _unavailable() from None
        if not is_recorded:
            raise HTTPException(409, "Feedback on this run has been recorded already")

    def _passing_on(self, feedback: FeedbackReceived) -> BackgroundTask | None:
        """Pass feedback on in a task of its own, which goes on even if the answer cannot be sent."""
        if self.on_feedback is None:
            return None
        task = self._start_task(feedback.run_id, _call(self.on_feedback, feedback))
        return BackgroundTask(asyncio.wait, [task])

    def _pass_on_late(
        self, feedback: FeedbackReceived, loop: asyncio.AbstractEventLoop, recording: Future[bool]
    ) -> None:
        """Pass feedback on that was recorded after its request had been answered; called in any thread."""
        if self.on_feedback is None or recording.cancelled() or recording.exception() or not recording.result():
            return
        call = partial(
            self.boundary.call,
            _ON_FEEDBACK_FAILED,
            feedback.run_id,
            partial(self._call_on_feedback, self.on_feedback, feedback, loop),
        )
        thread = threading.Thread(target=call)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending and starts no more threads
            thread.run()

    def _call_on_feedback(
        self, on_feedback: OnFeedback, feedback: FeedbackReceived, loop: asyncio.AbstractEventLoop
    ) -> None:
        result = on_feedback(feedback)
        if inspect.isawaitable(result) and loop.is_running():
            loop.call_soon_threadsafe(self._start_task, feedback.run_id, result)
        elif inspect.iscoroutine(result):
            result.close()
            _log.error(
                "feedback on run %s is recorded, but not passed on: on_feedback is a coroutine function, and its "
                "event loop has ended; to hear of such feedback too, give a plain function",
                feedback.run_id,
            )

    def _start_task(self, run_id: str, passing_on: Awaitable[object]) -> asyncio.Task[None]:
        task = asyncio.create_task(
            self.boundary.call_async(_ON_FEEDBACK_FAILED, run_id, _await_on_feedback, passing_on)
        )
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


async def _await_on_feedback(passing_on: Awaitable[object]) -> None:
    await passing_on


async def _call(function: Callable[[_A], _T | Awaitable[_T]], argument: _A) -> _T:
    """Call a function of the application's and return its result; a plain function runs in a thread."""
    result = await run_in_threadpool(function, argument)
    return await result if inspect.isawaitable(result) else result


async def _no_answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Send nothing: the client has left."""


def _failed() -> HTTPException:
    return HTTPException(500, "Feedback cannot be taken, as the application failed")


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
    """Return which field is wrong, and why. An unknown field is not named, as its name may say anything."""
    wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field_name = wrong["loc"][0] if wrong["loc"] and wrong["loc"][0] in FeedbackRequest.model_fields else "body"
    return f"{field_name}: {wrong['msg']}"

"""Taking feedback: a request brings a sealed token and a thumb, which is recorded on the token's run."""

import asyncio
import inspect
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from reprlib import repr as short_repr
from typing import Final, TypeVar

from ldclient import Context
from limits import parse_many
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from pydantic import ValidationError
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from langchain_ldai._base.exit import try_to_start
from langchain_ldai._base.guard import Guard, Ids
from langchain_ldai._base.options import check_instance, given_as, takes_one
from langchain_ldai._configs.client import AsyncLdAiClient, LdAiClient
from langchain_ldai._runs.tracker_factory import Sealer, check_sealer
from langchain_ldai._tracking.values import Feedback
from langchain_ldai._wire.tokens import RunIdentity, decode
from langchain_ldai.errors import InvalidResumptionTokenError, LedgerUnavailableError, WrongResultError
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.server.openapi import ERRORS, MAX_BODY_BYTES, FeedbackRequest

_log = logging.getLogger(__name__)
_A = TypeVar("_A")
_T = TypeVar("_T")

LEDGER_SECONDS: Final = 10.0
"""How long a request waits for the ledger to answer."""

RETRY_SECONDS: Final = 30
"""When a client is told to come again where the ledger did not answer."""

_REQUEST_FAILED: Final = "A feedback request could not be answered and got a 500"
_CONTEXT_FOR_FAILED: Final = (
    "The function given for context_for, or the Depends given for context, failed; the request got a 500"
)
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
    context: Context = field(hash=False)  # LaunchDarkly's has no hash


ContextFor = Callable[[Request], Context | Awaitable[Context]]
OnFeedback = Callable[[FeedbackReceived], object]


def check_path(path: str) -> None:
    """Check where a route is.

    Raises:
        TypeError: If it is not a string.
        ValueError: If it does not begin with a slash.
    """
    if not isinstance(path, str):
        raise TypeError(f"path is a str, not {type(path).__name__}")
    if not path.startswith("/"):
        raise ValueError(f"path begins with a slash, as in '/feedback', not {short_repr(path)}")


def check_called(expected: str, value: object) -> None:
    """Raise `TypeError` unless a value is a function of one argument, whose result may have to be awaited."""
    if isinstance(value, type) or not callable(value):
        raise TypeError(f"{expected}, not {given_as(value)}")
    if not takes_one(value):
        raise TypeError(f"{expected}; {short_repr(value)} cannot be called with one argument")


async def answered(
    boundary: Guard, answer: Callable[[Request], Awaitable[Response]], request: Request
) -> Response:
    """Return the answer to a request, in JSON also where it is refused or fails."""

    async def answer_or_refuse() -> Response:
        try:
            return await answer(request)
        except HTTPException as error:
            return _refusal(error)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody gets it, but middleware waits for an answer

    return await boundary.call_async(_REQUEST_FAILED, Ids(), answer_or_refuse) or _refusal(_failed())


class _Limiter:
    """Counts the requests of each run. Forged tokens are refused before, and so take no memory here."""

    def __init__(self, limit: str, storage: Storage) -> None:
        try:
            self._limits = parse_many(limit)
        except ValueError:
            raise ValueError(f"limit is a rate limit, such as '5/minute', not {short_repr(limit)}") from None
        self._limiter = FixedWindowRateLimiter(storage)

    async def count(self, run_id: str) -> int:
        """Count a request, and return the seconds until the run may have another; 0 within the limits."""
        for limit in self._limits:
            if not await self._limiter.hit(limit, __name__, run_id):
                reset_time, _ = await self._limiter.get_window_stats(limit, __name__, run_id)
                return max(1, math.ceil(reset_time - time.time()))
        return 0


class FeedbackTaker:
    """Takes the feedback of requests, whichever framework they come through.

    Args:
        ai: Records it, through a ledger.
        sealer: Unseals the tokens.
        limit: How many requests a run gets, as `limits` writes it.
        limit_storage: Where they are counted; `None` for this process.
        on_feedback: Hears of what was recorded.

    Attributes:
        boundary: Catches what the application's own code raises.

    Raises:
        TypeError: If an option is of another type.
        ValueError: If `limit` cannot be read.
    """

    def __init__(
        self,
        ai: LdAiClient | AsyncLdAiClient,
        sealer: Sealer,
        *,
        limit: str,
        limit_storage: Storage | None,
        on_feedback: OnFeedback | None,
    ) -> None:
        if hasattr(ai, "unseal"):
            raise TypeError(f"ai is a client, not {type(ai).__name__}: the client comes first, then the sealer")
        check_instance("ai", ai, "is an LdAiClient, or an AsyncLdAiClient", ("with_ledger", "create_tracker"))
        check_sealer(sealer)
        if not (limit_storage is None or isinstance(limit_storage, Storage)):
            raise TypeError(f"limit_storage is one of limits.aio.storage, not {type(limit_storage).__name__}")
        if on_feedback is not None:
            check_called("on_feedback is a function of FeedbackReceived", on_feedback)
        ledger = MemoryLedger() if ai.ledger is None else ai.ledger
        self._ai = ai.with_ledger(ledger, timeout=LEDGER_SECONDS)  # nobody waits for longer
        self._sealer = sealer
        self._limiter = _Limiter(limit, limit_storage or MemoryStorage())
        self._on_feedback = on_feedback
        self._tasks: set[asyncio.Task[object]] = set()  # an event loop holds its tasks weakly
        self.boundary: Final[Guard] = Guard()

    async def take(self, request: Request, context_for: ContextFor) -> Response:
        """Record a request's feedback, and return the answer.

        Raises:
            HTTPException: If the request is refused.
        """
        posted = await _read(request)
        run = self._unsealed(posted.token)
        context = await self._context(request, context_for, run.run_id)
        await self._keep_limit(run.run_id)
        feedback = FeedbackReceived(run.run_id, run.config_key, Feedback(posted.kind), posted.comment, context)
        await self._record(run, feedback)
        return JSONResponse({"status": "accepted"}, 202, background=self._passing_on(feedback))

    def _unsealed(self, sealed: str) -> RunIdentity:
        try:
            token = self._sealer.unseal(sealed)
        except InvalidResumptionTokenError as error:
            _log.info("feedback is refused: %s", error)
            raise _InvalidTokenError(401, "The token is not valid, or no longer") from None
        try:
            return decode(token)
        except InvalidResumptionTokenError:
            raise HTTPException(400, "The token is of a run of an agent graph, which takes no feedback") from None

    async def _context(self, request: Request, context_for: ContextFor, run_id: str) -> Context:
        context = await self.boundary.call_async(
            _CONTEXT_FOR_FAILED, run_id, _context_or_refusal, context_for, request
        )
        if isinstance(context, Context):
            return context
        raise context or _failed()

    async def _keep_limit(self, run_id: str) -> None:
        seconds = await self.boundary.call_async(_STORAGE_FAILED, run_id, self._limiter.count, run_id)
        if seconds is None:
            raise _unavailable()
        if seconds:
            raise HTTPException(429, "Too many requests for this run", {"Retry-After": str(seconds)})

    async def _record(self, run: RunIdentity, feedback: FeedbackReceived) -> None:
        recording = self._ai._tracker_of(run, feedback.context).record_feedback(feedback.kind)
        try:
            is_recorded = await asyncio.wait_for(asyncio.wrap_future(recording), LEDGER_SECONDS)
        except (LedgerUnavailableError, TimeoutError, asyncio.CancelledError) as error:
            # The ledger may still grant the claim: the next request for the run then gets a 409.
            recording.add_done_callback(partial(self._pass_on_late, feedback, asyncio.get_running_loop()))
            if isinstance(error, asyncio.CancelledError):
                raise
            raise _unavailable() from None
        if not is_recorded:
            raise HTTPException(409, "A thumb cannot be changed, and this run has one")

    def _passing_on(self, feedback: FeedbackReceived) -> BackgroundTask | None:
        """Pass feedback on in a task of its own, which goes on even if the answer cannot be sent."""
        if self._on_feedback is None:
            return None
        task = self._start_task(feedback.run_id, partial(_call, self._on_feedback, feedback))
        return BackgroundTask(asyncio.wait, [task])

    def _pass_on_late(
        self, feedback: FeedbackReceived, loop: asyncio.AbstractEventLoop, recording: Future[bool]
    ) -> None:
        """Pass feedback on that was recorded after its request had been answered; called in any thread."""
        if self._on_feedback is None or recording.cancelled() or recording.exception() or not recording.result():
            return
        call = self._call_on_feedback, self._on_feedback, feedback, loop
        thread = threading.Thread(target=self.boundary.call, args=(_ON_FEEDBACK_FAILED, feedback.run_id, *call))
        if not try_to_start(thread):
            thread.run()

    def _call_on_feedback(
        self, on_feedback: OnFeedback, feedback: FeedbackReceived, loop: asyncio.AbstractEventLoop
    ) -> None:
        result = on_feedback(feedback)
        if inspect.isawaitable(result) and loop.is_running():
            loop.call_soon_threadsafe(self._start_task, feedback.run_id, lambda: result)
        elif inspect.iscoroutine(result):
            result.close()
            _log.error(
                "feedback on run %s is recorded, but not passed on: on_feedback is a coroutine function, and its "
                "event loop has ended; to hear of such feedback too, give a plain function",
                feedback.run_id,
            )

    def _start_task(self, run_id: str, pass_on: Callable[[], Awaitable[object]]) -> asyncio.Task[object]:
        task = asyncio.create_task(self.boundary.call_async(_ON_FEEDBACK_FAILED, run_id, pass_on))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _context_or_refusal(context_for: ContextFor, request: Request) -> Context | HTTPException:
    try:
        context: object = await _call(context_for, request)
    except HTTPException as refusal:
        return refusal
    if not isinstance(context, Context):
        make = "from_dict" if isinstance(context, dict) else "create" if isinstance(context, str) else ""
        remedy = f": use Context.{make}(...)" if make else ""
        raise WrongResultError(
            f"whom feedback is counted for is an ldclient.Context, not {type(context).__name__}{remedy}"
        )
    if not context.valid:
        raise WrongResultError("whom feedback is counted for is a Context that is valid, which this one is not")
    return context


class _InvalidTokenError(HTTPException):
    """The token is refused; that the user is not logged in has another code."""


async def _call(function: Callable[[_A], _T | Awaitable[_T]], argument: _A) -> _T:
    """Call a function of the application's and return its result; a plain function runs in a thread."""
    result = await run_in_threadpool(function, argument)
    return await result if inspect.isawaitable(result) else result


def _failed() -> HTTPException:
    return HTTPException(500, "Feedback cannot be taken, as the application failed")


def _unavailable() -> HTTPException:
    return HTTPException(503, "Feedback cannot be recorded now", {"Retry-After": str(RETRY_SECONDS)})


def _refusal(error: HTTPException) -> JSONResponse:
    status = error.status_code
    code = "invalid_token" if isinstance(error, _InvalidTokenError) else ERRORS.get(status)
    code = code or next((known.name.lower() for known in HTTPStatus if known == status), "refused")
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

"""The feedback route for FastAPI, in the application's own OpenAPI; it needs the extra `fastapi`."""

from functools import partial
from typing import Annotated, Any

from ldclient import Context
from limits.aio.storage import Storage
from starlette.requests import Request
from starlette.responses import Response

from langchain_ldai._configs.client import AsyncLdAiClient, LdAiClient
from langchain_ldai._runs.tracker_factory import Sealer
from langchain_ldai.server.feedback import FeedbackTaker, OnFeedback, answered, check_path
from langchain_ldai.server.openapi import feedback_operation, schema_itself

try:
    from fastapi import APIRouter, params
except ImportError as _error:
    raise ImportError('feedback_router needs fastapi: pip install "langchain-ldai[fastapi]"') from _error

__all__ = ["feedback_router"]


def feedback_router(
    ai: LdAiClient | AsyncLdAiClient,
    sealer: Sealer,
    *,
    context: Any,  # noqa: ANN401  as FastAPI's `Depends` is typed
    path: str = "/feedback",
    limit: str = "5/minute",
    limit_storage: Storage | None = None,
    on_feedback: OnFeedback | None = None,
) -> APIRouter:
    """Return a router with `POST /feedback`, for FastAPI's `include_router`.

    It takes `{"token": ..., "kind": "positive" or "negative", "comment": ...}`. It answers 202, or with an error
    in JSON, as the application's OpenAPI describes. A run takes one thumb, which cannot be changed: a second one
    gets a 409.

    Args:
        ai: Records the feedback, through its ledger; see `feedback_routes`.
        sealer: Unseals the tokens.
        context: `Depends` of a function that returns whom a request comes from, a `ldclient.Context`. To refuse a
            request, the function raises `fastapi.HTTPException`, which the application answers in its own way.
        path: Where the route is, below the prefix of the application's `include_router`; it begins with a slash.
        limit: How many requests a run gets, as `limits` writes it: "5/minute", or several: "5/minute; 20/day".
        limit_storage: Where requests are counted, from `limits.aio.storage`; without it, in this process. While it
            fails, requests get a 503.
        on_feedback: Called with each `FeedbackReceived` once it is recorded; see `feedback_routes`.

    Raises:
        TypeError: If an option is of another type.
        ValueError: If `path` begins with no slash, or `limit` cannot be read.

    Example:
        >>> from fastapi import Depends, FastAPI
        >>> from starlette.testclient import TestClient
        >>> from langchain_ldai.sealing import TokenSealer
        >>> sealer = TokenSealer([TokenSealer.generate_key()])
        >>> def current_user(request: Request) -> Context:
        ...     return Context.create(request.headers["X-Authenticated-User"])  # which only your gateway sets
        >>> app = FastAPI()
        >>> app.include_router(feedback_router(ai, sealer, context=Depends(current_user)))

        A client sends the sealed token of the run that it got with the answer:

        >>> tracker = ai.completion_config("support-bot", context).create_tracker()
        >>> posted = {"token": sealer.seal(tracker.resumption_token), "kind": "positive"}
        >>> TestClient(app).post("/feedback", json=posted, headers={"X-Authenticated-User": "user-1"})
        <Response [202 Accepted]>
    """
    check_path(path)
    if not isinstance(context, params.Depends):
        raise TypeError(f"context is Depends(...) of a function to a Context, not {type(context).__name__}")
    feedback = FeedbackTaker(ai, sealer, limit=limit, limit_storage=limit_storage, on_feedback=on_feedback)

    async def take(request: Request, context: Annotated[Context, context]) -> Response:
        async def context_for(request: Request) -> Context:
            return context

        return await answered(feedback.boundary, partial(feedback.take, context_for=context_for), request)

    operation = feedback_operation(schema_itself)
    router = APIRouter()
    router.add_api_route(
        path,
        take,
        methods=["POST"],
        name="feedback",
        status_code=202,
        response_class=Response,
        responses={int(status): answer for status, answer in operation["responses"].items()},
        summary=operation["summary"],
        description=operation["description"],
        openapi_extra={"requestBody": operation["requestBody"]},
    )
    return router

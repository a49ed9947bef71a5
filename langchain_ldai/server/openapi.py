"""What the feedback route takes and answers, as types and as an OpenAPI document."""

from http import HTTPStatus
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_BODY_BYTES: Final = 16_384
MAX_TOKEN_LENGTH: Final = 4_096
MAX_COMMENT_LENGTH: Final = 1_000
"""In characters. A body within both limits is within `MAX_BODY_BYTES` too, however JSON escapes it."""

ERRORS: Final = {
    400: "malformed",
    401: "invalid_token",
    405: "method_not_allowed",
    409: "already_recorded",
    413: "too_large",
    415: "not_json",
    429: "too_many_requests",
    500: "internal_server_error",
    503: "unavailable",
}
"""The code in a refusal's body, by its HTTP status."""


class FeedbackRequest(BaseModel):
    """What is posted: the run's sealed token, what the user thought of it, and why."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    token: str = Field(pattern="^[A-Za-z0-9_.=-]+$", max_length=MAX_TOKEN_LENGTH)
    kind: Literal["positive", "negative"]
    comment: str | None = Field(default=None, max_length=MAX_COMMENT_LENGTH)


_SCHEMAS: Final[dict[str, Any]] = {
    "Accepted": {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"const": "accepted"}},
        "additionalProperties": False,
    },
    "Refusal": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
                "additionalProperties": False,
            }
        },
        "additionalProperties": False,
    },
}


def feedback_openapi(path: str = "/feedback") -> dict[str, Any]:
    """Return the OpenAPI document of the feedback route at a path.

    Example:
        >>> sorted(feedback_openapi("/thumbs")["paths"]["/thumbs"]["post"]["responses"])[:2]
        ['202', '400']
    """
    schemas = {202: "Accepted", **dict.fromkeys(ERRORS, "Refusal")}
    del schemas[405]  # only other methods than the one described get it
    post = {
        "operationId": "feedback",
        "summary": "Record feedback on a run",
        "requestBody": {"required": True, **_json("FeedbackRequest")},
        "responses": {
            str(status): {"description": HTTPStatus(status).phrase, **_json(schema)}
            for status, schema in schemas.items()
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Feedback on runs", "version": "1"},
        "paths": {path: {"post": post}},
        "components": {"schemas": {"FeedbackRequest": FeedbackRequest.model_json_schema(), **_SCHEMAS}},
    }


def _json(schema: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}

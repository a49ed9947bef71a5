"""What the feedback route takes and answers, as types and as an OpenAPI document."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_BODY_BYTES: Final = 16_384
MAX_TOKEN_LENGTH: Final = 4_096
MAX_COMMENT_LENGTH: Final = 1_000
"""In characters. A body within both limits is within `MAX_BODY_BYTES` too, however JSON escapes it."""

ERRORS: Final = {
    400: "malformed",
    401: "unauthorized",
    405: "method_not_allowed",
    409: "already_recorded",
    413: "too_large",
    415: "not_json",
    429: "too_many_requests",
    500: "internal_server_error",
    503: "unavailable",
}
"""The code in a refusal's body, by its HTTP status. That of a token that is refused is "invalid_token"."""


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


_DESCRIPTION: Final = (
    "Takes the sealed token of the run that gave an answer, and what a user thought of the answer. A run takes "
    "one thumb, which cannot be changed: a second one gets a 409."
)
_CONFLICT: Final = "The run has a thumb already, which cannot be changed"


def feedback_openapi(path: str = "/feedback") -> dict[str, Any]:
    """Return the OpenAPI document of the feedback route at a path.

    Example:
        >>> sorted(feedback_openapi("/thumbs")["paths"]["/thumbs"]["post"]["responses"])[:2]
        ['202', '400']
    """
    post = feedback_operation(lambda name: {"$ref": f"#/components/schemas/{name}"})
    return {
        "openapi": "3.1.0",
        "info": {"title": "Feedback on runs", "version": "1"},
        "paths": {path: {"post": {"operationId": "feedback", **post}}},
        "components": {"schemas": {"FeedbackRequest": FeedbackRequest.model_json_schema(), **_SCHEMAS}},
    }


def feedback_operation(schema_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Return what OpenAPI says of posting feedback.

    Args:
        schema_of: Returns a schema by its name, itself or a reference to it.
    """
    schemas = {202: "Accepted", **dict.fromkeys(ERRORS, "Refusal")}
    del schemas[405]  # only other methods than the one described get it

    def content(name: str) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema_of(name)}}}

    return {
        "summary": "Record feedback on a run",
        "description": _DESCRIPTION,
        "requestBody": {"required": True, **content("FeedbackRequest")},
        "responses": {
            str(status): {
                "description": _CONFLICT if status == HTTPStatus.CONFLICT else HTTPStatus(status).phrase,
                **content(name),
            }
            for status, name in schemas.items()
        },
    }


def schema_itself(name: str) -> dict[str, Any]:
    """Return a schema of the feedback route by its name."""
    return FeedbackRequest.model_json_schema() if name == "FeedbackRequest" else _SCHEMAS[name]

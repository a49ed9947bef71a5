"""The bodies in which an SDK sends its events."""

import json
import zlib
from collections.abc import Mapping
from typing import Final

from langchain_ldai._protocol.flags import Json

_GZIP: Final = 31
"""What zlib calls a gzip header with the largest window."""


class RefusedBatchError(ValueError):
    """The events of a request are not taken.

    Args:
        status: The HTTP status of the answer.
        reason: Why, for the sender.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def read_batch(body: bytes, encoding: str | None, max_bytes: int = 0) -> list[Json]:
    """Return the events of a request's body.

    Args:
        body: The body as it came.
        encoding: The request's content encoding; "gzip" is unpacked, anything else read as it is.
        max_bytes: The most bytes to unpack; 0 for no limit.

    Raises:
        RefusedBatchError: If the body does not hold a list of events, or more than `max_bytes` bytes.
    """
    plain = _unpacked(body, max_bytes) if encoding == "gzip" else body
    if max_bytes and len(plain) > max_bytes:
        raise too_large(max_bytes)
    try:
        batch = json.loads(plain)
    except (ValueError, RecursionError) as error:
        raise RefusedBatchError(400, f"the body is not JSON: {error}") from None
    if not isinstance(batch, list) or not all(isinstance(event, dict) for event in batch):
        raise RefusedBatchError(400, "the body is not a JSON list of events")
    return batch


def too_large(max_bytes: int) -> RefusedBatchError:
    """Return the refusal of a batch of more than so many bytes."""
    return RefusedBatchError(413, f"the batch has more than {max_bytes:,} bytes; send smaller batches")


def _unpacked(body: bytes, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(body, max_bytes + 1 if max_bytes else 0)
    except zlib.error as error:
        raise RefusedBatchError(400, f"the body is not gzip: {error}") from None
    if not unpacker.eof and not unpacker.unconsumed_tail:
        raise RefusedBatchError(400, "the gzip body is cut off")
    return plain


def custom_event(name: str, context: Json, data: Mapping[str, object], *, value: float, created_ms: int) -> Json:
    """Return the event that an SDK's `track` sends.

    Args:
        name: The event's name.
        context: Whom it is counted for, in LaunchDarkly's JSON format.
        data: The event's data.
        value: The metric's value.
        created_ms: When it happened, in milliseconds since 1970.
    """
    return {
        "kind": "custom",
        "creationDate": created_ms,
        "key": name,
        "context": context,
        "data": dict(data),
        "metricValue": value,
    }

"""The bodies in which an SDK sends its events."""

import json
import zlib
from collections.abc import Mapping
from typing import Final

from langchain_ldai._protocol.flags import Json

_GZIP: Final = 31
"""What zlib calls a gzip header with the largest window."""


class MalformedBatchError(ValueError):
    """The body holds no list of events; the message says why."""


class BatchTooLargeError(ValueError):
    """The unpacked body is larger than the limit."""


def read_batch(body: bytes, encoding: str | None, max_bytes: int = 0) -> list[Json]:
    """Return the events of a request's body.

    Args:
        body: The body as it came.
        encoding: The request's content encoding; "gzip" is unpacked, anything else read as it is.
        max_bytes: The most bytes to unpack; 0 for no limit.

    Raises:
        MalformedBatchError: If the body does not hold a list of events.
        BatchTooLargeError: If there are more than `max_bytes` bytes.
    """
    plain = _unpacked(body, max_bytes) if encoding == "gzip" else body
    if max_bytes and len(plain) > max_bytes:
        raise BatchTooLargeError(f"the batch has more than {max_bytes:,} bytes; send smaller batches")
    try:
        batch = json.loads(plain)
    except (ValueError, RecursionError) as error:
        raise MalformedBatchError(f"the body is not JSON: {error}") from None
    if not isinstance(batch, list) or not all(isinstance(event, dict) for event in batch):
        raise MalformedBatchError("the body is not a JSON list of events")
    return batch


def _unpacked(body: bytes, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(body, max_bytes + 1 if max_bytes else 0)
    except zlib.error as error:
        raise MalformedBatchError(f"the body is not gzip: {error}") from None
    if not unpacker.eof and not unpacker.unconsumed_tail:
        raise MalformedBatchError("the gzip body is cut off")
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

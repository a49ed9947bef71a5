"""What an unmodified LaunchDarkly server SDK asks for."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from langchain_ldai._protocol.batches import RefusedBatchError, read_batch, too_large
from langchain_ldai._protocol.flags import Change
from langchain_ldai._protocol.paths import BULK, DIAGNOSTIC, PAYLOAD_ID_HEADER, POLL, STREAM
from langchain_ldai._protocol.stream import HEARTBEAT, frame, put
from langchain_ldai.dev.served_configs import ServedConfigs
from langchain_ldai.dev.store import Store
from langchain_ldai.dev.subscribers import Subscribers

_log = logging.getLogger(__name__)

MAX_BATCH_BYTES: Final = 32 << 20
"""The largest batch, unpacked."""

MAX_READ_BYTES: Final = 8 * MAX_BATCH_BYTES
"""How much of a batch that is too large is read, so that its sender gets the answer."""

BODY_SECONDS: Final = 30.0
"""How long a client may take to send a batch."""


class SdkRoutes:
    """Serves flags to SDKs and stores the events they send.

    Args:
        configs: What is served.
        store: Where events go.
    """

    def __init__(self, configs: ServedConfigs, store: Store) -> None:
        self.streams: Subscribers = Subscribers(HEARTBEAT)
        self._configs = configs
        self._store = store

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(STREAM, self._stream),
            Route(POLL, self._poll),
            Route(BULK, self._bulk, methods=["POST"]),
            Route(DIAGNOSTIC, self._diagnostic, methods=["POST"]),
        ]

    def tell(self, changes: list[Change]) -> None:
        """Tell connected SDKs of changes."""
        for change in changes:
            self.streams.publish(frame(change))

    async def _stream(self, request: Request) -> Response:
        everything = frame(put(self._configs.snapshot()))
        return StreamingResponse(self.streams.news(everything), media_type="text/event-stream")

    async def _poll(self, request: Request) -> Response:
        return JSONResponse(self._configs.snapshot())

    async def _diagnostic(self, request: Request) -> Response:
        return Response(status_code=202)

    async def _bulk(self, request: Request) -> Response:
        try:
            body = await _body(request)
            encoding, payload_id = (request.headers.get(name) for name in ("content-encoding", PAYLOAD_ID_HEADER))
            await asyncio.to_thread(self._accept, body, encoding, payload_id)
        except ClientDisconnect:
            return Response(status_code=400)
        except RefusedBatchError as refused:
            _log.warning("a batch of events was refused: %s", refused)
            return PlainTextResponse(str(refused), refused.status)
        return Response(status_code=202)

    def _accept(self, body: bytes, encoding: str | None, payload_id: str | None) -> None:
        self._store.accept(payload_id, read_batch(body, encoding, MAX_BATCH_BYTES))


async def _body(request: Request) -> bytes:
    """Return a batch's body; one that is too large is read on, as its sender listens only at the end."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size <= MAX_BATCH_BYTES:
                    body += part
                elif size > MAX_READ_BYTES:
                    break
    except TimeoutError:
        raise RefusedBatchError(408, f"the batch took more than {BODY_SECONDS:g} s to arrive") from None
    if size > MAX_BATCH_BYTES:
        raise too_large(MAX_BATCH_BYTES)
    if media_type != "application/json":
        raise RefusedBatchError(415, f"the content type is {media_type[:99]!r}; send application/json")
    return bytes(body)

"""Those who wait for news over an open connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

HEARTBEAT_SECONDS: Final = 15.0


class Subscribers:
    """Gives each piece of news to everyone who waits, in one event loop.

    Args:
        heartbeat: What is given where no news comes for `HEARTBEAT_SECONDS`, to show that the connection lives.
        latest_only: Whether one piece of news that waits is enough, as each says the same.
    """

    def __init__(self, heartbeat: bytes, *, latest_only: bool = False) -> None:
        self._heartbeat = heartbeat
        self._latest_only = latest_only
        self._queues: set[asyncio.Queue[bytes]] = set()
        self._closed = False

    def publish(self, news: bytes) -> None:
        """Give a piece of news to everyone who waits."""
        for queue in self._queues:
            if not (self._latest_only and queue.qsize()):
                queue.put_nowait(news)

    def close(self) -> None:
        """Let everyone go."""
        self._closed = True
        for queue in self._queues:
            queue.put_nowait(b"")

    async def news(self, first: bytes) -> AsyncIterator[bytes]:
        """Yield the first piece of news, then each that comes, until `close` is called."""
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield first
            while not self._closed or queue.qsize():
                try:
                    news = await asyncio.wait_for(queue.get(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    news = self._heartbeat
                if not news:
                    return
                yield news
        finally:
            self._queues.discard(queue)

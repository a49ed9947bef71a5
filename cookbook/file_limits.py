"""Rate limits in a SQLite file, in which all workers of one host count: `limit_storage=FileLimits(path)`.

Several hosts share a `limits.aio.storage.RedisStorage`.
"""

import asyncio
import sqlite3
import time
from contextlib import closing
from typing import Any

from limits.aio.storage import Storage

SCHEMA = "CREATE TABLE IF NOT EXISTS counts (key TEXT PRIMARY KEY, count INTEGER, expires REAL)"
FORGET = "DELETE FROM counts WHERE expires <= ?"
COUNT = """
INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET count = count + excluded.count RETURNING count
"""


class FileLimits(Storage):
    """Counts requests in a file."""

    STORAGE_SCHEME = None
    base_exceptions = sqlite3.Error

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._run(SCHEMA)

    async def incr(self, key: str, expiry: int, amount: int = 1, *, elastic_expiry: bool = False) -> int:
        """Count a request, and return how many there have been since the window began."""
        await self._run_in_thread(FORGET, time.time())
        [(count,)] = await self._run_in_thread(COUNT, key, amount, time.time() + expiry)
        return int(count)

    async def get(self, key: str) -> int:
        """Return how many requests there have been."""
        found = await self._run_in_thread("SELECT count FROM counts WHERE key = ?", key)
        return int(found[0][0]) if found else 0

    async def get_expiry(self, key: str) -> float:
        """Return when the window ends, in seconds since 1970."""
        found = await self._run_in_thread("SELECT expires FROM counts WHERE key = ?", key)
        return float(found[0][0]) if found else time.time()

    async def check(self) -> bool:
        """Return whether the file can be used."""
        await self._run_in_thread("SELECT 1")
        return True

    async def reset(self) -> int | None:
        """Forget all requests."""
        await self._run_in_thread("DELETE FROM counts")
        return None

    async def clear(self, key: str) -> None:
        """Forget the requests of one run."""
        await self._run_in_thread("DELETE FROM counts WHERE key = ?", key)

    async def _run_in_thread(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return await asyncio.to_thread(self._run, statement, *values)

    def _run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._path, timeout=5, isolation_level=None)) as file:
            return file.execute(statement, values).fetchall()

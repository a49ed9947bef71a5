"""Posts batches of events to LaunchDarkly, as its SDK does."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import responses
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import ldclient.impl.http
import urllib3
from ldclient.config import Config
from ldclient.impl.http import HTTPFactory
from ldclient.version import VERSION
from urllib3.exceptions import HTTPError

from langchain_ldai._base.exit import try_to_start

if TYPE_CHECKING:
    from ldclient.async_config import AsyncConfig

ClientConfig: TypeAlias = "Config | AsyncConfig"
"""The configuration of a LaunchDarkly client, synchronous or not."""

EVENT_SCHEMA: Final = "4"

TIMEOUT_FACTOR: Final = 4
"""A request ends after this many times the client's two time-outs together, even while its answer arrives."""

SYNC_USER_AGENT: Final = "PythonClient"
ASYNC_USER_AGENT: Final[str] = getattr(ldclient.impl.http, "ASYNC_USER_AGENT", SYNC_USER_AGENT)
"""How the SDK's asynchronous client names itself; 9.17 had one name for both clients."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of posting a batch.

    Args:
        status: The HTTP status; 0 if there was no answer.
        retry_after: For how many seconds the service wants no more batches, `None` if it does not say.
        date: The service's clock, in seconds since 1970, `None` if it does not say.
        reason: The status or the failure in words, for the log.
    """

    status: int
    retry_after: float | None
    date: float | None
    reason: str

    @property
    def is_accepted(self) -> bool:
        """Whether the service has the batch now."""
        return 200 <= self.status < 300

    @property
    def is_refused(self) -> bool:
        """Whether the service will never take the batch as it is."""
        return self.status in (400, 413)


class EventsEndpoint:
    """Where a client's events go. It keeps a connection open; a forked process needs an endpoint of its own.

    Args:
        config: The client's configuration: address, SDK key, wrapper, application, compression, and HTTP options.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._uri = config.events_uri
        self._compresses = config.enable_event_compression
        self._headers = _headers(config)
        self._timeout = urllib3.Timeout(connect=config.http.connect_timeout, read=config.http.read_timeout)
        self._pool = HTTPFactory({}, config.http).create_pool_manager(1, self._uri)
        if config.http.cert_file:  # the SDK presents it in its asynchronous client alone
            self._pool.connection_pool_kw["cert_file"] = config.http.cert_file
        self._watch = _Watch(self._pool, TIMEOUT_FACTOR * (config.http.connect_timeout + config.http.read_timeout))

    def post(self, payload_id: str, records: Sequence[bytes]) -> Answer:
        """Send a batch once, and say what came of it.

        Args:
            payload_id: The batch's id, by which LaunchDarkly knows a repetition.
            records: The events, as `EventEncoder` makes them.
        """
        body = b"[%b]" % b",".join(records)
        try:
            with self._watch.limited():
                response = self._pool.request(
                    "POST",
                    self._uri,
                    headers={**self._headers, "X-LaunchDarkly-Payload-ID": payload_id},
                    body=gzip.compress(body) if self._compresses else body,
                    timeout=self._timeout,
                    retries=False,
                )
        except (HTTPError, OSError, ValueError) as error:  # ValueError: a header that HTTP cannot carry
            return Answer(0, None, None, self._watch.reason or _reason_of(error))
        if self._watch.reason:  # what arrived may be half an answer
            return Answer(0, None, None, self._watch.reason)
        if response.status == 200 and response.headers.get("Content-Type", "").startswith("text/html"):
            return Answer(0, None, None, "a web page, perhaps of a proxy that asks for a login")
        date = _seconds_of(response.headers.get("Date", ""))
        return Answer(
            response.status,
            _retry_after(response.headers.get("Retry-After", ""), time.time() if date is None else date),
            date,
            f"HTTP {response.status} {responses.get(response.status, '')}".rstrip(),
        )

    def close(self) -> None:
        """Close the connection. A later batch opens a new one."""
        self._pool.clear()


class _Watch:
    """Ends a request that takes too long: each byte of an answer renews the time-out, perhaps for ever.

    Args:
        pools: Makes the connections, one at a time.
        seconds: How long a request may take.

    Attributes:
        reason: Why the latest request was ended, in words; "" if it was not.
    """

    def __init__(self, pools: urllib3.PoolManager, seconds: float) -> None:
        self._seconds = seconds
        self._connection: Any = None
        self.reason = ""
        pools.pool_classes_by_scheme = {
            scheme: self._watched(pool) for scheme, pool in pools.pool_classes_by_scheme.items()
        }

    def _watched(self, pool: type[urllib3.HTTPConnectionPool]) -> type[urllib3.HTTPConnectionPool]:
        """Return a subclass of a pool that shows this each connection before it is opened."""

        def connection(**options: Any) -> object:
            self._connection = pool.ConnectionCls(**options)
            return self._connection

        return type(pool.__name__, (pool,), {"ConnectionCls": staticmethod(connection)})

    @contextmanager
    def limited(self) -> Generator[None]:
        """End the request that is made in the block, if it takes too long."""
        self.reason = ""
        timer = threading.Timer(self._seconds, self._cut)
        timer.daemon = True
        try_to_start(timer)
        try:
            yield
        finally:
            timer.cancel()

    def _cut(self) -> None:
        """Shut the connection that another thread waits for."""
        self.reason = f"no whole answer within {self._seconds:g} seconds"
        with (
            suppress(AttributeError, OSError),  # it is not open, or not any more
            socket.fromfd(self._connection.sock.fileno(), socket.AF_INET, socket.SOCK_STREAM) as held,
        ):
            held.shutdown(socket.SHUT_RDWR)


def _headers(config: ClientConfig) -> dict[str, str]:
    user_agent = SYNC_USER_AGENT if isinstance(config, Config) else ASYNC_USER_AGENT
    headers = {
        "Authorization": config.sdk_key or "",
        "User-Agent": f"{user_agent}/{VERSION}",
        "Content-Type": "application/json",
        "X-LaunchDarkly-Event-Schema": EVENT_SCHEMA,
    }
    if config.enable_event_compression:
        headers["Content-Encoding"] = "gzip"
    instance_id = getattr(config, "_instance_id", None)  # no public attribute says it
    if instance_id is not None:
        headers["X-LaunchDarkly-Instance-Id"] = instance_id
    tags = [
        f"application-{name}/{config.application[name]}" for name in ("id", "version") if config.application[name]
    ]
    if tags:
        headers["X-LaunchDarkly-Tags"] = " ".join(tags)
    name, version = config.wrapper_name, config.wrapper_version
    if name and isinstance(name, str):
        has_version = version and isinstance(version, str)
        headers["X-LaunchDarkly-Wrapper"] = f"{name}/{version}" if has_version else name
    return headers


def _reason_of(error: BaseException) -> str:
    """Return the kind of failure, and what the system said, but no message: it may show a password."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return f"{type(error).__name__}: {cause.strerror}"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def _retry_after(text: str, now: float) -> float | None:
    if text.isascii() and text.isdigit():
        return float(text)
    date = _seconds_of(text)
    return None if date is None else max(0.0, date - now)


def _seconds_of(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None

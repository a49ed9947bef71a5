"""The local LaunchDarkly as a server: its application, and how it runs."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from langchain_ldai.dev.access import Guard, is_loopback
from langchain_ldai.dev.errors import DevError
from langchain_ldai.dev.page_routes import PageRoutes
from langchain_ldai.dev.sdk_routes import SdkRoutes
from langchain_ldai.dev.served_configs import ServedConfigs
from langchain_ldai.dev.store import Store, StoreError

SECONDS_BETWEEN_LOOKS: Final = 0.3
"""How often the server looks whether the file of AI Configs was saved, and whether there are new runs."""

_SECONDS_TO_STOP: Final = 3
_SECONDS_IDLE: Final = 75  # SDKs flush every 5 s by default: a connection that ends just then costs them a warning
_HIGHEST_PORT: Final = 65_535


@dataclass(frozen=True)
class Address:
    """Where the server listens, and who may ask.

    Args:
        host: Its name or address.
        port: Its port, 0 for a free one.
        token: What SDKs and browsers must send; it may be "" on loopback.

    Raises:
        DevError: If there is no such port, or the host is beyond loopback and there is no token.
    """

    host: str = "127.0.0.1"
    port: int = 8030
    token: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _HIGHEST_PORT:
            raise DevError(f"there is no port {self.port}; choose one up to {_HIGHEST_PORT} with --port")
        if not self.token and not is_loopback(self.host):
            raise DevError(f"others can reach {self.host}, so --host {self.host} needs --token with a secret")

    @property
    def shown_host(self) -> str:
        """The host as a URL writes it."""
        return f"[{self.host}]" if ":" in self.host else self.host


def listen(address: Address) -> socket.socket:
    """Return a socket that listens at an address.

    Raises:
        DevError: If that cannot be, for example because another program listens there.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=128)
    except OSError as error:
        reason = "another program listens there" if error.errno == errno.EADDRINUSE else error
        remedy = "choose another with --host or --port; --port 0 takes a free one"
        raise DevError(f"cannot listen on {address.host}:{address.port}: {reason}; {remedy}") from None


class DevServer(uvicorn.Server):
    """A local LaunchDarkly.

    Args:
        configs: What it serves.
        store: Where it keeps runs.
        token: What SDKs and browsers must send; "" if they need not.
    """

    def __init__(self, configs: ServedConfigs, store: Store, token: str = "") -> None:
        self.page: PageRoutes = PageRoutes(configs, store, token)
        self.sdks: SdkRoutes = SdkRoutes(configs, store)
        self._configs = configs
        self._store = store
        routes = [*self.sdks.routes(), *self.page.routes()]
        app = Guard(Starlette(routes=routes, exception_handlers={StoreError: _told}), token)
        options = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_keep_alive=_SECONDS_IDLE,
            timeout_graceful_shutdown=_SECONDS_TO_STOP,
        )
        super().__init__(options)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and follow the changes of the file of AI Configs and of the runs."""
        await super().startup(sockets)
        self._followers = [asyncio.create_task(follow()) for follow in (self._follow_file, self._follow_runs)]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let everyone go who waits for news, then stop."""
        for follower in self._followers:
            follower.cancel()
        self.sdks.streams.close()
        self.page.streams.close()
        await super().shutdown(sockets)

    async def _follow_file(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            before = self._configs.problem
            self.sdks.tell(await asyncio.to_thread(self._configs.changes))
            if self._configs.problem != before:
                self.page.tell("configs")

    async def _follow_runs(self) -> None:
        """Tell pages of new runs, also of those that another server stores, and of runs that are lost."""
        seen: tuple[int, str] | None = None
        while True:
            with suppress(StoreError):  # pages that ask get the error, too
                now = await asyncio.to_thread(self._store.data_version), self._store.problem
                if seen not in (None, now):
                    self.page.tell("runs")
                seen = now
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


async def _told(request: Request, error: Exception) -> Response:
    """Answer where the file of runs cannot be read or written; an SDK takes it for a reason to try again."""
    return PlainTextResponse(str(error), 507)

"""An application with the feedback route, and who posts to it."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import pytest_asyncio
from ldclient import Context
from starlette.applications import Starlette
from starlette.requests import Request

from langchain_ldai import LdAiClient, LdAiCompletionConfig
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.server import feedback_routes

Open = Callable[[object], httpx.AsyncClient]


def user_of(request: Request) -> Context:
    """Return whose feedback it is, as a gateway before the application would have said."""
    return Context.create(request.headers.get("x-user", "user-1"))


@pytest.fixture
def sealer() -> TokenSealer:
    """A sealer with a key of its own."""
    return TokenSealer([TokenSealer.generate_key()])


@pytest.fixture
def app(ai: LdAiClient, sealer: TokenSealer) -> Starlette:
    """An application that takes feedback."""
    return Starlette(routes=feedback_routes(ai, sealer, context_for=user_of))


@pytest.fixture
def run(config: LdAiCompletionConfig, sealer: TokenSealer) -> tuple[str, str]:
    """A run: its id, and its sealed token."""
    tracker = config.create_tracker()
    return tracker.run_id, sealer.seal(tracker.resumption_token)


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Open]:
    """An opener of clients of an application."""
    opened: list[httpx.AsyncClient] = []

    def open_client(app: object) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=app)
        opened.append(httpx.AsyncClient(transport=transport, base_url="http://localhost"))
        return opened[-1]

    yield open_client
    for client in opened:
        await client.aclose()

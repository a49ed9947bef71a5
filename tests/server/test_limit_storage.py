"""Where requests are counted: it may fail, and a limit may be several."""

import logging

import pytest
from limits.aio.storage import MemoryStorage
from starlette.applications import Starlette
from starlette.routing import Mount

from langchain_ldai import LdAiClient
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.server import feedback_routes
from langchain_ldai.testing import RecordingClient
from tests.server.conftest import Open, user_of

pytestmark = pytest.mark.asyncio

ADDRESS = "redis://:secret@localhost"
Run = tuple[str, str]


class Down(MemoryStorage):
    """A storage that cannot be reached; what may fail is one type, or several."""

    base_exceptions = ConnectionError

    async def incr(self, *args: object, **options: object) -> int:
        """Fail."""
        raise ConnectionError(ADDRESS)


class DownInOneOfTwoWays(Down):
    """A storage that names two types."""

    base_exceptions = (TimeoutError, ConnectionError)


@pytest.mark.parametrize("storage", [Down, DownInOneOfTwoWays])
async def test_where_requests_cannot_be_counted_the_route_is_unavailable(
    storage: type, ai: LdAiClient, browser: Open, run: Run, sealer: TokenSealer, client: RecordingClient, caplog
) -> None:
    """The user is asked to come again; the log has the type of what failed and not its message."""
    caplog.set_level(logging.DEBUG)
    app = Starlette(routes=feedback_routes(ai, sealer, context_for=user_of, limit_storage=storage()))

    answer = await browser(app).post("/feedback", json={"token": run[1], "kind": "positive"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert client.metrics(run[0]) == {}
    assert "ConnectionError" in caplog.text
    assert ADDRESS not in caplog.text


async def test_of_several_limits_each_holds(ai: LdAiClient, browser: Open, run: Run, sealer: TokenSealer) -> None:
    """The one that is used up first refuses."""
    routes = feedback_routes(ai, sealer, context_for=user_of, limit="3/minute; 1/day")
    posts = browser(Starlette(routes=routes))

    answers = [await posts.post("/feedback", json={"token": run[1], "kind": "positive"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 429]
    assert int(answers[1].headers["retry-after"]) > 3600


async def test_origins_are_a_list(ai: LdAiClient, sealer: TokenSealer) -> None:
    """One text would be read as its letters."""
    with pytest.raises(TypeError, match="not one text"):
        feedback_routes(ai, sealer, context_for=user_of, allow_origins="https://shop.example")


async def test_feedback_is_not_counted_for_nobody(
    ai: LdAiClient, browser: Open, run: Run, sealer: TokenSealer, client: RecordingClient
) -> None:
    """A `context_for` that returns no valid context is a mistake of the application's."""
    app = Starlette(routes=feedback_routes(ai, sealer, context_for=lambda request: None))

    with pytest.raises(TypeError, match="context_for returns a valid"):
        await browser(app).post("/feedback", json={"token": run[1], "kind": "positive"})

    assert client.metrics(run[0]) == {}


async def test_a_mounted_document_says_where_it_is(ai: LdAiClient, browser: Open, sealer: TokenSealer) -> None:
    """Below a mount the document names the mount as its server."""
    app = Starlette(routes=[Mount("/api", routes=feedback_routes(ai, sealer, context_for=user_of))])

    described = (await browser(app).get("/api/feedback/openapi.json")).json()

    assert described["servers"] == [{"url": "/api"}]

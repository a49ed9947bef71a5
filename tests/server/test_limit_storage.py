"""Where requests are counted: it may fail, and a limit may be several."""

import logging

import limits.storage
import pytest
from ldclient import Context
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
    """A storage that cannot be reached."""

    base_exceptions = ConnectionError

    async def incr(self, *args: object, **options: object) -> int:
        """Fail."""
        raise ConnectionError(ADDRESS)


class DownInAWayOfItsOwn(Down):
    """A storage that fails in another way than it says."""

    base_exceptions = TimeoutError


class DownWhenAskedForTheWindow(MemoryStorage):
    """A storage that counts, and cannot say when the window ends."""

    async def get_expiry(self, key: str) -> float:
        """Fail."""
        raise ConnectionError(ADDRESS)


@pytest.mark.parametrize("storage", [Down, DownInAWayOfItsOwn, DownWhenAskedForTheWindow])
async def test_where_requests_cannot_be_counted_the_route_is_unavailable(
    storage: type, ai: LdAiClient, browser: Open, run: Run, sealer: TokenSealer, client: RecordingClient, caplog
) -> None:
    """The user is asked to come again; the log says so once, with the type of what failed and not its message."""
    caplog.set_level(logging.ERROR)
    routes = feedback_routes(ai, sealer, context_for=user_of, limit="1/minute", limit_storage=storage())
    posts = browser(Starlette(routes=routes))

    answers = [await posts.post("/feedback", json={"token": run[1], "kind": "positive"}) for _ in range(3)]

    assert (answers[2].status_code, answers[2].json()["error"]["code"]) == (503, "unavailable")
    assert len(client.metrics(run[0])) == (1 if storage is DownWhenAskedForTheWindow else 0)
    (record,) = caplog.records
    assert "limit_storage" in record.message
    assert "ConnectionError" in record.message
    assert ADDRESS not in record.message


async def test_of_several_limits_each_holds(ai: LdAiClient, browser: Open, run: Run, sealer: TokenSealer) -> None:
    """The one that is used up first refuses."""
    routes = feedback_routes(ai, sealer, context_for=user_of, limit="3/minute; 1/day")
    posts = browser(Starlette(routes=routes))

    answers = [await posts.post("/feedback", json={"token": run[1], "kind": "positive"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 429]
    assert int(answers[1].headers["retry-after"]) > 3600


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"allow_origins": "https://shop.example"}, TypeError, "allow_origins is a list of origins, not one text"),
        ({"allow_origins": ["shop.example"]}, ValueError, "an origin is a scheme and a host.* not 'shop.example'"),
        ({"allow_origins": ["https://shop.example/"]}, ValueError, "an origin is .* not 'https://shop.example/'"),
        ({"sealer": "a key"}, TypeError, r"sealer has seal\(\) and unseal\(\).* str is no such object"),
        ({"context_for": Context.create("user-1")}, TypeError, "context_for is a function .* not Context"),
        (
            {"limit_storage": limits.storage.MemoryStorage()},
            TypeError,
            "one of limits.aio.storage, not MemoryStorage",
        ),
        (
            {"context_for": lambda: None},
            TypeError,
            "context_for is a function .* cannot be called with one argument",
        ),
        (
            {"on_feedback": lambda: None},
            TypeError,
            "on_feedback is a function .* cannot be called with one argument",
        ),
        ({"on_feedback": dict}, TypeError, "on_feedback is a function of FeedbackReceived, not the class dict"),
        ({"on_feedback": "print"}, TypeError, "on_feedback is a function of FeedbackReceived, not str"),
    ],
)
async def test_an_option_that_cannot_work_is_refused_before_the_first_request(
    options: dict[str, object], error: type[Exception], message: str, ai: LdAiClient, sealer: TokenSealer
) -> None:
    """The message names the option and what it may be."""
    with pytest.raises(error, match=message):
        feedback_routes(ai, **{"sealer": sealer, "context_for": user_of, **options})


async def test_every_origin_may_be_allowed(ai: LdAiClient, sealer: TokenSealer) -> None:
    """A star stands for all, as it does in CORS; what is called later may be a coroutine function."""

    async def context_for(request):
        return user_of(request)

    assert len(feedback_routes(ai, sealer, context_for=context_for, allow_origins=["*"])) == 2


WRONG = {
    "class": (LdAiClient, "give an instance, not the class LdAiClient"),
    "launchdarkly": (
        RecordingClient(),
        "an LdAiClient, or an AsyncLdAiClient; RecordingClient is no such object",
    ),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
async def test_a_client_that_cannot_record_is_refused(given: object, message: str, sealer: TokenSealer) -> None:
    """So is a sealer's class, where a sealer is needed."""
    ai = LdAiClient(RecordingClient())
    with pytest.raises(TypeError, match=message):
        feedback_routes(given, sealer, context_for=print)
    with pytest.raises(TypeError, match="give an instance, not the class TokenSealer"):
        feedback_routes(ai, TokenSealer, context_for=print)


async def test_a_mounted_document_says_where_it_is(ai: LdAiClient, browser: Open, sealer: TokenSealer) -> None:
    """Below a mount the document names the mount as its server."""
    app = Starlette(routes=[Mount("/api", routes=feedback_routes(ai, sealer, context_for=user_of))])

    described = (await browser(app).get("/api/feedback/openapi.json")).json()

    assert described["servers"] == [{"url": "/api"}]

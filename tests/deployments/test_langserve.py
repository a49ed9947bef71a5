"""The LangServe recipe in real uvicorn workers: what each way of calling it leaves in LaunchDarkly."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
import pytest

from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.deployments.langserve_calls import (
    ANSWERED,
    LEFT,
    body_of,
    client,
    leave_early,
    run_of,
    sent,
    serving,
)
from tests.deployments.servers import ROOT
from tests.support.arrivals import once
from tests.support.chains import DURATION, ERROR, FIRST_TOKEN, POSITIVE, SUCCESS

pytestmark = pytest.mark.asyncio

ROUTES: Final = ["bound", "chat"]
STREAMED: Final = ["stream", "stream_events", "stream_log"]


@pytest.fixture(scope="module")
def launchdarkly() -> Iterator[LoopbackLaunchDarkly]:
    """A LaunchDarkly that serves the AI Config of the recipes."""
    with LoopbackLaunchDarkly.from_file(ROOT / "cookbook" / "flags.json") as service:
        yield service


@pytest.fixture(scope="module")
def server(launchdarkly: LoopbackLaunchDarkly, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two workers; once they have ended, no metric of any run is there twice."""
    with serving(launchdarkly, tmp_path_factory.mktemp("langserve"), 2, DELIVER_AT_ONCE="1") as address:
        yield address
    assert set(sent(launchdarkly).values()) == {1}


async def metrics(launchdarkly: LoopbackLaunchDarkly, user: str, *last: str) -> dict[str, list[str]]:
    """Return the names of the metrics of each run of a user once there are the ones that are to come."""

    def find() -> dict[str, list[str]] | None:
        runs: dict[str, list[str]] = {}
        for run_id, whose, name in sent(launchdarkly).elements():
            if whose == user:
                runs.setdefault(run_id, []).append(name)
        is_there = Counter(last) <= Counter(name for names in runs.values() for name in names)
        return {run_id: sorted(names) for run_id, names in runs.items()} if is_there else None

    return await asyncio.to_thread(once, launchdarkly, find)


@pytest.mark.parametrize("call", ["invoke", *STREAMED])
@pytest.mark.parametrize("route", ROUTES)
async def test_a_run_counts_once_for_the_user_of_its_request(
    route: str, call: str, server: str, launchdarkly: LoopbackLaunchDarkly
) -> None:
    """Every way of calling sends each metric once, for whom the gateway names and not the client (fact 101)."""
    user = f"{route}-{call}"

    async with client(server, user) as http:
        response = await http.post(f"/{route}/{call}", json=body_of())

    assert response.status_code == 200
    expected = sorted([*ANSWERED, FIRST_TOKEN] if call in STREAMED else ANSWERED)
    assert list((await metrics(launchdarkly, user, *expected)).values()) == [expected]


@pytest.mark.parametrize("route", ROUTES)
async def test_each_answer_of_a_batch_has_its_run_and_its_token(
    route: str, server: str, launchdarkly: LoopbackLaunchDarkly
) -> None:
    """What the request adds is not filtered out (fact 102), and the headers say which token is of which run."""
    user, body = f"{route}-batch", {"inputs": [{"question": str(number)} for number in range(10)]}

    async with client(server, user) as http:
        response = await http.post(f"/{route}/batch", json=body)

    run_ids = response.json()["metadata"]["run_ids"]
    ids, tokens = (response.headers.get_list(f"x-ldai-{name}") for name in ("run-id", "resumption-token"))
    assert sorted(ids) == sorted(run_ids)
    assert [run_of(token) for token in tokens] == ids
    counted = await metrics(launchdarkly, user, *ANSWERED * 10)
    assert counted == dict.fromkeys(run_ids, sorted(ANSWERED))


async def test_a_long_batch_has_no_tokens(server: str, launchdarkly: LoopbackLaunchDarkly) -> None:
    """Headers too long for proxies would lose the answers; the runs count all the same."""
    async with client(server, "long-batch") as http:
        response = await http.post("/chat/batch", json={"inputs": [{"question": "How?"}] * 11})

    assert response.json()["output"] == ["Hold the button"] * 11
    assert "x-ldai-resumption-token" not in response.headers
    assert len(await metrics(launchdarkly, "long-batch", *[SUCCESS] * 11)) == 11


@asynccontextmanager
async def other_worker(server: str, user: str, worker: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client for a user that stays connected to another worker than this."""
    headers, limits = {"X-Authenticated-User": user}, httpx.Limits(max_connections=1)
    for _ in range(1000):
        async with httpx.AsyncClient(base_url=server, headers=headers, limits=limits, timeout=60) as http:
            if (await http.get("/")).headers["x-worker"] != worker:
                yield http
                return
    raise AssertionError("every connection reached the same worker")


async def test_feedback_is_taken_once_by_whichever_worker(server: str, launchdarkly: LoopbackLaunchDarkly) -> None:
    """The token is good in the worker that did not make it; a second thumb is refused there and here."""
    async with client(server, "ada") as http:
        response = await http.post("/bound/invoke", json=body_of())
    run_id, worker = response.json()["metadata"]["run_id"], response.headers["x-worker"]
    thumb = {"token": response.headers["x-ldai-resumption-token"], "kind": "positive"}

    async with other_worker(server, "ada", worker) as elsewhere:
        there = [await elsewhere.post("/feedback", json=thumb) for _ in range(2)]
    async with other_worker(server, "ada", there[0].headers["x-worker"]) as home:
        here = await home.post("/feedback", json=thumb)

    assert [answer.status_code for answer in (*there, here)] == [202, 409, 409]
    assert worker == here.headers["x-worker"] != there[0].headers["x-worker"]
    assert await metrics(launchdarkly, "ada", *ANSWERED, POSITIVE) == {run_id: sorted([*ANSWERED, POSITIVE])}


async def test_the_workers_share_the_limit_of_requests(server: str) -> None:
    """A run gets five requests a minute from all workers together, and the sixth is refused by either."""
    async with client(server, "eve") as http:
        response = await http.post("/bound/invoke", json=body_of())
    thumb = {"token": response.headers["x-ldai-resumption-token"], "kind": "positive"}

    async with other_worker(server, "eve", response.headers["x-worker"]) as one:
        answers = [await one.post("/feedback", json=thumb) for _ in range(3)]
    async with other_worker(server, "eve", answers[0].headers["x-worker"]) as other:
        answers += [await other.post("/feedback", json=thumb) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 409, 409, 409, 409, 429]


async def test_the_client_of_the_recipe(server: str, launchdarkly: LoopbackLaunchDarkly) -> None:
    """A `RemoteRunnable` finds the token in the metadata of the events (facts 105, 110)."""
    command = [sys.executable, ROOT / "cookbook" / "langserve_client.py", server, "grace"]

    program = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await program.communicate()

    assert printed.decode() == "Hold the button\nfeedback: accepted\n"
    expected = sorted([*ANSWERED, FIRST_TOKEN, POSITIVE])
    assert list((await metrics(launchdarkly, "grace", *expected)).values()) == [expected]


@pytest.mark.parametrize("call", ["invoke", "batch"])
async def test_a_model_that_fails_is_an_error(call: str, server: str, launchdarkly: LoopbackLaunchDarkly) -> None:
    """The client gets a 500 (fact 107)."""
    body = {"inputs": [{"question": "Fail"}]} if call == "batch" else body_of("Fail")

    async with client(server, f"failed-{call}") as http:
        response = await http.post(f"/chat/{call}", json=body)

    assert response.status_code == 500
    assert list((await metrics(launchdarkly, f"failed-{call}", DURATION, ERROR)).values()) == [[DURATION, ERROR]]


@pytest.mark.parametrize("call", STREAMED)
async def test_a_model_that_fails_in_mid_stream_is_an_error(
    call: str, server: str, launchdarkly: LoopbackLaunchDarkly
) -> None:
    """The client has a 200 by then; it gets an event that says so (fact 107), and a broken connection."""
    user, expected = f"failed-{call}", sorted([DURATION, ERROR, FIRST_TOKEN])
    lines: list[str] = []

    async def read(response: httpx.Response) -> None:
        async for line in response.aiter_lines():
            lines.append(line)

    async with (
        client(server, user) as http,
        http.stream("POST", f"/chat/{call}", json=body_of("Fail")) as response,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            await read(response)

    assert (response.status_code, "event: error" in lines) == (200, True)
    assert list((await metrics(launchdarkly, user, *expected)).values()) == [expected]


@pytest.mark.parametrize("call", ["stream", "stream_events"])
@pytest.mark.parametrize("route", ROUTES)
async def test_a_client_that_leaves_makes_neither_success_nor_error(
    route: str, call: str, server: str, launchdarkly: LoopbackLaunchDarkly
) -> None:
    """The server cancels the run (fact 108); what is known of it is its time."""
    user = f"left-{route}-{call}"

    async with client(server, user) as http:
        run_id = await leave_early(http, f"/{route}/{call}", user)

    assert await metrics(launchdarkly, user, *LEFT) == {run_id: LEFT}


async def test_without_a_user_there_is_no_run(server: str) -> None:
    """A request that no gateway vouches for is refused, and a client's own word is none."""
    async with client(server, "") as http:
        refused = [
            await http.post("/chat/invoke", json=body_of()),
            await http.post("/chat/batch", json={"inputs": [{"question": "How?"}]}),
        ]

    assert [response.status_code for response in refused] == [401, 401]

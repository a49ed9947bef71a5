"""The LangServe recipe under a real uvicorn: what each route counts, gives and takes, alone and under load."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx
import pytest
import pytest_asyncio
from langserve import RemoteRunnable

from langchain_ldai.resumption import RunIdentity, decode, encode
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.testing import LoopbackLaunchDarkly, RecordedEvent
from tests.deployments.servers import ROOT, free_port, running
from tests.support.chains import DURATION, ERROR, FIRST_TOKEN, SUCCESS

pytestmark = pytest.mark.asyncio

REQUESTS: Final = int(os.environ.get("LANGSERVE_REQUESTS", "200"))
POSITIVE, TOTAL = "$ld:ai:feedback:user:positive", "$ld:ai:tokens:total"
TOKENS: Final = [f"$ld:ai:tokens:{part}" for part in ("total", "input", "output")]
HEADER: Final = "x-ldai-resumption-token"
KEY: Final = TokenSealer.generate_key()
TOKEN: Final = encode(RunIdentity("run-1", "support-bot"))
INPUT: Final = {"input": {"question": "How?"}}
ADA: Final = {"x-user": "ada"}


@contextmanager
def serving(launchdarkly: LoopbackLaunchDarkly, folder: Path, *, workers: int = 1) -> Iterator[str]:
    """Run the recipe's application until the block ends."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", "--app-dir", Path(__file__).parent, "langserve_faults:app"),
        *("--port", port, "--workers", workers, "--log-level", "warning"),
    ]
    environment = {
        "LAUNCHDARKLY_URL": launchdarkly.url,
        "LEDGER_FILE": str(folder / "ledger.db"),
        "TOKEN_KEYS": KEY,
        "LANGSMITH_TRACING": "false",
    }
    with running(command, port, "/feedback/openapi.json", environment, folder, folder / "log") as address:
        yield address


@pytest.fixture(scope="module")
def launchdarkly() -> Iterator[LoopbackLaunchDarkly]:
    """A LaunchDarkly that serves the AI Config of the recipes."""
    with LoopbackLaunchDarkly.from_file(ROOT / "cookbook" / "flags.json") as service:
        yield service


@pytest.fixture(scope="module")
def server(launchdarkly: LoopbackLaunchDarkly, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the application."""
    with serving(launchdarkly, tmp_path_factory.mktemp("langserve")) as address:
        yield address


@pytest_asyncio.fixture
async def http(server: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server, for Ada."""
    async with httpx.AsyncClient(base_url=server, headers=ADA, timeout=60) as client:
        yield client


def run_of(sealed: str) -> str:
    """Return the id of the run that a sealed token is of."""
    return decode(TokenSealer([KEY]).unseal(sealed)).run_id


async def events_of(
    run_id: str, launchdarkly: LoopbackLaunchDarkly, *, until: str = DURATION
) -> list[RecordedEvent]:
    """Return the events of a run once the one named has arrived."""
    while True:
        events = [event for event in launchdarkly.custom_events() if run_id in str(event.data)]
        if any(event.name == until for event in events):
            return events
        await asyncio.to_thread(launchdarkly.wait_for_events, len(launchdarkly.custom_events()) + 1, timeout=60)


async def sealed_in_events(http: httpx.AsyncClient, path: str) -> str:
    """Read a stream of events to its end and return the token in their metadata."""
    tokens = set()
    async with http.stream("POST", f"{path}/stream_events", json=INPUT) as answer:
        with suppress(httpx.RemoteProtocolError):  # how LangServe ends this stream where the chain fails
            async for line in answer.aiter_lines():
                if line.startswith("data:") and "ldai_resumption_token" in line:
                    tokens.add(json.loads(line[5:])["metadata"]["ldai_resumption_token"])
    (token,) = tokens
    return token


@pytest.mark.parametrize("path", ["/bound", "/chat"])
async def test_an_invoked_run_is_counted_for_its_user_and_hands_out_its_token(
    path: str, http: httpx.AsyncClient, launchdarkly: LoopbackLaunchDarkly
) -> None:
    """Each metric once, in the context of who asks, whatever the client says of itself (facts 101, 103)."""
    body = {**INPUT, "config": {"metadata": {"user": "somebody else"}, "callbacks": []}}

    answer = await http.post(f"{path}/invoke", json=body)

    assert answer.json()["output"] == "Hold the button"
    events = await events_of(run_of(answer.headers[HEADER]), launchdarkly)
    assert Counter(event.name for event in events) == Counter([SUCCESS, DURATION, *TOKENS])
    assert {event.context.key for event in events} == {"ada"}


@pytest.mark.parametrize("path", ["/bound", "/chat"])
async def test_each_element_of_a_batch_is_a_run(
    path: str, http: httpx.AsyncClient, launchdarkly: LoopbackLaunchDarkly
) -> None:
    """LangServe filters what is added for a batch by `config_keys`: nothing of it is lost (fact 102)."""
    answer = await http.post(f"{path}/batch", json={"inputs": [INPUT["input"]] * 3})

    tokens = answer.headers.get_list(HEADER)
    assert len({run_of(token) for token in tokens}) == len(tokens) == 3
    for token in tokens:
        events = await events_of(run_of(token), launchdarkly)
        assert Counter(event.name for event in events) == Counter([SUCCESS, DURATION, *TOKENS])
        assert {event.context.key for event in events} == {"ada"}


@pytest.mark.parametrize("path", ["/bound", "/chat"])
async def test_feedback_finds_its_run_by_the_token_of_the_stream(
    path: str, http: httpx.AsyncClient, launchdarkly: LoopbackLaunchDarkly
) -> None:
    """The events of a stream carry the sealed token (fact 105); feedback with it is taken once."""
    token = await sealed_in_events(http, path)
    body = {"token": token, "kind": "positive"}

    answers = [(await http.post("/feedback", json=body)).status_code for _ in range(2)]

    assert answers == [202, 409]
    events = await events_of(run_of(token), launchdarkly, until=POSITIVE)
    assert Counter(event.name for event in events) == Counter([FIRST_TOKEN, SUCCESS, DURATION, *TOKENS, POSITIVE])
    assert {event.context.key for event in events} == {"ada"}


async def test_a_remote_runnable_sees_the_token(server: str) -> None:
    """The recipe's client prints the answer as it comes, and its feedback is taken (fact 110)."""
    remote = RemoteRunnable(f"{server}/chat", headers=ADA)
    events = [event async for event in remote.astream_events(INPUT["input"], version="v2")]
    command = [sys.executable, ROOT / "cookbook" / "langserve_client.py", server]
    client = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await client.communicate()

    assert len({event["metadata"]["ldai_resumption_token"] for event in events}) == 1
    assert printed.decode() == "Hold the button\nfeedback: 202\n"


async def test_whom_nobody_has_authenticated_is_refused(server: str, launchdarkly: LoopbackLaunchDarkly) -> None:
    """Neither a run nor feedback is counted for no one."""
    async with httpx.AsyncClient(base_url=server) as http:
        answers = [
            await http.post("/chat/invoke", json=INPUT),
            await http.post("/feedback", json={"token": TokenSealer([KEY]).seal(TOKEN), "kind": "positive"}),
        ]

    assert [answer.status_code for answer in answers] == [401, 401]


async def test_a_chain_that_fails_is_an_error(http: httpx.AsyncClient, launchdarkly: LoopbackLaunchDarkly) -> None:
    """The run is an error with the tokens that it used (fact 107)."""
    token = await sealed_in_events(http, "/fails")

    events = await events_of(run_of(token), launchdarkly)
    assert Counter(event.name for event in events) == Counter([FIRST_TOKEN, ERROR, DURATION, *TOKENS])


async def left_early(http: httpx.AsyncClient) -> str:
    """Stream from the route that never ends, leave once the token has come, and return it."""
    async with http.stream("POST", "/endless/stream_events", json=INPUT) as answer:
        async for line in answer.aiter_lines():
            if "on_chat_model_stream" in line:
                return json.loads(line[5:])["metadata"]["ldai_resumption_token"]
    raise AssertionError("the stream ended")


async def test_a_client_that_leaves_makes_neither_success_nor_error(
    http: httpx.AsyncClient, launchdarkly: LoopbackLaunchDarkly
) -> None:
    """The run is cancelled; its duration is what is known of it, and the first token (fact 108)."""
    token = await left_early(http)

    events = await events_of(run_of(token), launchdarkly)
    assert Counter(event.name for event in events) == Counter([FIRST_TOKEN, DURATION])


async def test_four_workers_count_exactly(
    launchdarkly: LoopbackLaunchDarkly, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the clients leave early, the others send feedback, to whichever worker: every count adds up."""
    half, at_once = REQUESTS // 2, asyncio.Semaphore(16)

    def connected(address: str, user: str) -> httpx.AsyncClient:
        # Nothing is encrypted here, and loading the certificates takes longer than the request.
        return httpx.AsyncClient(base_url=address, headers={"x-user": user}, timeout=120, verify=False)

    async def finish(address: str, user: str) -> str:
        async with at_once, connected(address, user) as http:
            token = await sealed_in_events(http, "/chat")
        async with at_once, connected(address, user) as http:
            answer = await http.post("/feedback", json={"token": token, "kind": "positive"})
        assert answer.status_code == 202
        return run_of(token)

    async def leave(address: str, user: str) -> str:
        async with at_once, connected(address, user) as http:
            return run_of(await left_early(http))

    before = len(launchdarkly.custom_events())
    with serving(launchdarkly, tmp_path, workers=4) as address:
        requests = [way(address, f"user-{number}") for number in range(half) for way in (finish, leave)]
        runs = await asyncio.gather(*requests)

    events = [event for event in launchdarkly.custom_events()[before:] if "runId" in event.data]
    sent = Counter((event.data["runId"], event.name) for event in events)
    whole, cut = [FIRST_TOKEN, SUCCESS, DURATION, *TOKENS, POSITIVE], [FIRST_TOKEN, DURATION]
    assert sent == Counter(
        (run, name) for number, run in enumerate(runs) for name in (cut if number % 2 else whole)
    )
    assert {event.value for event in events if event.name == TOTAL} == {4.0}
    with capsys.disabled():
        print(  # noqa: T201
            f"\nlangserve: {REQUESTS:,} requests to 4 workers, {half:,} left early, {half:,} with feedback "
            f"-> {len(events):,} events, {half * (len(whole) + 2):,} expected"
        )

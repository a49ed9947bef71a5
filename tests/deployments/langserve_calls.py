"""The LangServe recipe in real uvicorn workers, how it is called, and what has arrived of its runs."""

import inspect
import json
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import uvicorn

from langchain_ldai._wire.tokens import decode
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.deployments.servers import ROOT, running
from tests.support.chains import DURATION, FIRST_TOKEN, SUCCESS
from tests.support.ports import kept_port

KEY: Final = TokenSealer.generate_key()
ANSWERED: Final = [DURATION, SUCCESS, *(f"$ld:ai:tokens:{part}" for part in ("total", "input", "output"))]
LEFT: Final = [DURATION, FIRST_TOKEN]

Sent = Counter[tuple[str, str, str]]
"""How often each metric of each run has arrived, by the run's id, the user's key and the metric's name."""


def run_of(sealed: str) -> str:
    """Return the id of the run whose token was sealed."""
    return decode(TokenSealer([KEY]).unseal(sealed)).run_id


@contextmanager
def serving(launchdarkly: LoopbackLaunchDarkly, folder: Path, workers: int, **environment: str) -> Iterator[str]:
    """Run workers of the recipe's application until the block ends."""
    recipe = ["--app-dir", ROOT / "cookbook", "tests.deployments.langserve_server:app"]
    options = ["--workers", workers, "--log-level", "warning"]
    if "timeout_worker_healthcheck" in inspect.signature(uvicorn.Config).parameters:  # older releases have none
        options += ["--timeout-worker-healthcheck", 60]
    environment |= {
        "LANGSMITH_TRACING": "false",
        "LAUNCHDARKLY_URL": launchdarkly.url,
        "LEDGER_FILE": str(folder / "ledger.db"),
        "TOKEN_KEYS": KEY,
    }
    with kept_port() as port:
        command = [sys.executable, "-m", "uvicorn", *recipe, *options, "--port", port]
        with running(command, port, "/feedback/openapi.json", environment, folder, folder / "log") as address:
            yield address


def sent(launchdarkly: LoopbackLaunchDarkly) -> Sent:
    """Return what has arrived."""
    events = [event for event in launchdarkly.custom_events() if "runId" in (event.data or ())]
    return Counter((event.data["runId"], event.context.key, event.name) for event in events)


@asynccontextmanager
async def client(server: str, user: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client for a user, of whom the gateway says who it is, that opens a connection for each request."""
    headers, limits = {"X-Authenticated-User": user}, httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=server, headers=headers, limits=limits, timeout=60) as http:
        yield http


def body_of(question: str = "How?") -> dict[str, Any]:
    """Return the body of a request."""
    return {"input": {"question": question}, "config": {"metadata": {"user_id": "mallory"}}}


async def events(response: httpx.Response) -> AsyncGenerator[Any, None]:
    """Yield what the events of a stream carry, as they come."""
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            yield json.loads(line[5:])


async def leave_early(http: httpx.AsyncClient, path: str, user: str) -> str:
    """Stream from a model that would go on for ever, leave after its first words, and return the run's id."""
    run_id, headers = "", {"X-Authenticated-User": user}
    stream = http.stream("POST", path, json=body_of("Go on"), headers=headers)
    async with stream as response, aclosing(events(response)) as shown:
        async for event in shown:
            run_id = run_id or event["run_id"]
            if '" and"' in json.dumps(event):
                return run_id
    raise AssertionError("the stream ended")


async def ask(http: httpx.AsyncClient, path: str, user: str) -> tuple[str, str, str]:
    """Ask, and return the run's id, its token and its worker."""
    response = await http.post(path, json=body_of(), headers={"X-Authenticated-User": user})
    if path.endswith("invoke"):
        run_id, token = response.json()["metadata"]["run_id"], response.headers["x-ldai-resumption-token"]
    else:
        shown = [event async for event in events(response)]
        run_id, token = shown[0]["run_id"], shown[-1]["metadata"]["ldai_resumption_token"]
    assert run_of(token) == run_id
    return run_id, token, response.headers["x-worker"]

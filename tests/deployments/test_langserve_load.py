"""The LangServe recipe under load: four uvicorn workers, clients that leave, thumbs that come twice."""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from typing import Final

import httpx
import pytest

from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.deployments.langserve_calls import (
    ANSWERED,
    LEFT,
    Sent,
    ask,
    client,
    leave_early,
    sent,
    serving,
)
from tests.deployments.servers import ROOT
from tests.support.chains import FIRST_TOKEN, POSITIVE

REQUESTS: Final = int(os.environ.get("LANGSERVE_REQUESTS", "100"))
AT_ONCE: Final = 24
PATHS: Final = ["/bound/invoke", "/bound/stream", "/chat/stream_events", "/chat/stream_events"]


async def like_twice(http: httpx.AsyncClient, token: str, user: str) -> str:
    """Send feedback twice at once, check that one is taken, and return the worker that took it."""
    thumb, headers = {"token": token, "kind": "positive"}, {"X-Authenticated-User": user}
    answers = await asyncio.gather(*(http.post("/feedback", json=thumb, headers=headers) for _ in range(2)))
    taken, refused = sorted(answers, key=lambda answer: answer.status_code)
    assert (taken.status_code, refused.status_code) == (202, 409)
    return taken.headers["x-worker"]


async def send_all(http: httpx.AsyncClient, expected: Sent, workers: Counter[tuple[str, str]]) -> None:
    """Make all requests, some at a time; note what each is to leave, and who ran it and who took its feedback."""
    free = asyncio.Semaphore(AT_ONCE)

    async def request(number: int) -> None:
        user, path = f"load-{number}", PATHS[number % len(PATHS)]
        async with free:
            if number % 2:
                run_id, names = await leave_early(http, path, user), LEFT
            else:
                run_id, token, worker = await ask(http, path, user)
                workers[worker, await like_twice(http, token, user)] += 1
                names = [*ANSWERED, POSITIVE, *([] if path.endswith("invoke") else [FIRST_TOKEN])]
        expected.update((run_id, user, name) for name in names)

    async with asyncio.TaskGroup() as requests:
        for number in range(REQUESTS):
            requests.create_task(request(number))


@pytest.mark.asyncio
async def test_four_workers_under_load_count_exactly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half the clients leave in mid-stream, the others send feedback twice at once: each run counts once."""
    expected, workers = Sent(), Counter[tuple[str, str]]()

    with LoopbackLaunchDarkly.from_file(ROOT / "cookbook" / "flags.json") as launchdarkly:
        with serving(launchdarkly, tmp_path, 4) as server:
            start = time.monotonic()
            async with client(server, "nobody") as http:
                await send_all(http, expected, workers)
            seconds = time.monotonic() - start
        arrived = sent(launchdarkly)

    elsewhere = sum(count for (ran, took), count in workers.items() if ran != took)
    with capsys.disabled():
        print(  # noqa: T201
            f"\nLangServe: {REQUESTS:,} requests in {seconds:.0f} s, {len({ran for ran, _ in workers})} workers; "
            f"{REQUESTS // 2:,} left in mid-stream; {sum(workers.values()):,} thumbs, twice each, {elsewhere:,} "
            f"taken by another worker than the run's; of {len({run for run, _, _ in arrived}):,} runs "
            f"{sum(arrived.values()):,} metrics arrived, {len(expected):,} expected"
        )
    assert arrived == expected
    assert elsewhere > 0

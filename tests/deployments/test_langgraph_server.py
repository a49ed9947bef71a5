"""A real LangGraph server, `langgraph dev`, whose runs are counted in LaunchDarkly once each."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from langgraph_sdk import get_client
from ldclient import Context, LDClient

from langchain_ldai import Feedback, LdAiClient
from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.deployments.servers import ROOT, running
from tests.support.arrivals import once
from tests.support.chains import DURATION, ERROR, FIRST_TOKEN, POSITIVE, SUCCESS, TOKENS
from tests.support.leaving_out import leave_out
from tests.support.ports import kept_port

pytestmark = pytest.mark.asyncio

RECIPE = ROOT / "cookbook" / "langgraph_server"
PROGRAM = ROOT / ".venv-langgraph-server" / "bin" / "langgraph"
QUIET = {"LANGSMITH_TRACING": "false", "LANGGRAPH_CLI_NO_ANALYTICS": "1", "BG_JOB_MAX_RETRIES": "3"}
TOTAL = "$ld:ai:tokens:total"
MESSAGE = {"messages": [{"role": "user", "content": "How do I switch it off?"}]}


@pytest.fixture(scope="module")
def launchdarkly() -> Iterator[LoopbackLaunchDarkly]:
    """A LaunchDarkly that serves the AI Config of the recipes."""
    with LoopbackLaunchDarkly.from_file(ROOT / "cookbook" / "flags.json") as service:
        yield service


@pytest.fixture(scope="module")
def server(launchdarkly: LoopbackLaunchDarkly, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A LangGraph server of the recipe's graph, and of one that is repeated."""
    if not PROGRAM.exists():
        leave_out("the environment of the LangGraph server is not there: make .venv-langgraph-server")
    folder = tmp_path_factory.mktemp("langgraph")
    graphs = {
        "support": f"{RECIPE / 'graph.py'}:graph",
        "repeated": f"{Path(__file__).parent / 'repeated_graph.py'}:graph",
    }
    config = {**json.loads((RECIPE / "langgraph.json").read_text("utf-8")), "graphs": graphs}
    (folder / "langgraph.json").write_text(json.dumps(config), "utf-8")
    environment = {
        **QUIET,
        "LAUNCHDARKLY_URL": launchdarkly.url,
        "LEDGER_FILE": str(folder / "ledger.db"),
        "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
    }
    with kept_port() as port:
        command = [PROGRAM, "dev", "--no-browser", "--no-reload", "--host", "127.0.0.1", "--port", port]
        with running(command, port, "/ok", environment, folder, folder / "log") as address:
            yield address


async def run(server: str, graph: str) -> tuple[str, dict[str, object]]:
    """Stream a run of a graph for Ada; return the server's id of it, and the metadata of its messages."""
    run_id, shown = "", {}
    async with get_client(url=server) as client:
        thread = (await client.threads.create())["thread_id"]
        options = {"stream_mode": "messages-tuple", "metadata": {"user_id": "ada"}}
        async for part in client.runs.stream(thread, graph, input=MESSAGE, **options):
            if part.event == "metadata":
                run_id = part.data["run_id"]
            elif part.event == "messages":
                shown = part.data[1]
    return run_id, shown


async def test_a_streamed_message_carries_the_token_of_its_run(
    server: str, launchdarkly: LoopbackLaunchDarkly
) -> None:
    """Whoever reads the stream can give feedback from anywhere; it arrives under the server's id of the run.

    Of the tokens six are the question's, eight the served prompt's and three the answer's.
    """
    run_id, shown = await run(server, "support")

    with LDClient(launchdarkly.config()) as client:
        tracker = LdAiClient(client).create_tracker(shown["ldai_resumption_token"], Context.create("ada"))
        tracker.track_feedback(Feedback.POSITIVE)
        client.flush()
    counted = {SUCCESS, DURATION, FIRST_TOKEN, POSITIVE, *TOKENS}
    await asyncio.to_thread(once, launchdarkly, lambda: counted <= set(launchdarkly.metrics(run_id)))

    assert shown["ldai_run_id"] == tracker.run_id == run_id
    metrics = launchdarkly.metrics(run_id)
    times = {DURATION: metrics.pop(DURATION), FIRST_TOKEN: metrics.pop(FIRST_TOKEN)}
    assert {name: len(values) for name, values in times.items()} == {DURATION: 1, FIRST_TOKEN: 1}
    assert metrics == {
        SUCCESS: [1],
        TOTAL: [17],
        "$ld:ai:tokens:input": [14],
        "$ld:ai:tokens:output": [3],
        POSITIVE: [1],
    }
    contexts = {
        event.context.key for event in launchdarkly.custom_events(DURATION) if event.data["runId"] == run_id
    }
    assert contexts == {"ada"}


async def test_a_run_that_the_server_repeats_counts_once(server: str, launchdarkly: LoopbackLaunchDarkly) -> None:
    """The second attempt has a root of another id and the run's own in its metadata: no metric is sent twice.

    A fact besides those numbered: langgraph-api gives only the first attempt the run's id as LangChain's `run_id`.
    """
    run_id, shown = await run(server, "repeated")
    after, _ = await run(server, "repeated")
    # Its events come after those of the run before.
    await asyncio.to_thread(once, launchdarkly, lambda: launchdarkly.metrics(after))

    assert (shown["run_attempt"], shown["ldai_run_id"]) == (2, run_id)
    metrics = launchdarkly.metrics(run_id)
    assert {len(values) for values in metrics.values()} == {1}
    assert {SUCCESS, ERROR, DURATION, FIRST_TOKEN, TOTAL} - set(metrics) == {SUCCESS}

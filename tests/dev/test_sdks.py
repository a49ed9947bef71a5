"""Unmodified SDKs get AI Configs from the local LaunchDarkly, and their events show."""

import asyncio
import gzip
import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain as joined
from itertools import pairwise
from pathlib import Path

import pytest
from ldai.client import LDAIClient
from ldai.models import AICompletionConfigDefault
from ldclient import AsyncLDClient, Context, LDClient
from ldclient.async_config import AsyncConfig
from ldclient.config import Config

from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai._wire import events
from langchain_ldai.dev import sdk_routes, server, subscribers
from langchain_ldai.dev.errors import DevError
from langchain_ldai.dev.queries import Filter, Run, latest_runs
from tests.dev.conftest import Desk, running
from tests.dev.sending import event, full_disk, simulated
from tests.faults.cases.disks import mounted
from tests.support.chains import QUESTION, chain
from tests.support.leaving_out import leave_out
from tests.support.serving import addresses

HERE = Path(__file__).parent
USER = Context.builder("user-1").name("Sandy").set("plan", "enterprise").build()


def config(desk: Desk, **options: object) -> Config:
    """Return the configuration of an SDK as the page's lines make it."""
    return Config("sdk-dev", **addresses(desk.url), **options)


def the_run(desk: Desk) -> Run:
    """Return the only run that has arrived."""
    (run,) = latest_runs(desk.store, Filter(), 10)
    return run


@pytest.mark.parametrize("stream", [True, False], ids=["streaming", "polling"])
def test_our_client_is_served_and_its_run_shows(desk: Desk, stream: bool) -> None:
    """A chain's run is there, once, when the SDK's client is closed; diagnostics are taken too."""
    with LDClient(config(desk, stream=stream)) as client:
        served = LdAiClient(client).completion_config("support-bot", USER, variables={"product": "the kettle"})
        handler = LdAiHandler(served)
        with handler.collect_runs() as reports:
            list(chain().stream(QUESTION, {"callbacks": [handler]}))

    assert served.messages[0].content == "You help Sandy with the kettle, and you are kind."
    run = the_run(desk)
    assert (run.run_id, run.config, run.variation) == (reports[0].run_id, "support-bot", "friendly")
    assert (run.outcome, run.tokens, run.context) == ("success", reports[0].summary.tokens.total, "user-1")


def test_the_official_ai_sdk_is_served_and_its_run_shows(desk: Desk) -> None:
    """The official package reads the config, and what its tracker records arrives."""
    with LDClient(config(desk)) as client:
        served = LDAIClient(client).completion_config(
            "support-bot", USER, AICompletionConfigDefault(enabled=False)
        )
        tracker = served.create_tracker()
        tracker.track_duration(120)
        tracker.track_success()

    assert served.enabled
    assert (the_run(desk).duration, the_run(desk).outcome) == (120, "success")


@pytest.mark.asyncio
async def test_the_asynchronous_sdk_is_served(desk: Desk) -> None:
    """`AsyncLDClient` gets the flag, and its event arrives."""
    async with AsyncLDClient(AsyncConfig("sdk-dev", diagnostic_opt_out=True, **addresses(desk.url))) as client:
        await client.start()
        served = await client.variation("support-bot", USER, None)
        client.track(events.SUCCESS, USER, {"runId": "run-1", "configKey": "support-bot"}, 1)

    assert served["_ldMeta"]["variationKey"] == "friendly"
    assert the_run(desk).outcome == "success"


def test_the_official_node_sdk_is_served_and_its_run_shows(desk: Desk) -> None:
    """Node's packages get the config, and their events are one run although they send no `runId`."""
    node, folder = shutil.which("node", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"), HERE / "node"
    if node is None or not (folder / "node_modules").exists():
        leave_out("Node, or its packages in tests/dev/node, are missing; `make node` gets them")

    done = subprocess.run([node, folder / "client.mjs", desk.url], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    content = "You help Sandy with the kettle, and you are kind."
    assert json.loads(done.stdout)["messages"] == [{"role": "system", "content": content}]
    run = the_run(desk)
    assert (run.config, run.variation, run.context) == ("support-bot", "friendly", "user-1")
    assert (run.outcome, run.duration, run.tokens) == ("success", 120, 17)


def test_a_saved_file_reaches_connected_sdks(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SDK hears of the change; a file that cannot be served changes nothing, and the page says why."""
    heard = threading.Event()
    with LDClient(config(desk, send_events=False)) as client:
        client.flag_tracker.add_listener(lambda change: heard.set())
        desk.file.write_text(desk.file.read_text().replace("gpt-4.1-mini", "gpt-4.1"), "utf-8")
        assert heard.wait(60)
        assert client.variation("support-bot", USER, None)["model"]["name"] == "gpt-4.1"

        news = desk.server.page.streams
        told = threading.Event()
        monkeypatch.setattr(news, "publish", lambda message: told.set())
        desk.file.write_text("support-bot: 3\n", "utf-8")
        assert told.wait(60)
        assert client.variation("support-bot", USER, None)["model"]["name"] == "gpt-4.1"
    assert "line 1: support-bot is 3" in json.loads(desk.ask("/view").text)["problem"]


BATCH = json.dumps([event(events.SUCCESS)]).encode()
REFUSED = {
    "no JSON": (BATCH[:-5], {}, 400, "not JSON"),
    "cut off": (gzip.compress(BATCH)[:-9], {"Content_Encoding": "gzip"}, 400, "cut off"),
    "50 MB": (b" " * 50_000_000, {}, 413, "more than 33,554,432 bytes"),
    "50 MB when unpacked": (gzip.compress(b" " * 50_000_000), {"Content_Encoding": "gzip"}, 413, "33,554,432"),
    "text": (
        BATCH,
        {"Content_Type": "text/plain"},
        415,
        "the content type is 'text/plain'; send application/json",
    ),
    "a form": (BATCH, {"Content_Type": "application/x-www-form-urlencoded"}, 415, "send application/json"),
}


@pytest.mark.parametrize(("body", "headers", "status", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_batch_that_cannot_be_taken_says_why(
    desk: Desk, caplog: pytest.LogCaptureFixture, body: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    """The answer and the log name the reason, nothing is stored, and the next batch is taken."""
    refused = desk.ask("/bulk", body, **headers)

    assert (refused.status, reason in refused.text) == (status, True)
    assert reason in caplog.text
    assert latest_runs(desk.store, Filter(), 10) == []
    assert desk.ask("/bulk", BATCH).status == 202
    assert the_run(desk).outcome == "success"


def connection(desk: Desk) -> socket.socket:
    """Return a connection on which a batch of 100 bytes has begun."""
    opened = socket.create_connection(("127.0.0.1", int(desk.url.rpartition(":")[2])), timeout=30)
    opened.sendall(
        b"POST /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n["
    )
    return opened


def test_a_slow_client_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are served meanwhile, and after a bounded time the slow one is told."""
    begun: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Timeout, float]] = queue.SimpleQueue()
    limit = asyncio.timeout

    def begin(seconds: float) -> asyncio.Timeout:
        begun.put((asyncio.get_running_loop(), made := limit(seconds), seconds))
        return made

    monkeypatch.setattr(asyncio, "timeout", begin)
    with running(tmp_path) as desk, connection(desk) as slow:
        loop, limit_of_slow, seconds = begun.get(timeout=30)
        assert desk.ask("/bulk", BATCH).status == 202
        loop.call_soon_threadsafe(limit_of_slow.reschedule, 0.0)  # its time is up
        answer = b""
        while b"took more than 30 s to arrive" not in answer:
            answer += slow.recv(4096)

    assert (seconds, b" 408 " in answer) == (30, True)


def test_an_endless_batch_is_not_read_to_its_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far beyond the limit the server answers at once."""
    monkeypatch.setattr(sdk_routes, "MAX_BATCH_BYTES", 10)
    monkeypatch.setattr(sdk_routes, "MAX_READ_BYTES", 20)
    with connection(desk) as endless:
        endless.sendall(b" " * 50)

        assert b" 413 " in endless.recv(4096)


def test_a_client_that_hangs_up_stores_nothing(desk: Desk) -> None:
    """Half a batch is no batch."""
    connection(desk).close()

    assert desk.ask("/bulk", [event(events.SUCCESS, run="run-2")]).status == 202
    assert the_run(desk).run_id == "run-2"


@contextmanager
def filling_disk(folder: Path) -> Iterator[Callable[[], None]]:
    """Have a disk with little room, or a limit for files where none can be mounted; give what makes room."""
    with ExitStack() as limit, mounted(folder, "mode=0755") as is_mounted:
        other = folder / "other"
        if is_mounted:
            other.write_bytes(bytes(shutil.disk_usage(folder).free - 500_000))
        else:
            other.touch()
            limit.enter_context(full_disk(400_000))
        yield lambda: (limit.close(), other.unlink())


def test_a_full_disk_is_told_and_costs_no_more_than_its_batches(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch is stored whole or not at all; page and log say why, and the server goes on where there is room."""
    batches = [list(joined.from_iterable(simulated(40, config=f"bot-{number}"))) for number in range(40)]
    with filling_disk(tmp_path / "disk") as make_room, running(tmp_path / "disk") as desk:
        answers = [desk.ask("/bulk", batch, X_LaunchDarkly_Payload_ID=str(n)) for n, batch in enumerate(batches)]

        taken = [number for number, answer in enumerate(answers) if answer.status == 202]
        refused = next(answer for answer in answers if answer.status != 202)
        assert 0 < len(taken) < 40
        assert refused.status == 507
        assert "nothing of the batch was stored" in refused.text
        assert json.loads(desk.ask("/view").text)["problem"] == refused.text
        failing = [answer.status != 202 for answer in answers]
        assert caplog.text.count("nothing of the batch was stored") == sum(
            later > earlier for earlier, later in pairwise([False, *failing])
        )
        runs = json.loads(desk.ask("/runs.json").text)
        assert Counter(run["config"] for run in runs) == {f"bot-{number}": 40 for number in taken}

        make_room()
        lost = next(number for number, answer in enumerate(answers) if answer.status != 202)
        assert desk.ask("/bulk", batches[lost], X_LaunchDarkly_Payload_ID=str(lost)).status == 202
        assert json.loads(desk.ask("/view").text)["problem"] == ""
        assert len(json.loads(desk.ask(f"/runs.json?config=bot-{lost}").text)) == 40


def test_a_batch_sent_twice_counts_once(desk: Desk) -> None:
    """The payload's id tells."""
    for _ in range(2):
        answer = desk.ask("/bulk", [event(events.DURATION, 100)], X_LaunchDarkly_Payload_ID="one")
        assert answer.status == 202

    assert the_run(desk).duration == 100


def test_a_stream_shows_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing changes, comments are sent."""
    monkeypatch.setattr(subscribers, "HEARTBEAT_SECONDS", 0.01)
    with running(tmp_path) as desk, connection(desk) as stream:
        stream.sendall(b" " * 98 + b"]" + b"GET /all HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        received = b""
        while b"\r\n2\r\n:\n\r\n" not in received:
            received += stream.recv(4096)

    assert b'event: put\ndata: {"path": "/"' in received


def test_many_clients_lose_nothing(desk: Desk) -> None:
    """Eight clients send runs as fast as they can, and each run is there once."""
    each = int(os.environ.get("DESK_RUNS", "4000")) // 8
    runs = list(simulated(each * 8))

    def send(first: int) -> None:
        for start in range(first * each, first * each + each, 50):
            batch = [metric for run in runs[start : min(start + 50, first * each + each)] for metric in run]
            assert desk.ask("/bulk", batch, X_LaunchDarkly_Payload_ID=f"batch-{start}").status == 202

    senders = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(300)

    ((count, duration),) = desk.store.select("SELECT count(*), total(duration) FROM runs", {})
    assert (count, duration) == (each * 8, sum(run[0]["metricValue"] for run in runs))


def test_a_host_beyond_loopback_needs_a_token() -> None:
    """The address is refused at construction, with the remedy; loopback has many names."""
    with pytest.raises(DevError, match=r"others can reach 0\.0\.0\.0, so --host 0\.0\.0\.0 needs --token"):
        server.Address("0.0.0.0")
    with pytest.raises(DevError, match="needs --token"):
        server.Address("desk.example")
    assert server.Address("0.0.0.0", token="secret").token == "secret"
    assert [server.Address(host).port for host in ("localhost", "127.0.0.2", "::1")] == [8030] * 3

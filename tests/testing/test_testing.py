"""What the package offers for tests is itself tested, with the real clients."""

import asyncio
import gzip
import inspect
import json
import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ldclient import AsyncLDClient, Context, LDClient

from langchain_ldai.testing import AsyncRecordingClient, LoopbackLaunchDarkly, RecordedEvent, RecordingClient

USER = Context.create("user-1")
RUN = {"runId": "run-1"}
EVENT = {"kind": "custom", "key": "clicked", "contextKeys": {"user": "user-1"}, "metricValue": 3}
POLL = "/sdk/latest-all"


def ask(server: LoopbackLaunchDarkly, path: str, body: bytes | None = None, **headers: str) -> int:
    """Send a request, a POST where it has a body, and return the status of the answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(server.url + path, body, headers)) as response:
            return int(response.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def connect(server: LoopbackLaunchDarkly, request: str = "") -> socket.socket:
    """Open a connection and send the beginning of a request."""
    connection = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=60)
    connection.sendall(request.encode())
    return connection


def leave_block(server: LoopbackLaunchDarkly) -> bool:
    """Leave the server's block, and return whether that comes to an end."""
    leaving = threading.Thread(target=server.__exit__, args=(None,) * 3, daemon=True)
    leaving.start()
    leaving.join(20)
    return not leaving.is_alive()


def watch_flag(client: LDClient, key: str) -> threading.Event:
    """Return an event that is set when the client hears of a change of a flag."""
    heard = threading.Event()
    client.flag_tracker.add_listener(lambda change: heard.set() if change.key == key else None)
    return heard


@pytest.fixture
def launchdarkly():
    """A LaunchDarkly that serves one flag."""
    with LoopbackLaunchDarkly({"greeting": "hello"}) as server:
        yield server


@pytest.fixture
def client(launchdarkly: LoopbackLaunchDarkly):
    """A real client of it that sends events only when asked to."""
    client = LDClient(launchdarkly.config(flush_interval=3600))
    yield client
    client.close()


def test_a_real_client_is_streamed_flags_and_changes(launchdarkly: LoopbackLaunchDarkly, client: LDClient) -> None:
    """The flags arrive at the start, and later changes without asking; a deleted flag can come back."""
    assert client.variation("greeting", USER, None) == "hello"

    for change, expected in (
        (lambda: launchdarkly.set_flag("greeting", "hi"), "hi"),
        (lambda: launchdarkly.delete_flag("greeting"), None),
        (lambda: launchdarkly.set_flag("greeting", "again"), "again"),
    ):
        heard = watch_flag(client, "greeting")
        change()
        assert heard.wait(60)
        assert client.variation("greeting", USER, None) == expected


@pytest.mark.asyncio
async def test_an_asynchronous_client_is_served_the_same(launchdarkly: LoopbackLaunchDarkly) -> None:
    """The real `AsyncLDClient` is streamed flags and changes, and its events arrive."""
    heard = asyncio.Event()
    async with AsyncLDClient(launchdarkly.async_config(flush_interval=3600)) as client:
        await client.start()
        client.flag_tracker.add_listener(lambda change: heard.set())
        before = await client.variation("greeting", USER, None)
        launchdarkly.set_flag("greeting", "hi")
        await asyncio.wait_for(heard.wait(), 60)
        after = await client.variation("greeting", USER, None)
        client.track("clicked", USER, RUN, 2)

    assert (before, after) == ("hello", "hi")
    assert launchdarkly.metrics("run-1") == {"clicked": [2]}


def test_a_dropped_stream_comes_back(launchdarkly: LoopbackLaunchDarkly, client: LDClient) -> None:
    """A client whose stream ends connects again and gets what changed meanwhile, also when refused once."""
    heard = watch_flag(client, "farewell")
    launchdarkly.fail_next("/all", 503)
    launchdarkly.drop_streams()
    launchdarkly.set_flag("farewell", "bye")

    assert heard.wait(60)
    assert client.variation("farewell", USER, None) == "bye"


def test_events_arrive_once_although_a_batch_came_twice(
    launchdarkly: LoopbackLaunchDarkly, client: LDClient
) -> None:
    """A response that is lost makes the client send again; the payload id tells (spec section 8)."""
    launchdarkly.lose_next_response()
    client.track("clicked", Context.create_multi(USER, Context.create("acme", "org")), RUN, 2)
    client.flush()
    launchdarkly.wait_for_events(1, "clicked", timeout=60)
    client.close()

    assert len(launchdarkly.batches) == 2
    assert launchdarkly.metrics("run-1") == {"clicked": [2]}
    assert launchdarkly.custom_events("clicked")[0].context.fully_qualified_key == "org:acme:user:user-1"


def test_a_failed_batch_is_taken_at_the_second_try(launchdarkly: LoopbackLaunchDarkly, client: LDClient) -> None:
    """A 503 takes nothing; the client tries once more (spec section 8)."""
    launchdarkly.fail_next(status=503)
    client.track("clicked", USER, RUN, 1)
    client.flush()

    assert launchdarkly.wait_for_events(1, timeout=60)[0].value == 1
    assert len(launchdarkly.batches) == 1


def test_flags_can_be_polled_and_another_sdk_key_is_refused() -> None:
    """A client that polls gets the same flags; with an SDK key set, whoever has another one gets nothing."""
    flags = {"greeting": "hello", "farewell": "bye"}
    with LoopbackLaunchDarkly(flags, sdk_key="sdk-right") as server:
        server.delete_flag("farewell")
        client = LDClient(server.config("sdk-right", stream=False))
        assert [client.variation(key, USER, None) for key in flags] == ["hello", None]
        client.close()
        assert ask(server, POLL, Authorization="sdk-wrong") == 401
        assert ask(server, "/bulk", b"[{}]", Authorization="sdk-wrong") == 401
    assert [{}] not in server.batches


def test_compressed_events_and_unknown_paths(launchdarkly: LoopbackLaunchDarkly) -> None:
    """Gzip is read, diagnostics are taken, and what an SDK does not ask for is a 404."""
    zipped = gzip.compress(json.dumps([EVENT]).encode())

    launchdarkly.fail_next("/diagnostic", 500, times=2)
    assert [ask(launchdarkly, "/bulk", zipped, **{"Content-Encoding": "gzip"}) for _ in range(2)] == [202, 202]
    assert [ask(launchdarkly, "/diagnostic", b"{}") for _ in range(3)] == [500, 500, 202]
    assert [ask(launchdarkly, "/elsewhere", body) for body in (b"{}", None)] == [404, 404]
    assert launchdarkly.custom_events() == [RecordedEvent("clicked", USER, None, 3)] * 2
    with pytest.raises(ValueError, match="'bulk' is none of /all, "):
        launchdarkly.fail_next("bulk")


@pytest.mark.parametrize("body", [b"{nonsense", b"\xff", b"{}", b"[1]"])
@pytest.mark.parametrize("zipped", [False, True])
def test_what_is_no_batch_is_refused(launchdarkly: LoopbackLaunchDarkly, body: bytes, zipped: bool) -> None:
    """A body that holds no list of events, or is cut off, is a 400, and nothing is recorded."""
    headers = {"Content-Encoding": "gzip"} if zipped else {}

    assert ask(launchdarkly, "/bulk", gzip.compress(body) if zipped else body, **headers) == 400
    assert ask(launchdarkly, "/bulk", gzip.compress(b"[]")[:-4] if zipped else b"[", **headers) == 400
    assert launchdarkly.batches == []


def test_waiting_in_vain_says_what_came(launchdarkly: LoopbackLaunchDarkly) -> None:
    """A wait that is over raises, with every event that did arrive."""
    ask(launchdarkly, "/bulk", json.dumps([EVENT]).encode())

    for count, name, wanted in ((2, None, "2 events"), (1, "bought", "1 events 'bought'")):
        with pytest.raises(TimeoutError, match=rf"^{wanted} were awaited .* arrived: \['clicked'\]$"):
            launchdarkly.wait_for_events(count, name, timeout=0.05)


def test_a_file_in_launchdarklys_format_is_served(tmp_path: Path) -> None:
    """Whole flags and segments, and values for short, come from one file that names no flag twice."""
    rules = [{"variation": 1, "clauses": [{"attribute": "key", "op": "segmentMatch", "values": ["testers"]}]}]
    whole = {"on": True, "variations": [1, 2], "fallthrough": {"variation": 0}, "rules": rules}
    content = {"flags": {"whole": whole}, "segments": {"testers": {"included": ["user-1"], "salt": "s"}}}
    path = tmp_path / "flags.json"
    path.write_text(json.dumps({**content, "flagValues": {"greeting": "hello"}}), "utf-8")

    with LoopbackLaunchDarkly.from_file(path, sdk_key="sdk-right") as server:
        client = LDClient(server.config("sdk-right"))
        served = [client.variation("whole", Context.create(user), None) for user in ("user-1", "user-2")]
        assert (served, client.variation("greeting", USER, None)) == ([2, 1], "hello")
        client.close()
        assert ask(server, POLL) == 401

    path.write_text(json.dumps({**content, "flagValues": {"whole": 1}}), "utf-8")
    with pytest.raises(ValueError, match="'whole' is both in flags and in flagValues"):
        LoopbackLaunchDarkly.from_file(path)


def test_a_flags_value_is_a_copy_and_must_be_json() -> None:
    """What changes after it was handed over is not served, and what cannot be served is refused at once."""
    value = {"text": "hello"}
    with LoopbackLaunchDarkly({"greeting": value}) as server:
        value["text"] = "changed"
        client = LDClient(server.config())
        assert client.variation("greeting", USER, None) == {"text": "hello"}
        client.close()

    for unserved, error in ((USER, TypeError), (float("nan"), ValueError)):
        with pytest.raises(error):
            LoopbackLaunchDarkly({"greeting": unserved})


def test_it_listens_only_within_its_block() -> None:
    """Nothing is open before or after, so that one that is never used leaves nothing behind."""
    server = LoopbackLaunchDarkly()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="only within its `with` block"):
            server.config()
        with server:
            assert ask(server, POLL) == 200
            with pytest.raises(RuntimeError, match="listens already"):
                server.__enter__()
            assert ask(server, POLL) == 200


DIES = """
from ldclient import LDClient

from langchain_ldai.testing import LoopbackLaunchDarkly

local = LoopbackLaunchDarkly({"greeting": "hello"}).__enter__()
client = LDClient(local.config())
raise ValueError("the program fails")
"""


def test_a_program_that_dies_without_leaving_the_block_ends() -> None:
    """A stream that a real client still reads keeps no program alive."""
    died = subprocess.run([sys.executable, "-c", DIES], capture_output=True, text=True, timeout=120)

    assert died.returncode == 1
    assert "ValueError: the program fails" in died.stderr


def test_leaving_does_not_wait_for_a_client_that_says_nothing() -> None:
    """A connection without a request, as pools open them, does not hold up the end."""
    server = LoopbackLaunchDarkly().__enter__()
    with connect(server):
        assert ask(server, POLL) == 200
        assert leave_block(server)


def test_a_stream_that_opens_while_the_block_is_left_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reconnects just then does not hold up the end."""
    server = LoopbackLaunchDarkly().__enter__()
    drop, changes, asked, dropped = server.drop_streams, server.changes, threading.Event(), threading.Event()
    monkeypatch.setattr(server, "changes", lambda: (asked.set(), dropped.wait(60), changes())[-1])
    monkeypatch.setattr(server, "drop_streams", lambda: (drop(), dropped.set()))

    with connect(server, "GET /all HTTP/1.1\r\n\r\n"):
        assert asked.wait(60)
        assert leave_block(server)


def test_a_stream_shows_that_it_lives_and_a_failed_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing changes, comments are sent. That a client hung up is not logged; what cannot be read is."""
    with LoopbackLaunchDarkly(heartbeat=0.01) as server, connect(server, "GET /all HTTP/1.1\r\n\r\n") as stream:
        received = b""
        while not received.endswith(b"\r\n2\r\n:\n\r\n"):
            received += stream.recv(4096)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connect(server, "POST /bulk HTTP/1.1\r\nContent-Length: many\r\n\r\n").close()
        assert ask(server, POLL) == 200

    assert [record.name for record in caplog.records] == ["langchain_ldai.testing.endpoints"]


def test_a_recording_client_keeps_events_as_they_were() -> None:
    """Data that changes after `track` stays as it was recorded, and a repeated metric shows."""
    client = RecordingClient()
    data = dict(RUN)
    for value in (1, 2):
        client.track("clicked", USER, data, value)
    client.track("clicked", USER, {"runId": "run-2"}, 3)
    client.track("clicked", USER, "a key", 4)
    data["runId"] = "changed"

    assert client.metrics("run-1") == {"clicked": [1, 2]}
    client.clear()
    assert client.events == []


def test_a_token_in_the_place_of_a_runs_id_is_told() -> None:
    """A plain or sealed token is no run's id; a run's own id that looks like one has its metrics."""
    client = RecordingClient()
    client.track("clicked", USER, {"runId": "eyJ-of-mine"}, 1)

    assert client.metrics("eyJ-of-mine") == {"clicked": [1]}
    for token in ("eyJydW5JZCI6InIifQ", "0123456789ab.gAAAAABk"):
        with pytest.raises(ValueError, match=r"not the id of a run: give report\.run_id$"):
            client.metrics(token)


@pytest.mark.parametrize("stand_in", [RecordingClient, AsyncRecordingClient, LoopbackLaunchDarkly])
@pytest.mark.parametrize(
    ("flags", "given"), [({"_ldMeta": {"enabled": True}}, "one flag"), ([], "list"), ("flags.json", "str")]
)
def test_what_is_to_be_served_is_flags_by_key(stand_in: type, flags: object, given: str) -> None:
    """One flag in their place would serve nothing, and the test would fail far from its cause."""
    with pytest.raises(TypeError, match=f"flags is a dictionary of flags by key, .* not {given}$"):
        stand_in(flags)


def test_metrics_are_asked_for_by_the_id_of_a_run() -> None:
    """Neither a tracker nor `None` is one: events without a run would be taken for its metrics."""
    client = RecordingClient()
    client.track("shown", Context.create("ada"), None, 1)

    for given in (None, client):
        with pytest.raises(TypeError, match=f"run_id is a str, .* not {type(given).__name__}$"):
            client.metrics(given)


def test_a_recording_client_loses_nothing_to_threads() -> None:
    """Events that are tracked at the same time are all kept, each thread's in order."""
    client = RecordingClient()

    def run(name: str) -> None:
        for value in range(100):
            client.track("clicked", USER, {"runId": name}, value)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(run, "abcdefgh"))
    assert [client.metrics(name) for name in "abcdefgh"] == [{"clicked": list(range(100))}] * 8


def test_a_recording_client_stands_in_for_all_that_programs_call() -> None:
    """What opens, asks, flushes, forks and closes a real client works."""
    with RecordingClient({"greeting": "hello"}) as client:
        assert (client.is_initialized(), client.is_offline()) == (True, False)
        assert client.variation_detail("greeting", USER, None).value == "hello"
        client.identify(USER)
        client.postfork()
        client.flush()
        client.close()


@pytest.mark.asyncio
async def test_an_asynchronous_recording_client_stands_in_for_all_that_programs_call() -> None:
    """What a program awaits of the real one can be awaited."""
    async with AsyncRecordingClient({"greeting": "hello"}) as client:
        await client.start()
        assert (await client.is_initialized(), client.is_offline()) == (True, False)
        assert (await client.variation_detail("greeting", USER, None)).value == "hello"
        client.identify(USER)
        await client.flush()
        assert await client.flush_and_wait(60)
        await client.close()


def close(client: RecordingClient | AsyncRecordingClient) -> None:
    """Close a client, awaited where it has to be."""
    closed = client.close()
    if closed is not None:
        asyncio.run(closed)


@pytest.mark.parametrize("stand_in", [RecordingClient, AsyncRecordingClient])
def test_a_closed_recording_client_takes_no_event(
    stand_in: type[RecordingClient | AsyncRecordingClient], caplog: pytest.LogCaptureFixture
) -> None:
    """As with the real one what is tracked too late is lost, and here the log says so; what was tracked stays."""
    client = stand_in()
    client.track("clicked", USER)
    close(client)

    client.track("late", USER)

    assert [event.name for event in client.events] == ["clicked"]
    assert caplog.messages == ["an event 'late' of a closed client is not taken"]


def test_a_recording_client_is_opened_again_as_the_real_one_is() -> None:
    """After `postfork` it takes events."""
    client = RecordingClient()
    client.close()

    client.postfork()
    client.track("clicked", USER)

    assert [event.name for event in client.events] == ["clicked"]


@pytest.mark.parametrize("call", ["track", "variation", "variation_detail"])
def test_a_recording_client_refuses_a_context_that_is_none(call: str) -> None:
    """A dictionary that the real client fails on is refused, and the error says what to use."""
    with pytest.raises(TypeError, match=r"not dict: use Context.from_dict\(\.\.\.\)"):
        getattr(RecordingClient(), call)("greeting", {"key": "user-1"}, None)


OF_BOTH = "variation variation_detail track identify is_initialized is_offline flush close"
TWINS = [
    *((RecordingClient, LDClient, name) for name in f"{OF_BOTH} postfork __enter__ __exit__".split()),
    *(
        (AsyncRecordingClient, AsyncLDClient, name)
        for name in f"{OF_BOTH} start flush_and_wait __aenter__ __aexit__".split()
    ),
]


@pytest.mark.parametrize(("stand_in", "real", "name"), TWINS)
def test_a_stand_in_is_called_as_the_real_client_is(stand_in: type, real: type, name: str) -> None:
    """It has what programs call on the real one, awaited where that is awaited."""
    ours, theirs = getattr(stand_in, name), getattr(real, name)

    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)
    if not name.startswith("__"):
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


def test_a_recording_client_takes_what_the_real_one_takes(
    launchdarkly: LoopbackLaunchDarkly, client: LDClient, caplog: pytest.LogCaptureFixture
) -> None:
    """An event of an invalid context is dropped with a warning, and such a context is served the default."""
    invalid, recording = Context.create(""), RecordingClient({"greeting": "hello"})

    details = [each.variation_detail("greeting", invalid, "default") for each in (client, recording)]
    unknown = [each.variation_detail("nothing", USER, "default") for each in (client, recording)]
    for each in (client, recording):
        each.track("clicked", invalid)
    client.close()

    for real, ours in (details, unknown):
        assert (ours.value, ours.variation_index, ours.reason) == (real.value, real.variation_index, real.reason)
    assert (launchdarkly.custom_events(), recording.events) == ([], [])
    assert [record.name for record in caplog.records][-1] == "langchain_ldai.testing.recording"


@pytest.mark.asyncio
async def test_recording_clients_serve_live_values_or_the_default() -> None:
    """As the real client's store does, they hand out the value itself; an unknown flag gives the default."""
    flag = {"text": "hello"}
    client, async_client = RecordingClient({"greeting": flag}), AsyncRecordingClient()
    async_client.set_flag("greeting", flag)

    assert client.variation("greeting", USER, None) is await async_client.variation("greeting", USER, None) is flag
    assert client.variation("nothing", USER, "default") == "default"
    assert await async_client.variation("nothing", USER, "default") == "default"

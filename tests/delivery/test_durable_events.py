"""What a LaunchDarkly client sends arrives, whatever happens on the way."""

import asyncio
import atexit
import errno
import json
import math
import os
import stat
import threading
from datetime import date
from pathlib import Path

import pytest
from ldclient import Context
from ldclient.async_client import AsyncLDClient
from ldclient.async_config import AsyncConfig
from ldclient.config import Config

from langchain_ldai.delivery import DeliveryStats, DurableEvents, _courier, _sender
from tests.delivery.clients import KEY, USER, arrived, make_client, track
from tests.delivery.journals import be_on_windows, files_in
from tests.delivery.loopback_events import EventsServer, Reply


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long before the next attempt, or look."""
    monkeypatch.setattr(_sender, "EXIT_SECONDS", 0.2)
    monkeypatch.setattr(_courier, "MAX_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr(_sender, "LOOK_SECONDS", 0.05)


def test_what_is_tracked_arrives_at_the_flush(tmp_path: Path, server: EventsServer) -> None:
    """With the index event that the SDK makes of the context."""
    events = DurableEvents(tmp_path)
    with make_client(server, events) as client:
        track(client, 1, 2)
        assert not server.requests
        assert events.flush(10)

    assert arrived(server) == [1, 2]
    assert [event["kind"] for event in server.accepted] == ["custom", "custom", "index"]
    assert events.stats() == DeliveryStats(spooled=3, delivered=3)


@pytest.mark.asyncio
async def test_an_asynchronous_client_is_served_alike(tmp_path: Path, server: EventsServer) -> None:
    """Its loop is not held up: `flush_async` waits."""
    events = DurableEvents(tmp_path)
    config = AsyncConfig(
        KEY, events_uri=server.url, use_ldd=True, flush_interval=1000, event_processor_class=events
    )
    client = AsyncLDClient(config)
    await client.start()
    client.track("counted", USER, {"n": 1}, 1)
    assert await events.flush_async(10)
    seen = [event["kind"] for event in server.accepted]
    client.track("counted", USER, {"n": 2}, 1)
    assert await asyncio.to_thread(events.flush, 10)
    events.check_client(client)
    await client.close()

    assert seen == ["custom", "index"]
    assert arrived(server) == [1, 2]


@pytest.mark.asyncio
async def test_a_synchronous_client_can_be_flushed_in_an_event_loop(tmp_path: Path, server: EventsServer) -> None:
    """A web service that is asynchronous may use it."""
    events = DurableEvents(tmp_path)
    with make_client(server, events) as client:
        track(client, 1)
        assert await events.flush_async(10)

    assert arrived(server) == [1]


@pytest.mark.usefixtures("impatient")
def test_a_flush_that_is_cancelled_does_not_hold_up_the_end_of_the_loop(
    tmp_path: Path, server: EventsServer
) -> None:
    """Its thread ends, though LaunchDarkly takes nothing."""
    server.always = Reply(503)
    events = DurableEvents(tmp_path)

    async def give_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(events.flush_async(), 0.01)

    loop = threading.Thread(target=lambda: asyncio.run(give_up()))
    with make_client(server, events) as client:
        track(client, 1)
        loop.start()
        loop.join(10)
        assert not loop.is_alive()


def test_a_run_is_handed_over_at_once(tmp_path: Path, server: EventsServer) -> None:
    """Its events arrive as if each was tracked by itself."""
    events = DurableEvents(tmp_path)
    data = {"runId": "r"}
    with make_client(server, events):
        events.send_all(USER, [("first", data, 1), ("second", data, 2.5)])
        events.flush(10)

    assert [(event["key"], event["data"], event["metricValue"]) for event in server.accepted[:2]] == [
        ("first", data, 1),
        ("second", data, 2.5),
    ]
    assert events.stats().spooled == 3


def test_what_is_not_json_is_left_out(
    tmp_path: Path, server: EventsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes with it arrives, and the log says which it was, and not what it held."""
    events = DurableEvents(tmp_path)
    with make_client(server, events) as client:
        client.track("bad", USER, {"secret": object()})
        events.send_all(USER, [("worst", {"secret": math.inf}, 1)])
        events.send_all(USER, [("good", {}, 1), ("worse", {"secret": math.nan}, 1), ("better", {}, 2)])
        events.flush(10)

    assert [event["key"] for event in server.accepted if event["kind"] == "custom"] == ["good", "better"]
    assert events.stats().dead == 3
    assert "The event bad cannot be sent" in caplog.text
    assert "The event worse cannot be sent" in caplog.text
    assert "secret" not in caplog.text


def dated(key: str) -> Context:
    """Return a context that is no JSON."""
    return Context.builder(key).set("since", date(2026, 11, 30)).build()


def test_a_context_that_is_not_json_costs_no_other_its_events(
    tmp_path: Path, server: EventsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The SDK would lose the summaries and index events of all with it: it sends a batch as one JSON."""
    events = DurableEvents(tmp_path)
    with make_client(server, events) as client:
        client.variation("flag", USER, False)
        client.variation("flag", dated("ada"), False)
        client.identify(dated("grace"))
        assert events.flush(10)

    assert [event["kind"] for event in server.accepted] == ["index", "summary"]
    assert events.stats().dead == 2
    assert "The event flag cannot be sent" in caplog.text
    assert "The event identify cannot be sent" in caplog.text


@pytest.mark.asyncio
async def test_nor_does_it_with_an_asynchronous_client(tmp_path: Path, server: EventsServer) -> None:
    """Its processor does the same."""
    events = DurableEvents(tmp_path)
    config = AsyncConfig(
        KEY, events_uri=server.url, use_ldd=True, flush_interval=1000, event_processor_class=events
    )
    async with AsyncLDClient(config) as client:
        await client.variation("flag", USER, False)
        await client.variation("flag", dated("ada"), False)
        assert await events.flush_async(10)

    assert [event["kind"] for event in server.accepted] == ["index", "summary"]


def test_what_the_service_refuses_is_left_out(tmp_path: Path, server: EventsServer) -> None:
    """It is halved down to the bad event; all others arrive in order."""
    server.refuse = lambda event: event.get("data") == {"n": 7}
    events = DurableEvents(tmp_path)
    with make_client(server, events) as client:
        track(client, *range(20))
        assert events.flush(10)

    assert arrived(server) == [n for n in range(20) if n != 7]
    assert events.stats().dead == 1
    assert json.loads((tmp_path / "dead.jsonl").read_text())["event"]["data"] == {"n": 7}


@pytest.mark.usefixtures("impatient")
def test_the_rest_of_what_is_refused_waits_where_time_is_up(tmp_path: Path, server: EventsServer) -> None:
    """What was accepted of it is not sent again."""
    server.status_of = lambda seen: {(0, 1): 400, (1,): 503}.get(tuple(seen), 0)
    events = DurableEvents(tmp_path)
    with make_client(server, events):
        events.send_all(USER, [("counted", {"n": n}, 1) for n in range(2)])
    assert arrived(server) == [0]
    server.status_of = lambda seen: 0
    with make_client(server, DurableEvents(tmp_path)):
        pass

    assert arrived(server) == [0, 1]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 429, 500, 503, 0])
def test_each_failure_is_survived(tmp_path: Path, server: EventsServer, status: int) -> None:
    """Nothing is lost, and nothing comes twice."""
    server.next_replies = [Reply(status)]
    events = DurableEvents(tmp_path)
    with make_client(server, events) as client:
        track(client, *range(5))
        assert events.flush(10)

    assert arrived(server) == list(range(5))
    assert events.stats().dead == 0


def test_a_flush_says_what_did_not_arrive(tmp_path: Path, server: EventsServer) -> None:
    """It is kept, and arrives once the service is back."""
    server.always = Reply(503)
    events = DurableEvents(tmp_path)
    with make_client(server, events) as client:
        track(client, 1)
        for _ in range(6_000):
            assert not events.flush(0.01)
            if (stats := events.stats()).retried:
                break
        server.always = Reply(202)
        assert events.flush(10)

    assert (stats.delivered, stats.retried > 0) == (0, True)
    assert stats.oldest_seconds is not None
    assert arrived(server) == [1]
    assert len({request.headers["x-launchdarkly-payload-id"] for request in server.requests[:2]}) == 1


def test_closing_sends_everything(tmp_path: Path, server: EventsServer) -> None:
    """Also what fills many files while the sender is at work."""
    events = DurableEvents(tmp_path, max_bytes=1 << 20)
    client = make_client(server, events)
    for number in range(2000):
        client.track("counted", USER, {"n": number, "filling": "x" * 200}, 1)
        if number == 1000:
            client.flush()
    client.close()

    assert arrived(server) == list(range(2000))
    assert files_in(tmp_path) == []


@pytest.mark.usefixtures("impatient")
def test_what_could_not_be_sent_is_sent_by_the_next_process(
    tmp_path: Path, server: EventsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Before its own, and the batch that was tried under the id that it had."""
    server.always = Reply(503)
    with make_client(server, DurableEvents(tmp_path)) as client:
        track(client, 1, 2)
    tried = server.requests[-1].headers["x-launchdarkly-payload-id"]
    assert "Events are left in" in caplog.text
    server.always = Reply(202)
    first_request = len(server.requests)
    with make_client(server, DurableEvents(tmp_path)) as client:
        track(client, 3)

    assert arrived(server) == [1, 2, 3]
    assert server.requests[first_request].headers["x-launchdarkly-payload-id"] == tried


@pytest.mark.usefixtures("impatient")
def test_a_process_that_lives_sends_what_a_dead_one_left(tmp_path: Path, server: EventsServer) -> None:
    """It looks for it every few seconds, not at its start alone."""
    events = DurableEvents(tmp_path)
    with make_client(server, events):
        events.flush(10)
        other = make_client(server, DurableEvents(tmp_path))
        server.always = Reply(503)
        track(other, 1)
        other.close()
        server.always = Reply(202)
        while events.stats().delivered == 0:
            assert events.flush(10)

    assert arrived(server) == [1]


def test_a_client_that_was_closed_loses_nothing(tmp_path: Path, server: EventsServer) -> None:
    """A serverless function closes its module's client, and is called again."""
    events = DurableEvents(tmp_path)
    client = make_client(server, events)
    for number in range(3):
        track(client, number)
        client.close()
        assert events.flush(10)

    assert arrived(server) == [0, 1, 2]


@pytest.mark.usefixtures("impatient")
def test_windows_is_served_alike(tmp_path: Path, server: EventsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same files are written with system calls, and locked in another way."""
    be_on_windows(monkeypatch)
    with make_client(server, DurableEvents(tmp_path)) as client:
        track(client, 1)
        server.always = Reply(503)
    server.always = Reply(202)
    with make_client(server, DurableEvents(tmp_path)) as client:
        track(client, 2)

    assert arrived(server) == [1, 2]
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("postfork", [False, True])
def test_a_forked_child_sends_its_own(tmp_path: Path, server: EventsServer, postfork: bool) -> None:
    """With and without `postfork()`, and each event once."""
    events = DurableEvents(tmp_path)
    with make_client(server, events) as client:
        track(client, 1)
        pid = os.fork()
        if not pid:
            try:
                if postfork:
                    client.postfork(start_wait=0)
                track(client, 2)
                is_right = events.flush(10) and events.stats().delivered > 0
                os._exit(0 if is_right else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        track(client, 3)
        events.flush(10)

    assert sorted(arrived(server)) == [1, 2, 3]


def test_a_process_that_only_writes_is_served_by_another(tmp_path: Path, server: EventsServer) -> None:
    """Its own flush hands the events over."""
    writing = DurableEvents(tmp_path, send=False)
    with make_client(server, writing) as client:
        track(client, 1)
        assert writing.flush(10)
        assert not server.requests
        sending = DurableEvents(tmp_path)
        with make_client(server, sending):
            while sending.stats().delivered < 2:
                sending.flush(10)
        track(client, 2)
    with make_client(server, DurableEvents(tmp_path)):
        pass

    assert arrived(server) == [1, 2]


@pytest.mark.usefixtures("impatient")
def test_events_can_be_brought_to_the_disk(
    tmp_path: Path, server: EventsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender does it, at an interval."""
    synced = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.set())
    with make_client(server, DurableEvents(tmp_path, sync=0.01)) as client:
        track(client, 1)
        assert synced.wait(10)
        server.always = Reply(503)
        synced.clear()
        client.flush()
        assert synced.wait(10)


def test_a_disk_that_fails_to_sync_holds_nothing_up(
    tmp_path: Path, server: EventsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was tracked is sent all the same, and the log says what a crash of the machine would lose."""

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    events = DurableEvents(tmp_path, sync=0.001)
    with make_client(server, events) as client:
        track(client, 1)
        assert events.flush(10)

    assert arrived(server) == [1]
    assert "Events could not be brought to the disk" in caplog.text


def test_a_clients_events_are_nobody_elses(tmp_path: Path, server: EventsServer) -> None:
    """Two clients cannot share them; one after the other can."""
    events = DurableEvents(tmp_path)
    first = make_client(server, events)
    with pytest.raises(ValueError, match="each client needs a DurableEvents, and a directory, of its own"):
        make_client(server, events)
    track(first, 1)
    first.close()
    second = make_client(server, events)
    track(second, 2)
    with pytest.raises(ValueError, match="each client needs a DurableEvents"):
        events.check_client(first)
    events.check_client(second)
    second.close()

    assert arrived(server) == [1, 2]


def test_a_client_that_sends_elsewhere_is_told(tmp_path: Path, server: EventsServer) -> None:
    """Its events would not be safe."""
    with make_client(server, DurableEvents(tmp_path)) as client:
        for wrong in (client, object()):
            with pytest.raises(ValueError, match=r"Config\(sdk_key, event_processor_class=events\)"):
                DurableEvents(tmp_path).check_client(wrong)


@pytest.mark.usefixtures("impatient")
def test_one_directory_takes_one_key_at_a_time(tmp_path: Path, server: EventsServer) -> None:
    """Another client is refused while the first one lives, and sends what it left afterwards."""
    with make_client(server, DurableEvents(tmp_path)) as client:
        with pytest.raises(ValueError, match="another SDK key"):
            make_client(server, DurableEvents(tmp_path), key="other")
        server.always = Reply(503)
        track(client, 1)
    server.always = Reply(202)
    with make_client(server, DurableEvents(tmp_path), key="other"):
        pass

    assert arrived(server) == [1]
    assert server.requests[-1].headers["authorization"] == "other"


def test_a_client_that_sends_no_events_sends_none(tmp_path: Path, server: EventsServer) -> None:
    """Nothing is written either, and there is nothing to wait for."""
    events = DurableEvents(tmp_path / "events")
    with make_client(server, events, offline=True) as client:
        events.check_client(client)
        events.send_all(USER, [("a", {}, 1)])
        assert events.flush()
        assert asyncio.run(events.flush_async())

    assert events.stats() == DeliveryStats()
    assert not (tmp_path / "events").exists()


@pytest.mark.usefixtures("impatient")
def test_what_lies_on_the_disk_is_its_users_alone(tmp_path: Path, server: EventsServer) -> None:
    """Private attributes are redacted before they are written, and the SDK key is not there."""
    directory = tmp_path / "events"
    server.always = Reply(400)
    shy = Context.builder("shy").set("name", "Secret Name").private("name").build()
    with make_client(server, DurableEvents(directory)) as client:
        client.track("a", shy, None, 1)
        content = b"".join(path.read_bytes() for path in directory.iterdir())
        modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}

    assert b"shy" in content
    assert b"Secret Name" not in content
    assert KEY.encode() not in content
    assert modes == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_disk_that_cannot_be_used_loses_nothing_while_the_process_lives(
    tmp_path: Path, server: EventsServer
) -> None:
    """Events are kept in memory."""
    path = tmp_path / "taken"
    path.write_text("")
    with make_client(server, DurableEvents(path)) as client:
        track(client, 1)

    assert arrived(server) == [1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"directory": ""}, TypeError, "directory is the path"),
        ({"directory": 5}, TypeError, "directory is the path of a directory, not 5"),
        ({"directory": Config("sdk-1")}, TypeError, r"event_processor_class takes an instance, DurableEvents\("),
        ({"max_bytes": 1.5}, TypeError, "max_bytes is a whole number"),
        ({"max_bytes": 1000}, ValueError, "max_bytes is at least 65,536, not 1,000"),
        ({"sync": "no"}, TypeError, "sync is a number"),
        ({"sync": 0}, ValueError, "sync is a number of seconds above 0"),
        ({"send": None}, TypeError, "send is True or False, not None"),
    ],
)
def test_wrong_arguments_are_named(
    tmp_path: Path, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    """Before anything is written."""
    with pytest.raises(error, match=message):
        DurableEvents(**{"directory": tmp_path / "events", **arguments})
    assert not (tmp_path / "events").exists()


def test_postfork_without_a_fork_changes_nothing(
    tmp_path: Path, server: EventsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client goes on with the same events."""
    monkeypatch.setattr(atexit, "register", lambda hook: None)  # of the first processor, which nobody stops
    events = DurableEvents(tmp_path)
    with make_client(server, events) as client:
        track(client, 1)
        client.postfork(start_wait=0)
        track(client, 2)
        events.flush(10)

    assert arrived(server) == [1, 2]

"""What the package offers for tests is itself tested, with the real clients."""

import gzip
import json
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from ldclient import Context, LDClient

from langchain_ldai.testing import AsyncRecordingClient, LoopbackLaunchDarkly, RecordedEvent, RecordingClient

USER = Context.create("user-1")
RUN = {"runId": "run-1"}


def values(events: list[RecordedEvent]) -> list[float | None]:
    """Return the metric values of some events."""
    return [event.value for event in events]


@pytest.fixture
def launchdarkly():
    """A LaunchDarkly that serves one flag."""
    with LoopbackLaunchDarkly({"greeting": {"text": "hello"}}) as server:
        yield server


@pytest.fixture
def client(launchdarkly: LoopbackLaunchDarkly):
    """A real client of it that sends events only when asked to."""
    client = LDClient(launchdarkly.config(flush_interval=3600))
    yield client
    client.close()


def changed(client: LDClient, key: str) -> threading.Event:
    """Return an event that is set when the client hears of a change of a flag."""
    heard = threading.Event()
    client.flag_tracker.add_listener(lambda change: heard.set() if change.key == key else None)
    return heard


def test_a_real_client_is_streamed_flags_and_changes(launchdarkly: LoopbackLaunchDarkly, client: LDClient) -> None:
    """The flags arrive at the start, and later changes without asking."""
    assert client.variation("greeting", USER, None) == {"text": "hello"}

    for change, expected in (
        (lambda: launchdarkly.set_flag("greeting", {"text": "hi"}), {"text": "hi"}),
        (lambda: launchdarkly.delete_flag("greeting"), None),
    ):
        heard = changed(client, "greeting")
        change()
        assert heard.wait(5)
        assert client.variation("greeting", USER, None) == expected


def test_a_dropped_stream_comes_back(launchdarkly: LoopbackLaunchDarkly, client: LDClient) -> None:
    """A client whose stream ends connects again and gets what changed meanwhile."""
    launchdarkly.drop_streams()
    heard = changed(client, "farewell")

    launchdarkly.set_flag("farewell", "bye")

    assert heard.wait(5)
    assert client.variation("farewell", USER, None) == "bye"


def test_flags_can_be_polled(launchdarkly: LoopbackLaunchDarkly) -> None:
    """A client that polls gets the same flags."""
    client = LDClient(launchdarkly.config(stream=False))

    assert client.variation("greeting", USER, None) == {"text": "hello"}
    client.close()


def test_events_arrive_once_although_a_batch_came_twice(
    launchdarkly: LoopbackLaunchDarkly, client: LDClient
) -> None:
    """A response that is lost makes the client send again; the payload id tells (spec section 8)."""
    launchdarkly.lose_next_response()
    client.track("clicked", USER, RUN, 2)
    client.flush()

    launchdarkly.wait_for_events(1, "clicked")
    client.close()

    assert len(launchdarkly.batches) == 2
    assert values(launchdarkly.custom_events("clicked")) == [2]
    assert launchdarkly.metrics("run-1") == {"clicked": [2]}
    assert launchdarkly.custom_events()[0].context.key == "user-1"


def test_a_failed_batch_is_taken_at_the_second_try(launchdarkly: LoopbackLaunchDarkly, client: LDClient) -> None:
    """A 503 takes nothing; the client tries once more (spec section 8)."""
    launchdarkly.fail_next(status=503)
    client.track("clicked", USER, RUN, 1)
    client.flush()

    assert values(launchdarkly.wait_for_events(1)) == [1]
    assert len(launchdarkly.batches) == 1


def test_an_event_of_several_kinds_keeps_its_context(launchdarkly: LoopbackLaunchDarkly, client: LDClient) -> None:
    """The context of an event is read back whole, also where it is of several kinds."""
    context = Context.create_multi(USER, Context.create("acme", "org"))
    client.track("clicked", context)
    client.flush()

    (event,) = launchdarkly.wait_for_events(1)
    assert event.context.fully_qualified_key == "org:acme:user:user-1"


def test_another_sdk_key_is_refused() -> None:
    """With an SDK key set, a client with another one gets nothing."""
    with LoopbackLaunchDarkly({"greeting": "hello"}, sdk_key="sdk-right") as server:
        request = urllib.request.Request(f"{server.url}/sdk/latest-all", headers={"Authorization": "sdk-wrong"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        right = LDClient(server.config("sdk-right"))
        assert right.variation("greeting", USER, None) == "hello"
        right.close()
    assert refused.value.code == 401
    refused.value.close()


def post(url: str, body: bytes, **headers: str) -> int:
    """Send a request and return the status of the answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
            return int(response.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def test_compressed_events_and_unknown_paths(launchdarkly: LoopbackLaunchDarkly) -> None:
    """Gzip is read, diagnostics are taken, and what an SDK does not ask for is a 404."""
    event = {"kind": "custom", "key": "clicked", "contextKeys": {"user": "user-1"}, "metricValue": 3}
    zipped = gzip.compress(json.dumps([event]).encode())

    statuses = [
        post(f"{launchdarkly.url}/bulk", zipped, **{"Content-Encoding": "gzip"}),
        post(f"{launchdarkly.url}/diagnostic", b"{}"),
        post(f"{launchdarkly.url}/elsewhere", b"{}"),
    ]

    assert statuses == [202, 202, 404]
    assert values(launchdarkly.custom_events()) == [3]
    assert launchdarkly.custom_events()[0].context.key == "user-1"
    with pytest.raises(urllib.error.HTTPError) as missing:
        urllib.request.urlopen(f"{launchdarkly.url}/elsewhere")
    assert missing.value.code == 404
    missing.value.close()


def test_waiting_in_vain_says_what_came(launchdarkly: LoopbackLaunchDarkly) -> None:
    """A wait that is over raises, with the events that did arrive."""
    with pytest.raises(TimeoutError, match=r"1 events were awaited for 0.05 s, 0 came: \[\]"):
        launchdarkly.wait_for_events(1, timeout=0.05)


def test_a_file_in_launchdarklys_format_is_served(tmp_path: Path) -> None:
    """Whole flags, and values for short, come from one file."""
    whole = {"key": "off", "version": 1, "on": False, "salt": "s", "variations": [1, 2], "offVariation": 1}
    path = tmp_path / "flags.json"
    path.write_text(json.dumps({"flags": {"off": whole}, "flagValues": {"greeting": "hello"}}), "utf-8")

    with LoopbackLaunchDarkly.from_file(path) as server:
        client = LDClient(server.config())
        served = [client.variation(key, USER, None) for key in ("off", "greeting")]
        client.close()

    assert served == [2, "hello"]


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


@pytest.mark.asyncio
async def test_recording_clients_serve_live_values_or_the_default() -> None:
    """As the real client's store does, they hand out the value itself; an unknown flag gives the default."""
    flag = {"text": "hello"}
    client, async_client = RecordingClient({"greeting": flag}), AsyncRecordingClient()
    async_client.set_flag("greeting", flag)

    assert client.variation("greeting", USER, None) is flag
    assert await async_client.variation("greeting", USER, None) is flag
    assert client.variation("nothing", USER, "default") == "default"
    assert await async_client.variation("nothing", USER, "default") == "default"

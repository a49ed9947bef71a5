"""The metrics of runs arrive by way of the journal."""

from pathlib import Path

import pytest
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiCompletionConfigDefault, LdAiHandler, ModelConfig
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.ledgers import Ledger, MemoryLedger
from langchain_ldai.testing import RecordingClient
from tests.delivery.clients import make_client, track
from tests.delivery.loopback_events import EventsServer
from tests.support.chains import DURATION, FIRST_TOKEN, QUESTION, SUCCESS, TOKENS, chain

DEFAULT = LdAiCompletionConfigDefault(enabled=True, model=ModelConfig("small-1"))


def metrics(server: EventsServer) -> list[str]:
    """Return the names of the metrics that arrived, in order, without what says that the SDK is in use."""
    names = [event["key"] for event in server.accepted if event["kind"] == "custom"]
    return [name for name in names if not name.startswith(("$ld:ai:usage", "$ld:ai:sdk"))]


@pytest.mark.parametrize("ledger", [None, MemoryLedger()], ids=["no ledger", "ledger"])
def test_a_run_arrives_in_full(
    tmp_path: Path, server: EventsServer, context: Context, ledger: Ledger | None
) -> None:
    """Also where a ledger has to grant each of its metrics."""
    events = DurableEvents(tmp_path)
    with make_client(server, events) as client, LdAiClient(client, ledger=ledger, delivery=events) as ai:
        handler = LdAiHandler(ai.completion_config("support-bot", context, default=DEFAULT))
        list(chain().stream(QUESTION, {"callbacks": [handler]}))
        assert events.flush(10)

    assert metrics(server) == [FIRST_TOKEN, DURATION, *TOKENS, SUCCESS]


def test_a_run_that_is_repeated_arrives_once(tmp_path: Path, server: EventsServer, context: Context) -> None:
    """The ledger grants each metric once, whichever tracker records it."""
    events = DurableEvents(tmp_path)
    with make_client(server, events) as client, LdAiClient(client, ledger=MemoryLedger(), delivery=events) as ai:
        token = ai.completion_config("support-bot", context, default=DEFAULT).create_tracker().resumption_token
        for _ in range(3):
            tracker = ai.create_tracker(token, context)
            tracker.track_success()
            tracker.track_duration(100)

    assert metrics(server) == [SUCCESS, DURATION]


def test_a_run_that_ends_after_the_client_was_closed_is_kept(
    tmp_path: Path, server: EventsServer, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """Its metrics arrive all the same, so the log tells of no loss."""
    events = DurableEvents(tmp_path)
    with make_client(server, events) as client:
        config = LdAiClient(client, delivery=events).completion_config("support-bot", context, default=DEFAULT)
    caplog.clear()

    chain().invoke(QUESTION, {"callbacks": [LdAiHandler(config)]})

    assert events.flush(10)
    assert metrics(server) == [DURATION, *TOKENS, SUCCESS]
    assert caplog.records == []


def test_an_offline_client_is_told_that_nothing_is_sent(
    tmp_path: Path, server: EventsServer, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no event processor, so nothing keeps the metric."""
    recording = LdAiClient(RecordingClient({}))
    token = recording.completion_config("support-bot", context, default=DEFAULT).create_tracker().resumption_token
    events = DurableEvents(tmp_path)
    caplog.set_level("INFO", "langchain_ldai")

    with make_client(server, events, offline=True) as client:
        LdAiClient(client, delivery=events).create_tracker(token, context).track_success()

    assert "'support-bot' is asked for, or counted, while the LaunchDarkly client is offline" in caplog.text
    assert "no metric is sent" in caplog.text


def test_a_delivery_of_another_client_is_refused(tmp_path: Path, server: EventsServer) -> None:
    """The error says how to make the client."""
    other = DurableEvents(tmp_path / "b")
    with (
        make_client(server, DurableEvents(tmp_path / "a")) as client,
        pytest.raises(ValueError, match="event_processor_class=events"),
    ):
        LdAiClient(client, delivery=other)


def test_a_function_in_the_place_of_the_instance_is_told(tmp_path: Path, server: EventsServer) -> None:
    """The client takes what the function returns for an event processor, and fails at the first event."""
    events = DurableEvents(tmp_path)
    client = make_client(server, lambda config: events)

    for call in (lambda: track(client, 1), client.close):
        with pytest.raises(AttributeError, match=r"event_processor_class takes DurableEvents\(directory\) itself"):
            call()
    with pytest.raises(AttributeError, match=r"DurableEvents has no attribute 'flsh'$"):
        events.flsh  # noqa: B018

"""The tests of the .NET change "per-execution runId, at-most-once tracking, and resumption", one by one."""

import json
import re
from base64 import urlsafe_b64decode
from uuid import UUID

import pytest
from ldclient import Context

from langchain_ldai import InvalidResumptionTokenError, LdAiClient, LdAiCompletionConfig
from langchain_ldai.testing import RecordingClient
from tests.support.vectors import encode_token

CONTEXT = Context.create("user-1")
FLAG = {
    "_ldMeta": {"enabled": True, "variationKey": "v1", "version": 7},
    "model": {"name": "gpt-4"},
    "provider": {"name": "openai"},
}


@pytest.fixture
def recording() -> RecordingClient:
    """Return a client that serves one config of each kind and notes the events."""
    bare = {"_ldMeta": {"enabled": True}}
    return RecordingClient({"chat": FLAG, "off": {"_ldMeta": {"enabled": False}}, "bare": bare})


@pytest.fixture
def ai(recording: RecordingClient) -> LdAiClient:
    """Return the client under test."""
    return LdAiClient(recording)


@pytest.fixture
def config(ai: LdAiClient) -> LdAiCompletionConfig:
    """Return an enabled config with a variation key, a model and a provider."""
    return ai.completion_config("chat", CONTEXT)


def content_of(token: str) -> dict[str, object]:
    """Return the fields of a token, read by hand."""
    fields: dict[str, object] = json.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    return fields


def test_1_a_disabled_config_makes_a_working_tracker(ai, recording):
    """Tracker when disabled: it is never None, and it records."""
    config = ai.completion_config("off", CONTEXT)
    assert not config.enabled

    tracker = config.create_tracker()
    tracker.track_success()

    assert recording.events[-1].name == "$ld:ai:generation:success"
    assert recording.events[-1].data["runId"] == tracker.run_id


def test_2_every_tracker_has_a_fresh_run_id(config):
    """Fresh run id: a UUIDv4, another one for each tracker."""
    run_ids = {config.create_tracker().run_id for _ in range(100)}

    assert len(run_ids) == 100
    assert {UUID(run_id).version for run_id in run_ids} == {4}
    assert all(str(UUID(run_id)) == run_id for run_id in run_ids)


def test_3_trackers_have_independent_state(config, recording):
    """Independent state: what one tracker recorded, another can record too."""
    first, second = config.create_tracker(), config.create_tracker()
    first.track_duration(1)
    assert second.summary.duration_ms is None

    second.track_duration(2)

    assert (first.summary.duration_ms, second.summary.duration_ms) == (1, 2)
    assert [event.value for event in recording.events[-2:]] == [1, 2]


def test_4_one_config_makes_many_trackers(config, recording, caplog):
    """Many trackers from one config: each sends once, under its own run id, without a warning."""
    trackers = [config.create_tracker() for _ in range(5)]

    for tracker in trackers:
        tracker.track_success()

    sent = [event.data["runId"] for event in recording.events[-5:]]
    assert sent == [tracker.run_id for tracker in trackers]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("key", "others"),
    [("chat", {"variationKey": "v1", "version": 7}), ("bare", {"version": 1})],
    ids=["with-variation-key", "without"],
)
def test_5_the_token_holds_exactly_its_fields(ai, key, others):
    """Token holds exactly its fields, in their order: no model, no provider, no empty variation key."""
    tracker = ai.completion_config(key, CONTEXT).create_tracker()

    fields = content_of(tracker.resumption_token)

    assert list(fields.items()) == [("runId", tracker.run_id), ("configKey", key), *others.items()]


def test_6_the_token_is_url_safe(config):
    """URL-safe: letters, digits, - and _ only; no padding."""
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", config.create_tracker().resumption_token) for _ in range(100))


def test_7_the_token_is_equal_across_reads(config):
    """Equal across reads: recording something does not change it; the summary has the same one."""
    tracker = config.create_tracker()
    before = tracker.resumption_token
    tracker.track_success()

    assert tracker.resumption_token == before == tracker.summary.resumption_token


def test_8_a_run_survives_the_round_trip(ai, config, recording):
    """Round trip: run id, config key, variation key, version and token are the original's; the slots are fresh."""
    original = config.create_tracker()
    original.track_success()

    resumed = ai.create_tracker(original.resumption_token, Context.create("user-2"))
    resumed.track_success()

    assert (resumed.identity, resumed.resumption_token) == (original.identity, original.resumption_token)
    last = recording.events[-1]
    assert (last.name, last.context.key) == ("$ld:ai:generation:success", "user-2")
    assert {name: last.data[name] for name in ("runId", "configKey", "variationKey", "version")} == {
        "runId": original.run_id,
        "configKey": "chat",
        "variationKey": "v1",
        "version": 7,
    }


@pytest.mark.parametrize("resume", ["client", "config"])
def test_9_a_resumed_tracker_has_no_model_and_no_provider(ai, config, recording, resume):
    """Empty model and provider after resumption: both are sent as ""."""
    token = config.create_tracker().resumption_token

    resumed = ai.create_tracker(token, CONTEXT) if resume == "client" else config.resume_tracker(token)
    resumed.track_success()

    data = recording.events[-1].data
    assert (data["modelName"], data["providerName"]) == ("", "")
    assert not {"modelKey", "modelVersion"} & set(data)


def test_10_a_malformed_token_raises(ai, config):
    """Malformed token raises the documented error, a ValueError."""
    for resume in (config.resume_tracker, lambda token: ai.create_tracker(token, CONTEXT)):
        with pytest.raises(InvalidResumptionTokenError) as caught:
            resume("not-valid-base64!!!")
        assert isinstance(caught.value, ValueError)


def test_11_a_token_of_none_raises(ai, config):
    """None token raises TypeError."""
    for resume in (config.resume_tracker, lambda token: ai.create_tracker(token, CONTEXT)):
        with pytest.raises(TypeError, match="a resumption token is a str, not NoneType"):
            resume(None)


def test_12_a_missing_run_id_raises(ai, config):
    """Missing run id raises the documented error, which names the field."""
    token = encode_token('{"configKey":"chat","version":1}')
    for resume in (config.resume_tracker, lambda token: ai.create_tracker(token, CONTEXT)):
        with pytest.raises(InvalidResumptionTokenError, match="its runId is missing or empty"):
            resume(token)

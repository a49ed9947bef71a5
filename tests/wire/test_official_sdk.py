"""Resumption tokens to and from the official `launchdarkly-server-sdk-ai` (import name `ldai`)."""

import pytest
from ldai import LDAIClient
from ldai.tracker import FeedbackKind
from ldclient import Context

from langchain_ldai import Feedback, LdAiClient
from langchain_ldai.testing import RecordedEvent, RecordingClient

CONTEXT = Context.create("user-1")
IDENTITY = ("runId", "configKey", "version", "variationKey")
METAS = {
    "all-fields": {"enabled": True, "variationKey": "v1", "version": 7},
    "no-variation-key": {"enabled": True, "version": 0},
    "not-ascii": {"enabled": False, "variationKey": '\u5909\u7a2e \U0001f600 ???>>>\x7f"\\', "version": 2**31 - 1},
}


@pytest.fixture(params=METAS.values(), ids=METAS)
def recording(request: pytest.FixtureRequest) -> RecordingClient:
    """Return a client for both libraries that serves an AI Config and notes the events."""
    return RecordingClient({"chat": {"_ldMeta": request.param, "model": {"name": "m"}, "provider": {"name": "p"}}})


def identity_of(event: RecordedEvent) -> dict[str, object]:
    """Return what an event says of its run."""
    assert isinstance(event.data, dict)
    return {name: event.data.get(name) for name in IDENTITY}


def test_a_token_of_the_official_sdk_resumes_here(recording):
    """Feedback recorded here belongs to the run that the official SDK began (spec section 6)."""
    theirs = LDAIClient(recording).completion_config("chat", CONTEXT).create_tracker()
    theirs.track_success()
    began = recording.events[-1]

    ours = LdAiClient(recording).create_tracker(theirs.resumption_token, CONTEXT)
    ours.track_feedback(Feedback.POSITIVE)

    added = recording.events[-1]
    assert added.name == "$ld:ai:feedback:user:positive"
    assert identity_of(added) == identity_of(began)
    assert ours.run_id == began.data["runId"]


def test_our_token_resumes_in_the_official_sdk(recording):
    """Feedback recorded by the official SDK belongs to the run that began here (spec section 6)."""
    ours = LdAiClient(recording).completion_config("chat", CONTEXT).create_tracker()
    ours.track_success()
    began = recording.events[-1]

    theirs = LDAIClient(recording).create_tracker(ours.resumption_token, CONTEXT)
    assert theirs.is_success()
    theirs.value.track_feedback({"kind": FeedbackKind.Negative})

    added = recording.events[-1]
    assert added.name == "$ld:ai:feedback:user:negative"
    assert identity_of(added) == identity_of(began)


def test_a_token_may_go_back_and_forth(recording):
    """However often a run changes libraries, it stays the same run."""
    mine, official = LdAiClient(recording), LDAIClient(recording)
    first = mine.completion_config("chat", CONTEXT).create_tracker()

    there = official.create_tracker(first.resumption_token, CONTEXT).value
    back = mine.create_tracker(there.resumption_token, CONTEXT)

    assert (back.identity, back.resumption_token) == (first.identity, first.resumption_token)

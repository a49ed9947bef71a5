"""Ids of runs, and keys: every ledger can hold those that are used (spec sections 4 and 6)."""

import json
from uuid import NAMESPACE_OID, UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldclient import Context

from langchain_ldai import InvalidResumptionTokenError, LdAiClient
from langchain_ldai._wire.ids import MAX_RUN_ID_LENGTH, uuid_of
from langchain_ldai._wire.tokens import decode, decode_graph
from tests.support.vectors import encode_token


@pytest.fixture(params=["completion_config", "agent_graph"])
def maker(request: pytest.FixtureRequest, ai: LdAiClient, context: Context):
    """What makes trackers: an AI Config, or an agent graph."""
    return getattr(ai, request.param)("support-bot", context)


UNHELD = {
    "first-half-of-a-pair": "\ud800",
    "second-half-of-a-pair": "run-\udfff-1",
    "halves-the-wrong-way-round": "\udc00\ud800",
    "nul": "run\0one",
    "too-long": "x" * (MAX_RUN_ID_LENGTH + 1),
}


@pytest.mark.parametrize("run_id", UNHELD.values(), ids=UNHELD)
def test_an_id_that_some_ledger_could_not_hold_is_replaced(run_id, maker, caplog):
    """The run gets a UUID that follows from the id; the log says so and how to avoid it, and does not quote it."""
    caplog.clear()

    first, again = [maker.create_tracker(run_id=run_id) for _ in range(2)]
    other = maker.create_tracker(run_id=run_id + "\ud800")

    assert first.run_id == again.run_id != other.run_id
    assert str(UUID(first.run_id)) == first.run_id
    assert UUID(first.run_id).version == 5
    assert maker.resume_tracker(first.resumption_token).run_id == first.run_id
    message = caplog.records[0].getMessage()
    assert first.run_id in message
    assert "Give a UUID" in message
    assert run_id not in message


@pytest.mark.parametrize(
    "run_id", ["r", "run 1/\u00fc", "\U0001f600" * MAX_RUN_ID_LENGTH], ids=["short", "not-ascii", "longest"]
)
def test_an_id_that_every_ledger_can_hold_is_kept(run_id, maker, caplog):
    """Any text of up to 256 characters is a run's id, and its token can be read."""
    caplog.clear()

    tracker = maker.create_tracker(run_id=run_id)

    assert tracker.run_id == run_id
    assert maker.resume_tracker(tracker.resumption_token).run_id == run_id
    assert caplog.records == []


def test_an_empty_id_is_refused(maker):
    """An empty id names no run, so no UUID is made of it, which all such runs would share."""
    with pytest.raises(ValueError, match="run_id is empty; leave it out for a new id"):
        maker.create_tracker(run_id="")


@pytest.mark.parametrize("run_id", ["run\0one", "x" * (MAX_RUN_ID_LENGTH + 1)], ids=["nul", "too-long"])
@pytest.mark.parametrize(("read", "key"), [(decode, "configKey"), (decode_graph, "graphKey")])
def test_a_token_of_a_run_that_some_ledger_could_not_hold_is_refused(read, key, run_id):
    """The run of a token has an id of which a claim can be made, as every other run has."""
    token = encode_token(json.dumps({"runId": run_id, key: "k"}))

    with pytest.raises(InvalidResumptionTokenError, match=r"its runId has (a NUL|257) character"):
        read(token)


@pytest.mark.parametrize("key", ["\ud800", "a\udfffb", "nul\0"])
@pytest.mark.parametrize("ask", ["completion_config", "agent_config", "judge_config", "agent_graph"])
def test_a_key_that_some_ledger_could_not_hold_is_refused(ask, key, ai, context):
    """Neither AI Configs nor agent graphs have such a key, and the claims of their runs could not be made."""
    with pytest.raises(
        ValueError, match=r"the key .* has (a NUL character|half a surrogate pair); LaunchDarkly has no such key"
    ):
        getattr(ai, ask)(key, context)


@given(st.text())
def test_the_uuid_of_a_text_is_that_of_the_standard_library(text):
    """An id that follows from a text can be computed elsewhere too."""
    assert uuid_of(text) == str(uuid5(NAMESPACE_OID, text))

"""Resumption tokens of a graph's run (spec sections 6 and 7)."""

import json
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_ldai import InvalidResumptionTokenError, LdAiGraphTracker
from langchain_ldai._wire.tokens import (
    GraphRunIdentity,
    RunIdentity,
    decode,
    decode_graph,
    encode,
)
from tests.support.sent import Sent, sender_to
from tests.support.vectors import encode_token


def fields_of(token: str) -> list[tuple[str, object]]:
    """Return what a token holds, in its order."""
    return list(json.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4))).items())


@pytest.mark.parametrize(
    ("identity", "fields"),
    [
        (
            GraphRunIdentity("r", "g", "v", 0),
            [("runId", "r"), ("graphKey", "g"), ("variationKey", "v"), ("version", 0)],
        ),
        (GraphRunIdentity("r", "g"), [("runId", "r"), ("graphKey", "g"), ("version", 1)]),
    ],
    ids=["all", "no-variation-key"],
)
def test_a_graph_token_has_four_fields_in_order(identity, fields):
    """The graph token holds run, graph, variation and version, and names no AI Config (spec section 7)."""
    token = LdAiGraphTracker(identity, sender_to(Sent())).resumption_token

    assert fields_of(token) == fields
    assert (token, decode_graph(token)) == (encode(identity), identity)


@pytest.mark.parametrize("graph_key", ["", "travel"], ids=["outside", "node"])
def test_a_configs_token_is_no_graph_token(graph_key):
    """The token of an AI Config's run, also within the graph, raises: the message says what takes it."""
    token = encode(RunIdentity("run-secret", "chat-secret", "v", 1, graph_key))

    with pytest.raises(
        InvalidResumptionTokenError, match=r"not of an agent graph; .* create_tracker\(\)$"
    ) as caught:
        decode_graph(token)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("token", [None, 5, b"x"], ids=repr)
def test_a_token_that_is_no_string_raises_type_error(token):
    """`None` or a number is the caller's mistake, not a bad token."""
    with pytest.raises(TypeError, match="a resumption token is a str, not"):
        decode_graph(token)


def outcome_of(read, token: str) -> object:
    """Return what comes of reading a token: a run's fields, or the documented error's text."""
    try:
        identity = read(token)
    except InvalidResumptionTokenError as error:
        return str(error).replace("graphKey", "configKey")
    key = identity.graph_key if isinstance(identity, GraphRunIdentity) else identity.config_key
    return identity.run_id, key, identity.variation_key, identity.version


json_values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.none())
run_fields = st.dictionaries(st.sampled_from(["runId", "variationKey", "version", "other"]), json_values)


@given(run_fields | run_fields.map(lambda fields: {"runId": "r", **fields}), json_values | st.just("key"))
def test_a_graph_token_is_read_as_strictly_as_any(fields, key):
    """Whatever the fields hold, a graph token is read or refused like a config token (spec sections 6 and 7)."""
    ours = encode_token(json.dumps({**fields, "graphKey": key}))
    theirs = encode_token(json.dumps({**fields, "configKey": key}))

    assert outcome_of(decode_graph, ours) == outcome_of(decode, theirs)


@given(st.text() | st.binary().map(encode_token))
def test_any_text_is_refused_alike(token):
    """Whatever the text, the graph's decoder says what the other one says."""
    assert outcome_of(decode_graph, token) == outcome_of(decode, token)

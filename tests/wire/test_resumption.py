"""Resumption tokens: spec section 6, case by case and as properties."""

import json
import operator
import string
import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ldclient import Context

from langchain_ldai import Feedback, InvalidResumptionTokenError, LdAiClient
from langchain_ldai._wire.tokens import (
    MAX_TOKEN_LENGTH,
    GraphRunIdentity,
    RunIdentity,
    decode,
    encode,
    resumption_token_of,
    token_and_fields,
)
from langchain_ldai.testing import RecordingClient
from tests.support.json_values import json_values
from tests.support.vectors import Case, cases, encode_token, token_of, unused, with_ids

VALID = cases("resumption_tokens", "valid")
DOTNET = cases("resumption_tokens", "dotnet")
DECODE = cases("resumption_tokens", "decode")
NOT_TEXT = [case for case in DECODE if not isinstance(token_of(case), str)]
BY_OUTCOME = {
    outcome: [case for case in DECODE if case["expected"]["outcome"] == outcome and case not in NOT_TEXT]
    for outcome in ("ok", "error", "either")
}

SECRET = "".join(chr(ord("A") + place * 7 % 26) + str(place % 10) for place in range(40))
KEY_CHARACTERS = string.ascii_letters + string.digits + "._-"

legal_keys = st.text(KEY_CHARACTERS, min_size=1, max_size=256)
identities = st.builds(
    RunIdentity,
    run_id=st.uuids(version=4).map(str),
    config_key=legal_keys,
    variation_key=st.just("") | legal_keys,
    version=st.integers(-(2**63) + 1, 2**63 - 1),
    graph_key=st.just("") | legal_keys,
)
TRACK_DATA = {"runId": "run-1", "configKey": "chat", "variationKey": "v", "version": 3, "graphKey": "desk"}
parts_of_a_token = st.sets(st.sampled_from(list(TRACK_DATA))).map(
    lambda names: {name: TRACK_DATA[name] for name in names}
)
token_names = st.sampled_from(["runId", "configKey", "variationKey", "version", "graphKey", "other"])


def identity_of(fields: Case) -> RunIdentity:
    """Return the identity that a case writes down, where null and "" are the same."""
    return RunIdentity(
        run_id=fields["runId"],
        config_key=fields["configKey"],
        variation_key=fields.get("variationKey") or "",
        version=fields["version"],
        graph_key=fields.get("graphKey") or "",
    )


def outcome_of(token: str) -> RunIdentity | InvalidResumptionTokenError:
    """Return what comes of reading a token; any other exception comes out."""
    try:
        return decode(token)
    except InvalidResumptionTokenError as error:
        return error


def common_length(left: str, right: str) -> int:
    """Return the length of the longest text that is part of both."""
    longest, row = 0, [0] * (len(right) + 1)
    for character in left:
        row = [0, *(row[i] + 1 if character == other else 0 for i, other in enumerate(right))]
        longest = max(longest, *row)
    return longest


def test_every_case_of_the_vectors_is_used():
    """No case of the token vectors is left out (spec section 6)."""
    assert unused(DECODE, NOT_TEXT, *BY_OUTCOME.values()) == []
    assert [len(group) for group in (VALID, DOTNET, NOT_TEXT)] == [18, 13, 2]


@pytest.mark.parametrize("case", with_ids(VALID))
def test_our_token_is_the_recommended_encoding(case):
    """The token is compact JSON in a fixed key order, ASCII only, URL-safe, unpadded (spec section 6)."""
    assert encode(identity_of(case["payload"])) == case["recommendedEncoding"]


def test_a_run_always_names_its_ai_config():
    """The key is there even if it is empty, unlike the other fields (spec 4.1)."""
    _, fields = token_and_fields(RunIdentity("run-1", ""))

    assert fields == {"runId": "run-1", "configKey": "", "version": 1}


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        pytest.param(token, case["expected"], id=f"{case['id']}-{writer}")
        for case in VALID
        for writer, token in [*case["encodings"].items(), ("recommended", case["recommendedEncoding"])]
    ],
)
def test_the_token_of_every_sdk_is_read(token, expected):
    """A token that any official SDK wrote says the same here (spec section 6)."""
    assert decode(token) == identity_of(expected)


@pytest.mark.parametrize("case", with_ids([*DOTNET, *BY_OUTCOME["ok"]]))
def test_a_token_that_the_spec_accepts_is_read(case):
    """What the spec accepts decodes to exactly its fields (spec section 6)."""
    assert decode(token_of(case)) == identity_of(case["expected"])


@pytest.mark.parametrize("case", with_ids(BY_OUTCOME["error"]))
def test_a_token_that_the_spec_rejects_raises(case):
    """What the spec rejects raises the one documented error (spec section 6)."""
    with pytest.raises(InvalidResumptionTokenError, match=r"^not a resumption token: "):
        decode(token_of(case))


@pytest.mark.parametrize("case", with_ids(BY_OUTCOME["either"]))
def test_a_token_on_which_sdks_differ_is_read_or_raises(case):
    """Where both are acceptable, no other exception comes out (spec section 6)."""
    assert isinstance(outcome_of(token_of(case)), RunIdentity | InvalidResumptionTokenError)


@pytest.mark.parametrize("case", with_ids(NOT_TEXT))
def test_a_token_that_is_no_string_raises_type_error(case):
    """`None` or a number is the caller's mistake, not a bad token."""
    with pytest.raises(TypeError, match=r"^a resumption token is a str, not (NoneType|int)$"):
        decode(token_of(case))


@pytest.mark.parametrize("version", ["null", "1"], ids=["null", "one"])
def test_a_version_of_null_is_one(version):
    """An absent version is 1, and so is null (spec section 6)."""
    assert decode(encode_token(f'{{"runId":"r","configKey":"c","version":{version}}}')).version == 1


@pytest.mark.parametrize(
    "text",
    [
        "[" * 12_000,
        '{"x":' * 2_400,
        '{"runId":"r","configKey":"c","x":NaN}',
        '{"runId":"r","configKey":"c","x":-Infinity}',
    ],
    ids=["deep-array", "deep-object", "nan", "infinity"],
)
def test_what_is_no_json_raises_also_within_the_length_limit(text):
    """Too great a depth, and numbers that JSON does not have, are errors in any field (spec section 6)."""
    token = encode_token(text)
    assert len(token) <= MAX_TOKEN_LENGTH

    with pytest.raises(InvalidResumptionTokenError, match="its content is not JSON"):
        decode(token)


def test_what_is_no_utf_8_is_told_as_that():
    """Base64 it is: the token was made of other bytes than text."""
    with pytest.raises(InvalidResumptionTokenError, match="its bytes are not UTF-8"):
        decode("____")


@pytest.mark.parametrize(
    ("version", "accepted"),
    [(2**63 - 1, True), (-(2**63) + 1, True), (2**63, False), (-(2**63) - 1, False)],
    ids=["most", "least", "too-much", "too-little"],
)
def test_a_version_has_at_most_64_bits(version, accepted):
    """A version that fits 64 bits is read, and no larger one (spec section 6)."""
    outcome = outcome_of(encode_token(json.dumps({"runId": "r", "configKey": "c", "version": version})))

    assert isinstance(outcome, RunIdentity) is accepted


def test_a_token_of_the_greatest_length_is_read_and_a_longer_one_is_not():
    """The length limit is exact, and the message says both lengths."""
    text = json.dumps({"runId": "r", "configKey": "c", "other": ""})
    longest = encode_token(text.replace('""', f'"{"x" * (MAX_TOKEN_LENGTH // 4 * 3 - len(text))}"'))

    assert len(longest) == MAX_TOKEN_LENGTH
    assert decode(longest) == RunIdentity("r", "c")
    with pytest.raises(InvalidResumptionTokenError, match="it has 16,388 characters, more than 16,384"):
        decode(longest + "AAAA")


LEAKY = {
    "not-base64": f"!{SECRET}!",
    "fullwidth": SECRET + "\uff45",
    "surrogate": SECRET + "\ud800",
    "not-utf8": encode_token(SECRET.encode() + b"\xff"),
    "not-json": encode_token(SECRET),
    "json-cut-off": encode_token(f'{{"runId":"{SECRET}"'),
    "constant": encode_token(f'{{"runId":"{SECRET}","configKey":"{SECRET}","version":NaN}}'),
    "text": encode_token(f'"{SECRET}"'),
    "array": encode_token(f'["{SECRET}"]'),
    "run-id-missing": encode_token(f'{{"configKey":"{SECRET}"}}'),
    "run-id-list": encode_token(f'{{"runId":["{SECRET}"],"configKey":"{SECRET}"}}'),
    "half-surrogate": encode_token(f'{{"runId":"{SECRET}\\ud800","configKey":"{SECRET}"}}'),
    "version-text": encode_token(f'{{"runId":"{SECRET}","configKey":"c","version":"{SECRET}"}}'),
    "version-too-long": encode_token(f'{{"runId":"{SECRET}","configKey":"c","version":{"1234567890" * 8}}}'),
    "graph-key-object": encode_token(f'{{"runId":"r","configKey":"c","graphKey":{{"{SECRET}":1}}}}'),
    "too-long": SECRET * 1000,
}


@pytest.mark.parametrize("token", LEAKY.values(), ids=LEAKY)
def test_an_error_tells_nothing_of_the_token(token):
    """Neither the message nor a printed traceback has more than 40 characters of a bad token."""
    with pytest.raises(InvalidResumptionTokenError) as caught:
        decode(token)
    printed = "".join(traceback.format_exception(caught.value.with_traceback(None)))

    assert common_length(printed, token[:2000]) <= 40
    assert common_length(printed, SECRET) <= 10
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@given(identities)
def test_a_run_survives_its_token(identity):
    """Decoding undoes encoding, and the token is URL-safe without padding (spec section 6)."""
    token = encode(identity)

    assert decode(token) == identity
    assert set(token) <= set(string.ascii_letters + string.digits + "-_")


@given(st.text() | st.text(string.ascii_letters + string.digits + "-_=+/") | st.binary().map(encode_token))
def test_any_text_is_a_run_or_the_error(token):
    """Whatever the text, nothing but a run or the documented error comes out."""
    assert isinstance(outcome_of(token), RunIdentity | InvalidResumptionTokenError)


@given(st.builds(operator.or_, st.dictionaries(token_names, json_values), parts_of_a_token))
@example(TRACK_DATA)
def test_any_fields_are_a_run_or_the_error(fields):
    """Whatever the fields hold, a run that is read has fields of the right types."""
    outcome = outcome_of(encode_token(json.dumps(fields)))

    if isinstance(outcome, RunIdentity):
        assert outcome.run_id
        assert outcome.config_key
        assert type(outcome.version) is int
        assert decode(encode(outcome)) == outcome
    else:
        assert isinstance(outcome, InvalidResumptionTokenError)


@given(identities, st.data())
def test_a_damaged_token_is_a_run_or_the_error(identity, data):
    """A token cut, changed or added to anywhere gives a run or the documented error."""
    token = encode(identity)
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, min(len(token), start + 4)))
    damaged = token[:start] + data.draw(st.text(max_size=4)) + token[end:]

    assert isinstance(outcome_of(damaged), RunIdentity | InvalidResumptionTokenError)


def test_the_token_of_an_events_data_adds_to_its_run() -> None:
    """What LaunchDarkly's newer packages hand out of a run is enough to add feedback to the run."""
    client = RecordingClient()
    data = {**TRACK_DATA, "modelName": "m", "providerName": "P", "environmentId": "e" * 24, "modelVersion": 2}

    token = resumption_token_of(data)
    LdAiClient(client).create_tracker(token, Context.create("user-1")).track_feedback(Feedback.POSITIVE)

    assert token == encode(RunIdentity("run-1", "chat", "v", 3, "desk"))
    assert client.metrics("run-1") == {"$ld:ai:feedback:user:positive": [1]}


@given(identities)
def test_the_token_of_a_trackers_own_events_is_the_trackers(identity: RunIdentity) -> None:
    """The data of an event and the token of its run say the same."""
    data = {name: value for name, value in zip(TRACK_DATA_NAMES, identity, strict=True) if value != ""}

    assert decode(resumption_token_of(data)) == identity


TRACK_DATA_NAMES = ("runId", "configKey", "variationKey", "version", "graphKey")
NO_RUNS = {
    "nothing": {},
    "no-run-id": {**TRACK_DATA, "runId": None},
    "empty-key": {**TRACK_DATA, "configKey": ""},
    "number-for-a-key": {**TRACK_DATA, "configKey": 5},
    "text-for-a-version": {**TRACK_DATA, "version": "3"},
    "true-for-a-version": {**TRACK_DATA, "version": True},
    "half-a-character": {**TRACK_DATA, "variationKey": "\ud800"},
}


@pytest.mark.parametrize("data", NO_RUNS.values(), ids=NO_RUNS)
def test_data_that_tells_of_no_run_is_refused(data: dict[str, object]) -> None:
    """The data is checked as a token's content is."""
    with pytest.raises(InvalidResumptionTokenError, match=r"its (runId|configKey|version|variationKey) "):
        resumption_token_of(data)


def test_data_is_a_dictionary() -> None:
    """A token, given for the data, is a mistake of the caller."""
    with pytest.raises(TypeError, match="track_data is a dictionary, not str"):
        resumption_token_of(resumption_token_of(TRACK_DATA))


TOKEN = encode(RunIdentity("run-1", "support-bot"))
GRAPH_TOKEN = encode(GraphRunIdentity("run-1", "desk"))
IN_FULL = "give the run's resumption_token as it is, unchanged and in full"
WRONG: dict[str, tuple[object, str]] = {
    "name": ("support-bot", IN_FULL),
    "thread": ("thread-42", IN_FULL),
    "JSON": ('{"runId":"run-1"}', IN_FULL),
    "cut": (TOKEN[:-5], IN_FULL),
    "joined": (TOKEN + TOKEN, IN_FULL),
    "other JSON": (encode_token("[1]"), IN_FULL),
    "other object": (encode_token("{}"), IN_FULL),
    "wrong field": (encode_token('{"runId":5}'), IN_FULL),
    "too long": ("x" * (MAX_TOKEN_LENGTH + 1), IN_FULL),
    "empty": ("", "it is empty; give the run's resumption_token"),
    "quoted": (f'"{TOKEN}"', "spaces, line ends or quotes around it; give it without them"),
    "line": (f"{TOKEN}\n", "spaces, line ends or quotes around it; give it without them"),
    "trace id": ("0af7651916cd43dd8448eb211c80319c", "the id of a run; give the run's resumption_token"),
    "bytes": (TOKEN.encode(), "not bytes: give token.decode()"),
    "track data": ({"runId": "run-1"}, "not dict: resumption_token_of() makes one of track data"),
    "graph": (GRAPH_TOKEN, "as its configKey is missing or empty; give it to create_graph_tracker()"),
}


@pytest.mark.parametrize(("given", "remedy"), WRONG.values(), ids=WRONG)
def test_what_is_no_token_is_told_with_what_to_give(given: object, remedy: str) -> None:
    """Each way a token can be wrong has a remedy in its message."""
    client = LdAiClient(RecordingClient())

    with pytest.raises((TypeError, InvalidResumptionTokenError), match=remedy.replace("()", r"\(\)")):
        client.create_tracker(given, Context.create("user-1"))

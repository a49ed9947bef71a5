"""Malformed flag payloads are read leniently and never raise (spec section 2)."""

import json
import math
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldclient import Context

from langchain_ldai import (
    LdAiClient,
    LdAiCompletionConfigDefault,
    Message,
    ModelConfig,
    ToolConfig,
)
from langchain_ldai._wire.tokens import decode
from langchain_ldai.testing import RecordingClient
from tests.support.json_values import json_values

CONTEXT = Context.create("user-1")
METHODS = {"completion": "completion_config", "agent": "agent_config", "judge": "judge_config"}
LOG = "langchain_ldai._configs.payload"

names = ["_ldMeta", "model", "provider", "messages", "instructions", "tools", "judgeConfiguration"]
names += ["evaluationMetricKey", "evaluationMetricKeys", "enabled", "version", "variationKey", "modelKey", "name"]
names += ["modelVersion", "parameters", "custom", "judges", "key", "samplingRate", "role", "content"]
payload_like = st.recursive(
    json_values,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(names), inner, max_size=5),
    max_leaves=12,
)


def serve(flag: object, mode: str = "completion", **options: object):
    """Return what is served for one flag in one mode."""
    return getattr(LdAiClient(RecordingClient({"chat": flag})), METHODS[mode])("chat", CONTEXT, **options)


def with_meta(**meta: object) -> dict[str, object]:
    """Return a flag with this metadata."""
    return {"_ldMeta": {"enabled": True, **meta}}


@pytest.mark.parametrize("flag", [5, True, [1], "text", None], ids=json.dumps)
def test_what_is_no_object_gives_the_default_and_an_error(caplog, flag):
    """A value that is no object is logged as an error, and the default is used (spec 2, rule 2)."""
    default = LdAiCompletionConfigDefault(True, messages=[Message("user", "{{x}}")])

    config = serve(flag, default=default, variables={"x": "hi"})

    assert config.messages == (Message("user", "hi"),)
    [record] = caplog.records
    assert (record.name, record.levelname) == (LOG, "ERROR")
    assert "'chat'" in record.getMessage()


@pytest.mark.parametrize("wanted", METHODS)
@pytest.mark.parametrize("given", [*METHODS, "poem", "Agent", 5])
def test_another_mode_gives_the_default_and_a_warning(caplog, wanted, given):
    """A config of another mode is logged as a warning, and the default is used (spec 2, rule 3)."""
    config = serve({**with_meta(mode=given, version=9), "model": {"name": "served"}}, wanted)

    assert config.enabled is (given == wanted)
    assert config.version == (9 if given == wanted else 1)
    assert [(record.name, record.levelname) for record in caplog.records] == (
        [] if given == wanted else [(LOG, "WARNING")]
    )


@pytest.mark.parametrize(
    ("given", "wanted", "said"),
    [
        (None, "agent", "is of mode 'completion', not 'agent'; ask for it with completion_config(); "),
        ("judge", "completion", "is of mode 'judge', not 'completion'; ask for it with judge_config(); "),
        ("poem", "completion", "is of mode 'poem', not 'completion'; the default is used"),
    ],
)
def test_another_mode_is_told_with_the_method_that_asks_for_it(caplog, given, wanted, said):
    """The remedy is there where there is one."""
    serve({"_ldMeta": {"enabled": True, "mode": given}}, wanted)

    assert said in caplog.messages[0]
    assert caplog.messages[0].endswith("the default is used, or without one a disabled AI Config")


@pytest.mark.parametrize("mode", ["", 0, False, []])
def test_a_mode_that_is_none_is_another_mode(mode: object) -> None:
    """Only one that is missing, or null, is taken for `completion` (spec 2, rule 3)."""
    assert serve(with_meta(mode=None)).enabled
    assert not serve(with_meta(mode=mode)).enabled


def test_what_nests_deeper_than_python_can_go_is_absent() -> None:
    """Nothing that is served raises: parameters too deep to copy are none, the rest is taken (spec 2)."""
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"more": deep}

    config = serve({**with_meta(), "model": {"name": "small-1", "parameters": deep}})

    assert (config.model.name, config.model.parameters) == ("small-1", {})


VERSIONS = {
    "missing": ({}, 1),
    "null": ({"version": None}, 1),
    "text": ({"version": "7"}, 1),
    "true": ({"version": True}, 1),
    "list": ({"version": [7]}, 1),
    "nan": ({"version": math.nan}, 1),
    "infinity": ({"version": math.inf}, 1),
    "beyond-float": ({"version": 10**400}, 1),
    "beyond-64-bit": ({"version": 1e300}, 1),
    "zero": ({"version": 0}, 0),
    "negative": ({"version": -3}, -3),
    "float": ({"version": 3.0}, 3),
    "fraction": ({"version": 3.9}, 3),
}


@pytest.mark.parametrize(("meta", "version"), VERSIONS.values(), ids=VERSIONS)
def test_a_version_is_always_an_integer(meta, version):
    """The version is an integer whatever the payload holds, and the run's token can be read (spec 2, rule 6)."""
    config = serve(with_meta(**meta))

    assert (config.version, type(config.version)) == (version, int)
    assert decode(config.create_tracker().resumption_token).version == version


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, {}),
        ({"modelKey": "", "modelVersion": None}, {}),
        ({"modelKey": 5, "modelVersion": "four"}, {}),
        ({"modelKey": "mk", "modelVersion": 0}, {"modelKey": "mk", "modelVersion": 0}),
    ],
    ids=["missing", "empty", "wrong-type", "present"],
)
def test_model_key_and_version_are_sent_when_they_are_there(meta, expected):
    """`modelKey` and `modelVersion` are in the events only where the payload has them (spec section 4)."""
    recording = RecordingClient({"chat": with_meta(**meta)})

    LdAiClient(recording).completion_config("chat", CONTEXT).create_tracker().track_success()

    data = recording.events[-1].data
    assert {name: data[name] for name in ("modelKey", "modelVersion") if name in data} == expected


RATES = {
    "zero": (0, True),
    "half": (0.5, True),
    "one": (1, True),
    "null": (None, False),
    "text": ("1", False),
    "true": (True, False),
    "nan": (math.nan, False),
    "infinity": (math.inf, False),
    "beyond-float": (10**400, False),
}


@pytest.mark.parametrize(("rate", "kept"), RATES.values(), ids=RATES)
def test_a_judge_needs_a_key_and_a_rate(rate, kept):
    """A judge without a key, or whose rate is no number, is skipped (spec 2, rule 10)."""
    entries = [{"key": "j", "samplingRate": rate}, {"key": "", "samplingRate": 1}, {"samplingRate": 1}, None]

    judges = serve({**with_meta(), "judgeConfiguration": {"judges": entries}}).judges

    assert [(judge.key, judge.sampling_rate) for judge in judges] == ([("j", rate)] if kept else [])


METRIC_KEYS = {
    "new": ({"evaluationMetricKey": "a"}, "a"),
    "trimmed": ({"evaluationMetricKey": " a "}, "a"),
    "new-before-older": ({"evaluationMetricKey": "a", "evaluationMetricKeys": ["b"]}, "a"),
    "older": ({"evaluationMetricKeys": ["b", "c"]}, "b"),
    "blank-then-older": ({"evaluationMetricKey": " ", "evaluationMetricKeys": [5, "", " ", " c "]}, "c"),
    "older-without-any": ({"evaluationMetricKeys": []}, None),
    "older-not-a-list": ({"evaluationMetricKeys": "b"}, None),
    "missing": ({}, None),
    "number": ({"evaluationMetricKey": 5}, None),
}


@pytest.mark.parametrize(("fields", "expected"), METRIC_KEYS.values(), ids=METRIC_KEYS)
def test_a_judges_metric_key_may_be_of_the_older_form(fields, expected):
    """It is `evaluationMetricKey`, else the first of the older list that is not blank (spec 2, rule 16)."""
    assert serve({**with_meta(mode="judge"), **fields}, "judge").evaluation_metric_key == expected


def test_tools_of_the_older_form_are_read_only_without_the_newer():
    """A top-level `tools`, even an empty one, hides the list in the model's parameters (spec 2, rule 10)."""
    older = {"parameters": {"tools": [{"name": "a"}, {"name": ""}, {"name": 5}, "b"]}}

    assert list(serve({**with_meta(), "model": older}).tools) == ["a"]
    assert list(serve({**with_meta(), "model": older, "tools": {}}).tools) == []
    assert list(serve({**with_meta(), "model": {"parameters": {"tools": {"a": {}}}}}).tools) == []


def test_a_tools_name_is_its_key_where_it_has_none():
    """A tool without a name has its key's; what has the wrong type is absent (spec 2, rule 10)."""
    tool = serve({**with_meta(), "tools": {"search": {"type": 5, "description": [], "parameters": "x"}}}).tools[
        "search"
    ]

    assert (tool.name, tool.type, tool.description) == ("search", None, None)
    assert (tool.parameters, tool.custom_parameters) == ({}, {})


def test_an_entry_that_is_no_message_is_skipped_and_an_unknown_role_is_user():
    """Only objects are messages; a role that is missing or unknown is user (spec 2, rule 9)."""
    roles = ["ASSISTANT", "tool", 1, None, "User,System"]
    entries = ["text", None, ["x"], *({"role": role, "content": "c"} for role in roles), {}]

    messages = serve({**with_meta(), "messages": entries}).messages

    assert [message.role for message in messages] == ["assistant", *["user"] * 5]
    assert messages[-1].content == ""


@given(st.sampled_from(list(METHODS)), payload_like | st.dictionaries(st.sampled_from(names), payload_like))
def test_no_payload_raises(mode, payload):
    """Whatever is served, a config with a working tracker comes of it (spec section 2)."""
    if isinstance(payload, dict) and isinstance(payload.get("_ldMeta"), dict):
        payload["_ldMeta"]["mode"] = mode

    config = serve(payload, mode)
    tracker = config.create_tracker()
    tracker.track_success()

    assert decode(tracker.resumption_token) == tracker.identity
    assert isinstance(config.model, ModelConfig)
    assert isinstance(config.to_messages(), list)


@pytest.mark.parametrize(
    ("served", "read"),
    [("\ud83d", ""), ("a\udc00b", ""), ("short", "short"), ("kürz-\U0001f600", "kürz-\U0001f600"), (7, "")],
    ids=ascii,
)
def test_a_variations_key_is_one_that_a_token_can_hold(served: object, read: str) -> None:
    """Half a surrogate pair counts as absent, so that the tokens of a run can be read, of a graph's run too."""
    meta = {"enabled": True, "variationKey": served}
    flags = {"chat": {"_ldMeta": meta}, "desk": {"_ldMeta": meta, "root": "triage", "edges": {}}}
    user = Context.create("user-1")
    ai = LdAiClient(RecordingClient(flags))

    config, graph = ai.completion_config("chat", user), ai.agent_graph("desk", user)

    assert (config.variation_key, graph.variation_key) == (read, read)
    tracker = config.create_tracker()
    assert ai.create_tracker(tracker.resumption_token, user).run_id == tracker.run_id
    tracker = graph.create_tracker()
    assert ai.create_graph_tracker(tracker.resumption_token, user).run_id == tracker.run_id


@pytest.mark.parametrize(
    "part",
    [
        {"model": ModelConfig("small-1", {"stop": {"."}})},
        {"model": ModelConfig("small-1", {"temperature": float("nan")})},
        {"output_format": {"type": object()}},
        {"tools": {"search": ToolConfig("search", custom_parameters={"since": date(2026, 1, 1)})}},
    ],
    ids=["set", "nan", "format", "tool"],
)
def test_a_default_that_is_no_json_is_refused(part: dict[str, object]) -> None:
    """LaunchDarkly's client sends a default that it used, and would lose a whole batch with this one."""
    with pytest.raises(TypeError, match=f"LdAiCompletionConfigDefault: {next(iter(part))} has to be JSON"):
        LdAiCompletionConfigDefault(**part)

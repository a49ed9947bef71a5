"""The fields of LaunchDarkly's newer packages are read: regions, blocks, output formats and skills."""

import copy

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from ldclient import Context

from langchain_ldai import (
    LdAiAgentConfigDefault,
    LdAiClient,
    LdAiCompletionConfigDefault,
    LdAiConfigTracker,
    Message,
    ModelConfig,
)
from langchain_ldai.testing import RecordingClient
from tests.support.call_both_clients import both_clients
from tests.support.vectors import cases, with_ids

CONTEXT = Context.builder("user-1").name("{{x}}").build()
MODES = ("completion", "agent", "judge")
PAYLOADS = cases("generation2_payloads")
PNG = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
ON_THE_WEB = {"type": "url", "url": "https://example.org/{{x}}.png"}


def flag(mode: str = "completion", /, **parts: object) -> dict[str, object]:
    """Return a flag of these parts."""
    return {"_ldMeta": {"enabled": True, "mode": mode}, **parts}


def serve(payload: object, mode: str = "completion", **options: object):
    """Return what is served for one flag in one mode."""
    ai = LdAiClient(RecordingClient({"chat": payload}))
    return getattr(ai, f"{mode}_config")("chat", CONTEXT, **options)


def event_data(tracker: LdAiConfigTracker, client: RecordingClient) -> dict[str, object]:
    """Return the data of an event of a tracker."""
    tracker.track_success()
    return dict(client.events[-1].data)


@both_clients
@pytest.mark.parametrize("case", with_ids(PAYLOADS))
def test_a_payload_is_read_as_the_rules_say(ask_of, case) -> None:
    """Each payload of the newer packages is read by our rules, in each mode asked for, and never raises."""
    for mode, expected in case["expected"].items():
        ask = ask_of({"k": case["payload"]})

        config = ask(f"{mode}_config", "k", CONTEXT)

        event = event_data(config.create_tracker(), ask)
        found = {**vars(config), "messages": len(config.messages), "skills": list(config.skills)}
        found |= {"region": config.model.region}
        found |= {name: event.get(name) for name in ("modelKey", "modelVersion", "modelName")}
        assert {name: found[name] for name in expected} == expected


MODEL_VERSIONS = {
    "number": (2, 2),
    "zero": (0, 0),
    "whole-float": (2.0, 2),
    "digits": ("2", 2),
    "digits-of-zero": ("0", 0),
    "digits-between-spaces": (" 12\n", 12),
    "below-zero": ("-1", -1),
    "fraction": (2.5, None),
    "fraction-in-text": ("2.5", None),
    "true": (True, None),
    "word": ("two", None),
    "nothing-in-text": ("", None),
    "hexadecimal": ("0x2", None),
    "grouped": ("2_000", None),
    "other-digits": ("²", None),
    "beyond-64-bit": ("9" * 19, None),
    "beyond-python": ("9" * 5000, None),
    "list": ([2], None),
}


@pytest.mark.parametrize(("version", "expected"), MODEL_VERSIONS.values(), ids=MODEL_VERSIONS)
def test_a_models_version_is_a_whole_number_also_in_digits(version: object, expected: int | None) -> None:
    """`modelVersion` is a whole number, or one written in digits; anything else is absent."""
    client = RecordingClient({"chat": {"_ldMeta": {"enabled": True, "modelVersion": version}}})

    data = event_data(LdAiClient(client).completion_config("chat", CONTEXT).create_tracker(), client)

    assert data.get("modelVersion") == expected
    assert ("modelVersion" in data) is (expected is not None)


@pytest.mark.parametrize("mode", MODES)
def test_the_raw_variation_is_what_is_served(mode: str) -> None:
    """`raw` has every part as it is served, known or not, with its templates, and cannot be written to."""
    payload = flag(
        mode, messages=[{"role": "user", "content": "{{x}}"}], classifiers=[{"key": "c"}], later={"a": [1]}
    )
    before = copy.deepcopy(payload)

    config = serve(payload, mode, variables={"x": "filled in"})
    payload["later"]["a"].append(2)

    assert config.raw == before
    for write in (lambda: config.raw.update(a=1), lambda: config.raw["later"]["a"].append(3)):
        with pytest.raises(TypeError, match="read-only"):
            write()
    assert "classifiers" not in repr(config)


@both_clients
@pytest.mark.parametrize("payload", [..., 5, None, flag("poem")], ids=["none", "number", "null", "another-mode"])
def test_nothing_raw_comes_of_a_default(ask_of, payload: object) -> None:
    """Where the default is used, nothing was served, and `raw` is empty."""
    ask = ask_of({} if payload is ... else {"chat": payload})
    default = LdAiCompletionConfigDefault(True, messages=[Message("user", "hello")])

    config = ask("completion_config", "chat", CONTEXT, default)

    assert (config.raw, len(config.messages)) == ({}, 1)
    assert ask("agent_config", "chat", CONTEXT).raw == {}


def test_the_nodes_of_an_agent_graph_have_their_raw_variations() -> None:
    """An agent config is the same in a graph as by itself."""
    agent = flag("agent", outputFormat={"type": "object"})
    graph = LdAiClient(RecordingClient({"desk": {"root": "a"}, "a": agent})).agent_graph("desk", CONTEXT)

    assert (graph.nodes["a"].raw, graph.nodes["a"].output_format) == (agent, {"type": "object"})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("output_format", "expected"),
    [({"type": "object"}, {"type": "object"}), ({}, {}), ("x", None), ([], None), (None, None)],
    ids=str,
)
def test_an_output_format_is_a_schema_or_nothing(mode: str, output_format: object, expected: object) -> None:
    """`outputFormat` is an object, read-only, and anything else is none."""
    config = serve(flag(mode, outputFormat=output_format), mode)

    assert config.output_format == expected
    if expected is not None:
        with pytest.raises(TypeError, match="read-only"):
            config.output_format["type"] = "array"


def test_a_skill_has_a_key_and_a_version() -> None:
    """`skills` are pairs; an entry with another key, or a version that is none, is skipped."""
    good = [{"key": "sum-up", "version": 1}, {"key": "2nd", "version": 7}, {"key": "a" * 256, "version": 2}]
    bad: list[object] = ["sum-up", None, {}, {"key": "no-version"}, {"version": 1}]
    bad += [{"key": key, "version": 1} for key in ("", "-a", "A", "a_b", "a" * 257, 5)]
    bad += [{"key": "a", "version": version} for version in (0, -1, 1.5, True, None)]

    config = serve(flag(skills=[*bad, *good, *bad]))

    assert config.skills == (("sum-up", 1), ("2nd", 7), ("a" * 256, 2))


@pytest.mark.parametrize(("region", "expected"), [("eu", "eu"), ("", ""), (5, ""), (None, "")])
def test_a_models_region_is_kept_and_events_name_the_model_served(region: object, expected: str) -> None:
    """`model.region` is a text, else ""; the model's name in events is the one that is served."""
    client = RecordingClient({"chat": flag(model={"name": "m", "region": region}, provider={"name": "Bedrock"})})
    config = LdAiClient(client).completion_config("chat", CONTEXT)

    assert (config.model.region, config.model.name) == (expected, "m")
    assert event_data(config.create_tracker(), client)["modelName"] == "m"


MESSAGES = [
    {"role": "system", "content": "Not shown."},
    {"role": "user", "content": "Hello {{x}}"},
    {"role": "assistant", "content": "Yes?"},
]


@pytest.mark.parametrize(
    ("instructions", "first"), [("Help {{x}}.", [SystemMessage("Help Ada.")]), ("", []), (None, []), (5, [])]
)
def test_an_agent_has_messages_beside_its_instructions(instructions: object, first: list[BaseMessage]) -> None:
    """An agent's messages but for the system's follow its instructions, which take their place."""
    config = serve(flag("agent", instructions=instructions, messages=MESSAGES), "agent", variables={"x": "Ada"})

    assert config.messages == (Message("user", "Hello Ada"), Message("assistant", "Yes?"))
    assert config.to_messages() == [*first, HumanMessage("Hello Ada"), AIMessage("Yes?")]


def test_blocks_become_langchains_blocks() -> None:
    """A list of blocks, of which texts are filled in once, is kept, and becomes LangChain's content."""
    blocks = [
        {"type": "text", "text": "See {{x}}", "cache": {"on": True}},
        {"type": "image", "source": PNG},
        {"type": "image", "source": ON_THE_WEB},
        {"type": "text", "text": ", {{{ldctx.name}}}"},
    ]
    config = serve(flag(messages=[{"role": "user", "content": blocks}]), variables={"x": "{{y}}", "y": "no"})

    (message,) = config.messages
    assert (message.content, len(message.blocks)) == ("See {{y}}, {{x}}", 4)
    assert message.blocks[1:3] == ({"type": "image", "source": PNG}, {"type": "image", "source": ON_THE_WEB})
    assert config.to_messages() == [
        HumanMessage(
            [
                {"type": "text", "text": "See {{y}}", "cache": {"on": True}},
                {"type": "image", "base64": "AAAA", "mime_type": "image/png"},
                {"type": "image", "url": "https://example.org/{{x}}.png"},
                {"type": "text", "text": ", {{x}}"},
            ]
        )
    ]


def test_blocks_cannot_be_written_to_and_their_copies_can() -> None:
    """Blocks are read-only like all of a config; those in LangChain's messages are copies."""
    config = serve(flag(messages=[{"role": "user", "content": [{"type": "text", "text": "a", "more": [1]}]}]))

    with pytest.raises(TypeError, match="read-only"):
        config.messages[0].blocks[0]["more"].append(2)
    config.to_messages()[0].content[0]["more"].append(2)

    assert config.messages[0].blocks == ({"type": "text", "text": "a", "more": [1]},)


OTHER_BLOCKS = {
    "of-another-type": {"type": "file", "id": "f"},
    "without-a-source": {"type": "image"},
    "of-another-source": {"type": "image", "source": {"type": "file", "id": "f"}},
    "data-that-is-no-text": {"type": "image", "source": {"type": "base64", "data": 5}},
    "in-langchains-form": {"type": "image", "url": "https://example.org/a.png"},
}


@pytest.mark.parametrize("block", OTHER_BLOCKS.values(), ids=OTHER_BLOCKS)
def test_a_block_that_is_not_known_stays_as_it_is(block: dict[str, object]) -> None:
    """What is no image of a known form goes to the model as it is served."""
    config = serve(flag(messages=[{"role": "assistant", "content": [block]}]))

    assert config.to_messages() == [AIMessage([block])]


CONTENTS = {
    "system": ("system", [{"type": "text", "text": "Be {{x}}"}, {"type": "image", "text": "a cat"}], "Be Ada"),
    "empty": ("user", [], ""),
    "texts": ("user", ["a"], ""),
    "mixed": ("user", [{"type": "text", "text": "a"}, 5], ""),
    "object": ("user", {"type": "text", "text": "a"}, ""),
    "number": ("user", 5, ""),
}


@pytest.mark.parametrize(("role", "content", "text"), CONTENTS.values(), ids=CONTENTS)
def test_other_content_is_text(role: str, content: object, text: str) -> None:
    """A list in a system message is the text of its text blocks, and what is no list of objects is ""."""
    config = serve(flag(messages=[{"role": role, "content": content}]), variables={"x": "Ada"})

    assert config.messages == (Message(role, text),)


def test_a_text_that_is_none_is_empty() -> None:
    """A text block without a text has an empty one."""
    config = serve(flag(messages=[{"role": "user", "content": [{"type": "text"}, {"type": "text", "text": 5}]}]))

    assert config.messages == (Message("user", "", ({"type": "text", "text": ""},) * 2),)


@pytest.mark.parametrize("blocks", [["text"], [5], [None]], ids=str)
def test_a_block_is_a_dictionary(blocks: list[object]) -> None:
    """Other blocks are refused where the message is made."""
    with pytest.raises(TypeError, match="a block of a Message is a dictionary, not"):
        Message("user", "", blocks)


def test_a_default_gives_what_a_flag_gives() -> None:
    """Region, output format, an agent's messages and blocks of a default are those of the config."""
    blocks = ({"type": "text", "text": "Hello"}, {"type": "image", "source": PNG})
    messages = [Message("user", "Hello", blocks)]
    parts = {"model": ModelConfig("m", region="eu"), "output_format": {"type": "object"}, "messages": messages}
    completion = serve(None, default=LdAiCompletionConfigDefault(True, **parts))
    agent = serve(None, "agent", default=LdAiAgentConfigDefault(True, **parts))

    for config in (completion, agent):
        assert {name: getattr(config, name) for name in parts} == {**parts, "messages": tuple(messages)}


@pytest.mark.parametrize("default", [LdAiCompletionConfigDefault, LdAiAgentConfigDefault])
def test_a_defaults_output_format_is_a_dictionary(default: type) -> None:
    """Anything else would be found out in an outage, when the default is used."""
    with pytest.raises(TypeError, match="output_format is a Mapping, not 'json'"):
        default(output_format="json")

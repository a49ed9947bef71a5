"""AI Configs: frozen at every depth, read leniently, and ready for LangChain (spec sections 1 and 2)."""

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from ldclient import Context

from langchain_ldai import (
    JudgeAttachment,
    LdAiClient,
    LdAiJudgeConfigDefault,
    Message,
    ModelConfig,
    ProviderConfig,
    ToolConfig,
)
from langchain_ldai.testing import RecordingClient
from tests.support.call_both_clients import DEFAULTS, both_clients

CONTEXT = Context.create("user-1")
META = {"enabled": True, "variationKey": "v1", "version": 2}


def rich_flag() -> dict[str, object]:
    """Return a flag with values nested in every place that takes any."""
    nested = {"deep": {"list": [1, {"x": [2]}]}, "n": None, "f": 0.5}
    return {
        "_ldMeta": dict(META),
        "model": {"name": "gpt-4", "parameters": copy.deepcopy(nested), "custom": copy.deepcopy(nested)},
        "provider": {"name": "openai"},
        "messages": [{"role": "user", "content": "x"}],
        "tools": {
            "search": {"parameters": copy.deepcopy(nested), "customParameters": copy.deepcopy(nested)},
        },
        "judgeConfiguration": {"judges": [{"key": "j", "samplingRate": 1}]},
    }


def serve(flag: object, method: str = "completion_config", **options: object):
    """Return what is served for one flag."""
    return getattr(LdAiClient(RecordingClient({"chat": flag})), method)("chat", CONTEXT, **options)


def objects_of(config):
    """Return every JSON object that a config hands out, by where it is."""
    tool = config.tools["search"]
    return {
        "parameters": config.model.parameters,
        "custom": config.model.custom,
        "tool-parameters": tool.parameters,
        "tool-custom-parameters": tool.custom_parameters,
    }


PLACES = ["parameters", "custom", "tool-parameters", "tool-custom-parameters"]
WRITES_TO_AN_OBJECT: dict[str, Callable[[dict[str, object]], object]] = {
    "set": lambda value: value.__setitem__("deep", 1),
    "delete": lambda value: value.__delitem__("deep"),
    "clear": lambda value: value.clear(),
    "pop": lambda value: value.pop("deep"),
    "popitem": lambda value: value.popitem(),
    "setdefault": lambda value: value.setdefault("new", 1),
    "update": lambda value: value.update(new=1),
    "ior": lambda value: value.__ior__({"new": 1}),
}
WRITES_TO_A_LIST: dict[str, Callable[[list[object]], object]] = {
    "set": lambda value: value.__setitem__(0, 9),
    "delete": lambda value: value.__delitem__(0),
    "append": lambda value: value.append(9),
    "clear": lambda value: value.clear(),
    "extend": lambda value: value.extend([9]),
    "insert": lambda value: value.insert(0, 9),
    "pop": lambda value: value.pop(),
    "remove": lambda value: value.remove(1),
    "reverse": lambda value: value.reverse(),
    "sort": lambda value: value.sort(key=str),
    "iadd": lambda value: value.__iadd__([9]),
    "imul": lambda value: value.__imul__(2),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("write", WRITES_TO_AN_OBJECT.values(), ids=WRITES_TO_AN_OBJECT)
def test_no_object_can_be_written_to(place, write):
    """Writing to an object, at the top or below, raises `TypeError` and changes nothing (spec 2, rule 14)."""
    value = objects_of(serve(rich_flag()))[place]
    for part in (value, value["deep"], value["deep"]["list"][1]):
        with pytest.raises(TypeError, match="an AI Config is read-only"):
            write(part)

    assert value == rich_flag()["model"]["parameters"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("write", WRITES_TO_A_LIST.values(), ids=WRITES_TO_A_LIST)
def test_no_list_can_be_written_to(place, write):
    """Writing to a list raises `TypeError` and changes nothing (spec section 2, rule 14)."""
    value = objects_of(serve(rich_flag()))[place]
    for part in (value["deep"]["list"], value["deep"]["list"][1]["x"]):
        with pytest.raises(TypeError, match="an AI Config is read-only"):
            write(part)

    assert value == rich_flag()["model"]["parameters"]


def test_tools_can_neither_be_added_nor_removed():
    """The tools by key are read-only too."""
    tools = serve(rich_flag()).tools
    for write in (lambda: tools.pop("search"), lambda: tools.update(other=tools["search"])):
        with pytest.raises(TypeError, match="an AI Config is read-only"):
            write()


def test_no_attribute_can_be_set():
    """Setting an attribute of a config or of any of its parts raises `FrozenInstanceError`."""
    config = serve(rich_flag())
    parts = [config, config.model, config.provider, config.messages[0], config.tools["search"], config.judges[0]]
    for part in parts:
        for field in fields(part):
            with pytest.raises(FrozenInstanceError):
                setattr(part, field.name, "changed")


def test_nothing_is_shared_with_the_flag_store():
    """What the store holds can change without changing a config handed out before (spec 2, rule 14)."""
    flag = rich_flag()
    config = serve(flag)

    for value in (flag["model"]["parameters"], flag["model"]["custom"], *flag["tools"]["search"].values()):
        value["deep"]["list"].clear()
        value["deep"]["new"] = 1
    flag["messages"].clear()
    flag["judgeConfiguration"]["judges"].clear()
    flag["tools"].clear()

    untouched = rich_flag()["model"]["parameters"]
    assert set(map(json.dumps, objects_of(config).values())) == {json.dumps(untouched)}
    assert (len(config.messages), len(config.judges), len(config.tools)) == (1, 1, 1)


SERVED = {
    "AI Config": lambda ai: ai.completion_config("chat", CONTEXT),
    "agent graph": lambda ai: ai.agent_graph("desk", CONTEXT),
}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
@pytest.mark.parametrize("place", PLACES)
def test_a_copy_is_plain_and_writable(place, copied):
    """A deep copy or a pickled one is made of plain dicts and lists, and writing to it leaves the config alone."""
    value = objects_of(serve(rich_flag()))[place]

    plain = copied(value)
    plain["deep"]["list"][1]["x"].append(3)
    plain["new"] = 1

    assert (type(plain), type(plain["deep"]), type(plain["deep"]["list"])) == (dict, dict, list)
    assert value == rich_flag()["model"]["parameters"]


@pytest.mark.parametrize("served", SERVED.values(), ids=SERVED)
def test_a_deep_copy_counts_for_the_same_client(served):
    """An AI Config may be part of what a program copies; its copy is equal, and has trackers that send."""
    client = RecordingClient({"chat": rich_flag(), "desk": {"root": "chat"}})
    config = served(LdAiClient(client))

    copied = copy.deepcopy(config)
    tracker = copied.create_tracker()
    tracker.track_duration(5)

    assert copied == config
    assert copied is not config
    assert list(client.metrics(tracker.run_id).values()) == [[5]]


@pytest.mark.parametrize("served", SERVED.values(), ids=SERVED)
def test_pickling_an_ai_config_says_what_to_do(served):
    """It holds the client of its process, which no other process can have."""
    config = served(LdAiClient(RecordingClient({"chat": rich_flag()})))

    with pytest.raises(TypeError, match="ask the other process's client for it by its key"):
        pickle.dumps(config)


def test_values_are_json_and_dicts_and_lists():
    """Model parameters go into JSON and keyword arguments like the dicts and lists they are."""
    parameters = serve(rich_flag()).model.parameters

    assert json.loads(json.dumps(parameters)) == rich_flag()["model"]["parameters"]
    assert isinstance(parameters, dict)
    assert isinstance(parameters["deep"]["list"], list)
    assert dict(**parameters) == parameters


def test_what_a_user_makes_is_frozen_as_well():
    """Model and tool values made by hand copy and freeze what they are given."""
    given = {"stop": ["a"], "pair": ({"x": 1},)}
    model, tool = ModelConfig("m", given, given), ToolConfig("t", parameters=given)
    given["stop"].append("b")

    for value in (model.parameters, model.custom, tool.parameters):
        assert value == {"stop": ["a"], "pair": [{"x": 1}]}
        with pytest.raises(TypeError, match="read-only"):
            value["pair"][0]["x"] = 2
    assert (ModelConfig("m").parameters, ToolConfig("t").custom_parameters) == ({}, {})


ROLES = [{"role": role, "content": role} for role in ("system", "user", "assistant")]


@pytest.mark.parametrize(("method", "mode"), [("completion_config", "completion"), ("judge_config", "judge")])
def test_messages_become_langchain_messages(method, mode):
    """System, user and assistant are LangChain's system, human and AI messages, braces and all."""
    flag = {"_ldMeta": {**META, "mode": mode}, "messages": [*ROLES, {"role": "user", "content": "{not} a tag"}]}

    messages = serve(flag, method).to_messages()

    assert messages == [
        SystemMessage("system"),
        HumanMessage("user"),
        AIMessage("assistant"),
        HumanMessage("{not} a tag"),
    ]
    assert ChatPromptTemplate.from_messages(messages).invoke({}).to_messages() == messages


@pytest.mark.parametrize(("instructions", "expected"), [("do", [SystemMessage("do")]), (None, []), ("", [])])
def test_instructions_become_a_system_message(instructions, expected):
    """An agent's instructions are one system message, if there are any."""
    flag = {"_ldMeta": {**META, "mode": "agent"}, "instructions": instructions}

    assert serve(flag, "agent_config").to_messages() == expected


@both_clients
@pytest.mark.parametrize(("method", "default"), DEFAULTS.items(), ids=DEFAULTS)
@pytest.mark.parametrize("enabled", [None, False, True])
def test_a_default_is_disabled_unless_it_says_otherwise(ask_of, method, default, enabled):
    """A default is enabled only where it says so; without a default, the config is disabled (spec 2, rule 11)."""
    ask = ask_of({})

    assert ask(method, "chat", CONTEXT, default=default(enabled=enabled)).enabled is bool(enabled)
    assert ask(method, "chat", CONTEXT).enabled is False


@pytest.mark.parametrize(
    ("method", "default"),
    [item for item in DEFAULTS.items() if item[0] != "judge_config"],
    ids=lambda item: str(item),
)
def test_a_default_gives_all_that_a_flag_gives(method, default):
    """A default's model, provider, tools and judges are those of the config (spec section 2)."""
    tool = ToolConfig("search", "find", "function", {"type": "object"}, {"limit": 5})
    judge = JudgeAttachment("j", 0.5)
    model, provider = ModelConfig("m", {"t": 1}, {"c": 2}), ProviderConfig("p")

    given = default(True, model, provider, tools={"search": tool}, judges=[judge])
    config = LdAiClient(RecordingClient({}))
    config = getattr(config, method)("chat", CONTEXT, given)

    assert (config.model, config.provider, dict(config.tools), config.judges) == (
        model,
        provider,
        {"search": tool},
        (judge,),
    )


def test_a_default_keeps_its_roles_and_metric_key():
    """A judge's default keeps its messages' roles and its metric key."""
    messages = [Message("system", "s"), Message("assistant", "a")]

    config = serve(
        5, "judge_config", default=LdAiJudgeConfigDefault(True, messages=messages, evaluation_metric_key="m")
    )

    assert (config.messages, config.evaluation_metric_key) == (tuple(messages), "m")

"""What was asked and answered, as attributes of spans."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

from langchain_ldai.spans._content import (
    MAX_CHOICES,
    MAX_MESSAGES,
    answer_attributes,
    arguments_attributes,
    prompt_attributes,
    tool_result_attributes,
    tools_attributes,
)
from tests.support.vectors import Case, cases, with_ids

LENGTH = 32_768
CALL = {"id": "c-1", "name": "look", "args": {"q": "x"}, "type": "tool_call"}
CALL_PART = {"type": "tool_call", "id": "c-1", "name": "look", "arguments": {"q": "x"}}
CALL_LINE = '{"name": "look", "arguments": {"q": "x"}}'


def text(said: str) -> dict[str, str]:
    """Return the part that a text is."""
    return {"type": "text", "content": said}


def reasoning(said: str) -> dict[str, str]:
    """Return the part that reasoning is."""
    return {"type": "reasoning", "content": said}


def asked(*messages: BaseMessage, max_length: int = LENGTH) -> dict[str, str]:
    """Return the attributes of a model call's prompt."""
    return prompt_attributes([list(messages)], max_length)


def answered(*messages: BaseMessage) -> LLMResult:
    """Return a model's result with one choice for each message."""
    return LLMResult(generations=[[ChatGeneration(message=each) for each in messages]])


@pytest.mark.parametrize("case", with_ids(cases("spans_content", "calls")))
def test_a_model_call_is_shown_as_launchdarklys_packages_show_it(case: Case) -> None:
    """System prompt, messages, answer and tools have the names and the form that LaunchDarkly's views read."""
    told = {"invocation_params": {"tools": case.get("offered")}}
    (answer,) = convert_to_messages([case["answered"]])  # type: ignore[list-item]

    shown = {
        **prompt_attributes([convert_to_messages(case["asked"])], LENGTH),  # type: ignore[arg-type]
        **tools_attributes(told, LENGTH),
        **answer_attributes(answered(answer), LENGTH),
    }

    assert shown == case["attributes"]


@pytest.mark.parametrize("case", with_ids(cases("spans_content", "tools")))
def test_a_tool_is_shown_as_launchdarklys_packages_show_it(case: Case) -> None:
    """What a tool is given is JSON, what it gives back a text."""
    told = {"inputs": case["inputs"], "asked": str(case["inputs"])}

    assert {**arguments_attributes(told, LENGTH), **tool_result_attributes(case["result"], LENGTH)} == case[
        "attributes"
    ]


MESSAGES: dict[str, tuple[BaseMessage, str, Sequence[Mapping[str, object]], str]] = {
    "text": (HumanMessage("hi"), "user", [text("hi")], "hi"),
    "empty": (HumanMessage(""), "user", [], ""),
    "texts in a list": (
        HumanMessage(["hi", {"type": "text", "text": "you"}]),
        "user",
        [text("hi"), text("you")],
        "hi\nyou",
    ),
    "image": (
        HumanMessage([text("") | {"text": "see"}, {"type": "image_url", "image_url": {"url": "data:secret"}}]),
        "user",
        [text("see"), {"type": "image_url"}],
        "see\n[image_url]",
    ),
    "image of v1": (
        HumanMessage([{"type": "image", "base64": "secret", "mime_type": "image/png"}]),
        "user",
        [{"type": "image"}],
        "[image]",
    ),
    "block without a type": (HumanMessage([{"text": "hi"}]), "user", [text("hi")], "hi"),
    "block of no kind": (HumanMessage([{"x": "secret"}]), "user", [{"type": "dict"}], "[dict]"),
    "block whose type is no text": (HumanMessage([{"type": 7}]), "user", [{"type": "dict"}], "[dict]"),
    "text that is none": (HumanMessage([{"type": "text", "text": None}]), "user", [], ""),
    "name of a part of ours": (
        HumanMessage([{"type": "tool_call_response"}]),
        "user",
        [{"type": "tool_call_response"}],
        "[tool_call_response]",
    ),
    "result within a user's message": (
        HumanMessage(
            [{"type": "tool_result", "tool_use_id": "c-1", "content": [{"type": "text", "text": "it is x"}]}]
        ),
        "user",
        [{"type": "tool_call_response", "id": "c-1", "result": "it is x"}],
        "it is x",
    ),
    "call": (AIMessage("", tool_calls=[CALL]), "assistant", [CALL_PART], CALL_LINE),
    "text and call": (
        AIMessage("so", tool_calls=[CALL]),
        "assistant",
        [text("so"), CALL_PART],
        f"so\n{CALL_LINE}",
    ),
    "call that Anthropic repeats": (
        AIMessage([{"type": "tool_use", "id": "c-1", "name": "look", "input": {"q": "x"}}], tool_calls=[CALL]),
        "assistant",
        [CALL_PART],
        CALL_LINE,
    ),
    "call in the content alone": (
        AIMessage(
            [{"type": "function_call", "call_id": "c-1", "id": "fc-1", "name": "look", "arguments": '{"q": "x"}'}]
        ),
        "assistant",
        [{"type": "tool_call", "id": "c-1", "name": "look", "arguments": '{"q": "x"}'}],
        '{"name": "look", "arguments": "{\\"q\\": \\"x\\"}"}',
    ),
    "call of v1 in the content": (AIMessage([dict(CALL)]), "assistant", [CALL_PART], CALL_LINE),
    "call that cannot be read": (
        AIMessage(
            "",
            invalid_tool_calls=[
                {"id": None, "name": "look", "args": '{"q', "error": "cut", "type": "invalid_tool_call"}
            ],
        ),
        "assistant",
        [{"type": "tool_call", "name": "look", "arguments": '{"q'}],
        '{"name": "look", "arguments": "{\\"q"}',
    ),
    "call of OpenAI's functions": (
        AIMessage("", additional_kwargs={"function_call": {"name": "look", "arguments": "{}"}}),
        "assistant",
        [{"type": "tool_call", "name": "look", "arguments": "{}"}],
        '{"name": "look", "arguments": "{}"}',
    ),
    "reasoning of v1": (
        AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "so"}]),
        "assistant",
        [reasoning("hm"), text("so")],
        "hm\nso",
    ),
    "reasoning of OpenAI": (
        AIMessage([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}]),
        "assistant",
        [reasoning("hm")],
        "hm",
    ),
    "reasoning of Anthropic": (
        AIMessage([{"type": "thinking", "thinking": "hm", "signature": "secret"}]),
        "assistant",
        [reasoning("hm")],
        "hm",
    ),
    "reasoning of Bedrock": (
        AIMessage([{"type": "reasoning_content", "reasoning_content": {"text": "hm", "signature": "secret"}}]),
        "assistant",
        [reasoning("hm")],
        "hm",
    ),
    "reasoning beside the content": (
        AIMessage("so", additional_kwargs={"reasoning_content": "hm"}),
        "assistant",
        [reasoning("hm"), text("so")],
        "hm\nso",
    ),
    "reasoning that is encrypted": (
        AIMessage([{"type": "reasoning", "encrypted": "secret"}]),
        "assistant",
        [],
        "",
    ),
    "refusal": (AIMessage([{"type": "refusal", "refusal": "no"}]), "assistant", [text("no")], "no"),
    "chunk": (AIMessageChunk("so"), "assistant", [text("so")], "so"),
    "role of one's own": (ChatMessage("hi", role="critic"), "user", [text("hi")], "hi"),
    "role of a model": (ChatMessage("hi", role="model"), "assistant", [text("hi")], "hi"),
    "result of a tool": (
        ToolMessage("it is x", tool_call_id="c-1"),
        "tool",
        [{"type": "tool_call_response", "id": "c-1", "result": "it is x"}],
        "it is x",
    ),
    "image that a tool took": (
        ToolMessage([{"type": "text", "text": "see"}, {"type": "image", "base64": "secret"}], tool_call_id="c-1"),
        "tool",
        [{"type": "tool_call_response", "id": "c-1", "result": "see\n[image]"}],
        "see\n[image]",
    ),
    "result of a function": (
        FunctionMessage("it is x", name="look"),
        "tool",
        [{"type": "tool_call_response", "result": "it is x"}],
        "it is x",
    ),
    "message of another kind": (RemoveMessage(id="m-1"), "user", [], ""),
}


@pytest.mark.parametrize(("message", "role", "parts", "line"), MESSAGES.values(), ids=MESSAGES)
def test_a_message_is_a_role_and_parts(
    message: BaseMessage, role: str, parts: Sequence[Mapping[str, object]], line: str
) -> None:
    """Texts, reasoning and calls of tools are shown; an image, a signature and what is encrypted are not."""
    shown = asked(message)

    assert json.loads(shown["gen_ai.input.messages"]) == [{"role": role, "parts": parts}]
    assert (shown["gen_ai.prompt.0.role"], shown["gen_ai.prompt.0.content"]) == (role, line)
    assert "secret" not in str(shown)


def test_several_system_prompts_are_one() -> None:
    """System prompts, and developers' messages, stand first, and are no messages of the conversation."""
    shown = asked(SystemMessage("You help."), HumanMessage("hi"), ChatMessage("Be short.", role="developer"))

    assert json.loads(shown["gen_ai.system_instructions"]) == [text("You help."), text("Be short.")]
    assert json.loads(shown["gen_ai.input.messages"]) == [{"role": "user", "parts": [text("hi")]}]
    assert shown["gen_ai.prompt.0.content"] == "You help.\nBe short."
    assert shown["gen_ai.prompt.1.content"] == "hi"


def test_a_prompt_of_a_legacy_model_is_the_users() -> None:
    """A text that a legacy model is given, and one that it gives back, are messages of user and assistant."""
    shown = prompt_attributes(["Say hi"], LENGTH) | answer_attributes(
        LLMResult(generations=[[Generation(text="hi")]]), LENGTH
    )

    assert shown == {
        "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "Say hi"}]}]',
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "Say hi",
        "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "hi"}]}]',
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": "hi",
    }


def test_each_choice_is_an_answer() -> None:
    """A model that was asked for several choices gives several answers; of very many the first are shown."""
    shown = answer_attributes(answered(*(AIMessage(f"a{number}") for number in range(MAX_CHOICES + 2))), LENGTH)

    assert [shown[f"gen_ai.completion.{index}.content"] for index in (0, 7)] == ["a0", "a7"]
    assert len(json.loads(shown["gen_ai.output.messages"])) == MAX_CHOICES
    assert len(shown) == 1 + 2 * MAX_CHOICES


NOTHING: dict[str, object] = {
    "None": None,
    "text": "hi",
    "no list": 7,
    "empty": [],
    "list of no list": [7],
    "set": {1},
}


@pytest.mark.parametrize("given_", NOTHING.values(), ids=NOTHING)
def test_what_is_no_prompt_and_no_answer_is_not_shown(given_: object) -> None:
    """Where LangChain tells something else than prompts, a result or tools, nothing is shown of it."""
    assert prompt_attributes(given_, LENGTH) == {}
    assert answer_attributes(given_, LENGTH) == {}
    assert tools_attributes({"invocation_params": {"tools": "look"}}, LENGTH) == {}
    assert tools_attributes({"invocation_params": None}, LENGTH) == {}


def test_a_thing_among_the_messages_is_shown_by_its_type() -> None:
    """What is no message, in the list of messages, is shown by the name of its type."""
    shown = prompt_attributes([[HumanMessage("hi"), object()]], LENGTH)

    assert shown["gen_ai.prompt.1.content"] == "[object]"


TOOLS: dict[str, tuple[object, dict[str, object]]] = {
    "OpenAI": (
        {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}},
        {"type": "function", "name": "look", "parameters": {"type": "object"}},
    ),
    "OpenAI, flat": (
        {"type": "function", "name": "look", "description": "Looks", "parameters": {}},
        {"type": "function", "name": "look", "description": "Looks", "parameters": {}},
    ),
    "Anthropic": (
        {"name": "look", "input_schema": {"type": "object"}},
        {"type": "function", "name": "look", "parameters": {"type": "object"}},
    ),
    "a provider's own": ({"type": "web_search"}, {"type": "web_search"}),
    "a form of its own": ({"type": "function", "function": "look"}, {"type": "function"}),
    "no mapping": (object(), {"type": "object"}),
}


@pytest.mark.parametrize(("tool", "expected"), TOOLS.values(), ids=TOOLS)
def test_a_tool_is_shown_in_one_form(tool: object, expected: Mapping[str, object]) -> None:
    """A tool that a model is offered is shown alike, whichever provider's form it has."""
    shown = tools_attributes({"invocation_params": {"tools": [tool]}}, LENGTH)

    assert json.loads(shown["gen_ai.tool.definitions"]) == [expected]


RESULTS: dict[str, tuple[object, str | None]] = {
    "text": ("it is x", "it is x"),
    "message": (ToolMessage("it is x", tool_call_id="c-1"), "it is x"),
    "data": ({"q": ["x", 1]}, '{"q": ["x", 1]}'),
    "other script": ({"q": "größe"}, '{"q": "größe"}'),
    "no data": (object(), '"object"'),
    "an image": ({"type": "image", "base64": "secret"}, "[image]"),
    "a text and an image": (
        [{"type": "text", "text": "see"}, {"type": "image", "source_type": "base64", "data": "secret"}],
        "see\n[image]",
    ),
    "OpenAI's image": ([{"type": "image_url", "image_url": {"url": "data:secret"}}], "[image_url]"),
    "OpenAI's file": (["see", {"type": "file", "file": {"file_data": "secret"}}], "see\n[file]"),
    "Anthropic's document": ([{"type": "document", "source": {"type": "base64", "data": "secret"}}], "[document]"),
    "names of files": ([{"type": "file", "name": "a.txt"}], '[{"type": "file", "name": "a.txt"}]'),
    "nothing": (None, None),
    "empty": ("", None),
}


@pytest.mark.parametrize(("result", "expected"), RESULTS.values(), ids=RESULTS)
def test_a_tools_result_is_a_text(result: object, expected: str | None) -> None:
    """A text stays as it is, data becomes JSON, of a file its type is shown, and nothing gives no attribute."""
    assert tool_result_attributes(result, LENGTH).get("gen_ai.tool.call.result") == expected


def test_a_tool_without_inputs_shows_its_text() -> None:
    """A tool that is called with a text alone is shown with that."""
    assert arguments_attributes({"asked": "x"}, LENGTH) == {"gen_ai.tool.call.arguments": "x"}
    assert arguments_attributes({}, LENGTH) == {}


def test_a_long_conversation_shows_its_latest_messages() -> None:
    """A span shows the system prompt and as many of the latest messages as its attributes have room for."""
    talk = [HumanMessage(f"m{number}") for number in range(MAX_MESSAGES + 10)]

    shown = asked(SystemMessage("You help."), *talk)

    assert shown["gen_ai.prompt.0.content"] == "You help."
    assert [shown[f"gen_ai.prompt.{1 + index}.content"] for index in (0, MAX_MESSAGES - 1)] == ["m10", "m41"]
    assert len(json.loads(shown["gen_ai.input.messages"])) == MAX_MESSAGES
    assert len(shown) == 2 + 2 * (1 + MAX_MESSAGES)


def test_what_is_too_long_is_cut() -> None:
    """A text ends at the limit; the JSON holds the latest messages that fit, each whole."""
    shown = asked(HumanMessage("a" * 300), HumanMessage("b" * 20), max_length=100)

    assert shown["gen_ai.prompt.0.content"] == "a" * 100
    assert json.loads(shown["gen_ai.input.messages"]) == [{"role": "user", "parts": [text("b" * 20)]}]


def test_a_message_that_is_too_long_by_itself_is_cut_within() -> None:
    """The JSON of one long message is whole, and the text in it is cut."""
    shown = asked(HumanMessage("a" * 300), max_length=200)

    (message,) = json.loads(shown["gen_ai.input.messages"])
    assert message["parts"][0]["content"] == "a" * 99


ANY_TEXT = st.text('aé"\n\x00\ud800', max_size=20)  # half of a pair of surrogates is among them
BLOCKS = st.one_of(
    ANY_TEXT,
    st.builds(
        lambda kind, value: {"type": kind, kind: value, "text": value},
        st.sampled_from(["text", "reasoning", "thinking", "tool_use", "tool_result", "image", "refusal"]),
        st.one_of(st.none(), ANY_TEXT, st.integers(), st.lists(ANY_TEXT, max_size=2)),
    ),
)
CONTENT = st.one_of(ANY_TEXT, st.lists(BLOCKS, max_size=3))
SPOKEN: Any = st.builds(
    lambda kind, content: kind(content=content, tool_call_id="c-1"),
    st.sampled_from([HumanMessage, AIMessage, SystemMessage, ToolMessage]),
    CONTENT,
)


@given(st.lists(SPOKEN, max_size=5), st.integers(1, 300))
def test_content_is_bounded_and_can_be_sent(messages: list[BaseMessage], max_length: int) -> None:
    """Whatever was said, the attributes are texts that fit, that UTF-8 can hold, and JSON that can be read."""
    shown = asked(*messages, max_length=max_length) | answer_attributes(answered(*messages), max_length)

    for name, value in shown.items():
        assert value.encode().decode() == value
        assert len(value) <= max_length or name.endswith(".role")
        if name in ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"):
            assert json.loads(value)

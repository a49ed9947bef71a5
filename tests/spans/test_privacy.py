"""What users and models say is on spans only where content is captured."""

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_ldai import LdAiHandler
from tests.support.models import USAGE_CHUNK, ScriptedChat, Turn
from tests.support.traces import Trace

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,PICTURE"}}
SAID = ["SAID-system", "SAID-question", "SAID-arguments", "SAID-result", "SAID-answer"]


def calling(q: str) -> Turn:
    """Return a turn in which the model calls the tool."""
    call = {"name": "look", "args": json.dumps({"q": q}), "id": "call-1", "index": 0, "type": "tool_call_chunk"}
    return [AIMessageChunk("", tool_call_chunks=[call]), USAGE_CHUNK]


class BrokenError(Exception):
    """What a model or a tool raises."""


@tool
def look(q: str) -> str:
    """SAID-description."""
    if q == "SAID-arguments":
        return "SAID-result"
    raise BrokenError("SAID-error")


def talk(script: list[Turn]) -> Runnable:
    """Return a program that asks a model, calls the tools that it wants, and asks it again."""
    model = ScriptedChat(script=script).bind(tools=[convert_to_openai_tool(look)])

    def answer(question: str, config: RunnableConfig) -> AIMessage:
        asked = [SystemMessage("SAID-system"), HumanMessage([{"type": "text", "text": question}, PICTURE])]
        called = model.invoke(asked, config)
        found = [look.invoke(call, config) for call in called.tool_calls]
        return model.invoke([*asked, called, *found], config)

    return RunnableLambda(answer)


RUNS = {
    "success": [calling("SAID-arguments"), [AIMessageChunk("SAID-answer"), USAGE_CHUNK]],
    "model fails": [calling("SAID-arguments"), BrokenError("SAID-error")],
    "tool fails": [calling("SAID-wrong")],
}


def run(handler: LdAiHandler, script: list[Turn]) -> None:
    """Run the program to its end, whatever that is."""
    with suppress(BrokenError):
        talk(script).invoke("SAID-question", {"callbacks": [handler]})


def words(trace: Trace) -> str:
    """Return everything that an exporter is given."""
    return "".join(span.to_json() for span in trace.spans)


@pytest.mark.parametrize("script", RUNS.values(), ids=RUNS)
def test_without_content_no_word_is_on_a_span(
    make_handler: Callable[..., LdAiHandler],
    trace: Trace,
    script: list[Turn],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No prompt, answer, tool's description, argument or result, and no exception's text; nor in the log."""
    caplog.set_level("DEBUG", "langchain_ldai")

    run(make_handler(), script)

    assert len(trace.spans) == 4 - (script is RUNS["tool fails"])
    assert "SAID" not in words(trace) + caplog.text
    assert "PICTURE" not in words(trace) + caplog.text


def test_with_content_the_words_are_on_the_spans(
    make_handler: Callable[..., LdAiHandler], trace: Trace, caplog: pytest.LogCaptureFixture
) -> None:
    """All words are there, and a picture is not; the log has none of them."""
    caplog.set_level("DEBUG", "langchain_ldai")

    run(make_handler(spans={"capture_content": True}), RUNS["success"])

    assert [said for said in [*SAID, "SAID-description"] if said not in words(trace)] == []
    assert "PICTURE" not in words(trace)
    assert "SAID" not in caplog.text


def test_a_root_shows_the_first_question_and_the_last_answer(
    make_handler: Callable[..., LdAiHandler], trace: Trace
) -> None:
    """What lies between is on the spans of the calls."""
    run(make_handler(spans={"capture_content": True}), RUNS["success"])

    (root,), (first, last), (used,) = map(trace.named, ("invoke_agent", "chat small-1", "execute_tool look"))
    asked, answered = (json.loads(root.attributes[f"gen_ai.{each}.messages"]) for each in ("input", "output"))
    assert [message["role"] for message in asked] == ["user"]
    assert asked == json.loads(first.attributes["gen_ai.input.messages"])
    assert answered == json.loads(last.attributes["gen_ai.output.messages"])
    assert answered[0]["parts"] == [{"type": "text", "content": "SAID-answer"}]
    assert root.attributes["gen_ai.prompt.0.content"] == "SAID-system"
    assert used.attributes["gen_ai.tool.call.result"] == "SAID-result"
    assert "gen_ai.tool.definitions" not in root.attributes
    assert json.loads(first.attributes["gen_ai.tool.definitions"])[0]["name"] == "look"


def test_a_root_with_content_keeps_its_other_attributes(
    make_handler: Callable[..., LdAiHandler], trace: Trace
) -> None:
    """OpenTelemetry keeps 128 attributes of a span and forgets the first: a long conversation leaves room."""
    long = [message for n in range(60) for message in (HumanMessage(f"q{n}"), AIMessage(f"a{n}"))]
    handler = make_handler(spans={"capture_content": True})

    ScriptedChat().invoke([SystemMessage("Help."), *long], {"callbacks": [handler]})

    for span in trace.spans:
        assert span.dropped_attributes == 0
        assert span.attributes["gen_ai.prompt.0.content"] == "Help."
        assert span.attributes["gen_ai.prompt.32.content"] == "a59"

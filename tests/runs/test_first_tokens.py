"""The first token is the first chunk that carries something."""

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, GenerationChunk

from langchain_ldai import LdAiHandler, RunReport
from langchain_ldai._runs.first_token import carries_content, event_carries_content
from langchain_ldai.testing import RecordingClient
from tests.support.chains import FIRST_TOKEN
from tests.support.events import NO_ANSWER, start_call, start_chain
from tests.support.models import USAGE


def chunk(content: object = "", **fields: object) -> ChatGenerationChunk:
    """Return a chat model's chunk."""
    return ChatGenerationChunk(message=AIMessageChunk(content=content, **fields))


CARRIES = {
    "text": ("x", chunk("x")),
    "text without a chunk": ("x", None),
    "a space": (" ", chunk(" ")),
    "a legacy LLM's text": ("", GenerationChunk(text="x")),
    "a block of text": ([{"type": "text", "text": "x"}], None),
    "a block of reasoning": ("", chunk([{"type": "reasoning", "reasoning": "hm", "index": 0}])),
    "a bare string as a block": (["x"], None),
    "part of a tool call": ("", chunk(tool_call_chunks=[{"name": "f", "args": "", "id": "1", "index": 0}])),
    "reasoning beside the content": ("", chunk(additional_kwargs={"reasoning_content": "hm"})),
    "a call's name beside the content": (
        "",
        chunk(additional_kwargs={"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": ""}}]}),
    ),
    "a summary beside the content": ("", chunk(additional_kwargs={"reasoning": {"summary": [{"text": "hm"}]}})),
    "sound beside the content": ("", chunk(additional_kwargs={"audio": {"id": "a", "transcript": "Hi"}})),
}
CALL = {"name": None, "args": None, "id": None, "index": 0}
EMPTY = {
    "a role": ("", chunk(additional_kwargs={"role": "assistant"})),
    "an empty closing chunk": ("", chunk()),
    "usage": ("", chunk(usage_metadata=USAGE)),
    "nothing at all": ("", None),
    "an empty legacy chunk": ("", GenerationChunk(text="")),
    "an empty block": ([{"type": "text", "text": "", "index": 0, "annotations": []}], None),
    "no blocks": ([], None),
    "blocks that are none": ([None, 1], None),
    "a call's id": ("", chunk(tool_call_chunks=[{**CALL, "id": "1"}])),
    "a call that is empty": ("", chunk(tool_call_chunks=[{**CALL, "name": "", "args": ""}])),
    "a call's id beside the content": (
        "",
        chunk(additional_kwargs={"tool_calls": [{"id": "1", "function": {"name": "", "arguments": ""}}]}),
    ),
    "a reasoning item beside the content": (
        "",
        chunk(additional_kwargs={"reasoning": {"id": "r", "summary": [], "status": "in_progress"}}),
    ),
    "a sound's id beside the content": ("", chunk(additional_kwargs={"audio": {"id": "a", "expires_at": 1}})),
    "signatures beside the content": ("", chunk(additional_kwargs={"thought_signatures": {"1": "c2ln"}})),
}
CARRYING_BLOCKS = {
    "text": {"type": "text", "text": "x"},
    "text with annotations": {"type": "text", "text": "x", "annotations": []},
    "refusal": {"type": "refusal", "refusal": "no"},
    "thinking": {"type": "thinking", "thinking": "hm"},
    "Mistral's thinking": {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
    "Bedrock's reasoning": {"type": "reasoning_content", "reasoning_content": {"text": "hm", "signature": "c2ln"}},
    "reasoning": {"type": "reasoning", "reasoning": "hm"},
    "a summary": {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
    "a call's name": {"type": "tool_use", "id": "1", "name": "f", "input": {}},
    "a call's arguments": {"type": "input_json_delta", "partial_json": "{"},
    "a part of a call": {"type": "tool_call_chunk", "id": None, "name": None, "args": "{"},
    "OpenAI's call": {"type": "function_call", "arguments": "{"},
    "a call of the provider's own": {"type": "server_tool_call_chunk", "name": "web_search"},
    "a search": {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "Rome"}},
    "a click": {"type": "computer_call", "action": {"type": "click", "x": 0}},
    "code": {"type": "executable_code", "executable_code": "print(1)", "language": "PYTHON"},
    "a tool's result": {"type": "server_tool_result", "tool_call_id": "1", "status": "success", "output": [0]},
    "an image": {"type": "image", "base64": "aW1n", "mime_type": "image/png"},
    "an image's address": {"type": "image_url", "image_url": {"url": "https://x"}},
    "Bedrock's image": {"type": "image", "source": {"type": "base64", "data": "aW1n"}},
    "sound": {"type": "audio", "base64": "c291bmQ=", "mime_type": "audio/wav"},
    "what is not standard": {"type": "non_standard", "value": {"type": "text", "text": "x"}},
}
EMPTY_BLOCKS = {
    "a label": {"type": "text", "text": "", "index": "lc_txt_0"},
    "an id": {"type": "text", "text": "", "id": "msg_1"},
    "a phase": {"type": "text", "text": "", "phase": "commentary"},
    "a phase in v1": {"type": "text", "text": "", "extras": {"phase": "commentary"}},
    "an annotation": {"type": "text", "annotations": [{"type": "citation", "url": "https://x", "title": "X"}]},
    "a citation": {"type": "text", "text": "", "citations": [{"cited_text": "x", "document_title": "X"}]},
    "a reasoning item": {"type": "reasoning", "id": "rs_1", "summary": [], "status": "in_progress"},
    "an empty summary": {"type": "reasoning", "summary": [{"type": "summary_text", "text": "", "index": 0}]},
    "encrypted reasoning": {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
    "encrypted reasoning in v1": {"type": "reasoning", "reasoning": "", "extras": {"encrypted_content": "gAAA"}},
    "encrypted details": {"type": "reasoning.encrypted", "data": "gAAA"},
    "redacted thinking": {"type": "redacted_thinking", "data": "gAAA"},
    "redacted thinking in v1": {"type": "non_standard", "value": {"type": "redacted_thinking", "data": "gAAA"}},
    "Bedrock's redacted reasoning": {"type": "reasoning_content", "reasoning_content": {"redacted_content": b"x"}},
    "a signature": {"type": "thinking", "thinking": "", "signature": "c2ln"},
    "a signature in v1": {"type": "reasoning", "extras": {"signature": "c2ln"}},
    "Bedrock's signature": {"type": "reasoning_content", "reasoning_content": {"signature": "c2ln"}},
    "Google's signature": {"type": "text", "text": "", "extras": {"signature": "c2ln"}},
    "thinking that says nothing": {"type": "thinking", "thinking": None},
    "Mistral's empty thinking": {"type": "thinking", "thinking": [{"type": "text", "text": ""}]},
    "a call's id": {"type": "tool_call_chunk", "id": "1", "name": None, "args": ""},
    "a call's status": {"type": "web_search_call", "id": "ws_1", "status": "in_progress"},
    "a call's kind": {
        "type": "web_search_call",
        "status": "in_progress",
        "action": {"type": "search", "query": ""},
    },
    "a call without arguments": {"type": "input_json_delta", "partial_json": ""},
    "a result's status": {"type": "server_tool_result", "tool_call_id": "1", "status": "success"},
    "an empty result": {"type": "server_tool_result", "output": {"found": [], "more": None}},
    "a cache point": {"type": "cache_point", "cachePoint": {"type": "default"}},
    "the tools that there are": {"type": "mcp_list_tools", "server_label": "s", "tools": [{"name": "f"}]},
    "a field nobody knows": {"type": "announcement", "next": "an answer"},
}


@pytest.mark.parametrize(("token", "given"), CARRIES.values(), ids=CARRIES)
def test_text_reasoning_and_tool_calls_count(token: object, given: object) -> None:
    """Truthiness of the token alone would miss some of these (fact 34)."""
    assert carries_content(token, given)


@pytest.mark.parametrize(("token", "given"), EMPTY.values(), ids=EMPTY)
def test_roles_closings_and_usage_do_not_count(token: object, given: object) -> None:
    """The mere arrival of a chunk is no first token (facts 8, 34, 36)."""
    assert not carries_content(token, given)


def in_each_form(block: object) -> dict[str, bool]:
    """Return whether a block carries something as a token, in a message, and in the v3 protocol."""
    return {
        "token": carries_content([block], None),
        "message": carries_content("", chunk([block])),
        "start": event_carries_content({"event": "content-block-start", "index": 0, "content": block}),
        "delta": event_carries_content({"event": "content-block-delta", "index": 0, "delta": block}),
        "fields": event_carries_content({"delta": {"type": "block-delta", "fields": block}}),
    }


@pytest.mark.parametrize("block", CARRYING_BLOCKS.values(), ids=CARRYING_BLOCKS)
def test_a_leaf_of_text_reasoning_or_a_tool_call_counts(block: object) -> None:
    """Whatever block it is in, of whichever provider, and however the block comes."""
    assert set(in_each_form(block).values()) == {True}, in_each_form(block)


@pytest.mark.parametrize("block", EMPTY_BLOCKS.values(), ids=EMPTY_BLOCKS)
def test_what_announces_something_does_not_count(block: object) -> None:
    """A label, a status, an id, a signature, what is encrypted, and a field that nobody knows are none."""
    assert set(in_each_form(block).values()) == {False}, in_each_form(block)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"event": "message-start", "role": "ai"}, False),
        ({"event": "content-block-start", "content": {"type": "text", "text": "", "index": 0}}, False),
        ({"event": "content-block-delta", "delta": {"type": "text-delta", "text": "x"}}, True),
        ({"event": "content-block-delta", "delta": {"type": "reasoning-delta", "reasoning": "hm"}}, True),
        ({"event": "content-block-start", "content": {"type": "tool_call_chunk", "name": "f"}}, True),
        ({"event": "content-block-start", "content": {"type": "tool_call_chunk", "id": "1", "args": ""}}, False),
        ({"event": "content-block-delta", "delta": {"type": "tool-call-delta", "args": "{"}}, True),
        ({"event": "content-block-delta", "delta": {"type": "data-delta", "data": "aW1n"}}, True),
        ({"event": "content-block-finish", "content": {"type": "reasoning", "reasoning": "", "id": "1"}}, False),
        ({"event": "message-finish", "usage": dict(USAGE), "metadata": {"finish_reason": "stop"}}, False),
        ({"event": "error", "message": "too busy"}, False),
        ("no event", False),
    ],
)
def test_events_of_the_v3_protocol_are_read_alike(event: object, expected: bool) -> None:
    """In v3 the first token is the first delta, or a start that is not empty (fact 31)."""
    assert event_carries_content(event) is expected


def test_the_first_event_of_the_v3_protocol_that_carries_something_counts(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """In v3 there are no tokens but events; a start that is empty is passed over (fact 31)."""
    call = start_call(handler)
    handler.on_stream_event({"event": "message-start"}, run_id=call)
    assert not [event for event in client.events if event.name == FIRST_TOKEN]

    for _ in range(2):
        handler.on_stream_event({"event": "content-block-delta", "delta": {"text": "Hello"}}, run_id=call)
    handler.on_llm_end(NO_ANSWER, run_id=call)

    assert len(client.metrics(reports[0].run_id)[FIRST_TOKEN]) == 1


def test_a_token_of_what_is_no_model_call_says_nothing(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A chunk under a chain's id, which LangChain does not send, is no first token."""
    root = start_chain(handler)
    call = start_call(handler, root)

    handler.on_llm_new_token("Hello", run_id=root)
    handler.on_llm_end(NO_ANSWER, run_id=call)
    handler.on_chain_end({}, run_id=root)

    assert FIRST_TOKEN not in client.metrics(reports[0].run_id)

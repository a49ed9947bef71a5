"""Runs of LaunchDarkly's own package, run through ours: their spans are the same but for what is said here."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from importlib.metadata import version
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from ldclient import Context
from opentelemetry.sdk.trace import ReadableSpan
from pydantic import ConfigDict

from langchain_ldai import LdAiClient, LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.runs.ends.stopping import wait_until_closed
from tests.support.chains import create_agent
from tests.support.traces import Trace
from tests.support.vectors import DIRECTORY

VECTORS = json.loads((DIRECTORY / "spans.json").read_text("utf-8"))

IS_1_X = version("langchain-core") >= "1"

MODEL = {"model": {"name": "small-1"}, "provider": {"name": "Acme"}}
AGENT = {"_ldMeta": {"enabled": True, "variationKey": "n1", "mode": "agent"}, "instructions": "Help.", **MODEL}
FLAGS: dict[str, object] = {
    "support-agent": {
        "_ldMeta": {"enabled": True, "variationKey": "v1", "version": 3, "mode": "agent"},
        "instructions": "You help.",
        **MODEL,
    },
    "chat": {"_ldMeta": {"enabled": True, "variationKey": "v1", "version": 3}, "messages": [], **MODEL},
    "triage": AGENT,
    "refunds": AGENT,
    "desk": {
        "_ldMeta": {"enabled": True, "variationKey": "g1", "version": 5},
        "root": "triage",
        "edges": {"triage": [{"key": "refunds"}]},
    },
}
USER = Context.create_multi(Context.create("user-1"), Context.create("o:1", "org"))
USAGE = {
    "input_tokens": 30,
    "output_tokens": 5,
    "total_tokens": 35,
    "input_token_details": {"cache_read": 10, "cache_creation": 4},
}


class Model(BaseChatModel):
    """A model that calls a tool where it is asked to, and then answers; `gate` is awaited before the answer."""

    gate: asyncio.Event | None = None
    fails: bool = False
    finish_reasons: Mapping[str, str] = {"tool": "tool_calls", "hand over": "", "": "stop"}
    model_config = ConfigDict(arbitrary_types_allowed=True)

    @property
    def _llm_type(self) -> str:
        return "model"

    def bind_tools(self, tools: object, **kwargs: object) -> BaseChatModel:
        """Accept tools."""
        return self

    def _answer(self, messages: list[BaseMessage]) -> AIMessage:
        if self.fails:
            raise RuntimeError("boom")
        asked = messages[-1].content if messages[-1].type == "human" else ""
        calls = {
            "tool": [{"name": "look", "args": {}, "id": "call-1"}],
            "hand over": [{"name": "__handoff_refunds", "args": {}, "id": "call-9"}],
        }
        reason = self.finish_reasons.get(str(asked), "stop")
        return AIMessage(
            "" if asked in calls else "all done",
            tool_calls=calls.get(str(asked), []),
            usage_metadata=USAGE,
            response_metadata={"finish_reason": reason},
        )

    def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages))])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        if self.gate is not None and messages[-1].type == "tool":
            await self.gate.wait()
        return self._generate(messages)


class Streamed(Model):
    """Streams its answer; `gate` is awaited in the middle."""

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        for text in ("all", " done"):
            yield ChatGenerationChunk(message=AIMessageChunk(text))
            if self.gate is not None:
                await self.gate.wait()


@tool
def look() -> str:
    """Look it up."""
    return "it is x"


@tool("look")
def broken() -> str:
    """Fail."""
    raise ValueError("tool broke")


@tool("__handoff_refunds")
def hand_over() -> str:
    """Hand over."""
    return "handed over"


def asked(text: str) -> dict[str, object]:
    """Return what an agent is asked."""
    return {"messages": [("user", text)]}


async def agent_with_tool(config: RunnableConfig, trace: Trace) -> None:
    """An agent that calls a tool."""
    with trace.app.start_as_current_span("request"):
        await create_agent(Model(), [look]).ainvoke(asked("tool"), config)


async def conversation_id(config: RunnableConfig, trace: Trace) -> None:
    """An agent in a conversation."""
    await create_agent(Model(), [look]).ainvoke(asked("plain"), {**config, "metadata": {"thread_id": "conv-7"}})


async def model_error(config: RunnableConfig, trace: Trace) -> None:
    """An agent whose model fails."""
    with suppress(RuntimeError):
        await create_agent(Model(fails=True), [look]).ainvoke(asked("plain"), config)


async def tool_error(config: RunnableConfig, trace: Trace) -> None:
    """An agent whose tool fails."""
    with suppress(ValueError):
        # Before 1.0 an agent tells its model what a tool raised, unless it is told not to.
        tools = [broken] if IS_1_X else ToolNode([broken], handle_tool_errors=False)
        await create_agent(Model(), tools).ainvoke(asked("tool"), config)


async def stop_at(name: str, awaited: Awaitable[object], trace: Trace, *, count: int = 1) -> None:
    """Cancel a task once some spans of a name have started."""
    task = asyncio.ensure_future(awaited)
    await trace.wait_for(name, count)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def cancelled(config: RunnableConfig, trace: Trace) -> None:
    """An agent that is cancelled in its second model call."""
    agent = create_agent(Model(gate=asyncio.Event()), [look])
    await stop_at("chat small-1", agent.ainvoke(asked("tool"), config), trace, count=2)


async def stream_finished(config: RunnableConfig, trace: Trace) -> None:
    """An agent whose steps are read to the end."""
    async for _ in create_agent(Model(), [look]).astream(asked("tool"), config):
        pass


async def stream_abandoned(config: RunnableConfig, trace: Trace) -> None:
    """A model's stream that its reader leaves."""
    async with aclosing(Streamed().astream("plain", config)) as stream:
        await anext(stream)


async def stream_cancelled(config: RunnableConfig, trace: Trace) -> None:
    """A model's stream whose reader is cancelled."""

    async def read() -> None:
        async for _ in Streamed(gate=asyncio.Event()).astream("plain", config):
            pass

    await stop_at("chat small-1", read(), trace)


async def graph(config: RunnableConfig, trace: Trace) -> None:
    """An agent graph in which one agent hands over to another."""
    builder = StateGraph(MessagesState)
    builder.add_node("triage", create_agent(Model(), [hand_over]))
    builder.add_node("refunds", create_agent(Model(), [look]))
    builder.set_entry_point("triage")
    builder.add_edge("triage", "refunds")
    await builder.compile().ainvoke(asked("hand over"), config)


Run = Callable[[RunnableConfig, Trace], Awaitable[None]]
RUNS: dict[str, tuple[str, Run]] = {
    **{
        run.__name__: ("support-agent", run)
        for run in (agent_with_tool, conversation_id, model_error, tool_error, cancelled, stream_finished)
    },
    **{run.__name__: ("chat", run) for run in (stream_abandoned, stream_cancelled)},
    "graph": ("desk", graph),
    "to_lang_graph": ("desk", graph),
}

JsonSpan = dict[str, Any]


async def spans_of(
    name: str, make_handler: Callable[..., LdAiHandler], trace: Trace, reports: list
) -> list[JsonSpan]:
    """Return the spans of a run, as the vectors have them."""
    key, run = RUNS[name]
    ai = LdAiClient(RecordingClient(FLAGS), environment_id="64a1b2c3d4e5f60718293a4b")
    kinds = {"desk": ai.agent_graph, "chat": ai.completion_config}
    handler = make_handler(kinds.get(key, ai.agent_config)(key, USER))
    await run({"callbacks": [handler]}, trace)
    await wait_until_closed(handler, reports)
    runs: dict[object, str] = {}
    return [as_vector(span, trace, runs) for span in trace.spans if span.name != "request"]


def as_vector(span: ReadableSpan, trace: Trace, runs: dict[object, str]) -> JsonSpan:
    """Return a span as the vectors have it; times are left out, and run ids are numbered."""
    attributes = {
        key: list(value) if isinstance(value, tuple) else value for key, value in (span.attributes or {}).items()
    }
    attributes.pop("gen_ai.response.time_to_first_chunk", None)
    if (run_id := attributes.get("launchdarkly.run.id")) is not None:
        attributes["launchdarkly.run.id"] = runs.setdefault(run_id, f"<run id {len(runs) + 1}>")
    return {
        "name": span.name,
        "kind": span.kind.name,
        "scope": span.instrumentation_scope.name,
        "parent": next((each.name for each in trace.started if each.context == span.parent), None),
        "status": span.status.status_code.name,
        "status_description": span.status.description,
        "attributes": attributes,
        "events": [{"name": event.name, "attributes": dict(event.attributes)} for event in span.events],
    }


def as_told(spans: list[JsonSpan]) -> list[JsonSpan]:
    """Return expected spans without what this LangChain does not tell."""
    for span in spans:
        if not IS_1_X:  # before 1.0 a tool does not know the id of the model's call
            span["attributes"].pop("gen_ai.tool.call.id", None)
    return spans


OUTCOMES = {"OK": "success", "ERROR": "error", "UNSET": "cancelled"}
ERRORS = {"model_error": "RuntimeError", "tool_error": "ValueError"}
VERSIONS = {"support-agent": 3, "chat": 3, "desk": 5, "triage": 1, "refunds": 1}


def expected(name: str, official: list[JsonSpan]) -> list[JsonSpan]:
    """Return what is expected of ours where LaunchDarkly's package makes the given spans."""
    return as_told([_expected(name, span) for span in official if span["name"] != "request"])


def _expected(name: str, span: JsonSpan) -> JsonSpan:
    attributes = dict(span["attributes"])
    attributes.pop("gen_ai.response.model", None)  # there it is the requested one, and this model names none
    events = [event for event in span["events"] if event["name"] == "feature_flag"]
    status = "OK" if span["name"] == "launchdarkly.graph" else span["status"]
    if status == "ERROR":
        attributes["error.type"] = ERRORS[name]
    if span["name"].startswith("execute_tool"):
        attributes["gen_ai.tool.type"] = "function"
    if events:
        key = attributes["launchdarkly.config.key"]
        attributes |= {"ldai.outcome": OUTCOMES[status], "ldai.config.version": VERSIONS[key]}
        told = {"variant": attributes["launchdarkly.variation.key"], "version": str(VERSIONS[key])}
        known = {"feature_flag.result.variant": told["variant"], "feature_flag.version": told["version"]}
        events = [{"name": "feature_flag", "attributes": {**events[0]["attributes"], **known}}]
    if span["name"] == "launchdarkly.graph":
        attributes["launchdarkly.graph.path"] = "triage->refunds"
    return {
        **span,
        "kind": "CLIENT" if span["name"].startswith("chat") else "INTERNAL",
        "scope": "langchain_ldai",
        "parent": span["parent"],
        "status": status,
        "status_description": None,  # an exception's text is content
        "attributes": attributes,
        "events": events,
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("name", [name for name in VECTORS["official"] if name != "to_lang_graph"])
async def test_a_run_makes_the_spans_of_launchdarklys_package(
    name: str, make_handler: Callable[..., LdAiHandler], trace: Trace, reports: list[RunReport]
) -> None:
    """They differ in their scope, and in what `expected` says."""
    found = await spans_of(name, make_handler, trace, reports)

    assert found == expected(name, VECTORS["official"][name])


@pytest.mark.asyncio
async def test_a_graph_has_its_nodes_below_it(
    make_handler: Callable[..., LdAiHandler], trace: Trace, reports: list[RunReport]
) -> None:
    """LaunchDarkly's graph for LangGraph makes the graph's span alone, and lacks its variation."""
    found = await spans_of("to_lang_graph", make_handler, trace, reports)
    (official,) = VECTORS["official"]["to_lang_graph"]

    graph = found[0]["attributes"]
    assert {key: graph[key] for key in graph.keys() & official["attributes"].keys()} == {
        **{key: value for key, value in official["attributes"].items() if not key.startswith("gen_ai.usage")},
        "launchdarkly.variation.key": "g1",
    }
    assert [span["name"] for span in found if span["parent"] == "launchdarkly.graph"] == ["invoke_agent"] * 2


@pytest.mark.asyncio
@pytest.mark.parametrize("name", VECTORS["ours"])
async def test_our_own_vectors_hold(
    name: str, make_handler: Callable[..., LdAiHandler], trace: Trace, reports: list[RunReport]
) -> None:
    """A run makes exactly the spans that are written down for it."""
    found = await spans_of(name, make_handler, trace, reports)

    assert found == as_told(VECTORS["ours"][name])

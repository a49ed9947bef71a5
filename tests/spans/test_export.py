"""Spans can be exported whatever is said, and whatever models are called."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from ldclient import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from langchain_ldai import LdAiClient, LdAiHandler, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.support.chains import QUESTION, chain
from tests.support.traces import Trace

HALF = "\ud800"  # half of a pair of surrogates, which UTF-8 cannot hold


def test_half_of_a_pair_of_surrogates_costs_no_batch(
    make_handler: Callable[..., LdAiHandler], trace: Trace
) -> None:
    """A name that UTF-8 cannot hold would make an exporter drop its whole batch: a question mark stands in it."""
    handler, root = make_handler(spans={"capture_content": True}), uuid4()
    metadata = {"ls_model_name": f"small{HALF}"}

    handler.on_chat_model_start({}, [[HumanMessage(f"Hi{HALF}")]], run_id=root, metadata=metadata)
    answer = ChatGeneration(message=AIMessage(f"You{HALF}"))
    handler.on_llm_end(LLMResult(generations=[[answer]]), run_id=root)

    sent = encode_spans(trace.spans).SerializeToString()
    assert [text for text in (b"chat small?", b"Hi?", b"You?") if text not in sent] == []


def test_half_of_a_pair_of_surrogates_costs_no_attribute(
    make_handler: Callable[..., LdAiHandler], trace: Trace, client: RecordingClient
) -> None:
    """An exporter would drop the attribute, and log that for each span: a question mark stands in it."""
    user = Context.builder(f"user{HALF}").build()
    config = LdAiClient(client).completion_config("support-bot", user)
    handler, root, tool, call = make_handler(config), uuid4(), uuid4(), uuid4()

    handler.on_chain_start({}, {}, run_id=root, metadata={"thread_id": f"thread{HALF}"})
    handler.on_chat_model_start({}, [[HumanMessage("Hi")]], run_id=call, parent_run_id=root, metadata={})
    said = {"model_name": f"model{HALF}", "finish_reason": f"reason{HALF}"}
    answer = ChatGeneration(message=AIMessage("You", response_metadata=said))
    handler.on_llm_end(LLMResult(generations=[[answer]]), run_id=call)
    named = {"name": f"tool{HALF}"}
    handler.on_tool_start(named, "", run_id=tool, parent_run_id=root, tool_call_id=f"call{HALF}", metadata={})
    handler.on_tool_end("", run_id=tool)
    handler.on_chain_end({}, run_id=root)

    sent = encode_spans(trace.spans).SerializeToString()
    assert sent.count(b"user?") == 3
    assert sent.count(b"thread?") == 3
    assert [text for text in (b"model?", b"reason?", b"tool?", b"call?") if text not in sent] == []


class Interrupted(SpanProcessor):
    """A processor that Ctrl+C interrupts while it takes a span of a name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def on_end(self, span: ReadableSpan) -> None:
        if span.name.startswith(self._name):
            raise KeyboardInterrupt


@pytest.mark.parametrize(("name", "outcome"), [("chat", Outcome.CANCELLED), ("invoke_agent", Outcome.SUCCESS)])
def test_an_interrupted_export_costs_no_metric_and_no_report(
    name: str,
    outcome: Outcome,
    make_handler: Callable[..., LdAiHandler],
    trace: Trace,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """Ctrl+C goes on to the application, once the run has been counted and reported."""
    trace.provider.add_span_processor(Interrupted(name))
    handler = make_handler()

    with pytest.raises(KeyboardInterrupt):
        chain().invoke(QUESTION, {"callbacks": [handler]})

    (report,) = reports
    metrics = client.metrics(report.run_id)
    assert report.outcome is outcome
    assert metrics["$ld:ai:tokens:total"] == [13]
    assert len(metrics["$ld:ai:duration:total"]) == 1


def test_an_interrupt_costs_no_other_run(
    make_handler: Callable[..., LdAiHandler], trace: Trace, reports: list[RunReport]
) -> None:
    """Of several runs that close together each is reported."""
    trace.provider.add_span_processor(Interrupted("invoke_agent"))
    handler = make_handler()
    for root in (uuid4(), uuid4()):
        handler.on_chat_model_start({}, [[HumanMessage("Hi")]], run_id=root, metadata={})

    with pytest.raises(KeyboardInterrupt):
        handler.close()

    assert [report.outcome for report in reports] == [Outcome.ABANDONED] * 2

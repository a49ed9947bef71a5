"""Spans can be exported whatever is said, and whatever models are called."""

from collections.abc import Callable
from uuid import uuid4

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from langchain_ldai import LdAiHandler
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

"""LangChain's events, sent by hand where their order is what matters."""

from typing import Final
from uuid import UUID, uuid4

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from langchain_ldai import LdAiHandler
from tests.support.models import USAGE

ANSWER: Final = LLMResult(generations=[[ChatGeneration(message=AIMessage("Hello", usage_metadata=USAGE))]])
NO_ANSWER: Final = LLMResult(generations=[])


def start_chain(handler: LdAiHandler, parent: UUID | None = None, **said: object) -> UUID:
    """Start a chain, or a step of one, of which LangGraph says this."""
    step = uuid4()
    handler.on_chain_start(None, {}, run_id=step, parent_run_id=parent, metadata=said)
    return step


def start_stream(handler: LdAiHandler, parent: UUID | None = None) -> UUID:
    """Start a chain, or a step of one, that is streamed."""
    step = uuid4()
    handler.on_chain_start(
        None, {"input": ""}, run_id=step, parent_run_id=parent, metadata={}, defers_inputs=False
    )
    return step


def start_call(handler: LdAiHandler, parent: UUID | None = None, **said: object) -> UUID:
    """Start a model call, below a step or by itself, of which LangChain says this."""
    call = uuid4()
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=parent, metadata=said)
    return call


def start_tool(handler: LdAiHandler, parent: UUID, **told: object) -> UUID:
    """Start a call of the tool `search` below a step."""
    call = uuid4()
    handler.on_tool_start({"name": "search"}, "", run_id=call, parent_run_id=parent, metadata={}, **told)
    return call


def stream_first_token(handler: LdAiHandler, parent: UUID) -> UUID:
    """Start a model call below a step, and let it bring its first token."""
    call = start_call(handler, parent)
    handler.on_llm_new_token("Hello", run_id=call)
    return call


def call_model(handler: LdAiHandler, parent: UUID) -> None:
    """Call a model below a step."""
    handler.on_llm_end(ANSWER, run_id=start_call(handler, parent))


def play_other_runs(handler: LdAiHandler, count: int) -> None:
    """Have so many other runs come and go, each with a step, and no model call."""
    for _ in range(count):
        root = start_chain(handler)
        handler.on_chain_end({}, run_id=start_chain(handler, root))
        handler.on_chain_end({}, run_id=root)

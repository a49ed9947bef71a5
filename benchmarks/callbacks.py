"""Runs made of their callbacks alone, so that they can be held open in any number."""

from typing import Final

from langchain_core.callbacks import CallbackManager, CallbackManagerForChainRun, CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from benchmarks.arms import Callbacks
from benchmarks.cases import QUESTION
from benchmarks.model import USAGE

_SERIALIZED: Final = {"name": "RunnableSequence"}
_MESSAGES: Final = [[HumanMessage(QUESTION["question"])]]

OpenRun = tuple[CallbackManagerForChainRun, CallbackManagerForLLMRun]


def _manager(callbacks: Callbacks) -> CallbackManager:
    return CallbackManager.configure(inheritable_callbacks=callbacks())


def opened(callbacks: Callbacks, count: int) -> list[OpenRun]:
    """Begin so many runs of a chain, each with a model call in flight."""
    runs: list[OpenRun] = []
    for _ in range(count):
        root = _manager(callbacks).on_chain_start(_SERIALIZED, QUESTION)
        [call] = root.get_child().on_chat_model_start(_SERIALIZED, _MESSAGES, invocation_params={})
        runs.append((root, call))
    return runs


def _result() -> LLMResult:
    message = AIMessage("Hold the button", usage_metadata=USAGE)
    return LLMResult(generations=[[ChatGeneration(message=message)]])


def close(runs: list[OpenRun]) -> None:
    """End the runs."""
    for root, call in runs:
        call.on_llm_end(_result())
        root.on_chain_end({"output": "Hold the button"})


def in_turn(callbacks: Callbacks, count: int) -> None:
    """Begin and end so many runs, one after the other."""
    for _ in range(count):
        close(opened(callbacks, 1))


def nested(callbacks: Callbacks, depth: int) -> None:
    """Begin so many chains, each within the one before, and end them."""
    manager, steps = _manager(callbacks), []
    for _ in range(depth):
        step = manager.on_chain_start(_SERIALIZED, QUESTION)
        steps.append(step)
        manager = step.get_child()
    for step in reversed(steps):
        step.on_chain_end({"output": "Hold the button"})

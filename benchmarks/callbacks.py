"""Runs made of their callbacks alone, so that they can be held open in any number."""

from collections.abc import Callable
from typing import Any, Final

from langchain_core.callbacks import (
    AsyncCallbackManager,
    CallbackManager,
    CallbackManagerForChainRun,
    CallbackManagerForLLMRun,
)
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult

from benchmarks.arms import Callbacks
from benchmarks.cases import QUESTION, Loop
from benchmarks.measure import Case
from benchmarks.model import USAGE

_SERIALIZED: Final = {"name": "RunnableSequence"}
_MESSAGES: Final = [[HumanMessage(QUESTION["question"])]]

_CHUNK: Final = ChatGenerationChunk(message=AIMessageChunk("token "))
_EVENT: Final = {"event": "content-block-delta", "index": 0, "delta": {"type": "text", "text": "token "}}

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


def _streamed(callbacks: Callbacks, send: Callable[[CallbackManagerForLLMRun], object], count: int) -> None:
    [(root, call)] = opened(callbacks, 1)
    for _ in range(count):
        send(call)
    close([(root, call)])


async def _astreamed(callbacks: Callbacks, count: int) -> None:
    manager = AsyncCallbackManager.configure(inheritable_callbacks=callbacks())
    [call] = await manager.on_chat_model_start(_SERIALIZED, _MESSAGES, invocation_params={})
    for _ in range(count):
        await call.on_llm_new_token("token ", chunk=_CHUNK)
    await call.on_llm_end(_result())


def token_callbacks(loop: Loop, chunks: int, blocks: int) -> list[Case]:
    """Return a case for each way in which a model's token comes: how much more twice as many take than so many."""

    def sync(send: Callable[[CallbackManagerForLLMRun], object]) -> list[Any]:
        return [lambda callbacks, n=n: _streamed(callbacks, send, n) for n in (2 * chunks, chunks)]

    ways = {
        "stream": sync(lambda call: call.on_llm_new_token("token ", chunk=_CHUNK)),
        "astream": [loop.once(lambda callbacks, n=n: _astreamed(callbacks, n)) for n in (2 * chunks, chunks)],
        "v3": sync(lambda call: call.on_stream_event(_EVENT)),
    }
    return [Case(name, "token", chunks, block, base, blocks) for name, (block, base) in ways.items()]


def nested(callbacks: Callbacks, depth: int) -> None:
    """Begin so many chains, each within the one before, and end them."""
    manager, steps = _manager(callbacks), []
    for _ in range(depth):
        step = manager.on_chain_start(_SERIALIZED, QUESTION)
        steps.append(step)
        manager = step.get_child()
    for step in reversed(steps):
        step.on_chain_end({"output": "Hold the button"})

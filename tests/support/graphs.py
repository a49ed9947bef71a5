"""Graphs of LangGraph: nodes that call a model, and how they are joined."""

import asyncio
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, TypedDict

import pytest
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy, interrupt

from langchain_ldai import LdAiHandler, TokenUsage
from tests.support.chains import QUESTION, chain

Edge = tuple[str, str]
Node = object

RETRIED: Final = {"retry_policy": RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=3)}
"""Options of a node that LangGraph runs up to three times."""
has_node_options = pytest.mark.skipif(
    "error_handler" not in inspect.signature(StateGraph.add_node).parameters,
    reason="LangGraph 0.6 knows neither error handlers nor timeouts of nodes",
)


class State(TypedDict):
    """What the nodes of a graph said."""

    said: Annotated[list[object], operator.add]


NOTHING: Final[State] = {"said": []}


class NeverOpens(asyncio.Event):
    """The gate of a model that never answers; `reached` tells that the model is being called."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()

    async def wait(self) -> bool:
        """Wait for ever."""
        self.reached.set()
        return await super().wait()


def calls(number: int) -> TokenUsage | None:
    """Return the usage of so many calls of a scripted model."""
    return TokenUsage(13 * number, 10 * number, 3 * number) if number else None


def says(model: Runnable | None = None) -> Runnable:
    """Return a node that is a chain, so that LangGraph runs it natively, sync and async."""
    return RunnableLambda(lambda state: QUESTION) | chain(model) | RunnableLambda(lambda text: {"said": [text]})


def speaks(*errors: Exception | None, model: Runnable | None = None) -> Callable[[State], State]:
    """Return a node that is a function: it calls a chain without a config, then raises what is next."""
    ahead = list(errors)

    def node(state: State) -> State:
        text = chain(model).invoke(QUESTION)
        error = ahead.pop(0) if ahead else None
        if error:
            raise error
        return {"said": [text]}

    return node


def asks(state: State) -> State:
    """Call a model, then ask a human and say the answer."""
    chain().invoke(QUESTION)
    return {"said": [interrupt("May I?")]}


def graph(
    nodes: Mapping[str, Node],
    edges: Sequence[Edge] | None = None,
    *,
    options: Mapping[str, Mapping[str, object]] | None = None,
    **compiled: object,
) -> Runnable:
    """Return a compiled graph: its nodes in a line, or joined by edges; `options` are the nodes' own."""
    builder = StateGraph(State)
    for name, node in nodes.items():
        builder.add_node(name, node, **(options or {}).get(name, {}))
    for start, end in edges or zip([START, *nodes], nodes, strict=False):
        builder.add_edge(start, end)
    return builder.compile(**compiled)


def in_parallel(*names: str) -> list[Edge]:
    """Return edges by which all these nodes start a graph together."""
    return [(START, name) for name in names]


def thread(handler: LdAiHandler, name: str = "1", **config: object) -> dict[str, object]:
    """Return a config with a handler and a thread of a checkpointer."""
    return {"callbacks": [handler], "configurable": {"thread_id": name}, **config}

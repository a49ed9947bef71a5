"""Graphs that stop to ask a human, in each of LangGraph's ways."""

from collections.abc import Callable, Mapping
from typing import Final

import pytest
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import interrupt

from tests.support.chains import AGENT_INPUT, TOOL_CALL, create_agent
from tests.support.graphs import NOTHING, asks, graph
from tests.support.models import HELLO, ScriptedChat, tool_call


@tool
def approval() -> str:
    """Ask a human."""
    return interrupt("May I?")


def asking_graph() -> Runnable:
    """Return a graph with a node that asks."""
    return graph({"asks": asks}, checkpointer=InMemorySaver())


def asking_subgraph() -> Runnable:
    """Return a graph with a subgraph that asks."""
    return graph({"sub": graph({"asks": asks})}, checkpointer=InMemorySaver())


def asking_agent() -> Runnable:
    """Return an agent with a tool that asks."""
    model = ScriptedChat(script=[tool_call("approval"), HELLO])
    return create_agent(model, [approval], checkpointer=InMemorySaver())


def asking_workflow() -> Runnable:
    """Return a workflow of the functional API with a task that asks."""
    asking = task(asks)
    return entrypoint(checkpointer=InMemorySaver())(lambda state: asking(state).result())


ASKING: Final[Mapping[str, tuple[Callable[[], Runnable], object, Mapping[str, list[int]]]]] = {
    "node": (asking_graph, NOTHING, {}),
    "subgraph": (asking_subgraph, NOTHING, {}),
    "tool": (asking_agent, AGENT_INPUT, {TOOL_CALL: [1]}),
    "functional-api": (asking_workflow, NOTHING, {}),
}
"""How each is built, what it is given, and the tools that it calls."""
asking: Final = pytest.mark.parametrize(("build", "value", "tools"), ASKING.values(), ids=ASKING)

"""Graphs of LangGraph whose nodes pass nothing on."""

from typing import TypedDict

from langchain_core.runnables import Runnable
from langgraph.graph import START, StateGraph


class State(TypedDict):
    """What the nodes pass on: nothing."""

    done: bool


def graph(*nodes: object) -> Runnable:
    """Return a graph of nodes, one after the other."""
    builder, before = StateGraph(State), START
    for number, node in enumerate(nodes):
        builder.add_node(f"node-{number}", node)
        builder.add_edge(before, f"node-{number}")
        before = f"node-{number}"
    return builder.compile()

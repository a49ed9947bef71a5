"""A graph to run or to play, and what the package logged of it."""

import pytest
from langgraph.graph import START, MessagesState, StateGraph

from langchain_ldai import LdAiHandler
from tests.support.chains import AGENT_INPUT
from tests.support.events import start_chain
from tests.support.models import ScriptedChat


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return levels and messages of what the package logged."""
    return [(each.levelname, each.message) for each in caplog.records if each.name.startswith("langchain_ldai")]


def run_nodes(handler: LdAiHandler, *names: str) -> None:
    """Run a graph of nodes that each call a model."""
    graph = StateGraph(MessagesState)
    last = START
    for name in names or ("writer",):
        graph.add_node(name, lambda state: {"messages": [ScriptedChat().invoke("How?")]})
        graph.add_edge(last, name)
        last = name
    # LangGraph 0.6 runs 25 steps unless it is told more.
    graph.compile().invoke(AGENT_INPUT, {"callbacks": [handler], "recursion_limit": len(names) + 2})


def play_nodes(handler: LdAiHandler, *names: str) -> None:
    """Send the events of a graph of nodes that do nothing."""
    root = start_chain(handler)
    for name in names:
        handler.on_chain_end({}, run_id=start_chain(handler, root, langgraph_node=name))
    handler.on_chain_end({}, run_id=root)

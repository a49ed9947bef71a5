"""The graph of the recipe, in which the first attempt of a run is lost once its model has answered."""

import sys
from pathlib import Path

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "cookbook" / "langgraph_server"))
from graph import answer, handler
from langgraph_runtime.retry import RetryableException


async def answer_or_be_lost(state: MessagesState, config: RunnableConfig) -> dict[str, object]:
    """Answer; in the first attempt, fail then as where the worker is lost."""
    answered = await answer(state)
    if config["metadata"]["run_attempt"] == 1:
        raise RetryableException
    return answered


builder = StateGraph(MessagesState)
builder.add_node("answer", answer_or_be_lost)
builder.add_edge(START, "answer")
graph = builder.compile().with_config(callbacks=[handler])

"""A supervisor with two workers, for many users: each node has an AI Config and metrics of its own.

python cookbook/supervisor.py
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command
from ldclient import Context

from langchain_ldai import LdAiAgentConfig, LdAiClient, LdAiHandler
from langchain_ldai.testing import RecordingClient
from served_model import model_for

WORKERS = ("researcher", "writer")


def agent(instructions: str) -> dict[str, object]:
    """Return a flag that serves an agent."""
    meta = {"enabled": True, "variationKey": "first", "mode": "agent"}
    model = {"model": {"name": "local-parrot"}, "provider": {"name": "local"}}
    return {"_ldMeta": meta, **model, "instructions": instructions}


FLAGS = {
    "supervisor": agent("Say who goes on, researcher or writer, or done once {{ldctx.key}} has an answer."),
    "researcher": agent("Find what is known."),
    "writer": agent("Write one sentence."),
}

client = RecordingClient(FLAGS)  # in production: ldclient.LDClient(...)
ai = LdAiClient(client)


def config_for(key: str, metadata: Mapping[str, Any]) -> LdAiAgentConfig:
    """Return the AI Config that LaunchDarkly serves for a node, for whom the run is."""
    return ai.agent_config(key, Context.create(metadata["user_id"]))


handler = LdAiHandler(None, nodes={key: partial(config_for, key) for key in FLAGS})


def speak(state: MessagesState, config: RunnableConfig, local_answer: str) -> str:
    """Ask the agent that this node is counted for.

    Args:
        state: What was said so far.
        config: LangChain's config of the node.
        local_answer: What a local model answers; another model finds its own words.
    """
    served = LdAiHandler.current_config(config)
    if not served.enabled:
        return "done: this agent is off"
    model = model_for(served, local_answer)
    return str(model.invoke([*served.to_messages(), *state["messages"]]).content)


def supervise(state: MessagesState, config: RunnableConfig) -> Command[str]:
    """Ask the supervisor who goes on, and go there; it ends the run by naming nobody."""
    after = {None: "researcher", "researcher": "writer", "writer": "done"}
    said = speak(state, config, after[state["messages"][-1].name])
    return Command(goto=next((name for name in WORKERS if name in said), END))


def add_worker(graph: StateGraph[MessagesState], name: str, local_answer: str) -> None:
    """Add a node that says its part and gives back to the supervisor."""

    def work(state: MessagesState, config: RunnableConfig) -> Command[str]:
        said = HumanMessage(speak(state, config, local_answer), name=name)
        return Command(update={"messages": [said]}, goto="supervisor")

    graph.add_node(name, work)


def main() -> None:
    """Run the graph once and show what each agent cost."""
    graph = StateGraph(MessagesState)
    graph.add_node("supervisor", supervise, destinations=(*WORKERS, END))
    add_worker(graph, "researcher", "It has a button")
    add_worker(graph, "writer", "Hold the button")
    graph.add_edge(START, "supervisor")

    question = HumanMessage("How do I switch it off?")
    with handler.collect_runs() as runs:
        answered = graph.compile().invoke(
            {"messages": [question]}, {"callbacks": [handler], "metadata": {"user_id": "ada"}}
        )
    print(answered["messages"][-1].content)
    for name, report in runs[0].nodes.items():
        print(f"{name}: {report.outcome}, {report.model_calls} model calls, {report.summary.tokens}")


if __name__ == "__main__":
    main()

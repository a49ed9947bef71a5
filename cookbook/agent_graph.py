"""Several agents, laid out in LaunchDarkly as an agent graph: metrics of the graph, and of each agent.

python cookbook/agent_graph.py
"""

from langchain_core.messages import HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command
from ldclient import Context

from langchain_ldai import LdAiAgentConfig, LdAiClient, LdAiHandler
from langchain_ldai.testing import RecordingClient
from served_model import model_for


def agent(instructions: str) -> dict[str, object]:
    """Return a flag that serves an agent."""
    meta = {"enabled": True, "variationKey": "first", "mode": "agent"}
    model = {"model": {"name": "local-parrot"}, "provider": {"name": "local"}}
    return {"_ldMeta": meta, **model, "instructions": instructions}


FLAGS = {
    "desk": {
        "_ldMeta": {"enabled": True, "variationKey": "two-agents", "version": 1},
        "root": "triage",
        "edges": {"triage": [{"key": "refunds"}]},
    },
    "triage": agent("Find out who can help."),
    "refunds": agent("Give the money back."),
}


def add_node(graph: StateGraph[MessagesState], config: LdAiAgentConfig, following: str = END) -> None:
    """Add a node that lets an agent speak and then hands over; it has its AI Config's key for a name."""
    model = model_for(config, answer=f"{config.key} was here")

    def speak(state: MessagesState) -> Command[str]:
        answer = model.invoke([*config.to_messages(), *state["messages"]])
        return Command(update={"messages": [answer]}, goto=following)

    graph.add_node(config.key, speak)


def main() -> None:
    """Run the graph once and show what was recorded."""
    client = RecordingClient(FLAGS)  # in production: ldclient.LDClient(...)
    agents = LdAiClient(client).agent_graph("desk", Context.create("user-1"))
    if not agents.enabled:
        raise SystemExit("LaunchDarkly serves no enabled variation of desk: is targeting on?")
    graph = StateGraph(MessagesState)
    for key, config in agents.nodes.items():
        add_node(graph, config, *agents.children(key))
    graph.add_edge(START, agents.root)

    handler = LdAiHandler(agents)
    with handler.collect_runs() as runs:
        graph.compile().invoke({"messages": [HumanMessage("My kettle broke.")]}, {"callbacks": [handler]})

    (report,) = runs
    total = client.metrics(report.run_id)["$ld:ai:graph:total_tokens"][0]
    print(f"{report.config_key}: {' -> '.join(report.path)}, {report.outcome}, {total} tokens")
    for key, part in report.nodes.items():
        print(f"{key}: {part.outcome}, {part.summary.tokens}")


if __name__ == "__main__":
    main()

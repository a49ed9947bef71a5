"""An agent that calls a tool: one run, its tokens summed, and a metric of one's own on the same tracker.

python cookbook/agent.py
"""

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from ldclient import Context

from langchain_ldai import JudgeResult, LdAiClient, LdAiHandler
from langchain_ldai.testing import RecordingClient
from served_model import model_for

AGENT = {
    "_ldMeta": {"enabled": True, "variationKey": "brief", "mode": "agent"},
    "model": {"name": "local-parrot"},
    "provider": {"name": "local"},
    "instructions": "You help {{ldctx.key}} with the kettle.",
}


@tool
def look_up(config: RunnableConfig) -> str:
    """Look the answer up, and record how well it was found."""
    tracker = LdAiHandler.current_tracker(config)
    if tracker is not None:
        tracker.track_judge_result(JudgeResult("look-up-relevance", 0.9))
    return "hold the button"


def main() -> None:
    """Run the agent once and show what was recorded."""
    client = RecordingClient({"kettle-agent": AGENT})  # in production: ldclient.LDClient(...)
    config = LdAiClient(client).agent_config("kettle-agent", Context.create("user-1"))
    if not config.enabled:
        raise SystemExit(f"LaunchDarkly serves no enabled variation of {config.key}: is targeting on?")
    model = model_for(config).bind_tools([look_up])

    def think(state: MessagesState) -> MessagesState:
        return {"messages": [model.invoke([*config.to_messages(), *state["messages"]])]}

    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode([look_up]))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "think")

    handler = LdAiHandler(config)
    with handler.collect_runs() as runs:
        graph.compile().invoke({"messages": [HumanMessage("How do I switch it off?")]}, {"callbacks": [handler]})

    (report,) = runs
    print(f"{report.outcome}: {report.model_calls} model calls, tools {report.summary.tool_calls}")
    print(f"relevance {client.metrics(report.run_id)['look-up-relevance']}")


if __name__ == "__main__":
    main()

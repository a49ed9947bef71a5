"""A chain, an agent, and what a run of them is to leave in LaunchDarkly."""

from collections.abc import Sequence
from typing import Final

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, tool

from langchain_ldai.testing import RecordingClient
from tests.support.models import HELLO, ScriptedChat, tool_call

try:
    from langchain.agents import create_agent
except ImportError:  # LangChain 0.3
    from langgraph.prebuilt import create_react_agent as create_agent

PROMPT: Final = ChatPromptTemplate.from_messages([("user", "{question}")])
QUESTION: Final = {"question": "How?"}

DURATION: Final = "$ld:ai:duration:total"
FIRST_TOKEN: Final = "$ld:ai:tokens:ttf"
SUCCESS: Final = "$ld:ai:generation:success"
ERROR: Final = "$ld:ai:generation:error"
TOOL_CALL: Final = "$ld:ai:tool_call"
POSITIVE: Final = "$ld:ai:feedback:user:positive"
TOKENS: Final = {"$ld:ai:tokens:total": [13], "$ld:ai:tokens:input": [10], "$ld:ai:tokens:output": [3]}


def chain(model: Runnable | None = None) -> Runnable:
    """Return a new prompt, model and parser."""
    return PROMPT | (model or ScriptedChat()) | StrOutputParser()


@tool
def search() -> str:
    """Search."""
    return "found"


def agent(tools: Sequence[BaseTool] = (search,)) -> Runnable:
    """Return an agent that calls `search` once and then answers: two model calls, one tool call."""
    return create_agent(ScriptedChat(script=[tool_call("search"), HELLO]), list(tools))


AGENT_INPUT: Final = {"messages": [("user", "How?")]}


def counts(client: RecordingClient, run_id: str) -> dict[str, list[float]]:
    """Return a run's metrics but for the times, which are checked to be one each and not negative."""
    metrics = client.metrics(run_id)
    for name in (DURATION, FIRST_TOKEN):
        values = metrics.pop(name, [0])
        assert len(values) == 1
        assert values[0] >= 0
    return metrics

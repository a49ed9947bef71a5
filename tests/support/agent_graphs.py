"""Agent graphs as LaunchDarkly serves them."""

from typing import Final

from ldclient import Context

from langchain_ldai import LdAiAgentGraph, LdAiClient
from langchain_ldai.testing import RecordingClient

CONTEXT: Final = Context.builder("user-1").name("Sandy").build()


def agent(**meta: object) -> dict[str, object]:
    """Return an agent's flag."""
    return {"_ldMeta": {"enabled": True, "mode": "agent", **meta}, "instructions": "{{x}} for {{ldctx.name}}"}


def graph_of(root: object, edges: dict[str, str], **meta: object) -> dict[str, object]:
    """Return a graph's flag; each source's targets are the letters of a text."""
    written = {source: [{"key": target} for target in targets] for source, targets in edges.items()}
    return {"_ldMeta": {"enabled": True, **meta}, "root": root, "edges": written}


def serve_graph(flag: object, **agents: object) -> LdAiAgentGraph:
    """Return what is served for a graph, in which `a` to `f` are agents, but for those given."""
    flags = {key: agent() for key in "abcdef"} | agents | {"travel": flag}
    return LdAiClient(RecordingClient(flags)).agent_graph("travel", CONTEXT)

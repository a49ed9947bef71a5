"""Agent graphs: what both clients serve (spec sections 1 and 7), and what they send (section 5)."""

import copy
import itertools
from dataclasses import FrozenInstanceError
from typing import Final

import pytest
from ldclient import Context

from langchain_ldai import GraphEdge, InvalidResumptionTokenError, LdAiClient
from langchain_ldai._wire.tokens import decode
from langchain_ldai.testing import RecordingClient
from tests.support.agent_graphs import CONTEXT, agent, graph_of, serve_graph
from tests.support.call_both_clients import both_clients
from tests.support.vectors import graph_flag

LOG: Final = "langchain_ldai._configs.graph"


@both_clients
def test_a_graph_has_its_nodes_configs(ask_of):
    """A served graph has its root, its edges, and each node's config with its instructions filled in."""
    ask = ask_of({"travel": graph_flag(), "a": agent(version=7), "b": agent()})

    graph = ask("agent_graph", "travel", CONTEXT, {"x": "Tea"})

    assert (graph.key, graph.enabled, graph.root) == ("travel", True, "a")
    assert (graph.variation_key, graph.version) == ("gv", 2)
    assert graph.edges == (GraphEdge("a", "b"),)
    assert list(graph.nodes) == ["a", "b"]
    assert [(node.key, node.instructions) for node in graph.nodes.values()] == [
        ("a", "Tea for Sandy"),
        ("b", "Tea for Sandy"),
    ]
    assert [node.version for node in graph.nodes.values()] == [7, 1]


@both_clients
def test_a_graph_is_one_usage_event(ask_of):
    """One usage event with the graph's key is sent, and none for its nodes (spec section 5)."""
    ask = ask_of({"travel": graph_flag(), "a": agent(), "b": agent()})

    ask("agent_graph", "travel", CONTEXT)

    [usage] = ask.events[1:]
    assert (usage.name, usage.data, usage.value, usage.context) == (
        "$ld:ai:usage:agent-graph",
        "travel",
        1,
        CONTEXT,
    )


class Asking(RecordingClient):
    """A client that notes which flags it is asked for, and with which defaults, after which events."""

    def __init__(self, flags: dict[str, object]) -> None:
        super().__init__(flags)
        self.asked: list[tuple[str, object, int]] = []

    def variation(self, key: str, context: Context, default: object) -> object:
        """Note the question and answer it."""
        self.asked.append((key, default, len(self.events)))
        return super().variation(key, context, default)


def test_each_flag_is_evaluated_once_after_the_usage_event():
    """The graph's flag comes first, then each node's, however many ways lead there (spec section 2)."""
    flags = {"travel": graph_of("a", {"a": "bcb", "b": "ac", "c": "c"}), **{key: agent() for key in "abc"}}
    client = Asking(flags)

    LdAiClient(client).agent_graph("travel", CONTEXT)

    assert [(key, sent) for key, _, sent in client.asked] == [(key, 2) for key in ("travel", "a", "b", "c")]
    assert client.asked[0][1] == {}
    assert client.asked[1][1]["_ldMeta"] == {"enabled": False, "mode": "agent"}


@pytest.mark.parametrize(
    "flag",
    [
        graph_of("a", {"a": "b"}, enabled=False),
        graph_of("", {"a": "b"}),
        graph_of("a", {"b": "a"}),
    ],
    ids=["disabled", "no-root", "unreachable"],
)
def test_a_graph_disabled_by_itself_evaluates_no_node(flag):
    """Where the graph's own flag disables it, no agent config counts as evaluated, and there are no nodes."""
    client = Asking({"travel": flag, "a": agent(), "b": agent()})

    graph = LdAiClient(client).agent_graph("travel", CONTEXT)

    assert [key for key, *_ in client.asked] == ["travel"]
    assert (graph.enabled, dict(graph.nodes), graph.terminals()) == (False, {}, ())
    assert len(graph.edges) == 1


@pytest.mark.parametrize(
    "node",
    [agent(enabled=False), {"instructions": "x"}, {"_ldMeta": {"enabled": True}}, 5, None],
    ids=["disabled", "no-meta", "completion", "no-object", "null"],
)
@pytest.mark.parametrize("key", ["a", "b"], ids=["root", "leaf"])
def test_a_node_that_is_not_enabled_disables_the_graph(caplog, key, node):
    """Every node's agent config has to be enabled; the configs are there all the same, to see which is not."""
    caplog.set_level("DEBUG", logger=LOG)

    graph = serve_graph(graph_flag(), **{key: node})

    assert graph.enabled is False
    assert [name for name, config in graph.nodes.items() if not config.enabled] == [key]
    [record] = [record for record in caplog.records if record.name == LOG]
    assert record.getMessage().endswith(f"the agent configs of ['{key}'] are not enabled")


def test_children_parents_and_terminals_follow_the_edges():
    """Each key is named once, in the edges' order; a node is terminal if no edge leaves it."""
    graph = serve_graph(graph_of("a", {"a": "cbc", "b": "dd", "c": "d", "d": "ed", "e": ""}))

    assert (graph.children("a"), graph.children("d"), graph.children("x")) == (("c", "b"), ("e", "d"), ())
    assert (graph.parents("d"), graph.parents("a"), graph.parents("x")) == (("b", "c", "d"), (), ())
    assert graph.terminals() == ("e",)
    assert graph.reachable() == tuple(graph.nodes) == ("a", "c", "b", "d", "e")


@pytest.mark.parametrize(
    ("edges", "terminals"),
    [({}, ("a",)), ({"a": "a"}, ()), ({"a": "b", "b": "a"}, ()), ({"a": "b", "b": "ac"}, ("c",))],
    ids=["one-node", "self", "two", "way-out"],
)
def test_cycles_are_fine(edges, terminals):
    """A graph may go back, even to its root, and is as enabled as any other."""
    graph = serve_graph(graph_of("a", edges))

    assert graph.enabled is True
    assert graph.terminals() == terminals


def test_a_long_graph_is_no_problem():
    """Two thousand nodes in a row are walked without recursion."""
    names = [f"n{place}" for place in range(2_000)]
    edges = {source: [{"key": target}] for source, target in itertools.pairwise(names)}

    graph = serve_graph({"root": "n0", "edges": edges, "_ldMeta": {}}, **dict.fromkeys(names, agent()))

    assert graph.enabled is True
    assert list(graph.nodes) == names


@both_clients
def test_a_nodes_tracker_carries_the_graphs_key(ask_of):
    """Events and token of a node's tracker name the graph; the same agent's outside it do not (spec section 7)."""
    ask = ask_of({"travel": graph_flag(), "a": agent(), "b": agent()})
    node = ask("agent_graph", "travel", CONTEXT).nodes["b"].create_tracker()
    alone = ask("agent_config", "b", CONTEXT).create_tracker()

    node.track_success()
    assert (ask.events[-1].data["graphKey"], ask.events[-1].data["configKey"]) == ("travel", "b")
    assert decode(node.resumption_token).graph_key == "travel"
    ask.ai.create_tracker(node.resumption_token, CONTEXT).track_duration(1)
    assert ask.events[-1].data["graphKey"] == "travel"

    alone.track_success()
    assert "graphKey" not in ask.events[-1].data
    assert decode(alone.resumption_token).graph_key == ""


@both_clients
def test_each_run_has_an_id_of_its_own(ask_of):
    """Each tracker has a fresh run id, also of a disabled graph, and sends in the context of the evaluation."""
    ask = ask_of({})
    graph = ask("agent_graph", "travel", CONTEXT)
    first, second = graph.create_tracker(), graph.create_tracker()

    first.track_invocation_success()
    second.track_invocation_failure()

    assert first.run_id != second.run_id
    assert [(event.data, event.context) for event in ask.events[-2:]] == [
        ({"runId": tracker.run_id, "configKey": "travel", "graphKey": "travel", "version": 1}, CONTEXT)
        for tracker in (first, second)
    ]


@both_clients
def test_a_run_is_resumed_with_its_token(ask_of):
    """A resumed tracker is the same run with the same token and free slots; resuming sends nothing (spec 5, 6)."""
    ask = ask_of({"travel": graph_flag()})
    graph = ask("agent_graph", "travel", CONTEXT)
    began = graph.create_tracker()
    began.track_duration(1)
    before, other = ask.events, Context.create("user-2")

    resumed = [graph.resume_tracker(began.resumption_token)]
    resumed.append(ask.ai.create_graph_tracker(began.resumption_token, other))

    assert ask.events == before
    for tracker in resumed:
        assert (tracker.identity, tracker.resumption_token) == (began.identity, began.resumption_token)
        assert tracker.summary.duration_ms is None
        tracker.track_duration(2)
    assert [event.data for event in ask.events[-2:]] == [before[-1].data] * 2
    assert [event.context for event in ask.events[-2:]] == [CONTEXT, other]


@both_clients
def test_a_token_of_another_kind_or_graph_raises(ask_of):
    """A graph continues its own runs only; config and graph tokens do not pass for each other."""
    ask = ask_of({"travel": graph_flag(), "a": agent(), "b": agent()})
    graph, other = ask("agent_graph", "travel", CONTEXT), ask("agent_graph", "other", CONTEXT)
    node_token = graph.nodes["a"].create_tracker().resumption_token
    token = other.create_tracker().resumption_token

    with pytest.raises(InvalidResumptionTokenError, match="of another agent graph than 'travel'") as caught:
        graph.resume_tracker(token)
    assert token[:40] not in str(caught.value)
    for resume in (graph.resume_tracker, lambda token: ask.ai.create_graph_tracker(token, CONTEXT)):
        with pytest.raises(InvalidResumptionTokenError, match="of a run of an AI Config"):
            resume(node_token)
    with pytest.raises(InvalidResumptionTokenError, match="configKey is missing"):
        ask.ai.create_tracker(token, CONTEXT)


def test_a_graph_is_read_only_and_keeps_no_hold_on_the_flag():
    """Neither the graph nor its parts can be changed, and a change of the flag's store does not reach it."""
    flag = {"root": "a", "edges": {"a": [{"key": "b", "handoff": {"deep": [1]}}]}}
    graph = serve_graph(flag)
    before = copy.deepcopy(graph.edges)
    flag["edges"]["a"][0]["handoff"]["deep"].append(2)

    assert graph.edges == before
    for change in (
        lambda: setattr(graph, "enabled", False),
        lambda: setattr(graph.edges[0], "target", "c"),
    ):
        with pytest.raises(FrozenInstanceError):
            change()
    for change in (
        lambda: graph.nodes.pop("a"),
        lambda: graph.edges[0].handoff.update(x=1),
        lambda: graph.edges[0].handoff["deep"].append(2),
    ):
        with pytest.raises(TypeError, match="read-only"):
            change()


@pytest.mark.parametrize("key", ["a\ud800", "nul\0"])
@both_clients
def test_a_graph_with_a_key_that_some_ledger_could_not_hold_is_disabled(ask_of, key):
    """Its nodes' configs are not evaluated, as of such a node no run could be claimed."""
    ask = ask_of({"travel": {"root": "a", "edges": {"a": [{"key": key}]}}, "a": agent(), key: agent()})

    graph = ask("agent_graph", "travel", CONTEXT)

    assert (graph.enabled, dict(graph.nodes)) == (False, {})

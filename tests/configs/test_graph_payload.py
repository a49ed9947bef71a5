"""Malformed graph payloads are read leniently and never raise (spec sections 2 and 7)."""

import json
import math
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_ldai import GraphEdge
from langchain_ldai._wire.tokens import decode_graph
from tests.support.agent_graphs import graph_of, serve_graph
from tests.support.json_values import json_values

LOG: Final = "langchain_ldai._configs.graph"

FAULTS: Final = {
    "disabled": (graph_of("a", {}, enabled=False), "LaunchDarkly serves it so"),
    "no-root": ({"edges": {"a": [{"key": "b"}]}}, "it has no root"),
    "empty-root": (graph_of("", {}), "it has no root"),
    "root-of-wrong-type": (graph_of(["a"], {"a": "b"}), "it has no root"),
    "flag-missing": ({}, "it has no root"),
    "unreachable": (graph_of("a", {"a": "b", "c": "b"}), "no way leads from its root to ['c']"),
    "unreachable-without-target": (graph_of("a", {"c": ""}), "no way leads from its root to ['c']"),
    "unreachable-cycle": (graph_of("a", {"a": "b", "d": "c", "c": "d"}), "from its root to ['c', 'd']"),
    "empty-source": (graph_of("a", {"a": "b", "": "a"}), "no way leads from its root to ['']"),
    "no-ways-back": (graph_of("b", {"a": "b"}), "no way leads from its root to ['a']"),
}


@pytest.mark.parametrize(("flag", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_graph_that_cannot_be_used_is_disabled(caplog, flag, reason):
    """A graph needs LaunchDarkly's consent, a root, and a way to every node; the log says what lacks."""
    caplog.set_level("DEBUG", logger=LOG)

    graph = serve_graph(flag)

    assert graph.enabled is False
    [record] = caplog.records
    assert (record.name, record.levelname) == (LOG, "DEBUG")
    assert record.getMessage().startswith("agent graph 'travel' is disabled: ")
    assert reason in record.getMessage()


@pytest.mark.parametrize("enabled", [True, None, "no", 0, 1], ids=repr)
def test_only_false_disables(enabled):
    """`enabled` is absent where it is of the wrong type, and absent counts as true (spec section 7)."""
    assert serve_graph(graph_of("a", {}, enabled=enabled)).enabled is True
    assert serve_graph({"root": "a"}).enabled is True


@pytest.mark.parametrize("flag", [5, True, [1], "text", None], ids=json.dumps)
def test_what_is_no_object_is_a_disabled_graph_and_an_error(caplog, flag):
    """A flag that is no object is logged as an error; the graph is disabled and still makes trackers."""
    graph = serve_graph(flag)

    assert (graph.enabled, graph.root, graph.version, graph.variation_key) == (False, "", 1, "")
    graph.create_tracker().track_duration(1)
    [record] = caplog.records
    assert (record.name, record.levelname) == (LOG, "ERROR")
    assert "'travel'" in record.getMessage()


EDGES: Final = {
    "missing": (None, []),
    "list": ([["a", "b"]], []),
    "targets-of-wrong-type": ({"a": {"key": "b"}, "c": "b", 5: [{"key": "b"}]}, []),
    "entries-of-wrong-type": ({"a": ["b", None, 5, ["b"], {"key": "c"}]}, [GraphEdge("a", "c")]),
    "no-key": ({"a": [{}, {"key": ""}, {"key": 5}, {"handoff": {}}]}, []),
    "handoff-of-wrong-type": ({"a": [{"key": "b", "handoff": [1]}]}, [GraphEdge("a", "b", {})]),
    "handoff": ({"a": [{"key": "b", "handoff": {"x": [1]}}]}, [GraphEdge("a", "b", {"x": [1]})]),
}


@pytest.mark.parametrize(("edges", "expected"), EDGES.values(), ids=EDGES)
def test_edges_of_the_wrong_type_are_absent(edges, expected):
    """What is no edge is skipped, and the rest of the graph stands (spec section 2)."""
    graph = serve_graph({"root": "a", "edges": edges})

    assert list(graph.edges) == expected
    assert graph.enabled is True


@pytest.mark.parametrize(
    ("meta", "version"),
    [
        ({}, 1),
        ({"version": None}, 1),
        ({"version": "7"}, 1),
        ({"version": True}, 1),
        ({"version": math.nan}, 1),
        ({"version": 0}, 0),
        ({"version": 3.0}, 3),
    ],
    ids=str,
)
def test_a_version_is_always_an_integer(meta, version):
    """The version is an integer whatever the payload holds, and the run's token can be read (spec 2, rule 6)."""
    graph = serve_graph(graph_of("a", {}, **meta))

    assert (graph.version, type(graph.version)) == (version, int)
    assert decode_graph(graph.create_tracker().resumption_token).version == version


keys = st.sampled_from("abcd") | json_values
edge_like = st.fixed_dictionaries({}, optional={"key": keys, "handoff": json_values}) | json_values
edges_like = st.dictionaries(st.sampled_from("abcd"), st.lists(edge_like, max_size=3) | json_values) | json_values
metas = st.dictionaries(st.sampled_from(["enabled", "version", "variationKey"]), json_values) | json_values
graph_like = st.fixed_dictionaries({}, optional={"_ldMeta": metas, "root": keys, "edges": edges_like})


@given(graph_like | json_values)
def test_no_payload_raises(flag):
    """Whatever is served, a graph with a working tracker comes of it; an enabled one is whole (spec 2 and 7)."""
    graph = serve_graph(flag)
    tracker = graph.create_tracker()
    tracker.track_invocation_success()

    assert decode_graph(tracker.resumption_token) == tracker.identity
    if graph.enabled:
        assert {graph.root}.union(*((edge.source, edge.target) for edge in graph.edges)) == set(graph.nodes)
        assert all(node.enabled for node in graph.nodes.values())


node_names = st.sampled_from("abcdef")


@given(node_names, st.dictionaries(node_names, st.lists(node_names, max_size=4)))
def test_a_graph_is_enabled_exactly_if_every_node_can_be_reached(root, edges):
    """Against a simple oracle: the keys reached by following edges until nothing new comes (spec section 7)."""
    reached = {root}
    for _ in "abcdef":
        reached |= {target for source in reached for target in edges.get(source, ())}

    graph = serve_graph(graph_of(root, {source: "".join(targets) for source, targets in edges.items()}))

    assert graph.enabled is (edges.keys() <= reached)
    assert set(graph.reachable()) == reached

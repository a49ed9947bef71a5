"""A file of AI Configs, as a person writes it, and what LaunchDarkly's SDK gets of it."""

import json
from pathlib import Path

import pytest
from ldclient import Context, LDClient

from langchain_ldai import JudgeAttachment, LdAiClient
from langchain_ldai.dev.configs_file import EXAMPLE, read_configs
from langchain_ldai.dev.document import ConfigsFileError
from tests.support.serving import serving

USER = Context.builder("user-1").name("Sandy").build()

AGENTS = """
triage:
  mode: agent
  context: org
  variations:
    "off":
      enabled: false
    first:
      version: 3
      model: small-1
      parameters: {temperature: 0, stop: [end], when: 2026-01-01}
      provider: acme
      instructions: Find out who can help.
      tools:
        search:
          description: Searches the manual.
          parameters: {type: object}
        look_up: {}
      judges: {relevance: 12.5}
  rules:
    - context: user
      when: {plan: [pro, team], beta: true}
      serve: {first: 100}
  serve: first
relevance:
  mode: judge
  variations:
    strict:
      metric: relevance-score
      messages: [{system: Rate it.}]
      tools: [search]
    unmeasured: {}
"""


def read(tmp_path: Path, text: str, name: str = "ai-configs.yaml"):
    """Return the flags of a file with this text."""
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return read_configs(path)


def served(flags, key: str, context: Context, method: str = "completion_config"):
    """Return the AI Config that the official SDK evaluates and our client reads."""
    with serving(*flags.values()) as launchdarkly, LDClient(launchdarkly.config(send_events=False)) as client:
        return getattr(LdAiClient(client), method)(key, context)


def test_the_example_is_served_by_share_and_by_attribute(tmp_path: Path) -> None:
    """Contexts of the plan get what the rule says; the others get both variations."""
    flags = read(tmp_path, EXAMPLE)
    enterprise = Context.builder("user-1").set("plan", "enterprise").build()

    config = served(flags, "support-bot", enterprise)

    assert (config.enabled, config.variation_key, config.version) == (True, "friendly", 1)
    assert (config.model.name, config.model.parameters["temperature"]) == ("gpt-4.1-mini", 0.7)
    assert config.provider.name == "openai"
    assert config.messages[0].role == "system"
    others = {served(flags, "support-bot", Context.create(f"user-{n}")).variation_key for n in range(10)}
    assert others == {"friendly", "brief"}


def test_agents_judges_and_tools_are_served(tmp_path: Path) -> None:
    """Instructions, tools with and without a description, versions, judges and a judge's metric arrive."""
    flags = read(tmp_path, AGENTS)

    agent = served(flags, "triage", USER, "agent_config")
    judge = served(flags, "relevance", USER, "judge_config")

    assert (agent.instructions, agent.version) == ("Find out who can help.", 3)
    assert agent.tools["search"].description == "Searches the manual."
    assert agent.tools["look_up"].parameters == {}
    assert agent.model.parameters["when"] == "2026-01-01"
    assert agent.judges == (JudgeAttachment("relevance", 0.125),)
    assert list(judge.tools) == ["search"]
    assert flags["relevance"]["variations"][0]["evaluationMetricKey"] == "relevance-score"
    assert flags["triage"]["rules"][0]["clauses"] == [
        {"contextKind": "user", "attribute": "plan", "op": "in", "values": ["pro", "team"]},
        {"contextKind": "user", "attribute": "beta", "op": "in", "values": [True]},
    ]


GRAPH = """
desk:
  mode: graph
  variations:
    alone: {root: triage, enabled: false}
    both:
      root: triage
      version: 4
      edges:
        triage: {refunds: {description: Money.}, writer: {}}
        refunds: [triage]
  serve: both
triage: {mode: agent, variations: {first: {}}}
refunds: {mode: agent, variations: {first: {}}}
writer: {mode: agent, variations: {first: {}}}
"""


def test_an_agent_graph_is_served_with_its_agents(tmp_path: Path) -> None:
    """Its targeting is that of any AI Config; edges may be a list, or say something of each handoff."""
    flags = read(tmp_path, GRAPH)

    graph = served(flags, "desk", USER, "agent_graph")

    assert (graph.enabled, graph.variation_key, graph.version, graph.root) == (True, "both", 4, "triage")
    assert list(graph.nodes) == ["triage", "refunds", "writer"]
    assert [(edge.source, edge.target, edge.handoff) for edge in graph.edges] == [
        ("triage", "refunds", {"description": "Money."}),
        ("triage", "writer", {}),
        ("refunds", "triage", {}),
    ]
    assert [variation["_ldMeta"]["enabled"] for variation in flags["desk"]["variations"]] == [False, True]


def test_json_with_tabs_is_read_too(tmp_path: Path) -> None:
    """A JSON file may be indented with tabs; the same content gives the same flags."""
    content = {"bot": {"variations": {"a": {"model": "small-1"}, "b": {}}, "serve": {"a": 12.5, "b": 87.5}}}

    flags = read(tmp_path, json.dumps(content, indent="\t"), "ai-configs.json")

    weights = [share["weight"] for share in flags["bot"]["fallthrough"]["rollout"]["variations"]]
    assert weights == [12_500, 87_500]


AGENT = "a: {mode: agent, variations: {x: {}}}\nb: {mode: agent, variations: {x: {}}}\n"
BOT = "bot:\n  variations:\n    a: {model: m}\n    b: {}\n"
FAULTS = {
    "empty": ("", "line 1: the file is empty; write fields below it"),
    "no YAML": ("a: [", "line 1: the file is not YAML or JSON"),
    "no character": ("a: \x00", "the file is not YAML or JSON"),
    "twice": (BOT + "bot: {}\n", "line 5: bot is there twice"),
    "no name": ("? [a]\n: b\n", "line 1: the name of a field must be a text"),
    "blank name": (BOT + "    ' ': {}\n", "line 5: the name of a field must be a text"),
    "half a name": ('"a\\ud800": 1\n', "line 1: 'a\\ud800' holds half a character"),
    "half a character": ('a: "b\\ud800"\n', "line 1: 'b\\ud800' holds half a character"),
    "no value": ("a: !!int x\n", "line 1: 'x' is no value; put it in quotes"),
    "no number": ("a: !!int ''\n", "line 1: '' is no value; put it in quotes"),
    "no truth": ("a: !!bool x\n", "line 1: 'x' is no value; put it in quotes"),
    "no time": ("a: !!timestamp x\n", "line 1: 'x' is no value; put it in quotes"),
    "endless": ("a: &a [*a]\n", "nested more than 50 deep"),
    "no config": ("bot: 3\n", "line 1: bot is 3; write fields below it"),
    "long value": (f"bot: {'x' * 99}\n", "x...; write fields below it"),
    "unknown field": (BOT + "  server: a\n", "line 5: bot.server is no field; there are mode, variations"),
    "mode": (BOT + "  mode: agents\n", "line 5: bot.mode is 'agents'; there are completion, agent, judge"),
    "no variations": ("bot:\n  variations:\n", "line 1: bot has no variations"),
    "text": (BOT + "  mode: [agent]\n", "line 5: bot.mode is a list; write a text"),
    "group": (BOT + "  mode: {agent: 1}\n", "line 5: bot.mode is a group of fields; write a text"),
    "share": (BOT + "  serve: {a: 50, b: 60}\n", "line 5: bot.serve adds up to 110 percent; make it 100"),
    "percentage": (BOT + "  serve: {a: much}\n", "line 5: bot.serve.a is 'much'; write a percentage"),
    "no variation": (BOT + "  serve:\n    c: 100\n", "line 6: bot.serve.c is no variation; there are a, b"),
    "no such variation": (BOT + "  serve: c\n", "line 5: bot.serve is 'c'; there are a, b"),
    "no serve": (BOT + "  serve: off\n", "line 5: bot.serve is False; write a variation's name in quotes"),
    "no rules": (BOT + "  rules: x\n", "line 5: bot.rules is 'x'; write a list"),
    "no condition": (BOT + "  rules: [{serve: a}]\n", "line 5: bot.rules.0 has no condition"),
    "rule serves nothing": (BOT + "  rules:\n  - when: {x: 1}\n", "line 6: bot.rules.0 serves nothing"),
    "enabled": (
        "b:\n  variations:\n    a:\n      enabled: 1\n",
        "line 4: b.variations.a.enabled is 1; write true",
    ),
    "version": (
        "b:\n  variations:\n    a: {version: -1}\n",
        "line 3: b.variations.a.version is -1; write a whole",
    ),
    "parameters": ("b: {variations: {a: {parameters: {}}}}\n", "parameters are for a model; name it"),
    "infinite": (
        "b:\n  variations:\n    a:\n      model: m\n      parameters:\n        x: [.inf]\n",
        "line 6: b.variations.a.parameters.x.0 is no number that JSON can hold",
    ),
    "role": ("b: {variations: {a: {messages: [{bot: x}]}}}\n", "b.variations.a.messages.0.bot is no field"),
    "no role": ("b: {variations: {a: {messages: [{}]}}}\n", "b.variations.a.messages.0 needs one role"),
    "judge that is none": (
        "b:\n  variations:\n    a:\n      judges:\n        c: 1\nc: {variations: {a: {}}}\n",
        "line 5: b.variations.a.judges.c is no AI Config of the file with `mode: judge`; there are none",
    ),
    "another judge": (
        "b: {variations: {a: {judges: {c: 1}}}}\nd: {mode: judge, variations: {a: {}}}\n",
        "b.variations.a.judges.c is no AI Config of the file with `mode: judge`; there are d",
    ),
    "share of a judge": (
        "b: {variations: {a: {judges: {d: 101}}}}\nd: {mode: judge, variations: {a: {}}}\n",
        "b.variations.a.judges.d is 101; write a percentage from 0 to 100",
    ),
    "judge of a judge": (
        "d: {mode: judge, variations: {a: {judges: {d: 1}}}}\n",
        "d.variations.a.judges is no field; there are",
    ),
    "no root": ("d: {mode: graph, variations: {a: {}}}\n", "line 1: d.variations.a has no root; name the agent"),
    "root that is none": (
        AGENT + "d: {mode: graph, variations: {a: {root: d}}}\n",
        "d.variations.a.root is 'd', no AI Config of the file with `mode: agent`; there are a, b",
    ),
    "edge from none": (
        AGENT + "d: {mode: graph, variations: {a: {root: a, edges: {c: [b]}}}}\n",
        "d.variations.a.edges.c is no AI Config of the file with `mode: agent`; there are a, b",
    ),
    "edge to none": (
        AGENT + "d: {mode: graph, variations: {a: {root: a, edges: {a: [b, [c]]}}}}\n",
        "d.variations.a.edges.a.1 is a list, no AI Config of the file with `mode: agent`; there are a, b",
    ),
    "handoff to none": (
        AGENT + "d: {mode: graph, variations: {a: {root: a, edges: {a: {c: {}}}}}}\n",
        "d.variations.a.edges.a.c is no AI Config of the file with `mode: agent`; there are a, b",
    ),
    "edges that are none": (
        AGENT + "d: {mode: graph, variations: {a: {root: a, edges: {a: b}}}}\n",
        "d.variations.a.edges.a is 'b'; write a list",
    ),
    "out of reach": (
        AGENT + "d:\n  mode: graph\n  variations:\n    a:\n      root: a\n      edges:\n        b: [a]\n",
        "line 9: d.variations.a.edges.b cannot be reached from 'a', the root; add an edge that leads to it",
    ),
    "prompt of a graph": (
        AGENT + "d: {mode: graph, variations: {a: {root: a, instructions: Help.}}}\n",
        "d.variations.a.instructions is no field; there are enabled, version, root, edges",
    ),
    "no tool": ("b: {variations: {a: {tools: [1]}}}\n", "b.variations.a.tools.0 is 1; write the tool's name"),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_an_error_names_line_field_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    """Whatever is wrong with the file, one error says where and what to write instead."""
    with pytest.raises(ConfigsFileError) as raised:
        read(tmp_path, text)

    assert str(raised.value).startswith("ai-configs.yaml")
    assert message in str(raised.value)


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """A missing file, one in another encoding and one that is too large each give one clear error."""
    path = tmp_path / "ai-configs.yaml"
    with pytest.raises(ConfigsFileError, match="cannot be read: No such file"):
        read_configs(path)
    path.write_bytes(b"a: \xff")
    with pytest.raises(ConfigsFileError, match="not UTF-8 from byte 3"):
        read_configs(path)
    path.write_bytes(b"#" * 2_000_000)
    with pytest.raises(ConfigsFileError, match="more than 1,048,576 bytes"):
        read_configs(path)

"""AI Configs as a person writes them in a file, and as LaunchDarkly serves them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final, cast

from langchain_ldai._protocol.flags import WHOLE, Json, clause, flag_of, rollout
from langchain_ldai.dev.document import Section, read_document, shown

MODES: Final = ("completion", "agent", "judge", "graph")
ROLES: Final = ("system", "user", "assistant")

EXAMPLE: Final = """\
# The AI Configs that `langchain-ldai dev` serves. Save the file, and connected programs have the change.
support-bot:
  variations:
    friendly:
      model: gpt-4.1-mini
      provider: openai
      parameters: {temperature: 0.7}
      messages:
        - system: You help {{ldctx.name}} with {{product}}, and you are kind.
    brief:
      model: gpt-4.1-mini
      provider: openai
      messages:
        - system: You help {{ldctx.name}} with {{product}}, in one sentence.
  rules:
    - when: {plan: enterprise}  # contexts with this attribute
      serve: friendly
  serve: {friendly: 50, brief: 50}  # percent of all other contexts
researcher:
  mode: agent
  variations:
    thorough: {model: gpt-4.1-mini, provider: openai, instructions: Find what is known.}
writer:
  mode: agent
  variations:
    plain: {model: gpt-4.1-mini, provider: openai, instructions: Write it down in one sentence.}
newsroom:  # an agent graph of the two agents
  mode: graph
  variations:
    two-agents: {root: researcher, edges: {researcher: [writer]}}
"""

_Modes = Mapping[str, object]
"""What the file gives as the mode of each of its AI Configs, by key."""


def read_configs(path: Path) -> dict[str, Json]:
    """Return the flags of a file's AI Configs, by key.

    Raises:
        ConfigsFileError: If the file cannot be served. The message names the line, the field and the remedy.
    """
    document = read_document(path)
    modes = {key: config.get("mode") for key, config in document.fields.items() if isinstance(config, dict)}
    return {key: _flag(key, document.section(key), modes) for key in document}


def mode_of(flag: Json) -> str:
    """Return the mode of the AI Config that one of these flags is; all its variations have it."""
    variations = cast(list[dict[str, dict[str, str]]], flag["variations"])
    return variations[0]["_ldMeta"].get("mode", "graph")


def _flag(key: str, config: Section, modes: _Modes) -> Json:
    config.allow("mode", "variations", "serve", "rules", "context")
    mode = config.text("mode", "completion")
    if mode not in MODES:
        config.fail(f"is {mode!r}; there are {', '.join(MODES)}", "mode")
    if not config.fields.get("variations"):
        config.fail("has no variations; add at least one below `variations:`")
    variations = config.section("variations")
    names = list(variations)
    make_payload = _graph if mode == "graph" else partial(_payload, mode)
    payloads = [make_payload(name, variations.section(name), modes) for name in names]
    kind = config.text("context", "user")
    fallthrough = _served(config, names, kind) if "serve" in config else None
    rules = [_rule(rule, number, names, kind) for number, rule in enumerate(config.sections("rules"))]
    return flag_of(key, payloads, fallthrough, rules)


def _graph(name: str, variation: Section, modes: _Modes) -> Json:
    """Return a variation of an agent graph."""
    variation.allow("enabled", "version", "root", "edges")
    if "root" not in variation:
        variation.fail("has no root; name the agent with which a run begins, as in `root: triage`")
    root = variation.text("root")
    _check_mode(variation, root, "agent", modes, "root")
    edges = _edges(variation.section("edges"), root, modes) if "edges" in variation else {}
    return {"_ldMeta": _meta(name, variation), "root": root, "edges": edges}


def _edges(edges: Section, root: str, modes: _Modes) -> Json:
    targets = {source: _targets(edges, source, modes) for source in edges}
    reached = [root]
    for source in reached:  # the loop appends to it
        reached += [target for target in targets.get(source, {}) if target not in reached]
    for source in targets:
        if source not in reached:
            edges.fail(f"cannot be reached from {root!r}, the root; add an edge that leads to it", source)
    return {
        source: [{"key": target, "handoff": handoff} for target, handoff in handoffs.items()]
        for source, handoffs in targets.items()
    }


def _targets(edges: Section, source: str, modes: _Modes) -> dict[str, Json]:
    """Return the agents that one agent can hand over to, each with what LaunchDarkly says of the handoff."""
    _check_mode(edges, source, "agent", modes, source)
    if isinstance(edges.fields[source], dict):
        section = edges.section(source)
        for target in section:
            _check_mode(section, target, "agent", modes, target)
        return {target: section.section(target).fields for target in section}
    targets: dict[str, Json] = {}
    for number, listed in enumerate(edges.items(source)):
        _check_mode(edges, listed, "agent", modes, source, number)
        targets[str(listed)] = {}
    return targets


def _check_mode(section: Section, key: object, mode: str, modes: _Modes, *field: str | int) -> None:
    """Refuse a key that is that of no AI Config of a mode.

    Args:
        section: The section that names the key.
        key: The key.
        mode: The mode that it must have.
        modes: Those of all AI Configs of the file.
        field: Where in the section the key is named.
    """
    known = [other for other, each in modes.items() if each == mode]
    if key not in known:
        named = "" if field[-1] == key else f"{shown(key)}, "
        listed = ", ".join(known) or "none"
        section.fail(f"is {named}no AI Config of the file with `mode: {mode}`; there are {listed}", *field)


def _meta(name: str, variation: Section) -> Json:
    enabled, version = variation.flag("enabled", True), variation.whole("version", 1)
    return {"enabled": enabled, "variationKey": name, "version": version}


def _payload(mode: str, name: str, variation: Section, modes: _Modes) -> Json:
    prompt = "instructions" if mode == "agent" else "messages"
    scoring = "metric" if mode == "judge" else "judges"
    variation.allow("enabled", "version", "model", "provider", "parameters", prompt, "tools", scoring)
    meta = {**_meta(name, variation), "mode": mode}
    named: dict[str, Json] = {
        field: {"name": variation.text(field)} for field in ("model", "provider") if field in variation
    }
    if "parameters" in variation:
        if "model" not in named:
            variation.fail("are for a model; name it with `model:`", "parameters")
        named["model"]["parameters"] = variation.section("parameters").fields
    payload: Json = {"_ldMeta": meta, **named}
    if "instructions" in variation:
        payload["instructions"] = variation.text("instructions")
    if "messages" in variation:
        payload["messages"] = _messages(variation)
    if "tools" in variation:
        payload["tools"] = _tools(variation)
    if "metric" in variation:
        payload["evaluationMetricKey"] = variation.text("metric")
    if "judges" in variation:
        payload["judgeConfiguration"] = {"judges": _judges(variation.section("judges"), modes)}
    return payload


def _judges(shares: Section, modes: _Modes) -> list[Json]:
    """Return the judges of a variation, each with the share of answers that it scores."""
    for key in shares:
        _check_mode(shares, key, "judge", modes, key)
    return [{"key": key, "samplingRate": _percent(shares, key) / 100} for key in shares]


def _messages(variation: Section) -> list[Json]:
    messages: list[Json] = []
    for message in variation.sections("messages"):
        message.allow(*ROLES)
        if len(message.fields) != 1:
            message.fail("needs one role, as in `- system: You help.`")
        messages.extend({"role": role, "content": message.text(role)} for role in message)
    return messages


def _tools(variation: Section) -> dict[str, Json]:
    tools: dict[str, Json] = {}
    if isinstance(variation.fields["tools"], list):
        for number, name in enumerate(variation.items("tools")):
            if not isinstance(name, str):
                variation.fail(f"is {shown(name)}; write the tool's name", "tools", number)
            tools[name] = _tool(name)
        return tools
    section = variation.section("tools")
    for name in section:
        tool = section.section(name)
        tool.allow("description", "parameters")
        tools[name] = _tool(name)
        if "description" in tool:
            tools[name]["description"] = tool.text("description")
        if "parameters" in tool:
            tools[name]["parameters"] = tool.section("parameters").fields
    return tools


def _tool(name: str) -> Json:
    """Return a tool in the form that every generation of LaunchDarkly's packages takes."""
    return {"name": name, "type": "function", "parameters": {}}


def _rule(rule: Section, number: int, names: list[str], kind: str) -> Json:
    rule.allow("context", "when", "serve")
    if not rule.fields.get("when"):
        rule.fail("has no condition; add one, as in `when: {plan: pro}`")
    if "serve" not in rule:
        rule.fail("serves nothing; add `serve:` with a variation")
    kind = rule.text("context", kind)
    clauses = [
        clause(attribute, value if isinstance(value, list) else [value], kind)
        for attribute, value in rule.section("when").fields.items()
    ]
    return {"id": f"rule-{number}", "clauses": clauses, **_served(rule, names, kind)}


def _served(section: Section, names: list[str], kind: str) -> Json:
    """Return what a `serve:` says: one variation, or the percentage of each."""
    value = section.fields["serve"]
    if isinstance(value, str):
        name = section.text("serve")
        if name not in names:
            section.fail(f"is {name!r}; there are {', '.join(names)}", "serve")
        return {"variation": names.index(name)}
    if not isinstance(value, dict):
        section.fail(f"is {shown(value)}; write a variation's name in quotes, or a percentage for each", "serve")
    shares = section.section("serve")
    weights = dict.fromkeys(names, 0)
    for name in shares:
        if name not in names:
            shares.fail(f"is no variation; there are {', '.join(names)}", name)
        weights[name] = round(_percent(shares, name) * WHOLE / 100)
    if sum(weights.values()) != WHOLE:
        section.fail(f"adds up to {sum(weights.values()) * 100 / WHOLE:g} percent; make it 100", "serve")
    return rollout(list(weights.values()), kind)


def _percent(shares: Section, name: str) -> float:
    percent = shares.fields[name]
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        shares.fail(f"is {shown(percent)}; write a percentage from 0 to 100", name)
    return percent

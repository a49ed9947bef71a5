"""Both clients: what they serve, case by case (spec sections 1 to 3), and what they send (section 5)."""

import asyncio
from collections.abc import Mapping
from typing import Final

import pytest
from ldclient import Context

from langchain_ldai import (
    AsyncLdAiClient,
    InvalidResumptionTokenError,
    LdAiAgentConfig,
    LdAiAgentConfigDefault,
    LdAiAgentConfigRequest,
    LdAiClient,
    LdAiCompletionConfig,
    LdAiCompletionConfigDefault,
    LdAiJudgeConfig,
    LdAiJudgeConfigDefault,
    Message,
    ModelConfig,
    ProviderConfig,
    ToolConfig,
)
from tests.support.call_both_clients import DEFAULTS, both_clients
from tests.support.vectors import (
    NUMBERS_BY_OTHER_WRITERS,
    Case,
    as_written_down,
    cases,
    context_of,
    flags_of,
    with_ids,
)

CASES: Final = cases("config_eval")
SEQUENCES: Final = [case for case in cases("tracker_sequences") if case["target"] == "client"]
CONTEXT: Final = Context.create("user-1")

NO_MODEL: Final = {"name": "", "parameters": None, "custom": None}


def default_of(case: Case) -> LdAiCompletionConfigDefault | LdAiAgentConfigDefault | LdAiJudgeConfigDefault | None:
    """Return the default that a case gives."""
    match case.get("default"):
        case dict(given):
            parts = dict(given)
        case _:
            return None
    if "model" in parts:
        parts["model"] = ModelConfig(**parts["model"])
    if "provider" in parts:
        parts["provider"] = ProviderConfig(**parts["provider"])
    if "messages" in parts:
        parts["messages"] = [Message(**message) for message in parts["messages"]]
    if "evaluationMetricKey" in parts:
        parts["evaluation_metric_key"] = parts.pop("evaluationMetricKey")
    return DEFAULTS[case["api"]](**parts)


def as_floats(value: object) -> object:
    """Return JSON with each integer as the float that it was before another writer wrote it."""
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case dict():
            return {name: as_floats(item) for name, item in value.items()}
    return value


def call_of(case: Case) -> dict[str, object]:
    """Return the arguments of a case's call beside its key."""
    variables = case.get("variables")
    if case["id"] in NUMBERS_BY_OTHER_WRITERS:
        variables = as_floats(variables)
    return {
        "context": context_of(case),
        "default": default_of(case),
        **({} if variables is None else {"variables": variables}),
    }


def write_tool(tool: ToolConfig) -> dict[str, object]:
    """Return a tool as the vectors write it, without what is absent or empty."""
    written = {
        "name": tool.name,
        "description": tool.description,
        "type": tool.type,
        "parameters": tool.parameters,
        "customParameters": tool.custom_parameters,
    }
    return {name: value for name, value in written.items() if value}


def write_config(config: LdAiCompletionConfig | LdAiAgentConfig | LdAiJudgeConfig) -> dict[str, object]:
    """Return a config in the normal form of the vectors, but for what its trackers send."""
    written: dict[str, object] = {
        "enabled": config.enabled,
        "key": config.key,
        "model": {
            "name": config.model.name,
            "parameters": config.model.parameters or None,
            "custom": config.model.custom or None,
        },
        "provider": config.provider.name or None,
        "tools": {key: write_tool(tool) for key, tool in config.tools.items()} or None,
        "judges": [{"key": judge.key, "samplingRate": judge.sampling_rate} for judge in config.judges] or None,
    }
    if isinstance(config, LdAiAgentConfig):
        return {**written, "instructions": config.instructions}
    written["messages"] = [{"role": item.role, "content": item.content} for item in config.messages] or None
    if isinstance(config, LdAiJudgeConfig):
        written["evaluationMetricKey"] = config.evaluation_metric_key
    return written


def in_normal_form(expected: Mapping[str, object]) -> dict[str, object]:
    """Return an expectation with absent, null, [] and {} alike."""
    normal = {name: None if value in ([], {}) else value for name, value in expected.items()}
    return {"tools": None, "judges": None, **normal, "model": expected["model"] or NO_MODEL}


def test_every_api_of_the_vectors_is_known():
    """Each case is played: none asks for a call that no test makes, and each adapted one is there."""
    assert {case["api"] for case in CASES} == set(DEFAULTS)
    assert NUMBERS_BY_OTHER_WRITERS.keys() <= {case["id"] for case in CASES}
    assert (len(CASES), len(SEQUENCES)) == (88, 5)
    assert not any("lenient" in case or "error" in case["expected"] for case in CASES)


@both_clients
@pytest.mark.parametrize("case", with_ids(CASES))
def test_a_config_is_what_the_spec_says(ask_of, case):
    """A served config, and what a tracker of it sends, is exactly the expected one (spec sections 1 to 3)."""
    expected = in_normal_form(case["expected"])
    track_data = expected.pop("trackData")
    flags = as_floats(flags_of(case)) if case["id"] in NUMBERS_BY_OTHER_WRITERS else flags_of(case)
    ask = ask_of(flags)

    config = ask(case["api"], case["key"], **call_of(case))
    tracker = config.create_tracker()
    tracker.track_success()

    assert write_config(config) == expected
    sent = ask.events[-1]
    assert sent.data == {**track_data, "configKey": case["key"], "runId": tracker.run_id}
    assert sent.context == context_of(case)
    assert (config.version, config.variation_key) == (track_data["version"], track_data.get("variationKey", ""))
    assert type(config.version) is int


@both_clients
@pytest.mark.parametrize("case", with_ids(SEQUENCES))
def test_a_client_sends_what_the_spec_says(ask_of, case):
    """A client's calls send exactly the expected events (spec section 5)."""
    ask = ask_of(flags_of(case))
    for step in case["ops"]:
        ask(step["op"].removeprefix("client."), *step["args"], context_of(case))

    first, *others = (as_written_down(event) for event in ask.events)
    assert {**first, "data": dict.fromkeys(first["data"], "<sdk>")} == case["expected"]["events"][0]
    assert ask.events[0].context == Context.builder("ld-internal-tracking").kind("ld_ai").anonymous(True).build()
    assert first["data"]["aiSdkLanguage"] == "python"
    assert first["data"]["aiSdkName"] == "langchain-ldai"
    assert first["data"]["aiSdkVersion"][0].isdigit()
    assert others == case["expected"]["events"][1:]


USAGE: Final = {
    "completion_config": "completion-config",
    "completion_config_template": "completion-config-template",
    "agent_config": "agent-config",
    "agent_config_template": "agent-config-template",
    "judge_config": "judge-config",
    "judge_config_template": "judge-config-template",
}


@pytest.mark.parametrize(("method", "name"), USAGE.items(), ids=USAGE)
@pytest.mark.parametrize("client", [LdAiClient, AsyncLdAiClient], ids=["sync", "async"])
def test_the_usage_event_precedes_the_evaluation(client, method, name):
    """Each call sends one usage event with the key, then evaluates the flag once (spec sections 2 and 5)."""
    log: list[tuple[object, ...]] = []

    class Flags:
        def track(self, event_name, context, data=None, metric_value=None):
            log.append((event_name, context, data, metric_value))

        def variation(self, key, context, default):
            log.append(("variation", key, context))
            return default

    class AsyncFlags(Flags):
        async def variation(self, key, context, default):
            return super().variation(key, context, default)

    if client is LdAiClient:
        getattr(client(Flags()), method)("chat", CONTEXT)
    else:
        asyncio.run(getattr(client(AsyncFlags()), method)("chat", CONTEXT))

    assert log[1:] == [(f"$ld:ai:usage:{name}", CONTEXT, "chat", 1), ("variation", "chat", CONTEXT)]


ASKED: Final = {**dict.fromkeys(USAGE, "chat"), "agent_configs": ["chat"], "agent_graph": "chat"}


class FullQueue:
    """A client that takes no event."""

    def track(self, event_name, *event):
        raise OSError("the queue is full")

    def variation(self, key, context, default):
        return default


class AsyncFullQueue(FullQueue):
    async def variation(self, key, context, default):
        return default


@pytest.mark.parametrize(("method", "asked"), ASKED.items(), ids=ASKED)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_client_that_takes_no_event_still_serves(is_async, method, asked, caplog):
    """What LaunchDarkly serves does not depend on the package's own events; the log says that they are lost."""
    ai = AsyncLdAiClient(AsyncFullQueue()) if is_async else LdAiClient(FullQueue())

    answer = getattr(ai, method)(asked, CONTEXT)

    assert asyncio.run(answer) if is_async else answer
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    beginning = "LaunchDarkly's client could not take the event that "
    assert [error.removeprefix(beginning).split()[:2] for error in errors] == [
        ["names", "this"],
        ["counts", "who"],
    ]
    assert all("OSError" in error for error in errors)


@both_clients
def test_agents_are_asked_for_by_key_or_by_request(ask_of):
    """Several agents come by key, each with its own default and variables, under one usage event."""
    meta = {"enabled": True, "mode": "agent"}
    ask = ask_of(
        {"a": {"_ldMeta": meta, "instructions": "A {{x}}"}, "b": {"_ldMeta": meta, "instructions": "B {{x}}"}}
    )
    default = LdAiAgentConfigDefault(enabled=True, instructions="C {{x}} {{ldctx.key}}")
    requests = [
        "a",
        LdAiAgentConfigRequest("b", variables={"x": "1"}),
        LdAiAgentConfigRequest("c", default, {"x": "2"}),
    ]

    agents = ask("agent_configs", iter(requests), CONTEXT)

    assert {key: agent.instructions for key, agent in agents.items()} == {"a": "A ", "b": "B 1", "c": "C 2 user-1"}
    assert all(agent.key == key and agent.enabled for key, agent in agents.items())
    [usage] = ask.events[1:]
    assert (usage.name, usage.data, usage.value) == ("$ld:ai:usage:agent-configs", 3, 3)


@both_clients
def test_resuming_sends_no_event(ask_of):
    """A tracker is resumed without an event of its own (spec section 5)."""
    ask = ask_of({"chat": {}})
    config = ask("completion_config", "chat", CONTEXT)
    token = config.create_tracker().resumption_token
    before = ask.events

    ask.ai.create_tracker(token, CONTEXT)
    config.resume_tracker(token)

    assert ask.events == before


@both_clients
def test_a_config_resumes_its_own_runs_only(ask_of):
    """A config continues a run of its key in its own context; another's token raises, and is not quoted."""
    ask = ask_of({"chat": {}, "other": {}})
    config, other = (ask("completion_config", key, CONTEXT) for key in ("chat", "other"))
    token = other.create_tracker().resumption_token

    other.resume_tracker(token).track_success()
    assert (ask.events[-1].context, ask.events[-1].data["configKey"]) == (CONTEXT, "other")
    with pytest.raises(InvalidResumptionTokenError, match="of another AI Config than 'chat'") as caught:
        config.resume_tracker(token)

    assert token[:40] not in str(caught.value)

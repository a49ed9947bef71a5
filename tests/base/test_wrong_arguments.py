"""A wrong argument is refused where it is given: the error names it and the remedy, and nothing has happened."""

import asyncio
import functools
from collections.abc import Callable
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from ldclient import AsyncLDClient, Context, LDClient
from ldclient.config import Config
from opentelemetry.sdk.trace import TracerProvider

from langchain_ldai import (
    AiMetrics,
    AsyncLdAiClient,
    Feedback,
    JudgeResult,
    LdAiAgentConfigDefault,
    LdAiClient,
    LdAiCompletionConfig,
    LdAiCompletionConfigDefault,
    LdAiConfigTracker,
    LdAiHandler,
    LdAiJudgeConfigDefault,
    Message,
    ModelConfig,
    TokenUsage,
)
from langchain_ldai.ledgers import MemoryLedger, SqliteLedger
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.testing import AsyncRecordingClient, RecordingClient


class AsyncClient:
    """As an asynchronous LaunchDarkly client is."""

    async def variation(self, key, context, default):
        """Return the default."""
        return default

    def track(self, event_name, context, data=None, metric_value=None) -> None:
        """Do nothing."""


class AsyncLedger:
    """A ledger whose claim would have to be awaited."""

    async def claim(self, run, slots, claimant):
        """Grant everything."""
        return slots


async def config_for(metadata):
    """As `AsyncLdAiClient` suggests it."""


class AsyncCallable:
    """An object that has to be awaited when it is called."""

    async def __call__(self, argument):
        """Return nothing."""

    async def method(self, argument):
        """Return nothing."""


class AsyncTwin(AsyncClient):
    """Whose evaluation is such an object."""

    variation = AsyncCallable()


class AsyncTrack(RecordingClient):
    """A client whose events would have to be awaited."""

    async def track(self, *event):
        """Do nothing."""


class AsyncConfig:
    """An AI Config whose trackers would have to be awaited."""

    async def create_tracker(self):
        """Return nothing."""


class Reporter:
    """An object that takes reports."""

    def __call__(self, report):
        """Take it."""


class AsyncSealer:
    """A sealer that asks a service."""

    def seal(self, token):
        """Return it."""
        return token

    async def unseal(self, sealed):
        """Return it."""
        return sealed


def tracker() -> LdAiConfigTracker:
    """Return the tracker of a run."""
    ai = LdAiClient(RecordingClient({"bot": {"_ldMeta": {"enabled": True}}}))
    return ai.completion_config("bot", Context.create("user-1")).create_tracker()


async def events(metadata):
    """Give none."""
    yield metadata


def offline() -> LDClient:
    """Return LaunchDarkly's own client, which asks nobody."""
    return LDClient(Config("sdk-key", offline=True))


Case = tuple[Callable[[], object], type[Exception], str]

OF_CLIENTS: dict[str, Case] = {
    "key": (lambda: LdAiClient("sdk-key"), TypeError, "a client is an ldclient.LDClient.* not str"),
    "made of a key": (
        lambda: LdAiClient("sdk-key"),
        TypeError,
        r"not str: LdAiClient\(LDClient\(Config\(sdk_key\)\)\)$",
    ),
    "configuration": (
        lambda: AsyncLdAiClient(Config("sdk-key")),
        TypeError,
        r"not Config: AsyncLdAiClient\(AsyncLDClient\(AsyncConfig\(sdk_key\)\)\)$",
    ),
    "none": (lambda: AsyncLdAiClient(None), TypeError, "a client is an ldclient.AsyncLDClient.* not NoneType"),
    "async": (lambda: LdAiClient(AsyncClient()), TypeError, "AsyncClient is asynchronous: use AsyncLdAiClient"),
    "async object": (lambda: LdAiClient(AsyncTwin()), TypeError, "AsyncTwin is asynchronous: use AsyncLdAiClient"),
    "async recording": (lambda: LdAiClient(AsyncRecordingClient()), TypeError, "use AsyncLdAiClient"),
    "sync": (lambda: AsyncLdAiClient(offline()), TypeError, "^LDClient is synchronous: use LdAiClient"),
    "sync recording": (lambda: AsyncLdAiClient(RecordingClient()), TypeError, "is synchronous: use LdAiClient"),
    "async track": (lambda: LdAiClient(AsyncTrack()), TypeError, "track.* of AsyncTrack would never be awaited"),
    "client class": (lambda: LdAiClient(LDClient), TypeError, "ldclient.LDClient, .* not the class LDClient"),
    "async class": (lambda: AsyncLdAiClient(AsyncLDClient), TypeError, "not the class AsyncLDClient"),
    "async for sync": (lambda: LdAiClient(AsyncLDClient), TypeError, "not the class AsyncLDClient"),
    "on error": (
        lambda: LdAiClient(RecordingClient(), on_ledger_error="raise"),
        ValueError,
        'on_ledger_error is "drop" or "send", not \'raise\'',
    ),
    "timeout": (lambda: LdAiClient(RecordingClient(), ledger_timeout=-5), ValueError, "ledger_timeout .* not -5"),
    "text": (lambda: LdAiClient(RecordingClient(), ledger_timeout="5"), TypeError, "ledger_timeout .* not '5'"),
    "class": (lambda: LdAiClient(RecordingClient(), ledger=MemoryLedger), TypeError, "not the class MemoryLedger"),
    "claim": (lambda: LdAiClient(RecordingClient(), ledger=AsyncLedger()), TypeError, "never be awaited"),
    "claim object": (
        lambda: LdAiClient(RecordingClient(), ledger=SimpleNamespace(claim=AsyncCallable())),
        TypeError,
        "never be awaited",
    ),
    "runs": (lambda: MemoryLedger("many"), TypeError, "max_runs is a whole number, not 'many'"),
    "no path": (lambda: SqliteLedger(None), TypeError, "path is the path of a file, not None"),
    "memory": (lambda: SqliteLedger(":memory:"), ValueError, "use MemoryLedger"),
    "no keys": (lambda: TokenSealer(None), TypeError, "keys is a list of Fernet keys, not None"),
    "number of keys": (lambda: TokenSealer(5), TypeError, "keys is a list of Fernet keys, not int"),
    "ttl": (lambda: SqliteLedger("runs.db", ttl="1d"), TypeError, "ttl is a number of seconds above 0, not '1d'"),
}


@pytest.mark.parametrize(("make", "error", "message"), OF_CLIENTS.values(), ids=OF_CLIENTS)
def test_a_client_or_ledger_that_cannot_work_is_refused(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    """A wrong client, ledger or option raises when the client, or ledger, is made."""
    with pytest.raises(error, match=message):
        make()


OF_CALLS: dict[str, tuple[Callable[[LdAiClient, Context], object], str]] = {
    "context": (lambda ai, user: ai.completion_config("bot", "user-1"), "an ldclient.Context, not str"),
    "context's name": (
        lambda ai, user: ai.completion_config("bot", "user-1"),
        r"not str: use Context.create\(",
    ),
    "no context": (lambda ai, user: ai.completion_config("bot", None), r"not NoneType: use Context.create\("),
    "context's builder": (
        lambda ai, user: ai.completion_config("bot", Context.builder("user-1")),
        r"not ContextBuilder: call its build\(\)",
    ),
    "context's dictionary": (
        lambda ai, user: ai.completion_config("bot", {"key": "user-1"}),
        r"an ldclient.Context, not dict: use Context.from_dict\(",
    ),
    "key": (lambda ai, user: ai.completion_config(5, user), "a key is a str, not int"),
    "context first": (lambda ai, user: ai.completion_config(user, "bot"), "the key comes first, then the context"),
    "graph's context first": (
        lambda ai, user: ai.agent_graph(user, "bot"),
        "the key comes first, then the context",
    ),
    "graph's key": (lambda ai, user: ai.agent_graph(None, user), "a key is a str, not NoneType"),
    "template": (lambda ai, user: ai.judge_config_template("bot", None), "an ldclient.Context, not NoneType"),
    "graph": (lambda ai, user: ai.agent_graph("bot", "user-1"), "an ldclient.Context, not str"),
    "default": (
        lambda ai, user: ai.completion_config("bot", user, LdAiAgentConfigDefault(enabled=True)),
        "the default of 'bot' is a LdAiCompletionConfigDefault, not LdAiAgentConfigDefault",
    ),
    "payload": (
        lambda ai, user: ai.agent_config("bot", user, {"enabled": True}),
        "the default of 'bot' is a LdAiAgentConfigDefault, not dict",
    ),
    "variables": (
        lambda ai, user: ai.completion_config("bot", user, {"product": "tea"}),
        r"a LdAiCompletionConfigDefault, not dict; variables go in variables=\{\.\.\.\}$",
    ),
    "keys": (lambda ai, user: ai.agent_configs("bot", user), r"not one text: \['bot'\]"),
    "keys' dictionary": (
        lambda ai, user: ai.agent_configs({"bot": {"limit": 50}}, user),
        "a list of keys or requests, not dict; LdAiAgentConfigRequest has a default and variables",
    ),
    "no keys": (lambda ai, user: ai.agent_configs(None, user), "a list of keys or requests, not NoneType"),
    "no request": (
        lambda ai, user: ai.agent_configs(["bot", {"key": "bot"}], user),
        r"a list of keys or requests, which dict is not: use LdAiAgentConfigRequest\(key\)",
    ),
    "resumed with a dictionary": (
        lambda ai, user: ai.create_tracker("eyJydW5JZCI6InIiLCJjb25maWdLZXkiOiJrIn0", {"key": "user-1"}),
        r"an ldclient.Context, not dict: use Context.from_dict\(",
    ),
    "resumed by a tracker": (
        lambda ai, user: ai.create_tracker(tracker(), user),
        "a resumption token is a str, not LdAiConfigTracker: give report.resumption_token",
    ),
    "resumed": (
        lambda ai, user: ai.create_tracker("eyJydW5JZCI6InIiLCJjb25maWdLZXkiOiJrIn0", "user-1"),
        "an ldclient.Context, not str",
    ),
}


@pytest.mark.parametrize(("call", "message"), OF_CALLS.values(), ids=OF_CALLS)
def test_a_call_that_cannot_work_sends_nothing(
    call: Callable[[LdAiClient, Context], object], message: str, ai: LdAiClient, client: RecordingClient
) -> None:
    """A wrong context or default raises before the call is counted, also while LaunchDarkly serves a config."""
    before = list(client.events)

    with pytest.raises(TypeError, match=message):
        call(ai, Context.create("user-1"))

    assert client.events == before


DEFAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "enabled": (lambda: LdAiCompletionConfigDefault("no"), "enabled is a bool, not 'no'"),
    "model": (lambda: LdAiAgentConfigDefault(True, "gpt-4"), "model is a ModelConfig, not 'gpt-4'"),
    "messages": (lambda: LdAiCompletionConfigDefault(messages="Hi"), "messages is a list of Message, not 'Hi'"),
    "message": (lambda: LdAiJudgeConfigDefault(messages=[("user", "Hi")]), "messages is a list of Message"),
    "tools": (lambda: LdAiAgentConfigDefault(tools={"search": 5}), "tools is a dictionary of ToolConfig by key"),
    "judges": (lambda: LdAiCompletionConfigDefault(judges=None), "judges is a list of JudgeAttachment, not None"),
    "content": (lambda: Message("user", 5), "a Message's content is a str, not int"),
}


@pytest.mark.parametrize(("make", "message"), DEFAULTS.values(), ids=DEFAULTS)
def test_a_default_that_cannot_work_is_refused_before_an_outage(make: Callable[[], object], message: str) -> None:
    """A default is checked when it is made, as it is used only once LaunchDarkly serves nothing."""
    with pytest.raises(TypeError, match=message):
        make()


def test_a_whole_default_is_taken() -> None:
    """What is checked may also be absent."""
    default = LdAiCompletionConfigDefault(True, ModelConfig("small-1"), None, (Message("user", "Hi"),), {}, [])

    assert default.to_payload()["messages"] == [{"role": "user", "content": "Hi"}]


OF_HANDLERS: dict[str, tuple[dict[str, object], str]] = {
    "coroutine function": (
        {"config": config_for},
        "which a callback cannot await: await the AI Config before the call",
    ),
    "class": ({"config": LdAiCompletionConfig}, "not the class LdAiCompletionConfig"),
    "client": ({"config": LdAiClient(RecordingClient())}, "not LdAiClient: give what its completion_config"),
    "tracker": ({"config": tracker()}, "not LdAiConfigTracker: give the AI Config that made it"),
    "key": ({"config": "bot"}, r"not str: give what a client's completion_config\(\) returns for that key"),
    "messages": ({"config": (Message("system", "You help."),)}, "a function from metadata to one, not tuple"),
    "LaunchDarkly's client": (
        {"config": RecordingClient()},
        r"not RecordingClient: give what LdAiClient\(client\).completion_config\(\) returns",
    ),
    "default": (
        {"config": LdAiCompletionConfigDefault()},
        r"a default goes to completion_config\(key, context, default\)",
    ),
    "dictionary": ({"config": {"writer": None}}, r"not dict: give one AI Config; those of nodes go into nodes="),
    "none": ({"config": None}, "not None; where only nodes are tracked, give nodes="),
    "node's tracker": (
        {"nodes": {"writer": tracker()}},
        r"nodes\['writer'\] is .*: give the AI Config that made it",
    ),
    "node": ({"nodes": {"writer": config_for}}, r"nodes\['writer'\] is .* not a coroutine function"),
    "nodes": ({"nodes": ["writer"]}, "nodes is a dictionary"),
    "name": ({"nodes": {5: dict}}, "nodes is a dictionary .* by the names of nodes"),
    "report": ({"on_run_end": "print"}, "on_run_end is a function, not 'print'"),
    "reports": ({"on_run_end": config_for}, "on_run_end is a plain function"),
    "object": ({"config": AsyncCallable()}, "not a coroutine function, which a callback cannot await"),
    "partial": ({"config": functools.partial(AsyncCallable())}, "not a coroutine function"),
    "method": ({"config": AsyncCallable().method}, "not a coroutine function"),
    "generator": ({"config": events}, "not a coroutine function"),
    "argument": ({"config": lambda: None}, "config is called with one argument, the metadata of the run, which"),
    "async config": ({"config": AsyncConfig()}, r"create_tracker\(\) of AsyncConfig would never be awaited"),
    "no config": ({"config": SimpleNamespace(create_tracker="tracker")}, "an AI Config with create_tracker"),
    "node's object": ({"nodes": {"writer": AsyncCallable()}}, r"nodes\['writer'\] is .* not a coroutine function"),
    "node's class": ({"nodes": {"writer": LdAiCompletionConfig}}, "not the class LdAiCompletionConfig"),
    "report's object": ({"on_run_end": AsyncCallable()}, "on_run_end is a plain function"),
    "report's partial": ({"on_run_end": functools.partial(config_for)}, "on_run_end is a plain function"),
    "report's class": ({"on_run_end": Reporter}, "on_run_end is a function, not the class Reporter"),
    "report's argument": ({"on_run_end": lambda: None}, "on_run_end is called with one argument, the report"),
    "run id's object": ({"run_ids": AsyncCallable()}, "run_ids is a plain function"),
    "run id's function": ({"run_ids": config_for}, "run_ids is a plain function"),
    "run id's argument": ({"run_ids": uuid4}, "run_ids is called with one argument, the metadata of the run"),
    "sealer's class": ({"sealer": TokenSealer}, "give an instance, not the class TokenSealer"),
    "async sealer": ({"sealer": AsyncSealer()}, r"unseal\(\) of AsyncSealer would never be awaited"),
    "sealer": (
        {"sealer": "a key"},
        r"has seal\(\) and unseal\(\), as TokenSealer has; str is no such object",
    ),
    "judge's config": (
        {"judges": [LdAiJudgeConfigDefault()]},
        r"judges is a langchain_ldai.judges.Judges\(client, model=...\); list is no such object",
    ),
    "tracer provider": (
        {"spans": TracerProvider()},
        r"Spans\(\), which takes tracer_provider=; TracerProvider is no such object",
    ),
    "resume": ({"resume": "a token"}, "resume is True or False, not 'a token'; a token goes into the metadata"),
    "runs": ({"max_open_runs": "10"}, "max_open_runs is a whole number, not '10'"),
    "bool": ({"max_open_runs": True}, "max_open_runs is a whole number, not True"),
    "bool for seconds": ({"run_timeout": True}, "run_timeout is a number of seconds above 0, not True"),
    "seconds": ({"run_timeout": None}, "run_timeout is a number of seconds above 0, not None"),
}


@pytest.mark.parametrize(("options", "message"), OF_HANDLERS.values(), ids=OF_HANDLERS)
def test_a_handler_that_would_record_nothing_is_refused(
    options: dict[str, object], message: str, config: LdAiCompletionConfig
) -> None:
    """An option of a wrong type raises when the handler is made, and not as silence in production."""
    with pytest.raises(TypeError, match=message):
        LdAiHandler(**{"config": config, **options})


def test_an_ai_config_that_was_not_awaited_is_refused(context: Context) -> None:
    """What `AsyncLdAiClient` returns is awaited first; Python does not warn of it once more."""
    ai = AsyncLdAiClient(AsyncRecordingClient())

    with pytest.raises(TypeError, match="not coroutine, which a callback cannot await: await it first"):
        LdAiHandler(ai.completion_config("bot", context))


def test_what_can_be_called_with_one_argument_is_taken(config: LdAiCompletionConfig) -> None:
    """Objects, methods, partials and built-in functions, also those that do not say what they take."""
    given: list[object] = []
    for function in (Reporter(), given.append, functools.partial(print, flush=True), dict.fromkeys, iter):
        LdAiHandler(config, on_run_end=function)


def test_a_wrapped_client_is_known_by_what_it_does(context: Context) -> None:
    """A wrapper that hands its calls on passes, and a decorated coroutine function is one."""

    class Passes:
        def __getattr__(self, name: str) -> object:
            return getattr(AsyncRecordingClient({"bot": {"_ldMeta": {"enabled": True}}}), name)

    class Decorates(Passes):
        def __init__(self) -> None:
            evaluate = super().__getattr__("variation")
            self.variation = functools.wraps(evaluate)(lambda *given: evaluate(*given))

    async def is_enabled(client: object) -> bool:
        return (await AsyncLdAiClient(client).completion_config("bot", context)).enabled

    assert [asyncio.run(is_enabled(client)) for client in (Passes(), Decorates())] == [True, True]


OF_TRACKERS: dict[str, tuple[Callable[[LdAiCompletionConfig], object], str]] = {
    "run id": (
        lambda config: config.create_tracker(run_id=UUID(int=5)),
        "run_id is a str, not UUID: '00000000-0000-0000-0000-000000000005'",
    ),
    "graph's run id": (
        lambda config: (
            LdAiClient(RecordingClient()).agent_graph("desk", Context.create("u")).create_tracker(run_id=5)
        ),
        "run_id is a str, not int: '5'",
    ),
    "tools": (lambda config: config.create_tracker().track_tool_calls("search"), r"not one text: \['search'\]"),
    "tool": (lambda config: config.create_tracker().track_tool_call(None), "a tool's name is a str, not NoneType"),
    "judge's score": (
        lambda config: config.create_tracker().track_judge_result(0.5),
        r"a judge's result is a langchain_ldai.JudgeResult\(metric_key, score\), not float",
    ),
    "judge's dictionary": (
        lambda config: config.create_tracker().track_judge_result({"score": 0.5}),
        r"a judge's result is a langchain_ldai.JudgeResult\(metric_key, score\), not dict",
    ),
    "judge's text": (
        lambda config: config.create_tracker().track_judge_result(JudgeResult("relevance", "high")),
        "JudgeResult.score is a number, not 'high'",
    ),
    "judge's truth": (
        lambda config: config.create_tracker().track_judge_result(JudgeResult("relevance", True)),
        "JudgeResult.score is a number, not True",
    ),
    "judge's metric": (
        lambda config: config.create_tracker().track_judge_result(JudgeResult(7, 0.5)),
        "JudgeResult.metric_key is a str, not int",
    ),
    "judge's key": (
        lambda config: config.create_tracker().track_judge_result(JudgeResult("relevance", 0.5, UUID(int=7))),
        "JudgeResult.judge_config_key is a str, not UUID",
    ),
    "metrics' tools": (lambda config: AiMetrics(True, tool_calls="search"), r"not one text: \['search'\]"),
    "metrics' tokens": (lambda config: AiMetrics(True, {"total": 3}), "token usage is a .*TokenUsage, not dict"),
}


@pytest.mark.parametrize(("call", "message"), OF_TRACKERS.values(), ids=OF_TRACKERS)
def test_a_metric_of_a_wrong_type_is_not_recorded(
    call: Callable[[LdAiCompletionConfig], object],
    message: str,
    config: LdAiCompletionConfig,
    client: RecordingClient,
) -> None:
    """It raises, and no event goes out: a text is an iterable of letters, which a type checker lets pass."""
    before = list(client.events)

    with pytest.raises(TypeError, match=message):
        call(config)

    assert client.events == before


def test_feedback_is_taken_as_text(config: LdAiCompletionConfig) -> None:
    """The text of a `Feedback` is one."""
    tracker = config.create_tracker()

    tracker.track_feedback("negative")

    assert tracker.summary.feedback is Feedback.NEGATIVE


@pytest.mark.parametrize("metrics", [{"success": True}, TokenUsage(3), True])
def test_an_extractor_that_returns_something_else_costs_no_answer(
    metrics: object, config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """The operation's result is returned, its duration recorded, and the log says what to return."""
    tracker = config.create_tracker()

    answer = tracker.track_metrics_of(lambda result: metrics, lambda: "the answer")

    assert answer == "the answer"
    assert tracker.summary.duration_ms is not None
    assert tracker.summary.success is None
    assert f"an extractor returns an AiMetrics or None, not {type(metrics).__name__}" in caplog.text

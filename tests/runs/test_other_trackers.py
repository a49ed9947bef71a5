"""A tracker is known by its methods: a wrapper, or a tracker of a second copy of the package, works like ours."""

import importlib
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from langgraph.graph import START, MessagesState, StateGraph
from ldai import LDAIClient
from ldclient import Context

from langchain_ldai import (
    LdAiClient,
    LdAiCompletionConfig,
    LdAiConfigTracker,
    LdAiGraphTracker,
    LdAiHandler,
    RunReport,
    TokenUsage,
)
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.testing import RecordingClient
from tests.support.chains import (
    AGENT_INPUT,
    ERROR,
    FIRST_TOKEN,
    QUESTION,
    SUCCESS,
    TOKENS,
    TOOL_CALL,
    agent,
    chain,
    counts,
)
from tests.support.chains import counts as counts_of
from tests.support.models import ScriptedChat

USER = Context.create("user-1")
ALL = {SUCCESS: [1], TOOL_CALL: [1], **{name: [2 * value for value in values] for name, values in TOKENS.items()}}


class Wrapped:
    """Has what the other has, and notes which of its methods are called."""

    def __init__(self, wrapped: object, called: list[str]) -> None:
        self._wrapped, self._called = wrapped, called

    def __getattr__(self, name: str) -> object:
        found = getattr(self._wrapped, name)
        if not name.startswith(("track_", "_track_")):
            return found
        return lambda *args: (self._called.append(name), found(*args))[1]


class WrappedConfig(Wrapped):
    """An AI Config, or agent graph, whose trackers are wrapped."""

    def create_tracker(self, **options: object) -> Wrapped:
        """Return a wrapped tracker."""
        return Wrapped(self._wrapped.create_tracker(**options), self._called)

    def resume_tracker(self, token: str) -> Wrapped:
        """Return a wrapped tracker."""
        return Wrapped(self._wrapped.resume_tracker(token), self._called)


class WithoutVisits(Wrapped):
    """A graph's tracker, or an agent graph, that knows the path and no visits."""

    def __getattr__(self, name: str) -> object:
        if name == "_track_visits":
            raise AttributeError(name)
        return super().__getattr__(name)

    def create_tracker(self, **options: object) -> "WithoutVisits":
        """Return a tracker that knows no visits either."""
        return WithoutVisits(self._wrapped.create_tracker(**options), self._called)


class Counting(LdAiConfigTracker):
    """One of ours with something added."""

    def track_success(self) -> None:
        """Record it, and something besides."""
        self._sender.client.send(self._sender.context, [("something-besides", self._data, 1)])
        super().track_success()


class WithCounting:
    """An AI Config with what is needed of one, and nothing else."""

    def __init__(self, config: object) -> None:
        self._config = config

    def create_tracker(self) -> Counting:
        """Return a tracker of the subclass."""
        plain = self._config.create_tracker()
        return Counting(plain.identity, plain._sender)


def test_a_wrapped_tracker_records_through_its_wrapper(
    ai: LdAiClient, client: RecordingClient, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """A run records the same, and each metric by the wrapper's own method."""
    called: list[str] = []
    handler = LdAiHandler(
        WrappedConfig(ai.completion_config("support-bot", USER), called), on_run_end=reports.append
    )

    list(agent().stream(AGENT_INPUT, {"callbacks": [handler]}, stream_mode="messages"))

    (report,) = reports
    assert counts_of(client, report.run_id) == ALL
    assert sorted(called) == [
        "track_duration",
        "track_success",
        "track_time_to_first_token",
        "track_tokens",
        "track_tool_call",
    ]
    assert report.summary.tokens == TokenUsage(26, 20, 6)
    assert report.config_key == "support-bot"
    assert caplog.records == []


class WithSender(Wrapped):
    """A wrapper with something of its own that has the name of an internal of ours."""

    _sender = "smtp"


def test_a_wrapper_may_use_the_names_of_our_internals(
    ai: LdAiClient, client: RecordingClient, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """What is not ours is left alone, and the run is recorded."""
    config = ai.completion_config("support-bot", USER)
    wrapped = SimpleNamespace(create_tracker=lambda: WithSender(config.create_tracker(), []))

    chain().invoke(QUESTION, {"callbacks": [LdAiHandler(wrapped, on_run_end=reports.append)]})

    assert counts_of(client, reports[0].run_id) == {SUCCESS: [1], **TOKENS}
    assert caplog.records == []


def test_a_subclass_records_through_its_own_methods(
    ai: LdAiClient, client: RecordingClient, reports: list[RunReport]
) -> None:
    """What it overrides is called."""
    handler = LdAiHandler(WithCounting(ai.completion_config("support-bot", USER)), on_run_end=reports.append)

    chain().invoke(QUESTION, {"callbacks": [handler]})

    assert client.metrics(reports[0].run_id)["something-besides"] == [1]
    assert client.metrics(reports[0].run_id)[SUCCESS] == [1]


def test_what_was_recorded_on_a_wrapped_tracker_stands(
    ai: LdAiClient, client: RecordingClient, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """`current_tracker` is the wrapper, and what a step records on it is not recorded again."""
    config = WrappedConfig(ai.completion_config("support-bot", USER), [])
    handler = LdAiHandler(config, on_run_end=reports.append)

    def fail(answer, config):
        tracker = LdAiHandler.current_tracker(config)
        assert isinstance(tracker, Wrapped)
        tracker.track_error()

    (chain() | fail).invoke(QUESTION, {"callbacks": [handler]})

    assert counts_of(client, reports[0].run_id) == {ERROR: [1], **TOKENS}
    assert caplog.records == []


def test_a_wrapped_run_goes_on_in_parts(client: RecordingClient, reports: list[RunReport]) -> None:
    """With a ledger each part of a continued run sends its own tokens, and `flush` waits for its claims."""
    ai = LdAiClient(client, ledger=MemoryLedger())
    config = WrappedConfig(ai.completion_config("support-bot", USER), [])
    handler = LdAiHandler(config, on_run_end=reports.append, resume=True)
    token = config.create_tracker().resumption_token

    for _ in range(2):
        chain().invoke(QUESTION, {"callbacks": [handler], "metadata": {"ldai_resumption_token": token}})

    assert handler.flush(10)
    doubled = {name: values * 2 for name, values in TOKENS.items()}
    assert {name: client.metrics(reports[0].run_id)[name] for name in TOKENS} == doubled


class Unresumable(WrappedConfig):
    """An AI Config whose resumed trackers cannot be used."""

    def __init__(self, wrapped: object, resumed: object) -> None:
        super().__init__(wrapped, [])
        self._resumed = resumed

    def resume_tracker(self, token: str) -> object:
        """Return something in the place of a tracker."""
        return self._resumed


@pytest.mark.parametrize("resumed", [None, SimpleNamespace(resumption_token="x")], ids=["nothing", "something"])
def test_a_run_opens_anew_where_its_resumed_tracker_cannot_record(
    resumed: object, ai: LdAiClient, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """The run is counted as a new one, and the log says what `resume_tracker` returned."""
    config = Unresumable(ai.completion_config("support-bot", USER), resumed)
    handler = LdAiHandler(config, on_run_end=reports.append, resume=True)
    metadata = {"ldai_resumption_token": config.create_tracker().resumption_token}

    chain().invoke(QUESTION, {"callbacks": [handler], "metadata": metadata})

    assert [report.model_calls for report in reports] == [1]
    (message,) = caplog.messages
    said = f"a new one opens: resume_tracker() returned a {type(resumed).__name__}, which has no"
    assert said in message


def test_a_run_opens_anew_where_its_part_cannot_begin(ai: LdAiClient, reports: list[RunReport]) -> None:
    """A wrapper that fails at what it does not know costs the continuation, not the run's metrics."""

    def fail(part: str) -> None:
        raise RuntimeError(part)

    config = ai.completion_config("support-bot", USER)
    resumed = Wrapped(config.create_tracker(), [])
    resumed._begin_part = fail
    handler = LdAiHandler(Unresumable(config, resumed), on_run_end=reports.append, resume=True)
    metadata = {"ldai_resumption_token": config.create_tracker().resumption_token}

    chain().invoke(QUESTION, {"callbacks": [handler], "metadata": metadata})

    assert [report.model_calls for report in reports] == [1]


def travel(config: object, reports: list[RunReport]) -> RunReport:
    """Run a graph of two agents."""
    graph = StateGraph(MessagesState)
    for name in ("plan", "book"):
        graph.add_node(name, lambda state: {"messages": [ScriptedChat().invoke("How?")]})
    graph.add_edge(START, "plan").add_edge("plan", "book")
    graph.compile().invoke(AGENT_INPUT, {"callbacks": [LdAiHandler(config, on_run_end=reports.append)]})
    return reports[-1]


@pytest.fixture
def travelling(client: RecordingClient) -> RecordingClient:
    """A client that serves an agent graph."""
    agent_flag = {"_ldMeta": {"enabled": True, "mode": "agent"}}
    for key, flag in {
        "travel": {"_ldMeta": {"enabled": True}, "root": "plan", "edges": {"plan": [{"key": "book"}]}},
        "plan": agent_flag,
        "book": agent_flag,
    }.items():
        client.set_flag(key, flag)
    return client


def test_a_graphs_tracker_that_knows_no_visits_records_the_path(
    travelling: RecordingClient, reports: list[RunReport]
) -> None:
    """Each visit is an event only where the tracker can send it."""
    graph = LdAiClient(travelling).agent_graph("travel", USER)

    report = travel(WithoutVisits(graph, []), reports)

    metrics = travelling.metrics(report.run_id)
    assert metrics["$ld:ai:graph:path"] == [1]
    assert "$ld:ai:graph:node" not in metrics


def test_a_wrapped_agent_graph_records_like_ours(
    travelling: RecordingClient, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """The path, the handoff and the graph's metrics, through the wrapper."""
    called: list[str] = []
    graph = LdAiClient(travelling).agent_graph("travel", USER)

    ours, wrapped = travel(graph, reports), travel(WrappedConfig(graph, called), reports)

    assert wrapped.path == ours.path == ("plan", "book")
    assert travelling.metrics(wrapped.run_id).keys() == travelling.metrics(ours.run_id).keys()
    assert sorted(called) == [
        "_track_visits",
        "track_duration",
        "track_handoff_success",
        "track_invocation_success",
        "track_total_tokens",
    ]
    assert caplog.records == []


def test_a_wrapped_agent_graph_that_visits_no_node_has_no_path(travelling: RecordingClient) -> None:
    """Where the model is called beside the nodes, the graph's own metrics are recorded alone."""
    called: list[str] = []
    graph = LdAiClient(travelling).agent_graph("travel", USER)

    chain().invoke(QUESTION, {"callbacks": [LdAiHandler(WrappedConfig(graph, called))]})

    assert sorted(called) == ["track_duration", "track_invocation_success", "track_total_tokens"]


def test_what_was_recorded_on_a_wrapped_graphs_tracker_stands(travelling: RecordingClient) -> None:
    """A failure that was recorded by hand is not followed by the success of the run."""
    graph = LdAiClient(travelling).agent_graph("travel", USER)
    made: list[LdAiGraphTracker] = []

    class Failed(WrappedConfig):
        def create_tracker(self, **options: object) -> Wrapped:
            made.append(super().create_tracker(**options))
            made[-1].track_invocation_failure()
            return made[-1]

    travel(Failed(graph, []), [])

    assert made[0].summary.success is False
    assert "$ld:ai:graph:invocation_success" not in travelling.metrics(made[0].run_id)


@pytest.fixture
def second_copy() -> Iterator[object]:
    """A second copy of the package in this process, as a reload or a vendored one makes it."""
    ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "langchain_ldai"}
    for name in ours:
        del sys.modules[name]
    yield importlib.import_module("langchain_ldai")
    for name in [name for name in sys.modules if name.partition(".")[0] == "langchain_ldai"]:
        del sys.modules[name]
    sys.modules.update(ours)


def test_an_ai_config_of_a_second_copy_records_like_ours(
    second_copy: object, client: RecordingClient, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """Its classes have the same names and are others; a step finds config and tracker by either copy's handler."""
    config = second_copy.LdAiClient(client).completion_config("support-bot", USER)
    seen: list[object] = []

    def look(answer, config):
        seen.append(second_copy.LdAiHandler.current_config(config))
        seen.append(LdAiHandler.current_tracker(config).run_id)

    handler = LdAiHandler(config, on_run_end=reports.append)
    (chain() | look).invoke(QUESTION, {"callbacks": [handler]})

    assert counts_of(client, reports[0].run_id) == {SUCCESS: [1], **TOKENS}
    assert reports[0].summary.tokens == TokenUsage(13, 10, 3)
    assert seen == [config, reports[0].run_id]
    assert caplog.records == []


def test_tokens_of_the_official_package_are_taken(ai: LdAiClient, client: RecordingClient) -> None:
    """A usage is known by its parts, whoever defines its class."""
    from ldai.tracker import TokenUsage as OfficialUsage

    tracker = ai.completion_config("support-bot", USER).create_tracker()
    tracker.track_tokens(OfficialUsage(total=13, input=10, output=3))

    assert client.metrics(tracker.run_id) == TOKENS


class Without:
    """An AI Config whose trackers lack something."""

    def __init__(self, tracker: object) -> None:
        self._tracker = tracker

    def create_tracker(self) -> object:
        """Return something else than a tracker."""
        return self._tracker


OTHERS = {
    "object": (object(), "returned a object, which has no resumption_token"),
    "text": ("token", "returned a str, which has no resumption_token"),
}


@pytest.mark.parametrize(("tracker", "said"), OTHERS.values(), ids=OTHERS)
def test_an_ai_config_whose_trackers_cannot_record_is_refused(tracker: object, said: str) -> None:
    """Where it is given; where a function gives it, each run would fail: the log says what it lacks."""
    with pytest.raises(TypeError, match=f"config cannot be counted for: .*{said}"):
        LdAiHandler(Without(tracker))
    with pytest.raises(TypeError, match=r"nodes\['writer'\] cannot be counted for"):
        LdAiHandler(None, nodes={"writer": Without(tracker)})


def test_a_function_that_gives_such_an_ai_config_is_told_what_it_lacks(caplog: pytest.LogCaptureFixture) -> None:
    """It is known only in the run, which is not counted."""
    chain().invoke(QUESTION, {"callbacks": [LdAiHandler(lambda metadata: Without(object()))]})

    (record,) = caplog.records
    assert "create_tracker() returned a object, which has no resumption_token" in record.message


def test_an_agent_graph_of_the_official_package_is_refused(travelling: RecordingClient) -> None:
    """The message names what works."""
    graph = LDAIClient(travelling).agent_graph("travel", USER)

    with pytest.raises(TypeError, match=r"use agent graphs of LdAiClient\.agent_graph\(\)"):
        LdAiHandler(graph)


def test_an_official_tracker_records_the_first_token(
    client: RecordingClient, context: Context, reports: list[RunReport]
) -> None:
    """With an AI Config of the official package a streamed run has its time to first token too."""
    handler = LdAiHandler(LDAIClient(client).completion_config("support-bot", context), on_run_end=reports.append)

    list(chain().stream(QUESTION, {"callbacks": [handler]}))

    assert len(client.metrics(reports[0].run_id)[FIRST_TOKEN]) == 1


def test_an_official_config_opens_a_run_where_a_token_asks_for_another(
    config: LdAiCompletionConfig, client: RecordingClient, context: Context
) -> None:
    """Only AI Configs of ours can be resumed; a function that gives another's has a new run opened for it."""
    official = LDAIClient(client).completion_config("support-bot", context)
    began = config.create_tracker()
    handler = LdAiHandler(lambda metadata: official, resume=True)

    with handler.collect_runs() as runs:
        metadata = {"ldai_resumption_token": began.resumption_token}
        chain().invoke(QUESTION, {"callbacks": [handler], "metadata": metadata})

    assert runs[0].run_id != began.run_id
    assert client.metrics(began.run_id) == {}
    assert counts(client, runs[0].run_id)["$ld:ai:tokens:total"] == [13]

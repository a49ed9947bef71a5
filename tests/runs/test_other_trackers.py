"""A tracker is known by its methods: a wrapper, or a tracker of a second copy of the package, works like ours."""

import importlib
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from ldai import LDAIClient
from ldclient import Context

from langchain_ldai import (
    LdAiClient,
    LdAiCompletionConfig,
    LdAiConfigTracker,
    LdAiHandler,
    RunReport,
    TokenUsage,
)
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.testing import RecordingClient
from tests.runs.wrapping import Wrapped, WrappedConfig
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
from tests.support.models import FLAKY, ScriptedChat

USER = Context.create("user-1")
ALL = {SUCCESS: [1], TOOL_CALL: [1], **{name: [2 * value for value in values] for name, values in TOKENS.items()}}


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


def test_a_wrapped_run_that_fails_is_an_error(ai: LdAiClient, client: RecordingClient) -> None:
    """The wrapper's method for errors is called, and not the one for successes."""
    called: list[str] = []
    handler = LdAiHandler(WrappedConfig(ai.completion_config("support-bot", USER), called))

    with pytest.raises(ConnectionError):
        chain(ScriptedChat(script=[FLAKY])).invoke(QUESTION, {"callbacks": [handler]})

    assert sorted(called) == ["track_duration", "track_error"]


def test_a_wrapped_trackers_summary_says_what_was_recorded(ai: LdAiClient, reports: list[RunReport]) -> None:
    """Tools by their names; what the model did not say is not there."""
    handler = LdAiHandler(WrappedConfig(ai.completion_config("support-bot", USER), []), on_run_end=reports.append)

    @tool
    def search() -> str:
        """Search."""
        return "Nothing."

    (chain(ScriptedChat(script=[[AIMessageChunk("Hello")]])) | (lambda text: {}) | search).invoke(
        QUESTION, {"callbacks": [handler]}
    )

    summary = reports[0].summary
    assert (summary.tokens, summary.tool_calls, summary.success) == (None, ("search",), True)


class CallableConfig(WithCounting):
    """An AI Config that can be called, too."""

    def __call__(self, metadata: object) -> None:
        """Give no AI Config."""


def test_an_ai_config_that_can_be_called_is_the_ai_config(ai: LdAiClient, reports: list[RunReport]) -> None:
    """It is no function to one."""
    config = CallableConfig(ai.completion_config("support-bot", USER))

    chain().invoke(QUESTION, {"callbacks": [LdAiHandler(config, on_run_end=reports.append)]})

    assert [report.config_key for report in reports] == ["support-bot"]


class ResumedWith(WrappedConfig):
    """An AI Config whose resumed trackers are other ones."""

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
    config = ResumedWith(ai.completion_config("support-bot", USER), resumed)
    handler = LdAiHandler(config, on_run_end=reports.append, resume=True)
    metadata = {"ldai_resumption_token": config.create_tracker().resumption_token}

    chain().invoke(QUESTION, {"callbacks": [handler], "metadata": metadata})

    assert [report.model_calls for report in reports] == [1]
    (message,) = caplog.messages
    said = f"a new one opens: resume_tracker() returned a {type(resumed).__name__}, which has no"
    assert said in message


def test_a_run_goes_on_with_a_tracker_that_knows_no_parts(
    ai: LdAiClient, client: RecordingClient, reports: list[RunReport]
) -> None:
    """As the official package's do not."""
    resumed = LDAIClient(client).completion_config("support-bot", USER).create_tracker()
    config = ResumedWith(ai.completion_config("support-bot", USER), resumed)
    handler = LdAiHandler(config, on_run_end=reports.append, resume=True)

    metadata = {"ldai_resumption_token": resumed.resumption_token}
    chain().invoke(QUESTION, {"callbacks": [handler], "metadata": metadata})

    (report,) = reports
    assert report.resumption_token == resumed.resumption_token
    assert counts_of(client, report.run_id) == {SUCCESS: [1], **TOKENS}


def test_a_run_opens_anew_where_its_part_cannot_begin(ai: LdAiClient, reports: list[RunReport]) -> None:
    """A wrapper that fails at what it does not know costs the continuation, not the run's metrics."""

    def fail(part: str) -> None:
        raise RuntimeError(part)

    config = ai.completion_config("support-bot", USER)
    resumed = Wrapped(config.create_tracker(), [])
    resumed._begin_part = fail
    handler = LdAiHandler(ResumedWith(config, resumed), on_run_end=reports.append, resume=True)
    metadata = {"ldai_resumption_token": config.create_tracker().resumption_token}

    chain().invoke(QUESTION, {"callbacks": [handler], "metadata": metadata})

    assert [report.model_calls for report in reports] == [1]


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
    with pytest.raises(TypeError, match=f"config cannot be counted for: .*{said}$"):
        LdAiHandler(Without(tracker))
    with pytest.raises(TypeError, match=r"nodes\['writer'\] cannot be counted for"):
        LdAiHandler(None, nodes={"writer": Without(tracker)})


def test_a_function_that_gives_such_an_ai_config_is_told_what_it_lacks(caplog: pytest.LogCaptureFixture) -> None:
    """It is known only in the run, which is not counted."""
    chain().invoke(QUESTION, {"callbacks": [LdAiHandler(lambda metadata: Without(object()))]})

    (record,) = caplog.records
    assert "create_tracker() returned a object, which has no resumption_token" in record.message


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

"""Each failure is logged with the option that failed and what it costs; each run's steps are logged at DEBUG."""

import itertools
import logging
import os
import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from uuid import uuid4

import pytest
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler, Outcome, RunReport
from langchain_ldai._base.guard import MAX_NOTICES, Guard, Notices
from langchain_ldai.testing import RecordingClient
from tests.support.chains import QUESTION, SUCCESS, chain
from tests.support.events import ANSWER, start_call, start_chain
from tests.support.interrupting import interrupted
from tests.support.read_log import logged, run_nodes

ON = {"_ldMeta": {"enabled": True}}


def asks_for_a_user(metadata: dict[str, str]) -> object:
    """Need metadata that is not there."""
    return metadata["user_id"]


def passes_coroutines(metadata: dict[str, str]) -> object:
    """Return what nobody awaits."""

    async def config() -> None:
        """Do nothing."""

    return config()


def returns(given: object) -> Callable[[object], object]:
    """Return a function that returns that."""
    return lambda metadata: given


FUNCTIONS: dict[str, tuple[dict[str, object], str, int]] = {
    "config": (
        {"config": asks_for_a_user},
        r"The function given for an AI Config failed, this run is not counted .*: KeyError: 'user_id'$",
        0,
    ),
    "node": (
        {"nodes": {"writer": asks_for_a_user}},
        r"The function given for nodes\['writer'\] failed, what happens in this node is not counted .* 'user_id'$",
        0,
    ),
    "run id": (
        {"run_ids": asks_for_a_user},
        r"The function given for run_ids failed, the run gets a new id .*: KeyError: 'user_id'$",
        1,
    ),
    "report": (
        {"on_run_end": lambda report: report.missing},
        r"The function given for on_run_end failed; the run's metrics are recorded .*: AttributeError$",
        1,
    ),
    "awaited config": (
        {"config": passes_coroutines},
        "returned a coroutine, which a callback cannot await: await it before the call",
        0,
    ),
    "client": (
        {"config": returns(LdAiClient(RecordingClient()))},
        "a LdAiClient: give what its completion_config",
        0,
    ),
    "key": ({"config": returns("bot")}, r"returned a str: give what a client's completion_config\(\) returns", 0),
    "context": (
        {"config": returns(Context.create("user-1"))},
        r"returned a Context: return ai\.completion_config\(key, context\)$",
        0,
    ),
    "messages": ({"config": returns(())}, "returned a tuple$", 0),
    "awaited report": (
        {"on_run_end": passes_coroutines},
        "returned a coroutine, which a callback cannot await$",
        1,
    ),
    "awaited run id": ({"run_ids": passes_coroutines}, "returned a coroutine, which a callback cannot await$", 1),
}


@pytest.mark.parametrize(("options", "message", "counted"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function_that_fails_is_named_with_what_becomes_of_the_run(
    options: dict[str, object],
    message: str,
    counted: int,
    config: LdAiCompletionConfig,
    client: RecordingClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first line says which option's function it was, what it raised and what that costs; both ids by name."""
    handler = LdAiHandler(**{"config": config, **options})

    for _ in range(2):
        run_nodes(handler)

    ((level, said),) = logged(caplog)
    assert level == "ERROR"
    assert re.search(message, said.splitlines()[0])
    assert re.search(r"\[lc_run_id=[0-9a-f-]{36}, run_id=([0-9a-f-]{36}|unknown)\]", said)
    assert len([event for event in client.events if event.name == SUCCESS]) == 2 * counted


MISSED: dict[str, tuple[Exception, dict[str, object], str]] = {
    "another name": (
        KeyError("user_id"),
        {"user": "Sandy", "a prompt": 1},
        r"\(if it was looked up in the metadata, that holds \['user'\]: pass \{\"metadata\"",
    ),
    "no name": (
        KeyError("user_id"),
        {},
        r"holds nothing: pass \{\"metadata\": \{\"user_id\": \.\.\.\}\} in the config",
    ),
    "name that is there": (KeyError("user"), {"user": "Sandy"}, "^[^(]*: KeyError: 'user'$"),
    "prompt": (KeyError("How do I?"), {}, "^[^(]*: KeyError$"),
    "long text": (KeyError("a" * 51), {}, "^[^(]*: KeyError$"),
    "number": (KeyError(5), {}, "^[^(]*: KeyError$"),
    "nothing": (KeyError(), {}, "^[^(]*: KeyError$"),
    "context variable": (
        LookupError(ContextVar("user")),
        {},
        r"\(the context variable 'user' is not set where the run starts: set it before the call",
    ),
    "odd context variable": (LookupError(ContextVar("How do I?")), {}, "^[^(]*: LookupError$"),
    "attribute": (
        AttributeError(name="user", obj=MappingProxyType({})),
        {},
        r"\(the metadata is a dictionary: metadata\[\"user\"\]\)",
    ),
    "odd attribute": (AttributeError(name="How do I?", obj=MappingProxyType({})), {}, "^[^(]*: AttributeError$"),
    "attribute of another": (AttributeError(name="user", obj=5), {}, "^[^(]*: AttributeError$"),
    "other error": (ValueError("user_id"), {}, "^[^(]*: ValueError$"),
}


def test_an_environment_variable_that_is_not_set_is_told_as_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not looked for in the metadata, even where that has its name."""
    monkeypatch.delenv("SUPPORT_BOT", raising=False)
    handler = LdAiHandler(lambda metadata: os.environ["SUPPORT_BOT"])

    handler.on_chain_start(None, {}, run_id=uuid4(), metadata={"SUPPORT_BOT": "x"})

    ((_, said),) = logged(caplog)
    assert " (the environment variable SUPPORT_BOT is not set) " in said


@pytest.mark.parametrize("option", ["config", "run_ids"])
@pytest.mark.parametrize(("error", "metadata", "message"), MISSED.values(), ids=MISSED)
def test_what_a_function_misses_is_named_with_how_to_pass_it(
    error: Exception,
    metadata: dict[str, object],
    message: str,
    option: str,
    config: LdAiCompletionConfig,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says which names there are, and no value; an error that has another cause is logged as it is."""

    def config_for(metadata: object) -> object:
        raise error

    given = {"config": config_for} if option == "config" else {"config": config, option: config_for}
    handler = LdAiHandler(**given)

    handler.on_chain_start(None, {}, run_id=uuid4(), metadata=metadata)

    ((_, said),) = logged(caplog)
    assert re.search(message, said.splitlines()[0])
    assert "Sandy" not in said
    assert "a prompt" not in said


def test_what_an_ai_config_misses_is_not_looked_for_in_the_metadata(caplog: pytest.LogCaptureFixture) -> None:
    """Only the caller's function was given that; a tracker that cannot be made has another cause."""

    class Fails:
        def create_tracker(self) -> object:
            raise KeyError("user_id")

    handler = LdAiHandler(lambda metadata: Fails())

    handler.on_chain_start(None, {}, run_id=uuid4(), metadata={})

    ((_, said),) = logged(caplog)
    assert "KeyError: 'user_id'" in said
    assert "metadata" not in said.splitlines()[0]


def test_a_report_that_fails_is_told_with_the_ids_of_its_run(
    config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """LangChain's id and LaunchDarkly's are told apart."""
    seen: list[RunReport] = []

    def fail(report: RunReport) -> None:
        seen.append(report)
        raise ConnectionError

    chain().invoke(QUESTION, {"callbacks": [LdAiHandler(config, on_run_end=fail)]})

    assert f"[lc_run_id={seen[0].root_run_id}, run_id={seen[0].run_id}]" in caplog.messages[0]


def test_an_id_given_alone_is_that_of_launchdarklys_run(caplog: pytest.LogCaptureFixture) -> None:
    """What knows only its tracker's run gives that."""
    Guard().caught(OSError(), "run-1", "It is lost")

    assert caplog.messages[0].startswith("It is lost [lc_run_id=unknown, run_id=run-1]: OSError")


def test_a_metric_that_cannot_be_sent_is_told_with_both_ids(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """What the client of LaunchDarkly raises, too."""

    class Fails(RecordingClient):
        def track(self, event_name: str, *others: object) -> None:
            if event_name == SUCCESS:
                raise OSError

    config = LdAiClient(Fails({"bot": ON})).completion_config("bot", context)
    handler = LdAiHandler(config)
    with handler.collect_runs() as runs:
        chain().invoke(QUESTION, {"callbacks": [handler]})

    assert caplog.messages[0].startswith("A metric could not be sent and is lost")
    assert f"[lc_run_id={runs[0].root_run_id}, run_id={runs[0].run_id}]" in caplog.messages[0]


def test_an_event_that_cannot_be_counted_is_told_with_both_ids(
    handler: LdAiHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """Where LangChain sends what makes no sense, the run in which it does is named."""
    root = uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata=(marks := {}))
    handler.on_tool_start(5, "", run_id=root, parent_run_id=root)

    assert f"[lc_run_id={root}, run_id={marks['ldai_run_id']}]" in caplog.messages[0]


def test_a_failure_that_goes_on_is_told_again_with_a_count(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At its next occurrence after a minute, and not before; a minute without one says nothing."""
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    handler = LdAiHandler(asks_for_a_user)

    for seconds in (0, 1, 58.9, 0.2, 30, 31, 120):
        now += seconds
        chain().invoke(QUESTION, {"callbacks": [handler]})

    firsts = [message.partition("The function")[0] for message in caplog.messages]
    assert firsts == [
        "",
        "3 more since this was last logged: ",
        "2 more since this was last logged: ",
        "1 more since this was last logged: ",
    ]
    assert all("KeyError" in message for message in caplog.messages)


def test_a_token_that_the_handler_does_not_resume_is_told_once(
    config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """Who puts one into the metadata expects that its run goes on."""
    handler = LdAiHandler(config)
    token = config.create_tracker().resumption_token

    for _ in range(2):
        chain().invoke(QUESTION, {"callbacks": [handler], "metadata": {"ldai_resumption_token": token}})

    ((_, message),) = logged(caplog)
    assert "'support-bot': a resumption token is in the metadata, but there is no resume=True" in message
    assert token not in message


def test_debug_tells_when_a_run_opens_and_closes(
    config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """One line each, with the ids and the AI Config's key, and nothing of what was said or of the token."""
    caplog.set_level(logging.DEBUG, "langchain_ldai")
    handler = LdAiHandler(config)

    with handler.collect_runs() as runs:
        chain().invoke({"question": "Where is Waldo?"}, {"callbacks": [handler], "metadata": {"secret": "Waldo"}})

    (report,) = runs
    opens, closes = (message for _, message in logged(caplog))
    ids = f"[lc_run_id={report.root_run_id}, run_id={report.run_id}]"
    assert opens == f"a run opens: counted for 'support-bot' {ids}"
    assert closes == f"a run closes: counted for 'support-bot', success, model calls: yes {ids}"


def test_debug_tells_of_a_run_without_a_model_call(
    config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """That explains why it has no metrics."""
    caplog.set_level(logging.DEBUG, "langchain_ldai")
    handler = LdAiHandler(config)

    root = uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_chain_end({}, run_id=root)

    _, (_, closes) = logged(caplog)
    assert "'support-bot', success, model calls: no [" in closes


def test_debug_tells_of_a_run_that_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """That it is counted for no AI Config explains why nothing comes."""
    caplog.set_level(logging.DEBUG, "langchain_ldai")

    chain().invoke(QUESTION, {"callbacks": [LdAiHandler(lambda metadata: None)]})

    assert ["counted for no AI Config" in message for _, message in logged(caplog)] == [True, True]


def test_what_was_told_is_remembered_within_bounds(caplog: pytest.LogCaptureFixture) -> None:
    """Keys that come from data take no memory for ever: the oldest is forgotten, and told again."""
    notices, log = Notices(), logging.getLogger("langchain_ldai.test")

    for number in (*range(MAX_NOTICES + 1), MAX_NOTICES, 0):
        notices.once(log, logging.WARNING, number, "key %s", number)

    assert caplog.messages[MAX_NOTICES:] == [f"key {MAX_NOTICES}", "key 0"]


def test_something_may_be_told_while_something_else_is(caplog: pytest.LogCaptureFixture) -> None:
    """Wherever Python collects, and so ends, a run meanwhile, or a signal's handler ends one: both are told."""
    notices, log = Notices(), logging.getLogger("langchain_ldai.test")
    for number in range(MAX_NOTICES):
        notices.once(log, logging.DEBUG, number, "key %s", number)
    with interrupted(Notices.once, MAX_NOTICES, lambda: None, before="opcode"):
        notices.once(log, logging.DEBUG, 0, "key 0")  # Python 3.12 tells of opcodes from the second call on

    for position in itertools.count(1):
        within, around = f"within {position}", f"around {position}"
        tell = partial(notices.once, log, logging.WARNING, within, within)
        with interrupted(Notices.once, position, tell, before="opcode") as left:
            notices.once(log, logging.WARNING, around, around)
        if left:
            break
        assert {within, around} <= set(caplog.messages)

    assert position > 20


def test_a_config_that_gives_no_tracker_leaves_the_run_alone(caplog: pytest.LogCaptureFixture) -> None:
    """An AI Config whose `create_tracker` fails is logged once, and the chain goes on."""

    class Broken:
        def create_tracker(self):
            raise OSError

    handler = LdAiHandler(Broken())

    assert [chain().invoke(QUESTION, {"callbacks": [handler]}) for _ in range(2)] == ["Hello, world"] * 2
    assert len(caplog.records) == 1


def test_an_event_that_makes_no_sense_is_logged_once(
    handler: LdAiHandler, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is raised into the chain, and the run that goes on is not disturbed."""

    class UnreadableBlock(dict[str, str]):
        def items(self):
            raise OSError

    root = start_chain(handler)
    call = start_call(handler, root)

    for _ in range(2):
        handler.on_chain_start(None, {}, run_id=[], metadata={})
        handler.on_chain_end({}, run_id=[])
        handler.on_retry(None, run_id=[])
        handler.on_llm_new_token([UnreadableBlock()], run_id=call)

    handler.on_llm_end(ANSWER, run_id=call)
    handler.on_chain_end({}, run_id=root)
    assert [record.name for record in caplog.records] == ["langchain_ldai._base.guard"] * 4
    assert [report.outcome for report in reports] == [Outcome.SUCCESS]

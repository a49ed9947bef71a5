"""What leads to nothing is said once, in words that name the key or option and the remedy."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator

import pytest
from langgraph.graph import START, MessagesState, StateGraph
from ldai import LDAIClient
from ldclient import AsyncLDClient, Context, LDClient

from langchain_ldai import (
    AsyncLdAiClient,
    LdAiAgentConfigDefault,
    LdAiClient,
    LdAiCompletionConfig,
    LdAiCompletionConfigDefault,
    LdAiHandler,
    LdAiJudgeConfigDefault,
    RunReport,
)
from langchain_ldai.boundary import MAX_NOTICES, Notices
from langchain_ldai.testing import AsyncRecordingClient, LoopbackLaunchDarkly, RecordingClient
from tests.support.chains import AGENT_INPUT, QUESTION, SUCCESS, chain
from tests.support.models import ScriptedChat

USER = Context.create("user-1")
OFF = {"_ldMeta": {"enabled": False}}
ON = {"_ldMeta": {"enabled": True}}


@pytest.fixture(autouse=True)
def everything_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    """Keep what the package logs from INFO on."""
    caplog.set_level(logging.INFO, "langchain_ldai")


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return levels and messages of what the package logged."""
    return [(each.levelname, each.message) for each in caplog.records if each.name.startswith("langchain_ldai")]


KINDS = {
    "completion_config": LdAiCompletionConfigDefault(enabled=True),
    "agent_config": LdAiAgentConfigDefault(enabled=True),
    "judge_config": LdAiJudgeConfigDefault(enabled=True),
    "completion_config_template": LdAiCompletionConfigDefault(enabled=False),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("has_default", [False, True], ids=["no default", "default"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_key_for_which_nothing_is_served_is_told_once(
    kind: str, has_default: bool, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a client and key: WARNING where it is disabled by that, INFO where a default was given."""
    ai = AsyncLdAiClient(AsyncRecordingClient()) if is_async else LdAiClient(RecordingClient())
    given = [KINDS[kind]] if has_default else []

    async def ask() -> None:
        for key in ("misspelt", "misspelt", "other"):
            found = getattr(ai, kind)(key, USER, *given)
            await found if is_async else found

    asyncio.run(ask())

    assert [level for level, _ in told(caplog)] == ["INFO" if has_default else "WARNING"] * 2
    assert "'misspelt'" in caplog.messages[0]
    assert "is targeting on" in caplog.messages[0]
    assert "'other'" in caplog.messages[1]


def test_an_agent_or_a_graph_for_which_nothing_is_served_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Also where the key is that of an agent graph, or of an agent in one, or one of several."""
    flags = {
        "travel": {"root": "plan", "edges": {"plan": [{"key": "bok"}]}},
        "plan": {"_ldMeta": {"mode": "agent"}},
    }
    ai = LdAiClient(RecordingClient(flags))

    ai.agent_graph("desk", USER)
    ai.agent_graph("travel", USER)
    ai.agent_configs(["one"], USER)

    assert [re.findall("for (.*?),", message)[0] for message in caplog.messages] == [
        "agent graph 'desk'",
        "AI Config 'bok'",
        "AI Config 'one'",
    ]


def test_what_is_served_is_not_told(config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture) -> None:
    """A run of a config that is served and enabled leaves no word in the log."""
    chain().invoke(QUESTION, {"callbacks": [LdAiHandler(config)]})

    assert told(caplog) == []


def test_a_plain_flag_in_place_of_an_ai_config_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """An object without `_ldMeta` is served by another kind of flag, whose key was taken by mistake."""
    ai = LdAiClient(RecordingClient({"colours": {"main": "red"}}))

    for _ in range(2):
        ai.completion_config("colours", USER)

    ((level, message),) = told(caplog)
    assert level == "WARNING"
    assert "'colours' has no `_ldMeta`" in message


@pytest.mark.parametrize("make", [LdAiClient, LDAIClient], ids=["ours", "official"])
def test_a_run_that_is_counted_for_a_disabled_config_is_told_once(
    make: Callable[[RecordingClient], LdAiClient | LDAIClient], caplog: pytest.LogCaptureFixture
) -> None:
    """However many runs there are; of ours also where each request makes a handler of its own."""
    ai = make(RecordingClient({"off-bot": OFF}))
    config = ai.completion_config("off-bot", USER)
    shared = LdAiHandler(config)

    for _ in range(2):
        handler = shared if make is LDAIClient else LdAiHandler(ai.completion_config("off-bot", USER))
        chain().invoke(QUESTION, {"callbacks": [handler]})

    ((level, message),) = told(caplog)
    assert level == "WARNING"
    assert "AI Config 'off-bot' is disabled" in message
    assert "config.enabled" in message


def test_a_disabled_agent_graph_and_node_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Each by its key."""
    client = RecordingClient({"travel": {**OFF, "root": "plan", "edges": {}}, "off-bot": OFF})
    ai = LdAiClient(client)
    handler = LdAiHandler(ai.agent_graph("travel", USER), nodes={"writer": ai.completion_config("off-bot", USER)})

    write_with(handler)

    said = [message for _, message in told(caplog)]
    assert "Agent graph 'travel' is disabled" in said[0]
    assert "AI Config 'off-bot' is disabled" in said[1]


@pytest.fixture
def launchdarkly() -> Iterator[LoopbackLaunchDarkly]:
    """A LaunchDarkly for real clients."""
    with LoopbackLaunchDarkly({"bot": ON}, sdk_key="sdk-right") as server:
        yield server


def test_a_client_that_is_closed_is_told_once(
    launchdarkly: LoopbackLaunchDarkly, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever closes it before the last run learns that metrics are lost; once it is opened again, none is."""
    ld = LDClient(launchdarkly.config("sdk-right"))
    handler = LdAiHandler(LdAiClient(ld).completion_config("bot", USER))
    chain().invoke(QUESTION, {"callbacks": [handler]})
    assert told(caplog) == []
    ld.close()

    for _ in range(2):
        chain().invoke(QUESTION, {"callbacks": [handler]})

    ((level, message),) = told(caplog)
    assert level == "WARNING"
    assert "'bot' is counted while the LaunchDarkly client is closed" in message
    assert "Close the client after the last run" in message


def test_an_asynchronous_client_that_is_closed_is_told(
    launchdarkly: LoopbackLaunchDarkly, caplog: pytest.LogCaptureFixture
) -> None:
    """As a synchronous one is."""

    async def run_after_close() -> None:
        async with AsyncLDClient(launchdarkly.async_config("sdk-right")) as ld:
            config = await AsyncLdAiClient(ld).completion_config("bot", USER)
        await chain().ainvoke(QUESTION, {"callbacks": [LdAiHandler(config)]})

    asyncio.run(run_after_close())

    ((_, message),) = told(caplog)
    assert "client is closed" in message


def test_a_client_that_is_not_initialised_is_told_once(
    launchdarkly: LoopbackLaunchDarkly, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong SDK key looks like a flag that is not there, and is not: one line says so, whatever the keys."""
    with LDClient(launchdarkly.config("sdk-wrong"), start_wait=0.1) as ld:
        ai = LdAiClient(ld)
        for key in ("bot", "other"):
            config = ai.completion_config(key, USER, LdAiCompletionConfigDefault(enabled=True))
            chain().invoke(QUESTION, {"callbacks": [LdAiHandler(config)]})

    ((level, message),) = told(caplog)
    assert level == "WARNING"
    assert "'bot' is asked for, or counted, while the LaunchDarkly client has not been initialised" in message


@pytest.mark.parametrize("evaluates", [True, False], ids=["evaluates", "resumes"])
def test_an_asynchronous_client_that_was_not_started_is_told(
    evaluates: bool, launchdarkly: LoopbackLaunchDarkly, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes no event and says nothing; also where a tracker is resumed and no flag evaluated."""
    token = (
        LdAiClient(RecordingClient({"bot": ON})).completion_config("bot", USER).create_tracker().resumption_token
    )

    async def use() -> None:
        ai = AsyncLdAiClient(AsyncLDClient(launchdarkly.async_config("sdk-right")))
        if evaluates:
            await ai.completion_config("bot", USER)
        else:
            ai.create_tracker(token, USER).track_success()

    asyncio.run(use())

    ((_, message),) = told(caplog)
    assert "await client.start()" in message


def test_an_offline_client_is_told(launchdarkly: LoopbackLaunchDarkly, caplog: pytest.LogCaptureFixture) -> None:
    """It serves the defaults and sends nothing: the remedy is not its targeting."""
    with LDClient(launchdarkly.config("sdk-right", offline=True)) as ld:
        config = LdAiClient(ld).completion_config("bot", USER, LdAiCompletionConfigDefault(enabled=True))
        chain().invoke(QUESTION, {"callbacks": [LdAiHandler(config)]})

    ((level, message),) = told(caplog)
    assert level == "INFO"
    assert "client is offline" in message


def test_an_offline_client_without_defaults_is_told_when_it_counts(
    launchdarkly: LoopbackLaunchDarkly, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where nothing was evaluated."""
    token = (
        LdAiClient(RecordingClient({"bot": ON})).completion_config("bot", USER).create_tracker().resumption_token
    )
    with LDClient(launchdarkly.config("sdk-right", offline=True)) as ld:
        LdAiClient(ld).create_tracker(token, USER).track_success()

    assert [level for level, _ in told(caplog)] == ["INFO"]


def test_a_client_that_reads_from_a_store_is_not_told_of(
    launchdarkly: LoopbackLaunchDarkly, caplog: pytest.LogCaptureFixture
) -> None:
    """In daemon mode there is no connection to wait for."""
    token = (
        LdAiClient(RecordingClient({"bot": ON})).completion_config("bot", USER).create_tracker().resumption_token
    )
    with LDClient(launchdarkly.config("sdk-right", use_ldd=True)) as ld:
        LdAiClient(ld).create_tracker(token, USER).track_success()

    assert told(caplog) == []


def test_an_invalid_context_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is served for it, and its targeting is not to blame."""
    LdAiClient(RecordingClient({"bot": ON})).completion_config("bot", Context.create(""))

    assert "'bot' is asked for a context that is invalid" in told(caplog)[-1][1]


def write_with(handler: LdAiHandler, *names: str) -> None:
    """Run a graph of nodes that each call a model."""
    graph = StateGraph(MessagesState)
    last = START
    for name in names or ("writer",):
        graph.add_node(name, lambda state: {"messages": [ScriptedChat().invoke("How?")]})
        graph.add_edge(last, name)
        last = name
    graph.compile().invoke(AGENT_INPUT, {"callbacks": [handler]})


@pytest.mark.parametrize("names", [("writer",), ("writer", "editor")], ids=["no other", "another"])
def test_a_node_that_never_occurs_while_others_do_is_told_once(
    names: tuple[str, ...], config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """It names what was looked for and what was there."""
    handler = LdAiHandler(None, nodes={"writer": config, "editr": config})

    for _ in range(2):
        write_with(handler, *names)

    ((level, message),) = told(caplog)
    assert level == "INFO"
    assert "nodes=: no node of a LangGraph has been called 'editr'" in message
    assert message.endswith(f"The nodes were called {', '.join(map(repr, names))}")


def test_nothing_is_told_where_no_graph_ran(
    config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A chain has no nodes: whether the name is right is not known yet; nor where all of them occurred."""
    handler = LdAiHandler(config, nodes={"writer": config})

    chain().invoke(QUESTION, {"callbacks": [handler]})
    write_with(handler)

    assert told(caplog) == []


@pytest.mark.parametrize(
    ("nodes", "is_told"), [(("plan", "booking"), True), (("planner",), True), (("plan",), False)], ids=str
)
def test_names_that_match_no_agent_of_a_graph_are_told(
    nodes: tuple[str, ...], is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A node with another name than an agent's key may be one misspelt; a run need not visit each agent."""
    agent = {"_ldMeta": {"enabled": True, "mode": "agent"}}
    flags = {"travel": {"root": "plan", "edges": {"plan": [{"key": "book"}]}}, "plan": agent, "book": agent}
    graph = LdAiClient(RecordingClient(flags)).agent_graph("travel", USER)

    write_with(LdAiHandler(graph), *nodes)

    assert [("agent graph 'travel'" in message, "'book'" in message) for _, message in told(caplog)] == [
        (True, True)
    ] * is_told


def asks_for_a_user(metadata: dict[str, str]) -> object:
    """Need metadata that is not there."""
    return metadata["user_id"]


def passes_coroutines(metadata: dict[str, str]) -> object:
    """Return what nobody awaits."""

    async def config() -> None:
        """Do nothing."""

    return config()


FUNCTIONS: dict[str, tuple[dict[str, object], str, int]] = {
    "config": (
        {"config": asks_for_a_user},
        r"The function given for an AI Config failed, this run is not counted .*: KeyError$",
        0,
    ),
    "node": (
        {"nodes": {"writer": asks_for_a_user}},
        r"The function given for nodes\['writer'\] failed, what happens in this node is not counted .*: KeyError$",
        0,
    ),
    "run id": (
        {"run_ids": asks_for_a_user},
        r"The function given for run_ids failed, the run gets a new id .*: KeyError$",
        1,
    ),
    "report": (
        {"on_run_end": lambda report: report.missing},
        r"The function given for on_run_end failed; the run's metrics are recorded .*: AttributeError$",
        1,
    ),
    "awaited config": ({"config": passes_coroutines}, "returned a coroutine, which a callback cannot await$", 0),
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
        write_with(handler)

    ((level, said),) = told(caplog)
    assert level == "ERROR"
    assert re.search(message, said.splitlines()[0])
    assert re.search(r"\[lc_run_id=[0-9a-f-]{36}, run_id=([0-9a-f-]{36}|unknown)\]", said)
    assert len([event for event in client.events if event.name == SUCCESS]) == 2 * counted


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
    from uuid import uuid4

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

    ((_, message),) = told(caplog)
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
    opens, closes = (message for _, message in told(caplog))
    ids = f"[lc_run_id={report.root_run_id}, run_id={report.run_id}]"
    assert opens == f"a run opens: counted for 'support-bot' {ids}"
    assert closes == f"a run closes: counted for 'support-bot', success, model calls: yes {ids}"


def test_debug_tells_of_a_run_that_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """That it is counted for no AI Config explains why nothing comes."""
    caplog.set_level(logging.DEBUG, "langchain_ldai")

    chain().invoke(QUESTION, {"callbacks": [LdAiHandler(lambda metadata: None)]})

    assert ["counted for no AI Config" in message for _, message in told(caplog)] == [True, True]


def test_what_was_told_is_remembered_within_bounds(caplog: pytest.LogCaptureFixture) -> None:
    """Keys that come from data take no memory for ever: the oldest is forgotten, and told again."""
    notices, log = Notices(), logging.getLogger("langchain_ldai.test")

    for number in (*range(MAX_NOTICES + 1), MAX_NOTICES, 0):
        notices.once(log, logging.INFO, number, "key %s", number)

    assert caplog.messages[MAX_NOTICES:] == [f"key {MAX_NOTICES}", "key 0"]

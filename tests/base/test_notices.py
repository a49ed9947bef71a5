"""A key or option without effect is logged once, with its name and the remedy."""

import asyncio
import gc
import logging
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any
from uuid import UUID

import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda
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
)
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.testing import AsyncRecordingClient, LoopbackLaunchDarkly, RecordingClient
from tests.support.chains import QUESTION, chain
from tests.support.events import start_chain
from tests.support.read_log import logged, play_nodes, run_nodes

USER = Context.create("user-1")
OFF = {"_ldMeta": {"enabled": False}}
ON = {"_ldMeta": {"enabled": True}}


@pytest.fixture(autouse=True)
def everything_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    """Keep what the package logs from INFO on."""
    caplog.set_level(logging.INFO, "langchain_ldai")


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

    assert [level for level, _ in logged(caplog)] == ["INFO" if has_default else "WARNING"] * 2
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

    assert logged(caplog) == []


def test_a_plain_flag_in_place_of_an_ai_config_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """An object without `_ldMeta` is served by another kind of flag, whose key was taken by mistake."""
    ai = LdAiClient(RecordingClient({"colours": {"main": "red"}}))

    for _ in range(2):
        ai.completion_config("colours", USER)

    ((level, message),) = logged(caplog)
    assert level == "WARNING"
    assert "'colours' has no `_ldMeta`" in message


@pytest.mark.parametrize(
    "make",
    [LdAiClient, lambda client: LdAiClient(client, ledger=MemoryLedger()), LDAIClient],
    ids=["ours", "with a ledger", "official"],
)
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

    ((level, message),) = logged(caplog)
    assert level == "WARNING"
    assert "AI Config 'off-bot' is disabled" in message
    assert "config.enabled" in message


def test_a_chain_that_calls_no_model_of_a_disabled_config_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """A chain may look at `enabled` itself, as of a handler for all users."""
    ai = LdAiClient(RecordingClient({"off-bot": OFF}))
    handler = LdAiHandler(lambda metadata: ai.completion_config("off-bot", USER))

    def answer(question: object, config: RunnableConfig) -> object:
        return chain() if LdAiHandler.current_config(config).enabled else "The assistant is off."

    assert RunnableLambda(answer).invoke(QUESTION, {"callbacks": [handler]}) == "The assistant is off."
    assert logged(caplog) == []


def test_a_disabled_agent_graph_and_node_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Each by its key."""
    client = RecordingClient({"travel": {**OFF, "root": "plan", "edges": {}}, "off-bot": OFF})
    ai = LdAiClient(client)
    handler = LdAiHandler(ai.agent_graph("travel", USER), nodes={"writer": ai.completion_config("off-bot", USER)})

    run_nodes(handler)

    said = [message for _, message in logged(caplog)]
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
    assert logged(caplog) == []
    ld.close()

    for _ in range(2):
        chain().invoke(QUESTION, {"callbacks": [handler]})

    ((level, message),) = logged(caplog)
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

    ((_, message),) = logged(caplog)
    assert "client is closed" in message


# Before 9.20 the SDK leaves the socket of a stream that was refused to Python's collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_that_is_not_initialised_is_told_once(
    launchdarkly: LoopbackLaunchDarkly, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong SDK key looks like a flag that is not there, and is not: one line says so, whatever the keys."""
    with LDClient(launchdarkly.config("sdk-wrong"), start_wait=0.1) as ld:
        ai = LdAiClient(ld)
        for key in ("bot", "other"):
            config = ai.completion_config(key, USER, LdAiCompletionConfigDefault(enabled=True))
            chain().invoke(QUESTION, {"callbacks": [LdAiHandler(config)]})
    gc.collect()

    (level, message), *given_up = logged(caplog)
    assert level == "WARNING"
    assert "'bot' is asked for, or counted, while the LaunchDarkly client has not been initialised" in message
    if version("launchdarkly-server-sdk") >= "9.20":  # before, the client also says that it has given up
        assert given_up == []


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

    ((_, message),) = logged(caplog)
    assert "await client.start()" in message


def test_an_offline_client_is_told(launchdarkly: LoopbackLaunchDarkly, caplog: pytest.LogCaptureFixture) -> None:
    """It serves the defaults and sends nothing: the remedy is not its targeting."""
    with LDClient(launchdarkly.config("sdk-right", offline=True)) as ld:
        config = LdAiClient(ld).completion_config("bot", USER, LdAiCompletionConfigDefault(enabled=True))
        chain().invoke(QUESTION, {"callbacks": [LdAiHandler(config)]})

    ((level, message),) = logged(caplog)
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

    assert [level for level, _ in logged(caplog)] == ["INFO"]


def test_a_client_that_reads_from_a_store_is_not_told_of(
    launchdarkly: LoopbackLaunchDarkly, caplog: pytest.LogCaptureFixture
) -> None:
    """In daemon mode there is no connection to wait for."""
    token = (
        LdAiClient(RecordingClient({"bot": ON})).completion_config("bot", USER).create_tracker().resumption_token
    )
    with LDClient(launchdarkly.config("sdk-right", use_ldd=True)) as ld:
        LdAiClient(ld).create_tracker(token, USER).track_success()

    assert logged(caplog) == []


def test_an_invalid_context_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is served for it, and its targeting is not to blame."""
    LdAiClient(RecordingClient({"bot": ON})).completion_config("bot", Context.create(""))

    assert "'bot' is asked for a context that is invalid" in logged(caplog)[-1][1]


def test_a_token_under_another_name_is_told_once(
    config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that resumes reads `ldai_resumption_token` alone."""
    handler = LdAiHandler(config, resume=True)
    token = config.create_tracker().resumption_token

    for _ in range(2):
        chain().invoke(QUESTION, {"callbacks": [handler], "metadata": {"resumption_token": token}})

    ((level, message),) = logged(caplog)
    assert level == "WARNING"
    assert "which no handler reads: name it ldai_resumption_token" in message


def test_a_context_without_a_key_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """LaunchDarkly's client takes it for valid, as where the metadata names no user."""
    ai = LdAiClient(RecordingClient({"bot": ON}))

    for _ in range(2):
        ai.completion_config("bot", Context.create({}.get("user_id")))

    ((level, message),) = logged(caplog)
    assert level == "WARNING"
    assert "for a context whose key is None" in message


NO_JSON = {
    "datetime": (datetime(2026, 11, 30), "datetime"),
    "Decimal": (Decimal("1.5"), "Decimal"),
    "NaN": (float("nan"), "float"),
    "in a list": ([{"since": date(2026, 11, 30)}], "list"),
}


@pytest.mark.parametrize(("value", "name"), NO_JSON.values(), ids=NO_JSON)
def test_an_attribute_that_is_no_json_is_told_once(
    value: object, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """LaunchDarkly's client takes the context, and says of the events that it loses neither whose nor why."""
    ai = LdAiClient(RecordingClient({"bot": ON}))
    user = Context.builder("user-1").set("plan", "pro").set("since", value).build()
    company = Context.create("company-1", "company")

    for context in (user, Context.create_multi(company, user)):
        ai.completion_config("bot", context)

    ((level, message),) = logged(caplog)
    assert level == "ERROR"
    assert f"The attribute 'since' of a context is no JSON ({name})" in message


USER_ID: Any = UUID(int=1)
WRONG_BUILT_INS = {
    "key": Context.create(USER_ID),
    "name": Context.builder("user-1").name(USER_ID).build(),
}


@pytest.mark.parametrize(("name", "context"), WRONG_BUILT_INS.items(), ids=WRONG_BUILT_INS)
def test_a_key_or_a_name_that_is_no_json_is_told(
    name: str, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """A user's id comes out of a database as a UUID, which LaunchDarkly's client takes and cannot send."""
    LdAiClient(RecordingClient({"bot": ON})).completion_config("bot", context)

    ((level, message),) = logged(caplog)
    assert level == "ERROR"
    assert f"The attribute {name!r} of a context is no JSON (UUID)" in message
    assert "such as str(id)" in message


def test_a_private_attribute_may_be_anything(caplog: pytest.LogCaptureFixture) -> None:
    """LaunchDarkly's client does not send it, and loses nothing."""
    context = Context.builder("user-1").set("since", date(2026, 11, 30)).private("since").build()

    LdAiClient(RecordingClient({"bot": ON})).completion_config("bot", context)

    assert logged(caplog) == []


@pytest.mark.parametrize("value", ["2026-11-30", 5, True, 1.5, {"a": [None]}, ["a"]])
def test_an_attribute_that_is_json_is_not_told(value: object, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever LaunchDarkly's client can send is right."""
    ai = LdAiClient(RecordingClient({"bot": ON}))

    ai.completion_config("bot", Context.builder("user-1").set("since", value).build())

    assert logged(caplog) == []


@pytest.mark.parametrize(
    ("names", "expected"),
    [(("writer",), "INFO"), (("writer", "editor"), "WARNING")],
    ids=["a branch not taken", "a misspelt name"],
)
def test_a_node_that_never_occurs_while_others_do_is_told_once(
    names: tuple[str, ...], expected: str, config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """It names what was looked for and what was there; a warning if a node without a name may be the one meant."""
    handler = LdAiHandler(None, nodes={"writer": config, "editr": config})

    for _ in range(2):
        run_nodes(handler, *names)

    ((level, message),) = logged(caplog)
    assert level == expected
    assert "nodes=: no node of a LangGraph has been called 'editr'" in message
    assert message.endswith(f"The nodes were called {', '.join(map(repr, names))}")


def test_of_very_many_names_of_nodes_the_first_thousand_are_told(
    config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that makes up names of nodes as it goes does not fill the memory."""
    play_nodes(LdAiHandler(None, nodes={"editr": config}), *(f"node-{number}" for number in range(1_100)))

    ((_, message),) = logged(caplog)
    assert message.count("node-") == 1_000


def test_what_langgraph_itself_calls_a_node_is_not_the_one_that_is_meant(
    config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A condition before the first node, or a node's error handler, does not make a branch not taken a warning."""
    handler = LdAiHandler(None, nodes={"writer": config, "editor": config})

    play_nodes(handler, "__start__", "writer", "__error_handler__writer")

    ((level, message),) = logged(caplog)
    assert level == "INFO"
    assert message.endswith("The nodes were called 'writer'")


def test_a_misspelt_name_is_warned_of_once_its_node_occurs(
    config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """The hint after a run that did not come to the node does not use up the warning."""
    handler = LdAiHandler(None, nodes={"writer": config, "editr": config})

    run_nodes(handler, "writer")
    run_nodes(handler, "writer", "editor")

    assert [level for level, _ in logged(caplog)] == ["INFO", "WARNING"]


@pytest.mark.parametrize(
    ("names", "told"), [(("writr", "editor"), ["'writr'"]), (("writer", "editor"), []), (("editor",), [])], ids=str
)
def test_of_a_run_that_failed_a_name_is_told_only_if_it_is_like_a_nodes(
    names: tuple[str, ...], told: list[str], config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """The nodes that the run did not come to may well have the names that were given."""
    handler = LdAiHandler(None, nodes=dict.fromkeys(names, config))

    for _ in range(2):
        root = start_chain(handler)
        node = start_chain(handler, root, langgraph_node="writer")
        for each in (node, root):
            handler.on_chain_error(RuntimeError(), run_id=each)

    assert [re.search("has been called (.*) so far", said)[1] for _, said in logged(caplog)] == told


def test_a_handler_of_nodes_alone_tells_once_that_a_chain_has_none(
    config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of the chain is counted, and the log says what to give."""
    handler = LdAiHandler(None, nodes={"writer": config})

    for _ in range(2):
        chain().invoke(QUESTION, {"callbacks": [handler]})

    ((level, message),) = logged(caplog)
    assert level == "WARNING"
    assert "a run has had no node of a LangGraph, and nothing is counted of it" in message


def test_nothing_is_told_where_no_graph_ran(
    config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A chain has no nodes: whether the name is right is not known yet; nor where all of them occurred."""
    handler = LdAiHandler(config, nodes={"writer": config})

    chain().invoke(QUESTION, {"callbacks": [handler]})
    run_nodes(handler)

    assert logged(caplog) == []


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

    run_nodes(LdAiHandler(graph), *nodes)

    assert [("agent graph 'travel'" in message, "'book'" in message) for _, message in logged(caplog)] == [
        (True, True)
    ] * is_told

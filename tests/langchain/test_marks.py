"""Where a run's marks show, and whom they must not reach (facts 15 to 28)."""

import pytest
from langchain_core.callbacks import CallbackManager
from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.base import RunnableBinding
from langchain_core.tracers.langchain import LangChainTracer
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from ldclient import Context

from langchain_ldai import (
    LdAiClient,
    LdAiCompletionConfig,
    LdAiCompletionConfigDefault,
    LdAiHandler,
    RunReport,
)
from langchain_ldai.testing import RecordingClient
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import QUESTION, SUCCESS, chain
from tests.support.models import ScriptedChat, ScriptedLLM
from tests.support.observe import COPIES_CONFIGURABLE, TOKEN, EventLog, SilentClient

pytestmark = pytest.mark.asyncio

KEYS = {TOKEN, "ldai_run_id", "ldai_config_key", "ldai_variation_key"}
SERVED = LdAiCompletionConfigDefault(enabled=True)
TWO_PROMPTS = [[HumanMessage("a")], [HumanMessage("bb")]]
v1_is_deprecated = pytest.mark.filterwarnings("ignore:astream_events version='v1' is deprecated")


@pytest.fixture
def resuming(config: LdAiCompletionConfig, reports: list[RunReport]) -> LdAiHandler:
    """A handler that continues runs."""
    return LdAiHandler(config, on_run_end=reports.append, resume=True)


async def test_elements_of_a_batch_share_a_config_and_no_marks(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Each start event has a dict of its own, so marks reach neither siblings nor later calls (fact 15)."""
    before, after, metadata = EventLog(), EventLog(), {"user": "ada"}
    model = ScriptedChat(metadata={"team": "red"})
    its_own = dict(model.metadata)

    for _ in range(2):
        chain(model).batch([QUESTION] * 2, {"callbacks": [before, handler, after], "metadata": metadata})

    assert not any(KEYS & set(seen) for seen in before.copies)
    assert {seen["ldai_run_id"] for seen in after.copies} == {report.run_id for report in reports}
    assert (metadata, model.metadata, len(reports)) == ({"user": "ada"}, its_own, 4)


@each({**INVOKED, **STREAMED})
async def test_a_steps_config_shows_no_marks_and_names_the_run(
    call: Call, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A step's own config is not the events' dict: `current_tracker` names the run there (fact 17)."""
    seen = []

    def look(question: object, config: RunnableConfig) -> object:
        seen.append((KEYS & set(config["metadata"]), LdAiHandler.current_tracker(config).run_id))
        return question

    looking = RunnableLambda(look) | chain()
    await run(call, looking, QUESTION, {"callbacks": [handler], "metadata": {"user": "ada"}})

    assert seen == [(set(), reports[0].run_id)]


async def test_of_merged_handlers_ours_is_told_first(handler: LdAiHandler) -> None:
    """So those that read metadata at a step's start read the marks (fact 175)."""
    others = [EventLog() for _ in range(40)]
    manager = CallbackManager([handler, *others])

    for number in range(len(others)):
        manager = manager.merge(CallbackManager(others[:number]))
        assert manager.handlers[0] is handler


@pytest.mark.parametrize("metadata", [{}, {"user": "ada"}], ids=["no-metadata", "metadata"])
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.filterwarnings("ignore:The `copy` method is deprecated")  # by the collector of langchain-core 0.3
@each(INVOKED)
async def test_a_tracer_sees_the_roots_marks(
    call: Call, place: str, metadata: dict[str, str], handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """It does, but for sync use, before the handler and without metadata, which drops the dict (facts 18, 20)."""
    tracer = RunCollectorCallbackHandler()
    callbacks = [tracer, handler] if place == "before" else [handler, tracer]

    await run(call, chain(), QUESTION, {"callbacks": callbacks, "metadata": metadata})

    shown = tracer.traced_runs[0].extra.get("metadata", {}).get("ldai_run_id")
    hidden = call is INVOKED["invoke"] and place == "before" and not metadata
    assert shown == (None if hidden else reports[0].run_id)


@pytest.mark.parametrize(
    ("place", "metadata", "created", "updated"),
    [("before", {}, False, False), ("before", {"user": "ada"}, False, True), ("after", {}, True, True)],
    ids=["before-without-metadata", "before-with-metadata", "after"],
)
async def test_langsmith_sees_the_marks_of_a_handler_before_it(
    place: str,
    metadata: dict[str, str],
    created: bool,
    updated: bool,
    handler: LdAiHandler,
    reports: list[RunReport],
) -> None:
    """Its tracer takes a snapshot as a run is made, and sends the dict again at the end (fact 19)."""
    client = SilentClient()
    tracer = LangChainTracer(client=client)
    callbacks = [tracer, handler] if place == "before" else [handler, tracer]

    RunnableLambda(lambda question: chain().invoke(question)).invoke(
        QUESTION, {"callbacks": callbacks, "metadata": metadata}
    )

    token = reports[0].resumption_token
    assert client.created[0] == (token if created else None)
    assert client.updated[-1] == (token if updated else None)


@v1_is_deprecated
async def test_v1_events_show_the_marks_below_the_root(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """`astream_events` v1 takes the root's metadata from the config, the others' from their events (fact 22)."""
    stream = chain().astream_events(QUESTION, {"callbacks": [handler]}, version="v1")

    shown = [(event["name"], event["metadata"].get("ldai_run_id")) async for event in stream]

    run_id = reports[0].run_id
    assert {mark for name, mark in shown if name == "RunnableSequence"} == {None}
    assert {mark for name, mark in shown if name != "RunnableSequence"} == {run_id}


@pytest.mark.parametrize("model", [ScriptedChat(), ScriptedLLM()], ids=["chat-model", "legacy-llm"])
async def test_the_prompts_of_one_generate_are_marked_as_they_start(
    model: Runnable, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """They share one dict: each start shows its own run, the dict in the end the last one's (fact 23)."""
    events = EventLog()
    prompts = TWO_PROMPTS if isinstance(model, ScriptedChat) else ["a", "bb"]

    model.generate(prompts, callbacks=[handler, events])

    ids = [report.run_id for report in reports]
    assert [seen["ldai_run_id"] for seen in events.copies] == ids
    assert [seen["ldai_run_id"] for seen in events.metadata] == ids[1:] * 2


async def test_a_continuing_handler_takes_no_mark_for_a_callers_token(
    resuming: LdAiHandler, reports: list[RunReport]
) -> None:
    """With `resume=True` the second prompt does not continue the first one's run (fact 23)."""
    ScriptedChat().generate(TWO_PROMPTS, callbacks=[resuming])

    assert len({report.run_id for report in reports}) == 2


async def test_a_continuing_handler_leaves_another_handlers_marks_alone(
    ai: LdAiClient,
    context: Context,
    resuming: LdAiHandler,
    reports: list[RunReport],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two handlers mark the same dict (new: the later one's marks stay); neither continues the other's run."""
    other = LdAiHandler(ai.completion_config("other", context, SERVED), on_run_end=reports.append)

    chain().invoke(QUESTION, {"callbacks": [other, resuming]})

    assert {report.config_key for report in reports} == {"other", "support-bot"}
    assert [record for record in caplog.records if record.name.endswith("recorder")] == []


async def test_two_handlers_each_make_a_report_and_the_later_ones_marks_show(
    ai: LdAiClient, context: Context, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Both count the run, each for its AI Config; both write the same keys into the same dict (fact 18)."""
    other = LdAiHandler(ai.completion_config("other", context, SERVED), on_run_end=reports.append)
    starts = EventLog()

    chain().invoke(QUESTION, {"callbacks": [other, handler, starts]})

    assert [report.config_key for report in reports] == ["other", "support-bot"]
    assert {seen["ldai_config_key"] for seen in starts.copies} == {"support-bot"}
    assert {seen["ldai_run_id"] for seen in starts.copies} == {reports[1].run_id}


@v1_is_deprecated
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_token_in_the_config_shows_everywhere(
    version: str, config: LdAiCompletionConfig, resuming: LdAiHandler, reports: list[RunReport]
) -> None:
    """`config_factories` give each call its own token, which the root, its steps and v1 see (facts 24, 25)."""
    trackers = [config.create_tracker() for _ in range(2)]
    tokens = iter([tracker.resumption_token for tracker in trackers])
    continued = RunnableBinding(
        bound=chain(), config_factories=[lambda config: {"metadata": {TOKEN: next(tokens)}}]
    )

    for tracker in trackers:
        stream = continued.astream_events(QUESTION, {"callbacks": [resuming]}, version=version)
        assert {event["metadata"][TOKEN] async for event in stream} == {tracker.resumption_token}

    assert [report.run_id for report in reports] == [tracker.run_id for tracker in trackers]


async def test_marks_are_added_to_what_is_there(handler: LdAiHandler) -> None:
    """Values of other keys, nested ones too, stay as they are; the marks themselves are strings (fact 26)."""
    with_ours, without = EventLog(), EventLog()
    metadata = {"user": {"name": "ada"}, "langgraph_path": ("a", 1)}

    chain().invoke(QUESTION, {"callbacks": [without], "metadata": metadata})
    chain().invoke(QUESTION, {"callbacks": [handler, with_ours], "metadata": metadata})

    marks = [{key: seen.pop(key) for key in KEYS} for seen in with_ours.copies]
    assert with_ours.copies == without.copies
    assert all(isinstance(mark, str) for seen in marks for mark in seen.values())


async def test_a_token_among_the_configurables_is_metadata_in_0_3_only(
    config: LdAiCompletionConfig, resuming: LdAiHandler, reports: list[RunReport]
) -> None:
    """LangChain 0.3 copies each scalar of `configurable` into the metadata, 1.x does not (fact 27)."""
    tracker = config.create_tracker()

    chain().invoke(QUESTION, {"callbacks": [resuming], "configurable": {TOKEN: tracker.resumption_token}})

    assert (reports[0].run_id == tracker.run_id) is COPIES_CONFIGURABLE


@each(INVOKED)
async def test_a_callback_manager_is_left_as_it_is(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A manager passed as `callbacks` is copied: its metadata gets no marks, each call is a run (fact 28)."""
    manager = CallbackManager([handler], [handler], metadata={"user": "ada"}, inheritable_metadata={"user": "ada"})

    for _ in range(2):
        await run(call, chain(), QUESTION, {"callbacks": manager})

    assert (manager.metadata, manager.inheritable_metadata) == ({"user": "ada"}, {"user": "ada"})
    assert [client.metrics(report.run_id)[SUCCESS] for report in reports] == [[1], [1]]
    assert len({report.run_id for report in reports}) == 2

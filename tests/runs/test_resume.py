"""A run goes on across a LangGraph interrupt, also in another process; facts 16, 25 and 60 to 63."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from langchain_core.runnables import Runnable
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command
from ldclient import Context

from langchain_ldai import Feedback, LdAiClient, LdAiCompletionConfig, Outcome, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import Track
from tests.support.calls import INVOKED, STREAMED, run
from tests.support.chains import DURATION, SUCCESS
from tests.support.graphs import NOTHING, asks, calls, graph, in_parallel, says, thread
from tests.support.observe import TOKEN
from tests.test_docs import run_recipe

pytestmark = pytest.mark.asyncio

CALLS = {**INVOKED, **STREAMED}
ANSWER = Command(resume="yes")


@asynccontextmanager
async def process(name: str, path: Path) -> AsyncGenerator[Runnable]:
    """Give the graph over a file of checkpoints as a process opens it: it drafts, then asks in a subgraph."""
    nodes = {"drafts": says(), "sub": graph({"asks": asks})}
    if name.startswith("a"):
        async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
            yield graph(nodes, checkpointer=saver)
    else:
        with SqliteSaver.from_conn_string(str(path)) as saver:
            yield graph(nodes, checkpointer=saver)


async def checkpoint_metadata(name: str, opened: Runnable, config: Mapping[str, object]) -> Mapping[str, object]:
    """Return the metadata of a thread's newest checkpoint."""
    state = await opened.aget_state(config) if name.startswith("a") else opened.get_state(config)
    return state.metadata


@pytest.mark.parametrize("name", CALLS)
async def test_a_token_in_the_checkpoint_carries_the_run_over(
    name: str, track: Track, ai: LdAiClient, context: Context, client: RecordingClient, reports, tmp_path: Path
) -> None:
    """Whoever opens the file reads the token back and passes it on: two parts of one run (facts 60, 62, 63)."""
    tracker, path = ai.completion_config("support-bot", context).create_tracker(), tmp_path / "checkpoints"
    async with process(name, path) as opened:
        config = thread(track(resume=True), metadata={TOKEN: tracker.resumption_token})
        await run(CALLS[name], opened, NOTHING, config)

    async with process(name, path) as opened:
        config = thread(track(LdAiClient(client).completion_config("support-bot", context), resume=True))
        token = (await checkpoint_metadata(name, opened, config))[TOKEN]
        await run(CALLS[name], opened, ANSWER, {**config, "metadata": {TOKEN: token}})

    assert [report.outcome for report in reports] == [Outcome.INTERRUPTED, Outcome.SUCCESS]
    assert {report.run_id for report in reports} == {tracker.run_id}
    metrics = client.metrics(tracker.run_id)
    assert metrics[SUCCESS] == [1]
    assert (metrics["$ld:ai:tokens:total"], len(metrics[DURATION])) == ([26, 13], 2)


@pytest.mark.parametrize("name", CALLS)
async def test_marks_of_the_handler_never_reach_a_checkpoint(name: str, track: Track, tmp_path: Path) -> None:
    """Only the caller's metadata is kept, so a token has to be made before the run (facts 16, 25, 62)."""
    async with process(name, tmp_path / "checkpoints") as opened:
        config = thread(track(resume=True), metadata={"user": "ada"})
        await run(CALLS[name], opened, NOTHING, config)

        metadata = await checkpoint_metadata(name, opened, config)

    assert metadata["user"] == "ada"
    assert not any(key.startswith("ldai_") for key in metadata)


async def test_a_token_that_is_not_passed_again_is_lost(
    track: Track, config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """LangGraph applies no metadata from the checkpoint: the resumed part is a run of its own (fact 63)."""
    paused, handler = graph({"asks": asks}, checkpointer=InMemorySaver()), track(resume=True)
    token = config.create_tracker().resumption_token
    paused.invoke(NOTHING, thread(handler, metadata={TOKEN: token}))
    assert paused.get_state(thread(handler)).metadata[TOKEN] == token

    paused.invoke(ANSWER, thread(handler))

    first, second = reports
    assert (first.resumption_token, first.run_id) != (token, second.run_id)
    assert TOKEN not in paused.get_state(thread(handler)).metadata


async def test_a_run_may_be_interrupted_more_than_once(
    track: Track, config: LdAiCompletionConfig, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Three parts are one run as long as each passes the token on (facts 60, 63)."""
    paused = graph({"a": asks, "b": asks}, checkpointer=InMemorySaver())
    token = config.create_tracker().resumption_token

    for value in (NOTHING, ANSWER, ANSWER):
        paused.invoke(value, thread(track(resume=True), metadata={TOKEN: token}))
        token = paused.get_state(thread(track())).metadata[TOKEN]

    (run_id,) = {report.run_id for report in reports}
    assert [report.outcome for report in reports] == [*[Outcome.INTERRUPTED] * 2, Outcome.SUCCESS]
    assert client.metrics(run_id)["$ld:ai:tokens:total"] == [13, 26, 13]


async def test_each_turn_on_a_thread_is_a_run_of_its_own(
    track: Track, config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """The newest checkpoint names the last turn's run: for a new turn, make a new token (fact 63)."""
    talk, handler = graph({"a": says()}, checkpointer=InMemorySaver()), track(resume=True)
    tokens = [config.create_tracker().resumption_token for _ in range(2)]

    for token in tokens:
        talk.invoke(NOTHING, thread(handler, metadata={TOKEN: token}))

    assert [report.resumption_token for report in reports] == tokens
    history = [state.metadata[TOKEN] for state in talk.get_state_history(thread(handler))]
    assert [*dict.fromkeys(history)] == tokens[::-1]


async def test_a_third_process_adds_feedback_to_the_same_run(
    track: Track, ai: LdAiClient, context: Context, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The token in the checkpoint is the run's own: it serves feedback just as well (fact 63)."""
    paused, handler = graph({"asks": asks}, checkpointer=InMemorySaver()), track(resume=True)
    config = ai.completion_config("support-bot", context)
    metadata = {TOKEN: config.create_tracker().resumption_token}
    for value in (NOTHING, ANSWER):
        paused.invoke(value, thread(handler, metadata=metadata))

    token = paused.get_state(thread(handler)).metadata[TOKEN]
    ai.create_tracker(token, context).track_feedback(Feedback.POSITIVE)

    (run_id,) = {report.run_id for report in reports}
    assert client.metrics(run_id)["$ld:ai:feedback:user:positive"] == [1]


async def test_a_function_resumes_the_run_for_its_own_user(
    track: Track, ai: LdAiClient, client: RecordingClient, reports: list[RunReport]
) -> None:
    """One handler for many users: the function's AI Config, with its context, continues the run (fact 56)."""
    handler = track(
        lambda metadata: ai.completion_config("support-bot", Context.create(metadata["user"])), resume=True
    )
    paused = graph({"asks": asks}, checkpointer=InMemorySaver())

    for user in ("ada", "grace"):
        tracker = ai.completion_config("support-bot", Context.create(user)).create_tracker()
        metadata = {"user": user, TOKEN: tracker.resumption_token}
        for value in (NOTHING, ANSWER):
            paused.invoke(value, thread(handler, user, metadata=metadata))

    successes = [(event.context.key, event.data["runId"]) for event in client.events if event.name == SUCCESS]
    assert successes == [("ada", reports[0].run_id), ("grace", reports[2].run_id)]


async def test_named_nodes_open_new_runs_in_each_part(
    track: Track, config: LdAiCompletionConfig, writer: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """The token is the run's: it continues no node, and warns of none (facts 60, 63)."""
    handler = track(resume=True, nodes={"writer": writer})
    nodes = {"writer": asks, "rest": says()}
    paused = graph(nodes, in_parallel(*nodes), checkpointer=InMemorySaver())
    metadata = {TOKEN: config.create_tracker().resumption_token}

    for value in (NOTHING, ANSWER):
        paused.invoke(value, thread(handler, metadata=metadata))

    first, second = reports
    assert first.run_id == second.run_id
    assert first.nodes["writer"].run_id != second.nodes["writer"].run_id
    assert [report.nodes["writer"].summary.tokens for report in reports] == [calls(1)] * 2


async def test_the_recipe_resumes_in_a_process_of_its_own() -> None:
    """The cookbook's recipe runs over a file of checkpoints, in two processes, and checks what arrived."""
    done = run_recipe("resume_after_interrupt")

    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "first process: interrupted, may this go out? Hold the button",
        "second process: success",
    ]
    assert lines[-1] == "as expected: two processes, one run, tokens and duration of each part, one success"

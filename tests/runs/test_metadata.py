"""A run can be named while it runs: in its metadata, and by its reports."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import copy_context

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableLambda

from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler, RunReport
from langchain_ldai._runs.recorder import current_collectors
from langchain_ldai.testing import RecordingClient
from tests.support.chains import AGENT_INPUT, QUESTION, agent, chain
from tests.support.read_log import logged


class Watcher(BaseCallbackHandler):
    """Keeps the metadata of every start event, as a tracer would."""

    def __init__(self) -> None:
        self.seen: list[dict[str, object]] = []

    def on_chain_start(self, serialized, inputs, *, metadata=None, **kwargs) -> None:
        self.seen.append(dict(metadata))

    def on_chat_model_start(self, serialized, messages, *, metadata=None, **kwargs) -> None:
        self.seen.append(dict(metadata))

    def on_tool_start(self, serialized, input_str, *, metadata=None, **kwargs) -> None:
        self.seen.append(dict(metadata))


def marks(report: RunReport) -> dict[str, str]:
    """Return what the metadata of a run's start events is to hold."""
    return {
        "ldai_resumption_token": report.resumption_token,
        "ldai_run_id": report.run_id,
        "ldai_config_key": report.config_key,
        "ldai_variation_key": report.variation_key,
    }


def test_every_start_event_carries_the_runs_token(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """Root, steps, model calls and tools are all marked, since marks do not inherit (fact 16)."""
    watcher = Watcher()

    agent().invoke(AGENT_INPUT, {"callbacks": [handler, watcher]})

    assert len(watcher.seen) > 4
    assert all(marks(reports[0]).items() <= metadata.items() for metadata in watcher.seen)


@pytest.mark.asyncio
async def test_streamed_events_carry_the_runs_token(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """`astream_events` v2 shows the marks on every event, the root's included (facts 20, 21)."""
    events = [event async for event in chain().astream_events(QUESTION, {"callbacks": [handler]}, version="v2")]

    assert all(marks(reports[0]).items() <= event["metadata"].items() for event in events)


def test_an_unknown_variation_is_left_out(client: RecordingClient, context) -> None:
    """A config without a variation key marks its runs without one."""
    watcher = Watcher()
    config = LdAiClient(client).completion_config("no-such-flag", context)

    chain().invoke(QUESTION, {"callbacks": [LdAiHandler(config), watcher]})

    assert all("ldai_variation_key" not in metadata for metadata in watcher.seen)


def test_what_the_user_passes_in_is_left_as_it_is(handler: LdAiHandler) -> None:
    """Inputs, config and metadata compare equal before and after (fact 15)."""
    config = {"callbacks": [handler], "metadata": {"user": "ada"}, "tags": ["a"]}
    question = dict(QUESTION)

    chain().invoke(question, config)

    assert question == QUESTION
    assert config == {"callbacks": [handler], "metadata": {"user": "ada"}, "tags": ["a"]}


def test_collected_runs_are_those_that_start_in_the_block(handler: LdAiHandler) -> None:
    """Nested blocks each get a run; what starts outside, or on another handler, is not theirs."""
    chain().invoke(QUESTION, {"callbacks": [handler]})
    with handler.collect_runs() as outer:
        chain().invoke(QUESTION, {"callbacks": [handler]})
        with handler.collect_runs() as inner:
            chain().invoke(QUESTION, {"callbacks": [handler]})
    chain().invoke(QUESTION, {"callbacks": [handler]})

    assert (len(outer), len(inner)) == (2, 1)
    assert outer[1] is inner[0]


def test_collected_runs_are_one_handlers_own(handler: LdAiHandler, config: LdAiCompletionConfig) -> None:
    """Another handler's runs are not collected."""
    with handler.collect_runs() as runs:
        chain().invoke(QUESTION, {"callbacks": [LdAiHandler(config)]})

    assert runs == []


def test_a_block_without_a_run_says_once_how_to_pass_the_handler(
    handler: LdAiHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """A chain that was called without the handler leaves the list empty, and the log tells why."""
    for _ in range(2):
        with handler.collect_runs():
            chain().invoke(QUESTION)

    told = "collect_runs: no run was seen in this block: pass {'callbacks': [handler]} as the config"
    assert logged(caplog) == [("WARNING", told)]


def test_a_block_that_had_a_run_or_failed_says_nothing(
    handler: LdAiHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """A run without a model call, or that the function leaves alone, is one; an error needs no second word."""
    left_alone = LdAiHandler(lambda metadata: None)
    for each in (handler, left_alone):
        with each.collect_runs():
            RunnableLambda(lambda value: value).invoke(1, {"callbacks": [each]})
    with pytest.raises(ConnectionError), handler.collect_runs():
        raise ConnectionError

    assert logged(caplog) == []


def test_a_run_that_ends_after_the_block_is_collected(handler: LdAiHandler) -> None:
    """A run belongs to the block in which it started, whenever it ends."""
    with handler.collect_runs() as runs:
        stream = chain().stream(QUESTION, {"callbacks": [handler]})
        next(stream)
        assert runs == []
    list(stream)

    assert len(runs) == 1


def test_a_run_that_starts_after_the_block_is_not_collected(handler: LdAiHandler) -> None:
    """Also where a task or a thread has taken the context of the block along."""
    with handler.collect_runs() as runs:
        chain().invoke(QUESTION, {"callbacks": [handler]})
        context = copy_context()

    context.run(chain().invoke, QUESTION, {"callbacks": [handler]})

    assert len(runs) == 1


def test_a_generators_block_may_end_after_one_that_began_later(handler: LdAiHandler) -> None:
    """The end of one generator's block ends no other's, whichever began first."""
    found: dict[str, list[RunReport]] = {}

    def answers(user: str) -> Iterator[object]:
        with handler.collect_runs() as runs:
            found[user] = runs
            while True:
                yield chain().invoke(QUESTION, {"callbacks": [handler]})

    ada, grace = answers("ada"), answers("grace")
    next(ada), next(grace)
    ada.close()
    next(grace), next(grace)
    grace.close()

    assert (len(found["ada"]), len(found["grace"])) == (2, 3)  # the first heard of what ran in its time
    assert current_collectors.get() == ()


def test_generators_that_are_left_leave_no_collector(handler: LdAiHandler) -> None:
    """A generator that was left is closed in another context; a worker that goes on forgets it all the same."""

    async def answer() -> AsyncIterator[object]:
        with handler.collect_runs():
            yield await chain().ainvoke(QUESTION, {"callbacks": [handler]})

    async def work() -> int:
        for _ in range(10):
            async for _answer in answer():
                break
            await asyncio.sleep(0.01)
        return len(current_collectors.get())

    assert asyncio.run(work()) == 1  # the last one's


def test_threads_collect_their_own_runs(handler: LdAiHandler) -> None:
    """On a handler shared by two users, neither gets the other's run."""
    found: dict[str, list[RunReport]] = {}
    both_run = threading.Barrier(2)

    def serve(user: str) -> None:
        with handler.collect_runs() as runs:
            waits = RunnableLambda(lambda value: [value, both_run.wait(60)][0])
            (waits | chain()).invoke(QUESTION, {"callbacks": [handler]})
        found[user] = runs

    threads = [threading.Thread(target=serve, args=(user,)) for user in ("ada", "grace")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (ada,), (grace,) = found["ada"], found["grace"]
    assert ada.run_id != grace.run_id

"""What happens at the edges of a run: late steps, retries, streams without usage, trackers that fail."""

import asyncio
import threading
import time
from collections.abc import Mapping
from concurrent import futures
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import LLMResult
from langchain_core.retrievers import BaseRetriever
from ldai import LDAIClient
from ldclient import Context

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, Outcome, RunReport, TokenUsage
from langchain_ldai.testing import RecordingClient
from tests.support.chains import DURATION, FIRST_TOKEN, QUESTION, TOKENS, TOOL_CALL, chain, counts
from tests.support.events import ANSWER
from tests.support.models import HELLO, ScriptedChat

EMPTY = LLMResult(generations=[])


class Provider(ScriptedChat):
    """A chat model that says whose it is."""

    provider: str

    def _get_ls_params(self, stop=None, **kwargs):
        return {**super()._get_ls_params(stop, **kwargs), "ls_provider": self.provider}


class Asking(BaseRetriever):
    """A retriever that asks a model what to look for."""

    def _get_relevant_documents(self, query, *, run_manager):
        chain().invoke(QUESTION)
        return []


def test_a_model_called_by_a_retriever_is_part_of_the_run(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A retriever is a step like others: what it asks of a model counts for the run."""
    (Asking() | (lambda documents: QUESTION) | chain()).invoke("How?", {"callbacks": [handler]})

    assert [report.model_calls for report in reports] == [2]
    assert counts(client, reports[0].run_id)["$ld:ai:tokens:total"] == [26]


@pytest.mark.parametrize(("provider", "hints"), [("openai", 1), ("azure", 1), ("somebody", 0)])
def test_a_silent_stream_is_explained_once(
    provider: str, hints: int, handler: LdAiHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """One hint a handler names `stream_usage` where an OpenAI-style stream ends without usage (fact 87)."""
    model = Provider(provider=provider, script=[[AIMessageChunk("Hello")], [AIMessageChunk("Hello")], HELLO])

    for _ in range(3):
        list(chain(model).stream(QUESTION, {"callbacks": [handler]}))

    assert len(caplog.records) == hints
    assert all("stream_usage=True" in record.message for record in caplog.records)


def test_retries_within_a_call_are_counted(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """`on_retry` reports an attempt within one model run (fact 47)."""
    call = uuid4()
    handler.on_chat_model_start({}, [[]], run_id=call, metadata={})
    for _ in range(2):
        handler.on_retry(None, run_id=call)
    handler.on_llm_end(EMPTY, run_id=call)

    assert [report.retries for report in reports] == [2]


def test_the_first_event_of_the_v3_protocol_that_carries_something_counts(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """In v3 there are no tokens but events; a start that is empty is passed over (fact 31)."""
    call = uuid4()
    handler.on_chat_model_start({}, [[]], run_id=call, metadata={})
    handler.on_stream_event({"event": "message-start"}, run_id=call)
    assert not [event for event in client.events if event.name == FIRST_TOKEN]

    for _ in range(2):
        handler.on_stream_event({"event": "content-block-delta", "delta": {"text": "Hello"}}, run_id=call)
    handler.on_llm_end(EMPTY, run_id=call)

    assert len(client.metrics(reports[0].run_id)[FIRST_TOKEN]) == 1


def test_a_config_that_gives_no_tracker_leaves_the_run_alone(caplog: pytest.LogCaptureFixture) -> None:
    """An AI Config whose `create_tracker` fails is logged once, and the chain goes on."""

    class Broken:
        def create_tracker(self):
            raise OSError

    handler = LdAiHandler(Broken())

    assert [chain().invoke(QUESTION, {"callbacks": [handler]}) for _ in range(2)] == ["Hello, world"] * 2
    assert len(caplog.records) == 1


def test_an_official_tracker_records_the_first_token(
    client: RecordingClient, context: Context, reports: list[RunReport]
) -> None:
    """With an AI Config of the official package a streamed run has its time to first token too."""
    handler = LdAiHandler(LDAIClient(client).completion_config("support-bot", context), on_run_end=reports.append)

    list(chain().stream(QUESTION, {"callbacks": [handler]}))

    assert len(client.metrics(reports[0].run_id)[FIRST_TOKEN]) == 1


def test_a_step_whose_run_is_given_up_as_it_starts_is_ignored(
    config: LdAiCompletionConfig, client: RecordingClient
) -> None:
    """A node's function that flushes the handler takes the ended run away under the step that is starting."""
    root = uuid4()
    handler = LdAiHandler(config, nodes={"late": lambda metadata: handler.flush() and config})
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_chain_error(ValueError(), run_id=root)
    sent = client.events

    handler.on_chat_model_start({}, [[]], run_id=uuid4(), parent_run_id=root, metadata={"langgraph_node": "late"})

    assert (handler.open_runs, client.events) == (0, sent)


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


def test_a_token_of_what_is_no_model_call_says_nothing(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A chunk under a chain's id, which LangChain does not send, is no first token."""
    root, call = uuid4(), uuid4()
    handler.on_chain_start({}, {}, run_id=root)
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=root)

    handler.on_llm_new_token("Hello", run_id=root)
    handler.on_llm_end(EMPTY, run_id=call)
    handler.on_chain_end({}, run_id=root)

    assert FIRST_TOKEN not in client.metrics(reports[0].run_id)


def test_what_an_evicted_run_did_meanwhile_counts(
    config: LdAiCompletionConfig, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A run that takes another's place has its config looked up first: the other ends only after that."""
    root, call = uuid4(), uuid4()

    def other_thread() -> None:
        handler.on_chat_model_start({}, [[]], run_id=uuid4(), parent_run_id=root, metadata={})
        time.sleep(0.02)

    def choose(metadata: Mapping[str, object]) -> LdAiCompletionConfig:
        if "slow" in metadata:
            thread = threading.Thread(target=other_thread)
            thread.start()
            thread.join()
        return config

    handler = LdAiHandler(choose, on_run_end=reports.append, max_open_runs=1)
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=root, metadata={})
    time.sleep(0.02)
    handler.on_llm_end(ANSWER, run_id=call)

    handler.on_chain_start(None, {}, run_id=uuid4(), metadata={"slow": True})

    assert [report.outcome for report in reports] == [Outcome.ABANDONED]
    assert client.metrics(reports[0].run_id)[DURATION][0] >= 40
    assert TOKENS.items() <= client.metrics(reports[0].run_id).items()


def test_a_step_may_take_the_id_of_its_ended_root(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Below a step that is still open the id is that step's child's; its end is not the root's a second time."""
    root, step = uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_chat_model_start({}, [[]], run_id=step, parent_run_id=root, metadata={})
    handler.on_chain_end({}, run_id=root)
    handler.on_chat_model_start({}, [[]], run_id=root, parent_run_id=step, metadata={})

    handler.on_llm_end(ANSWER, run_id=step)
    handler.on_llm_end(ANSWER, run_id=root)

    assert [(report.outcome, report.summary.tokens) for report in reports] == [
        (Outcome.SUCCESS, TokenUsage(total=26, input=20, output=6))
    ]
    assert handler.open_runs == 0


@pytest.mark.parametrize(("task", "retries"), [("work:1", 0), ("", 1)], ids=["its task", "none"])
def test_a_step_below_an_ended_root_is_a_retry_only_in_another_task(
    handler: LdAiHandler, reports: list[RunReport], task: str, retries: int
) -> None:
    """Which task the root was in is known after its end: its own task does not begin anew below it."""
    root, step, call = uuid4(), uuid4(), uuid4()
    inside = {"langgraph_node": "work", "langgraph_checkpoint_ns": "work:1"}
    handler.on_chain_start(None, {}, run_id=root, metadata=inside if task else {})
    handler.on_chain_start(None, {}, run_id=step, parent_run_id=root, metadata={**inside})
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=step, metadata={**inside})
    handler.on_chain_end({}, run_id=root)

    handler.on_chain_start(None, {}, run_id=uuid4(), parent_run_id=root, metadata={**inside})
    handler.on_llm_end(EMPTY, run_id=call)

    assert [report.retries for report in reports] == [retries]


def test_a_task_that_succeeded_is_no_retry_when_it_starts_again(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """As the tasks of a subgraph do whose own node is retried: only the node's attempt is repeated."""
    root, first = uuid4(), uuid4()
    task = {"langgraph_checkpoint_ns": "outer:1|inner:2"}
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_chain_start(None, {}, run_id=first, parent_run_id=root, metadata={**task})
    handler.on_chain_end({}, run_id=first)

    handler.on_chat_model_start({}, [[]], run_id=(again := uuid4()), parent_run_id=root, metadata={**task})
    handler.on_llm_end(EMPTY, run_id=again)
    handler.on_chain_end({}, run_id=root)

    assert [report.retries for report in reports] == [0]


def test_an_event_that_makes_no_sense_is_logged_once(
    handler: LdAiHandler, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is raised into the chain, and the run that goes on is not disturbed."""
    root, call = uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=root, metadata={})

    for _ in range(2):
        handler.on_chain_start(None, {}, run_id=[], metadata={})
        handler.on_chain_end({}, run_id=[])

    handler.on_llm_end(ANSWER, run_id=call)
    handler.on_chain_end({}, run_id=root)
    assert [record.name for record in caplog.records] == ["langchain_ldai._base.guard"] * 2
    assert [report.outcome for report in reports] == [Outcome.SUCCESS]


def test_tags_may_be_anything(handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]) -> None:
    """LangChain takes tags that are no text: nothing is lost by them."""
    root, call, tool = uuid4(), uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata={}, tags=[1])
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=root, tags=[None], metadata={})
    handler.on_tool_start("search", "", run_id=uuid4(), parent_run_id=root)  # not as LangChain serializes a tool
    handler.on_tool_start({"name": "search"}, "", run_id=tool, parent_run_id=root, tags=[("a", 1)], metadata={})
    handler.on_llm_end(ANSWER, run_id=call)
    handler.on_chain_end({}, run_id=root)

    assert client.metrics(reports[0].run_id)[TOOL_CALL] == [1]


@pytest.mark.parametrize("error", [asyncio.CancelledError, futures.CancelledError])
def test_either_cancelled_error_is_a_cancellation(
    error: type[BaseException], handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """`asyncio` has one, and what waits for `run_coroutine_threadsafe` raises that of `concurrent.futures`."""
    root, call = uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=root, metadata={})
    handler.on_llm_end(ANSWER, run_id=call)
    handler.on_chain_error(error(), run_id=root)

    assert [report.outcome for report in reports] == [Outcome.CANCELLED]

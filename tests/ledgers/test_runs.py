"""Runs that go on, or are run again, in another process that shares the ledger."""

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from ldai import LDAIClient
from ldclient import Context

from langchain_ldai import Feedback, LdAiClient, LdAiHandler, RunReport, TokenUsage
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG
from tests.ledgers.fakes import Held
from tests.support.chains import (
    AGENT_INPUT,
    DURATION,
    ERROR,
    FIRST_TOKEN,
    POSITIVE,
    QUESTION,
    SUCCESS,
    TOKENS,
    TOOL_CALL,
    agent,
    chain,
    counts,
)
from tests.support.graphs import NOTHING, graph, says
from tests.support.observe import TOKEN

Process = Callable[[], LdAiClient]


@pytest.fixture
def process(client: RecordingClient) -> Process:
    """A maker of clients as each process has one of its own, all with one ledger."""
    client.set_flag("writer", FLAG)
    client.set_flag("travel", {"root": "writer", "edges": {}})
    ledger = MemoryLedger()
    return lambda: LdAiClient(client, ledger=ledger)


def stream(ai: LdAiClient, context: Context, reports: list[RunReport], then=str, **options: object) -> None:
    """Stream a chain with a handler of its own, as a process does, and wait for the ledger."""
    config = {key: options.pop(key) for key in ("metadata", "run_id") if key in options}
    handler = LdAiHandler(ai.completion_config("support-bot", context), on_run_end=reports.append, **options)
    try:
        list((chain() | then).stream(QUESTION, {"callbacks": [handler], **config}))
    finally:
        assert handler.flush(timeout=10)


def test_each_part_of_a_continued_run_sends_its_own_tokens_and_duration(
    process: Process, client: RecordingClient, context: Context, reports: list[RunReport]
) -> None:
    """Three parts of one run: tokens and duration three times, first token, outcome and feedback once."""
    stream(process(), context, reports)
    token = reports[0].resumption_token
    for _ in range(2):
        stream(process(), context, reports, resume=True, metadata={TOKEN: token})
    for _ in range(2):
        assert process().create_tracker(token, context).record_feedback(Feedback.POSITIVE).result(10) in (
            True,
            False,
        )

    metrics = client.metrics(reports[0].run_id)
    assert len(metrics.pop(DURATION)) == 3
    assert len(metrics.pop(FIRST_TOKEN)) == 1
    assert metrics == {SUCCESS: [1], POSITIVE: [1], **{name: values * 3 for name, values in TOKENS.items()}}


def test_a_part_that_is_run_again_is_the_same_part(
    process: Process, client: RecordingClient, context: Context, reports: list[RunReport]
) -> None:
    """A server that repeats a part of a run, under the same root id, adds nothing to it."""
    token = process().completion_config("support-bot", context).create_tracker().resumption_token
    root = uuid4()
    for _ in range(2):
        stream(process(), context, reports, resume=True, metadata={TOKEN: token}, run_id=root)

    assert counts(client, reports[0].run_id) == {SUCCESS: [1], **TOKENS}


def test_what_a_run_has_sent_is_not_sent_by_its_token(
    process: Process, client: RecordingClient, context: Context, reports: list[RunReport]
) -> None:
    """Whoever resumes a finished run cannot add a second outcome, duration or tokens to it."""
    stream(process(), context, reports)
    before = client.events

    ai = process()
    tracker = ai.create_tracker(reports[0].resumption_token, context)
    tracker.track_tokens(TokenUsage(3, 2, 1))
    tracker.track_duration(1)
    tracker.track_error()
    ai.close()

    assert [event.name for event in client.events[len(before) :]] == ["$ld:ai:sdk:info"]


@pytest.mark.parametrize("ledger", [True, False], ids=["ledger", "no-ledger"])
def test_a_run_may_have_its_roots_id(
    ledger: bool, ai: LdAiClient, process: Process, client: RecordingClient, context: Context, reports
) -> None:
    """With `run_ids="root"` the `runId` is LangChain's id of the root."""
    root = uuid4()

    stream(process() if ledger else ai, context, reports, run_ids="root", run_id=root)

    assert reports[0].run_id == str(reports[0].root_run_id) == str(root)
    assert counts(client, str(root)) == {SUCCESS: [1], **TOKENS}


def test_a_run_that_a_server_repeats_sends_nothing_twice(
    process: Process, client: RecordingClient, context: Context, reports: list[RunReport]
) -> None:
    """The first attempt fails after its tokens, the second, in another process, succeeds: one of each metric."""
    root = uuid4()
    with pytest.raises(ZeroDivisionError):
        stream(process(), context, reports, lambda answer: 1 / 0, run_ids="root", run_id=root)

    stream(process(), context, reports, run_ids="root", run_id=root)

    assert [report.run_id for report in reports] == [str(root)] * 2
    assert counts(client, str(root)) == {ERROR: [1], **TOKENS}


def test_tool_calls_of_a_run_that_a_server_repeats_count_in_each_attempt(
    process: Process, client: RecordingClient, context: Context, reports: list[RunReport]
) -> None:
    """A tool call has no slot to claim, as a run makes many: what the page on processes says of repeated runs."""
    root = uuid4()
    for _ in range(2):
        config = process().completion_config("support-bot", context)
        handler = LdAiHandler(config, on_run_end=reports.append, run_ids="root")
        agent().invoke(AGENT_INPUT, {"callbacks": [handler], "run_id": root})
        assert handler.flush(timeout=10)

    assert (client.metrics(str(root))[TOOL_CALL], client.metrics(str(root))[SUCCESS]) == ([1, 1], [1])


@pytest.mark.parametrize("is_continued", [False, True], ids=["begun", "continued"])
def test_a_server_may_keep_its_id_of_a_run_in_the_metadata(
    is_continued: bool, process: Process, client: RecordingClient, context: Context, reports: list[RunReport]
) -> None:
    """Where each attempt has a root of another id, a function finds the run's; a part that is repeated is one."""
    options = {"run_ids": lambda metadata: metadata.get("server_run"), "resume": is_continued}
    metadata = {"server_run": "run-7"}
    if is_continued:
        token = process().completion_config("support-bot", context).create_tracker().resumption_token
        metadata[TOKEN] = token
    for _ in range(2):
        stream(process(), context, reports, metadata=dict(metadata), **options)

    assert reports[0].root_run_id != reports[1].root_run_id
    assert (reports[0].run_id == "run-7") is not is_continued
    assert counts(client, reports[0].run_id) == {SUCCESS: [1], **TOKENS}
    stream(process(), context, reports, **options)
    assert reports[2].run_id not in ("run-7", reports[0].run_id, str(reports[2].root_run_id))


def test_a_caller_s_token_goes_before_the_roots_id(
    process: Process, context: Context, reports: list[RunReport]
) -> None:
    """With both options a run that brings a token goes on under that token's id."""
    tracker = process().completion_config("support-bot", context).create_tracker()

    stream(process(), context, reports, resume=True, run_ids="root", metadata={TOKEN: tracker.resumption_token})

    assert reports[0].run_id == tracker.run_id


def test_named_nodes_of_a_run_that_is_repeated_have_the_same_ids(
    process: Process, client: RecordingClient, context: Context, reports: list[RunReport]
) -> None:
    """With `run_ids="root"` a node's id follows from the root's, and is another than the run's."""
    root = uuid4()
    for _ in range(2):
        ai = process()
        handler = LdAiHandler(
            ai.completion_config("support-bot", context),
            nodes={"writer": ai.completion_config("writer", context)},
            on_run_end=reports.append,
            run_ids="root",
        )
        graph({"writer": says(), "other": says()}).invoke(NOTHING, {"callbacks": [handler], "run_id": root})
        assert handler.flush()

    nodes = [report.nodes["writer"].run_id for report in reports]
    assert len(set(nodes)) == 1
    assert str(UUID(nodes[0])) == nodes[0] != str(root)
    assert counts(client, nodes[0]) == counts(client, str(root)) == {SUCCESS: [1], **TOKENS}


def test_an_agent_graph_claims_and_repeats_as_a_run_does(
    process: Process, client: RecordingClient, context: Context, reports: list[RunReport]
) -> None:
    """The graph's run has the root's id as well; its second attempt sends no metric, and its parts their own."""
    root = uuid4()
    for _ in range(2):
        handler = LdAiHandler(process().agent_graph("travel", context), on_run_end=reports.append, run_ids="root")
        graph({"writer": says()}).invoke(NOTHING, {"callbacks": [handler], "run_id": root})
        assert handler.flush()
    handler = LdAiHandler(process().agent_graph("travel", context), on_run_end=reports.append, resume=True)
    metadata = {TOKEN: reports[0].resumption_token}
    graph({"writer": says()}).invoke(NOTHING, {"callbacks": [handler], "metadata": metadata})
    assert handler.flush()

    assert [report.run_id for report in reports] == [str(root)] * 3
    metrics = client.metrics(str(root))
    assert {name: len(values) for name, values in metrics.items()} == {
        "$ld:ai:graph:invocation_success": 1,
        "$ld:ai:graph:duration:total": 2,
        "$ld:ai:graph:total_tokens": 2,
        "$ld:ai:graph:path": 2,
        "$ld:ai:graph:node": 2,
    }


def test_run_ids_of_roots_need_a_config_that_takes_them(client: RecordingClient, context: Context) -> None:
    """A config of the official package is refused at construction; from a function it opens runs of new ids."""
    official = LDAIClient(client).completion_config("support-bot", context)
    with pytest.raises(TypeError, match="run_ids needs an AI Config with resume_tracker"):
        LdAiHandler(official, run_ids="root")

    handler = LdAiHandler(lambda metadata: official, run_ids="root")
    with handler.collect_runs() as runs:
        chain().invoke(QUESTION, {"callbacks": [handler]})

    assert runs[0].run_id != str(runs[0].root_run_id)


class Resumable:
    """An AI Config of another make that can be continued."""

    def __init__(self, client: RecordingClient, context: Context) -> None:
        self.official, self.context = LDAIClient(client), context

    def create_tracker(self, *, run_id: str | None = None) -> object:
        """Return a tracker of a new run."""
        return self.official.completion_config("support-bot", self.context).create_tracker()

    def resume_tracker(self, token: str) -> object:
        """Return a tracker of the run that a token names."""
        return self.official.create_tracker(token, self.context).value


def test_an_ai_config_of_another_make_may_be_continued(
    process: Process, client: RecordingClient, context: Context
) -> None:
    """Whatever has `resume_tracker` can be; the official package's trackers know no parts."""
    handler = LdAiHandler(Resumable(client, context), resume=True)
    tracker = process().completion_config("support-bot", context).create_tracker()
    metadata = {TOKEN: tracker.resumption_token}

    with handler.collect_runs() as runs:
        chain().invoke(QUESTION, {"callbacks": [handler], "metadata": metadata})

    assert runs[0].run_id == tracker.run_id
    assert counts(client, tracker.run_id) == {SUCCESS: [1], **TOKENS}


def test_run_ids_are_new_or_the_roots(ai: LdAiClient, context: Context) -> None:
    """Another value is refused at construction."""
    with pytest.raises(
        ValueError, match='run_ids is "new", "root" or a function from metadata to an id, not \'mine\''
    ):
        LdAiHandler(ai.completion_config("support-bot", context), run_ids="mine")


def test_flush_waits_for_every_ledger(client: RecordingClient, context: Context) -> None:
    """A handler for AI Configs of several clients waits for them all, as long as it is told."""
    ledgers = [Held(), Held()]
    clients = [LdAiClient(client, ledger=ledger) for ledger in ledgers]
    configs = iter([ai.completion_config("support-bot", context) for ai in clients])
    handler = LdAiHandler(lambda metadata: next(configs))
    for _ in ledgers:
        chain().invoke(QUESTION, {"callbacks": [handler]})

    ledgers[0].gate.set()
    assert not handler.flush(timeout=0.01)
    ledgers[1].gate.set()

    assert handler.flush(timeout=10)
    assert len([event for event in client.events if event.name == SUCCESS]) == 2

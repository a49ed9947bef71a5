"""The handler closes runs that end late or never, and sends what it knows of them."""

import asyncio
import gc
import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from uuid import UUID, uuid4

import pytest
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, Outcome, RunReport
from langchain_ldai._runs import lifetime as table
from langchain_ldai._runs import recently_ended as left
from langchain_ldai.testing import RecordingClient
from tests.runs.ends.stopping import Slow
from tests.support.chains import DURATION, QUESTION, TOKENS, chain, counts
from tests.support.cost import no_garbage_collection
from tests.support.events import ANSWER, NO_ANSWER, call_model, start_call, start_chain
from tests.support.graphs import NeverOpens
from tests.support.interrupting import interrupted
from tests.support.models import GREETING, ScriptedChat
from tests.support.threads import join_threads, start_no_thread, threads_named


def open_run(handler: LdAiHandler) -> tuple[UUID, UUID]:
    """Start a chain and a model call in it; return both ids."""
    root = start_chain(handler)
    return root, start_call(handler, root)


def waiting_threads() -> list[threading.Timer]:
    """Return the timer's threads, but for those that are about to end."""
    return [thread for thread in threads_named("wait") if not thread.finished.is_set()]


def test_a_sync_stream_closed_early_is_cancelled_and_its_late_tokens_count(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """LangChain ends the root like a success, then drains the model: outcome cancelled, tokens sent (fact 72)."""
    stream = chain().stream(QUESTION, {"callbacks": [handler]})
    next(stream)
    stream.close()

    (report,) = reports
    assert report.outcome is Outcome.CANCELLED
    assert counts(client, report.run_id) == TOKENS
    join_threads("wait")


@pytest.mark.asyncio
async def test_a_cancelled_chain_is_closed_by_a_flush(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A cancelled call never ends (fact 69): `flush` sends what is known, with neither success nor error."""
    gate = NeverOpens()
    task = asyncio.create_task(chain(ScriptedChat(gate=gate)).ainvoke(QUESTION, {"callbacks": [handler]}))
    await gate.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert reports == []
    assert len(waiting_threads()) == 1
    assert handler.flush()

    (report,) = reports
    assert report.outcome is Outcome.CANCELLED
    assert set(client.metrics(report.run_id)) == {DURATION}
    join_threads("wait")


def test_a_call_that_never_ends_holds_its_run_for_a_bounded_time(
    config: LdAiCompletionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the wait a timer closes each run in its turn, and then the timer's thread ends."""
    ended: queue.Queue[RunReport] = queue.Queue()
    handler = LdAiHandler(config, on_run_end=ended.put)
    roots = []
    for seconds in (0.1, 0.3):
        monkeypatch.setattr(table, "WAIT_SECONDS", seconds)
        root, _ = open_run(handler)
        roots.append(root)
        handler.on_chain_end({}, run_id=root)

    reports = [ended.get(timeout=20) for _ in range(2)]

    assert [report.root_run_id for report in reports] == roots
    join_threads("wait")


def test_the_oldest_run_gives_way_to_one_too_many(
    config: LdAiCompletionConfig, client: RecordingClient, reports: list[RunReport]
) -> None:
    """At `max_open_runs` the handler closes the oldest run as abandoned and ignores its later events."""
    handler = LdAiHandler(config, on_run_end=reports.append, max_open_runs=2)
    (oldest, call), *_ = [open_run(handler) for _ in range(3)]

    handler.on_llm_end(NO_ANSWER, run_id=call)
    handler.on_chain_end({}, run_id=oldest)

    (report,) = reports
    assert (report.root_run_id, report.outcome) == (oldest, Outcome.ABANDONED)
    assert set(client.metrics(report.run_id)) == {DURATION}


@pytest.mark.parametrize("event", ["start", "end"])
def test_a_silent_run_is_given_up_when_another_opens(
    event: str, config: LdAiCompletionConfig, reports: list[RunReport], take_seconds: Callable[[float], None]
) -> None:
    """The handler abandons a run that had neither a start nor an end for `run_timeout`, and no other."""
    handler = LdAiHandler(config, on_run_end=reports.append, run_timeout=10.0)
    silent, _ = open_run(handler)
    busy, call = open_run(handler)
    take_seconds(9.0)
    if event == "start":
        start_call(handler, busy)
    else:
        handler.on_llm_end(NO_ANSWER, run_id=call)
    take_seconds(9.0)

    open_run(handler)

    assert [report.root_run_id for report in reports] == [silent]


def test_a_flush_gives_up_silent_runs_and_leaves_the_others(
    config: LdAiCompletionConfig, reports: list[RunReport], take_seconds: Callable[[float], None]
) -> None:
    """`flush` closes no run that is still at work."""
    handler = LdAiHandler(config, on_run_end=reports.append, run_timeout=10.0)
    silent, _ = open_run(handler)
    take_seconds(15.0)
    open_run(handler)
    del reports[:]

    handler.flush()
    assert reports == []
    take_seconds(15.0)
    handler.flush()

    assert len(reports) == 1
    assert reports[0].root_run_id != silent


class Response:
    """What a web framework answers with: a part of a circle, as such objects are."""

    def __init__(self, body: Iterator[object]) -> None:
        self.body, self.itself = body, self
        next(body)


@pytest.fixture
def idle() -> Iterator[None]:
    """An idle process: it makes nothing new, and so Python collects nothing by itself."""
    with no_garbage_collection():
        yield


@pytest.mark.parametrize("end", [LdAiHandler.flush, LdAiHandler.close], ids=["flush", "close"])
@pytest.mark.parametrize("timeout", [None, 20], ids=["no-limit", "limit"])
@pytest.mark.parametrize("shape", [chain, ScriptedChat], ids=["chain", "model"])
def test_a_stream_that_was_dropped_ends_first(
    end: Callable[..., bool],
    timeout: float | None,
    shape: Callable[[], Runnable],
    idle: None,
    handler: LdAiHandler,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """Nobody can read the stream any more: both collect it, and its run is cancelled, not abandoned."""
    Response(shape().stream(QUESTION if shape is chain else "How?", {"callbacks": [handler]}))
    assert (reports, handler.open_runs) == ([], 1)

    assert end(handler, timeout)

    assert [report.outcome for report in reports] == [Outcome.CANCELLED]
    assert DURATION in client.metrics(reports[0].run_id)
    assert handler.open_runs == 0


@pytest.mark.parametrize(("end", "is_done"), [(LdAiHandler.flush, False), (LdAiHandler.close, True)])
def test_a_dropped_stream_that_takes_long_to_end_holds_nobody_up(
    end: Callable[..., bool], is_done: bool, idle: None, config: LdAiCompletionConfig
) -> None:
    """LangChain reads the model to its end (fact 72); both keep to `timeout` and report the run all the same."""
    may_go_on, reports = threading.Event(), queue.SimpleQueue[RunReport]()
    handler = LdAiHandler(config, on_run_end=reports.put)
    Response(chain(Slow(script=[GREETING], may_go_on=may_go_on)).stream(QUESTION, {"callbacks": [handler]}))

    assert end(handler, 0.2) is is_done

    (collector,) = threads_named("collect")
    reports.get(timeout=20)
    may_go_on.set()
    collector.join()
    assert handler.flush(20)
    assert reports.empty()


def test_where_python_starts_no_thread_any_more_nothing_is_collected(
    idle: None, handler: LdAiHandler, reports: list[RunReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collecting a stream could hold the process up: `flush` leaves it alone, and `close` reports its run."""
    Response(chain().stream(QUESTION, {"callbacks": [handler]}))
    monkeypatch.setattr(threading.Thread, "start", start_no_thread)

    assert not handler.flush(20)
    assert reports == []
    assert handler.close(20)
    assert [report.outcome for report in reports] == [Outcome.ABANDONED]


def test_a_flush_may_wait_without_end(handler: LdAiHandler) -> None:
    """Infinity is a number of seconds, too."""
    start_chain(handler)

    assert handler.flush(float("inf"))


@pytest.mark.parametrize("timeout", [None, 0.0, 20.0])
def test_a_flush_closes_no_run_that_is_at_work(
    timeout: float | None, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """However often `flush` is called, the run goes on and is reported once, with all that it did."""
    stream = chain().stream(QUESTION, {"callbacks": [handler]})
    next(stream)
    for _ in range(2):
        handler.flush(timeout)
        assert reports == []

    list(stream)

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]
    assert counts(client, reports[0].run_id) == {"$ld:ai:generation:success": [1], **TOKENS}


def test_a_flush_does_not_count_as_silence(
    config: LdAiCompletionConfig,
    reports: list[RunReport],
    monkeypatch: pytest.MonkeyPatch,
    take_seconds: Callable[[float], None],
) -> None:
    """`flush` measures a run's silence at its call: the time that collecting takes does not count."""
    monkeypatch.setattr(gc, "collect", lambda: take_seconds(20.0))
    handler = LdAiHandler(config, on_run_end=reports.append, run_timeout=10.0)
    open_run(handler)

    assert handler.flush()

    assert reports == []


def test_a_close_tells_every_open_run(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """At the end of a process `close` sends what is known of each run, as abandoned, and ignores later events."""
    stream = chain().stream(QUESTION, {"callbacks": [handler]})
    next(stream)
    waiting, _ = open_run(handler)
    handler.on_chain_end({}, run_id=waiting)

    assert handler.close()
    sent = client.events
    list(stream)

    assert sorted(report.outcome for report in reports) == [Outcome.ABANDONED, Outcome.SUCCESS]
    assert all(DURATION in client.metrics(report.run_id) for report in reports)
    assert client.events == sent
    assert handler.open_runs == 0


def test_a_handler_may_be_used_after_its_close(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """The handler reports runs that start after `close` as before, and a second `close` does no harm."""
    assert [handler.close(), handler.close(0)] == [True, True]

    chain().invoke(QUESTION, {"callbacks": [handler]})

    assert [report.outcome for report in reports] == [Outcome.SUCCESS]
    assert counts(client, reports[0].run_id)["$ld:ai:generation:success"] == [1]


def test_a_close_within_a_run_does_not_disturb_the_chain(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """The chain goes on to its end, and its run is reported once, as it was at `close`."""
    steps = chain() | RunnableLambda(lambda answer: handler.close() and answer) | ScriptedChat()

    assert steps.invoke(QUESTION, {"callbacks": [handler]}).content == "Hello, world"
    assert [(report.outcome, report.model_calls) for report in reports] == [(Outcome.ABANDONED, 1)]


@pytest.mark.parametrize("error", [ValueError(), None], ids=["failed", "ended"])
def test_a_model_call_below_a_run_that_has_just_ended_opens_no_run(
    error: Exception | None, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Branches and tasks of an ended run may still call models, at any depth: no call opens a run (fact 76)."""
    root, call = open_run(handler)
    handler.on_llm_end(NO_ANSWER, run_id=call)
    if error:
        handler.on_chain_error(error, run_id=root)
    else:
        handler.on_chain_end({}, run_id=root)
    sent = client.events

    late = start_call(handler, start_chain(handler, root))
    handler.on_llm_new_token("x", run_id=late)
    handler.on_tool_start({"name": "search"}, "", run_id=uuid4(), parent_run_id=late, metadata={})
    handler.on_llm_end(NO_ANSWER, run_id=late)

    assert (len(reports), client.events) == (1, sent)


def test_one_root_seen_twice_at_the_same_time_is_one_run(
    config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """While the AI Config of a root is being found, the same event may come once more (facts 96, 97)."""
    again: list[UUID] = []

    def config_for(metadata):
        if again:
            handler.on_chain_start(None, {}, run_id=again.pop(), metadata={})
        return config

    handler = LdAiHandler(config_for, on_run_end=reports.append)
    root = uuid4()
    again.append(root)

    handler.on_chain_start(None, {}, run_id=root, metadata={})
    call_model(handler, root)
    handler.on_chain_end({}, run_id=root)

    assert [(report.outcome, report.model_calls) for report in reports] == [(Outcome.SUCCESS, 1)]
    assert handler.open_runs == 0


def test_a_root_that_ended_some_time_ago_has_no_late_runs(
    config: LdAiCompletionConfig,
    reports: list[RunReport],
    monkeypatch: pytest.MonkeyPatch,
    take_seconds: Callable[[float], None],
) -> None:
    """Other runs, and not time, make the handler forget a root; its id is then an unknown parent's (fact 112)."""
    monkeypatch.setattr(left, "ROOTS", 4)
    handler = LdAiHandler(config, on_run_end=reports.append)

    def end(parent: UUID | None = None) -> UUID:
        root = parent or start_chain(handler)
        call_model(handler, root)
        if parent is None:
            handler.on_chain_end({}, run_id=root)
        return root

    older, newer = end(), end()
    take_seconds(100_000.0)
    for _ in range(3):
        end(newer)
    end(older)
    assert len(reports) == 2
    for _ in range(5):
        end()
    end(older)

    assert len(reports) == 8


def test_an_id_may_be_used_again_once_its_run_has_ended(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """A root under an id whose run has ended is a new run, after a failure too (fact 12)."""
    reused = uuid4()
    for error in (None, ValueError(), None):
        handler.on_chat_model_start({}, [[]], run_id=reused, metadata={})
        if error:
            handler.on_llm_error(error, run_id=reused)
        else:
            handler.on_llm_end(NO_ANSWER, run_id=reused)

    assert [report.outcome for report in reports] == [Outcome.SUCCESS, Outcome.ERROR, Outcome.SUCCESS]
    assert len({report.run_id for report in reports}) == 3


def test_the_same_event_twice_counts_once(config: LdAiCompletionConfig, client: RecordingClient) -> None:
    """A handler bound and passed gets the root's events twice (fact 96), and counts them once."""
    reports: list[RunReport] = []
    handler = LdAiHandler(config, on_run_end=reports.append)

    chain().with_config(callbacks=[handler]).invoke(QUESTION, {"callbacks": [handler, handler]})

    assert len(reports) == 1
    assert counts(client, reports[0].run_id) == {"$ld:ai:generation:success": [1], **TOKENS}


def test_events_of_unknown_runs_are_ignored(handler: LdAiHandler, caplog: pytest.LogCaptureFixture) -> None:
    """An end, a token or a retry of a run that the handler never saw start does nothing."""
    unknown = uuid4()
    handler.on_llm_new_token("x", run_id=unknown)
    handler.on_stream_event({"event": "message-start"}, run_id=unknown)
    handler.on_llm_end(NO_ANSWER, run_id=unknown)
    handler.on_llm_error(ValueError(), run_id=unknown)
    handler.on_tool_end("", run_id=unknown)
    handler.on_tool_error(ValueError(), run_id=unknown)
    handler.on_retriever_end([], run_id=unknown)
    handler.on_retriever_error(ValueError(), run_id=unknown)
    handler.on_retry(None, run_id=unknown)

    assert caplog.records == []


def test_a_tool_called_before_the_model_waits_for_it(handler: LdAiHandler, client: RecordingClient) -> None:
    """A tool call is recorded once the run turns out to be an AI run."""
    root = uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata=None)
    handler.on_tool_start(None, "", run_id=uuid4(), parent_run_id=root, name="search", metadata=None)
    assert not [event for event in client.events if event.name == "$ld:ai:tool_call"]

    start_call(handler, root)

    (event,) = [event for event in client.events if event.name == "$ld:ai:tool_call"]
    assert event.data["toolKey"] == "search"


def test_a_step_whose_run_is_given_up_as_it_starts_is_ignored(
    config: LdAiCompletionConfig, client: RecordingClient
) -> None:
    """A node's function may flush the handler, and so close the run while a step of it starts."""
    handler = LdAiHandler(config, nodes={"late": lambda metadata: handler.flush() and config})
    root = start_chain(handler)
    handler.on_chain_error(ValueError(), run_id=root)
    sent = client.events

    start_call(handler, root, langgraph_node="late")

    assert (handler.open_runs, client.events) == (0, sent)


def test_what_an_evicted_run_did_meanwhile_counts(
    config: LdAiCompletionConfig,
    client: RecordingClient,
    reports: list[RunReport],
    take_seconds: Callable[[float], None],
) -> None:
    """The handler looks the new run's AI Config up before it closes the oldest run."""

    def choose(metadata: Mapping[str, object]) -> LdAiCompletionConfig:
        if "slow" in metadata:
            thread = threading.Thread(target=start_call, args=(handler, root))
            thread.start()
            thread.join()
            take_seconds(0.25)
        return config

    handler = LdAiHandler(choose, on_run_end=reports.append, max_open_runs=1)
    root, call = open_run(handler)
    take_seconds(0.25)
    handler.on_llm_end(ANSWER, run_id=call)

    start_chain(handler, slow=True)

    assert [report.outcome for report in reports] == [Outcome.ABANDONED]
    assert client.metrics(reports[0].run_id) == {DURATION: [500], **TOKENS}


@pytest.mark.parametrize(
    ("function", "most"), [(table.RunTable._take_outbox, 2), (table.RunTable._drop, 1)], ids=["sends", "gives up"]
)
def test_a_run_may_end_while_the_table_is_at_work(
    function: Callable[..., object], most: int, config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """At whatever line Python collects, and so ends, a run, the run in whose event it does so loses nothing."""
    for position in itertools.count(1):
        reports: list[RunReport] = []
        handler = LdAiHandler(config, max_open_runs=most, on_run_end=reports.append)
        dropped, call = open_run(handler)

        def end(handler: LdAiHandler = handler, dropped: UUID = dropped, call: UUID = call) -> None:
            handler.on_llm_end(ANSWER, run_id=call)
            handler.on_chain_end({}, run_id=dropped)

        with interrupted(function, position, end, before="line") as left:
            root = start_chain(handler)
            call_model(handler, root)
            handler.on_chain_end({}, run_id=root)
        if left:
            break
        (report,) = [each for each in reports if each.root_run_id == root]
        assert (report.summary.success, report.summary.tokens is None) == (True, False)

    assert (position > 5, caplog.messages) == (True, [])

"""What a client does with its ledger: it claims before it sends, in the background."""

import asyncio

import pytest
from ldclient import Context

from langchain_ldai import Feedback, LdAiClient, LdAiHandler, TokenUsage
from langchain_ldai.ledgers import Ledger, MemoryLedger
from langchain_ldai.testing import RecordingClient
from tests.ledgers.fakes import Held, Unreliable
from tests.support.chains import POSITIVE, QUESTION, SUCCESS, TOKENS, chain, counts


def test_trackers_that_resume_one_run_record_a_metric_once_among_them(
    client: RecordingClient, context: Context
) -> None:
    """Two trackers of one run, with one ledger: the first that claims a slot sends, without a warning."""
    ai = LdAiClient(client, ledger=MemoryLedger())
    tracker = ai.completion_config("support-bot", context).create_tracker()
    other = ai.create_tracker(tracker.resumption_token, context)

    tracker.track_success()
    other.track_error()
    other.track_feedback(Feedback.POSITIVE)
    tracker.track_feedback(Feedback.NEGATIVE)
    ai.close()

    assert client.metrics(tracker.run_id) == {SUCCESS: [1], POSITIVE: [1]}


def test_runs_of_one_id_and_two_ai_configs_are_two(client: RecordingClient, context: Context) -> None:
    """Two handlers may count one chain for two AI Configs under one id: each has slots of its own."""
    ai = LdAiClient(client, ledger=MemoryLedger())
    one = ai.completion_config("support-bot", context).create_tracker(run_id="run-1")
    other = ai.completion_config("another-bot", context).create_tracker(run_id="run-1")

    one.track_success()
    other.track_success()
    ai.close()

    assert client.metrics("run-1") == {SUCCESS: [1, 1]}


def test_no_ledger_leaves_trackers_independent(ai: LdAiClient, client: RecordingClient, context: Context) -> None:
    """Without a ledger a resumed tracker has slots of its own, and events go at once (spec section 4)."""
    tracker = ai.completion_config("support-bot", context).create_tracker()

    tracker.track_success()
    ai.create_tracker(tracker.resumption_token, context).track_success()

    assert client.metrics(tracker.run_id) == {SUCCESS: [1, 1]}
    assert (ai.ledger, ai.close(), tracker._sender.claims) == (None, True, None)


def test_a_graphs_trackers_share_a_ledger_too(client: RecordingClient, context: Context) -> None:
    """An agent graph's run is recorded once among its trackers."""
    ai = LdAiClient(client, ledger=MemoryLedger())
    tracker = ai.agent_graph("travel", context).create_tracker()

    tracker.track_invocation_success()
    ai.create_graph_tracker(tracker.resumption_token, context).track_invocation_failure()
    ai.close()

    assert client.metrics(tracker.run_id) == {"$ld:ai:graph:invocation_success": [1]}


def test_a_copy_of_a_client_with_a_ledger_announces_nothing(ai: LdAiClient, client: RecordingClient) -> None:
    """`with_ledger` changes where trackers claim, and sends no event of its own."""
    before = client.events

    other = ai.with_ledger(ledger := MemoryLedger())

    assert (other.ledger, ai.ledger, client.events) == (ledger, None, before)


def test_a_copy_of_a_client_may_have_no_ledger(client: RecordingClient, context: Context) -> None:
    """Its trackers send at once, and each records for itself."""
    ai = LdAiClient(client, ledger=Held())
    tracker = ai.with_ledger(None).completion_config("support-bot", context).create_tracker()

    tracker.track_success()

    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}


def test_what_is_claimed_together_is_one_call(client: RecordingClient, context: Context) -> None:
    """While one claim is on its way, those that follow gather and go in one round trip for each run."""
    ledger = Held()
    ai = LdAiClient(client, ledger=ledger)
    tracker = ai.completion_config("support-bot", context).create_tracker()
    tracker.track_success()
    assert ledger.was_asked.wait(10)

    tracker.track_duration(1)
    tracker.track_tokens(TokenUsage(3, 2, 1))
    tracker.track_feedback(Feedback.POSITIVE)
    ledger.gate.set()

    assert ai.close()
    assert ledger.calls == [{"success"}, {"duration_ms", "tokens", "feedback"}]


def test_one_of_two_claims_of_a_slot_in_one_call_is_granted(client: RecordingClient, context: Context) -> None:
    """Two trackers whose claims wait together do not both send."""
    ledger = Held()
    ai = LdAiClient(client, ledger=ledger)
    tracker = ai.completion_config("support-bot", context).create_tracker()
    others = [ai.create_tracker(tracker.resumption_token, context) for _ in range(3)]
    tracker.track_success()
    assert ledger.was_asked.wait(10)

    recorded = [other.record_feedback(Feedback.POSITIVE) for other in others]
    ledger.gate.set()

    assert [future.result(10) for future in recorded] == [True, False, False]
    assert client.metrics(tracker.run_id) == {SUCCESS: [1], POSITIVE: [1]}


def test_neither_a_chain_nor_a_loop_waits_for_the_ledger(client: RecordingClient, context: Context) -> None:
    """A run ends while the ledger keeps everyone waiting; `flush` waits no longer than it is told."""
    ledger = Held()
    config = LdAiClient(client, ledger=ledger).completion_config("support-bot", context)
    handler = LdAiHandler(config)

    asyncio.run(chain().ainvoke(QUESTION, {"callbacks": [handler]}))

    assert ledger.was_asked.wait(10)
    assert not handler.flush(timeout=0)
    ledger.gate.set()
    assert handler.flush()
    (run_id,) = {event.data["runId"] for event in client.events if "runId" in event.data}
    assert counts(client, run_id) == {SUCCESS: [1], **TOKENS}


@pytest.mark.parametrize("ledger", [None, MemoryLedger()], ids=["no-ledger", "ledger"])
def test_feedback_tells_whether_it_was_recorded(
    ledger: Ledger | None, client: RecordingClient, context: Context
) -> None:
    """Without a ledger, and of a second one, the answer is there at once, and nothing is logged."""
    tracker = LdAiClient(client, ledger=ledger).completion_config("support-bot", context).create_tracker()

    assert tracker.record_feedback(Feedback.POSITIVE).result(10 if ledger else 0)
    assert not tracker.record_feedback(Feedback.NEGATIVE).result(0)
    assert client.metrics(tracker.run_id) == {POSITIVE: [1]}
    with pytest.raises(ValueError, match="feedback is"):
        tracker.record_feedback("good")


def test_who_stops_waiting_for_feedback_does_not_stop_it(client: RecordingClient, context: Context) -> None:
    """Cancelling the wait neither cancels the claim nor ends the background thread."""
    ledger = Held()
    ai = LdAiClient(client, ledger=ledger)
    tracker = ai.completion_config("support-bot", context).create_tracker()
    recorded = tracker.record_feedback(Feedback.POSITIVE)

    assert not recorded.cancel()
    ledger.gate.set()

    assert ai.close()
    assert client.metrics(tracker.run_id) == {POSITIVE: [1]}


def test_the_claiming_thread_exists_while_there_is_work(
    client: RecordingClient, context: Context, unreliable: Unreliable
) -> None:
    """Each time work comes there is one thread, and after it none."""
    ai = LdAiClient(client, ledger=unreliable)
    unreliable.up.set()
    for _ in range(3):
        ai.completion_config("support-bot", context).create_tracker().track_success()
        assert ai.close()

    assert len(unreliable.threads) == 3
    for thread in unreliable.threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ledger": object()}, TypeError, "a ledger is an object with claim"),
        ({"ledger": MemoryLedger(), "on_ledger_error": "wait"}, ValueError, "on_ledger_error is"),
        ({"ledger": MemoryLedger(), "ledger_timeout": 0}, ValueError, "ledger_timeout is"),
        ({"ledger": MemoryLedger(), "ledger_timeout": float("nan")}, ValueError, "ledger_timeout is"),
    ],
)
def test_a_wrong_option_is_refused_at_construction(
    options: dict[str, object], error: type[Exception], message: str, client: RecordingClient
) -> None:
    """The message names the option, and no event has gone out."""
    with pytest.raises(error, match=message):
        LdAiClient(client, **options)

    assert client.events == []


def test_what_has_the_one_operation_is_a_ledger() -> None:
    """`Ledger` is a protocol of `claim` alone."""
    assert isinstance(MemoryLedger(), Ledger)
    assert not isinstance({}, Ledger)

"""With a delivery, a tracker hands over together what is due together, and a metric together with its claim."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import pytest
from ldclient import Context

from langchain_ldai import (
    AiMetrics,
    Feedback,
    JudgeResult,
    LdAiClient,
    LdAiConfigTracker,
    LdAiGraphTracker,
    TokenUsage,
)
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.testing import RecordingClient
from tests.support.chains import SUCCESS, TOOL_CALL
from tests.support.deliveries import NotedDelivery
from tests.support.sent import USAGE

TOKENS: Final = ["$ld:ai:tokens:total", "$ld:ai:tokens:input", "$ld:ai:tokens:output"]


@pytest.fixture
def delivery() -> NotedDelivery:
    """A delivery that notes what it is given."""
    return NotedDelivery()


def new_tracker(client: RecordingClient, context: Context, delivery: NotedDelivery, **options: object):
    """Return the tracker of a new run, and forget what was tracked so far."""
    ai = LdAiClient(client, delivery=delivery, **options)
    tracker = ai.completion_config("support-bot", context).create_tracker()
    client.clear()
    return tracker


def fail_within(tracker: LdAiConfigTracker) -> None:
    """Have the tracker measure what raises."""
    with suppress(ZeroDivisionError):
        tracker.track_metrics_of(lambda answer: None, lambda: 1 / 0)


Record = Callable[[LdAiConfigTracker], object]
RECORDS: Final[dict[str, tuple[Record, list[str]]]] = {
    "tokens": (lambda tracker: tracker.track_tokens(USAGE), TOKENS),
    "tools": (lambda tracker: tracker.track_tool_calls(["a", "b"]), [TOOL_CALL] * 2),
    "outcome": (lambda tracker: tracker.track_success(), [SUCCESS]),
    "score": (lambda tracker: tracker.track_judge_result(JudgeResult("score", 0.5, "judge")), ["score"]),
    "operation": (
        lambda tracker: tracker.track_metrics_of(
            lambda answer: AiMetrics(success=True, tokens=USAGE, tool_calls=["a"]), lambda: "answer"
        ),
        ["$ld:ai:duration:total", SUCCESS, *TOKENS, TOOL_CALL],
    ),
    "failed operation": (fail_within, ["$ld:ai:duration:total", "$ld:ai:generation:error"]),
    "run": (
        lambda tracker: tracker._record_run({"duration_ms": 5, "tokens": USAGE, "success": True}, ["a", "b"]),
        ["$ld:ai:duration:total", *TOKENS, SUCCESS, TOOL_CALL, TOOL_CALL],
    ),
}


@pytest.mark.parametrize(("record", "names"), RECORDS.values(), ids=RECORDS)
def test_what_is_due_together_is_one_call(
    record: Record, names: list[str], client: RecordingClient, context: Context, delivery: NotedDelivery
) -> None:
    """The delivery gets the events in order, for the run's context, and the client none of them."""
    tracker = new_tracker(client, context, delivery)

    record(tracker)

    assert delivery.names == [names]
    assert [each for each, _ in delivery.calls] == [context]
    assert {data["runId"] for data in delivery.data[0]} == {tracker.run_id}
    assert client.events == []


NOTHING_DUE: Final[dict[str, Record]] = {
    "no usage": lambda tracker: tracker.track_tokens(TokenUsage()),
    "no tools": lambda tracker: tracker.track_tool_calls([]),
    "no values": lambda tracker: tracker._record_run({}),
}


@pytest.mark.parametrize("record", NOTHING_DUE.values(), ids=NOTHING_DUE)
def test_where_nothing_is_due_nothing_is_handed_over(
    record: Record, client: RecordingClient, context: Context, delivery: NotedDelivery
) -> None:
    """A delivery is not called without events."""
    record(new_tracker(client, context, delivery))

    assert delivery.calls == []


def test_a_metric_goes_to_the_delivery_once(
    client: RecordingClient, context: Context, delivery: NotedDelivery, caplog: pytest.LogCaptureFixture
) -> None:
    """A second value is dropped with a warning, as with any client."""
    tracker = new_tracker(client, context, delivery)

    tracker.track_success()
    tracker.track_error()

    assert delivery.names == [[SUCCESS]]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_events_that_add_nothing_share_one_dictionary(
    client: RecordingClient, context: Context, delivery: NotedDelivery
) -> None:
    """What all events of a run carry is made once a run; a tool call has data of its own."""
    tracker = new_tracker(client, context, delivery)

    tracker._record_run({"tokens": USAGE, "success": True}, ["search"])
    tracker.track_duration(5)

    shared = [data for each in delivery.data for data in each if "toolKey" not in data]
    assert len(shared) == 5
    assert all(data is shared[0] for data in shared)


def test_a_graphs_run_is_one_call(client: RecordingClient, context: Context, delivery: NotedDelivery) -> None:
    """Metrics, path, visits and handoffs go together, in this order."""
    tracker = LdAiClient(client, delivery=delivery).agent_graph("travel", context).create_tracker()

    tracker._record_run({"duration_ms": 5, "success": True, "path": ("a", "b")}, [("a", "b", True)])

    assert [[name.removeprefix("$ld:ai:graph:") for name in names] for names in delivery.names] == [
        ["duration:total", "invocation_success", "path", "node", "node", "handoff_success"]
    ]


EDGES: Final[dict[str, Callable[[LdAiGraphTracker], object]]] = {
    "redirect": lambda tracker: tracker.track_redirect("a", "b"),
    "handoff_success": lambda tracker: tracker.track_handoff_success("a", "b"),
    "handoff_failure": lambda tracker: tracker.track_handoff_failure("a", "b"),
}


@pytest.mark.parametrize("name", EDGES)
def test_what_has_no_limit_goes_to_the_delivery_each_time(
    name: str, client: RecordingClient, context: Context, delivery: NotedDelivery
) -> None:
    """Also with a ledger, which it needs no claim in."""
    ai = LdAiClient(client, ledger=MemoryLedger(), delivery=delivery)
    tracker = ai.agent_graph("travel", context).create_tracker()

    EDGES[name](tracker)
    EDGES[name](tracker)

    assert delivery.names == [[f"$ld:ai:graph:{name}"]] * 2


def test_a_metric_is_handed_over_together_with_its_claim(
    client: RecordingClient, context: Context, delivery: NotedDelivery
) -> None:
    """Before the ledger is asked, the delivery has the run, the slot, the context and the events."""
    ledger = MemoryLedger()
    tracker = new_tracker(client, context, delivery, ledger=ledger)

    tracker._record_run({"tokens": USAGE, "success": True}, ["search"])

    (claims,) = delivery.claims
    assert claims.ledger is ledger
    run = f"{tracker.run_id}/support-bot"
    assert [(claim.run, claim.slot, claim.context) for claim in claims.all] == [
        (run, "tokens", context),
        (run, "success", context),
    ]
    assert [[name for name, _, _ in claim.events] for claim in claims.all] == [TOKENS, [SUCCESS]]
    assert all(data["runId"] == tracker.run_id for claim in claims.all for _, data, _ in claim.events)
    assert delivery.names == [[TOOL_CALL]]
    assert ledger.claim(run, ["tokens", "success"], "another") == {"tokens", "success"}


def test_what_the_ledger_grants_is_sent_after_the_claim(
    client: RecordingClient, context: Context, delivery: NotedDelivery
) -> None:
    """Of two trackers of one run, the first to claim sends."""
    ai = LdAiClient(client, ledger=MemoryLedger(), delivery=delivery)
    tracker = ai.completion_config("support-bot", context).create_tracker()
    tracker.track_success()
    ai.create_tracker(tracker.resumption_token, context).track_error()

    assert delivery.calls == []
    assert ai.close()

    assert delivery.names == [[SUCCESS]]


def test_feedback_waits_for_the_answer_to_its_claim(
    client: RecordingClient, context: Context, delivery: NotedDelivery
) -> None:
    """The future is done once the ledger has answered, and says whether this feedback was recorded."""
    ai = LdAiClient(client, ledger=MemoryLedger(), delivery=delivery)
    tracker = ai.completion_config("support-bot", context).create_tracker()
    first = tracker.record_feedback(Feedback.POSITIVE)
    second = ai.create_tracker(tracker.resumption_token, context).record_feedback(Feedback.NEGATIVE)
    assert not first.done()

    assert ai.close()

    assert (first.result(0), second.result(0)) == (True, False)


def test_a_part_of_a_run_has_slots_of_its_own(
    client: RecordingClient, context: Context, delivery: NotedDelivery
) -> None:
    """Its duration and tokens are claimed for the part; its outcome for the run."""
    tracker = new_tracker(client, context, delivery, ledger=MemoryLedger())
    tracker._begin_part("part-1")

    tracker._record_run({"duration_ms": 5, "tokens": USAGE, "success": True})

    assert [claim.slot for claim in delivery.claims[0].all] == ["duration_ms/part-1", "tokens/part-1", "success"]

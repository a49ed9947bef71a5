"""What becomes of a client's events is counted."""

from pathlib import Path

from langchain_ldai import LdAiClient, TokenUsage
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.ledgers import MemoryLedger
from tests.delivery.clients import USER, arrived, make_client
from tests.delivery.loopback_events import EventsServer
from tests.delivery.test_journaled_claims import make_claim, submit


def test_events_whose_claim_is_refused_are_told_from_lost_ones(tmp_path: Path, server: EventsServer) -> None:
    """What was written down and not delivered is counted: each event of a metric."""
    events = DurableEvents(tmp_path)
    with make_client(server, events) as client:
        ai = LdAiClient(client, ledger=MemoryLedger(), delivery=events)
        config = ai.completion_config("support-bot", USER)
        for _ in range(2):
            tracker = config.create_tracker(run_id="run-1")
            tracker.track_success()
            tracker.track_tokens(TokenUsage(total=17, input=14, output=3))
        assert events.flush(10)

    stats = events.stats()
    assert stats.duplicates == 1 + 3
    assert stats.spooled - stats.delivered == stats.duplicates


def test_a_batch_that_is_halved_for_a_bad_event_counts_its_duplicates_once(
    tmp_path: Path, server: EventsServer
) -> None:
    """Each attempt at a batch finds them in it again; here the ledger knows the metric from another process."""
    events, ledger = DurableEvents(tmp_path), MemoryLedger()
    ledger.claim("run-1", ["held"], "another process")
    server.status_of = lambda numbers: 400 if 3 in numbers else 0
    with make_client(server, events):
        submit(events, ledger, *(make_claim(n, slot="held" if n == 2 else f"slot-{n}") for n in (1, 2, 3, 4)))
        assert events.flush(10)

    assert arrived(server) == [1, 4]
    assert (events.stats().duplicates, events.stats().dead) == (1, 1)

"""What becomes of a client's events is counted."""

from pathlib import Path

from langchain_ldai.delivery import DurableEvents
from langchain_ldai.ledgers import MemoryLedger
from tests.delivery.clients import USER, make_client
from tests.delivery.loopback_events import EventsServer
from tests.delivery.test_journaled_claims import make_claim, submit


def test_events_whose_claim_is_refused_are_told_from_lost_ones(tmp_path: Path, server: EventsServer) -> None:
    """What was written down and not delivered is counted: also where a ledger knows the metric from elsewhere."""
    events, ledger = DurableEvents(tmp_path), MemoryLedger()
    ledger.claim("run-1", ["success"], "another process")
    with make_client(server, events) as client:
        client.track("own", USER)
        submit(events, ledger, make_claim(1), make_claim(2, slot="tokens"), make_claim(3, slot="tokens"))
        assert events.flush(10)

    stats = events.stats()
    assert stats.duplicates == 2
    assert stats.spooled - stats.delivered == stats.duplicates

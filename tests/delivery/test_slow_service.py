"""What does not wait for a LaunchDarkly that takes its time over a batch."""

import threading
import time
from pathlib import Path

import pytest

from langchain_ldai.delivery import DurableEvents
from langchain_ldai.delivery._sender import BatchOutcome
from langchain_ldai.ledgers import MemoryLedger
from tests.delivery.clients import arrived, make_client
from tests.delivery.lines import Line, Scripted
from tests.delivery.loopback_events import EventsServer
from tests.delivery.test_journaled_claims import make_claim, submit
from tests.support.threads import start_no_thread


def test_who_waits_for_an_answer_does_not_wait_for_launchdarkly(tmp_path: Path, server: EventsServer) -> None:
    """It may take its time over a batch that was sent before: a user waits for the answer to a thumb."""
    events, ledger, gate = DurableEvents(tmp_path), MemoryLedger(), threading.Event()
    server.status_of = lambda numbers: 0 if gate.wait(20) else 503
    first, second = make_claim(1), make_claim(2, slot="feedback")
    with make_client(server, events) as client:
        submit(events, ledger, first)
        client.flush()
        while not server.requests:
            time.sleep(0.001)
        submit(events, ledger, second)

        assert second.answer is not None
        assert second.answer.result(10)
        assert server.accepted == []
        gate.set()

    assert arrived(server) == [1, 2]


def test_what_cannot_wait_is_done_while_a_batch_is_on_its_way(tmp_path: Path) -> None:
    """Claims, the next file and the disk do not wait for a service that takes its time."""

    def answer_late() -> BatchOutcome:
        before = courier.kept_up
        line.sender.wake()
        while courier.kept_up == before:
            time.sleep(0.001)
        return BatchOutcome.SETTLED

    courier = Scripted(lambda: line.sender.keep_up_during(answer_late))
    line = Line(tmp_path, courier)
    line.journal.append(b"1")

    assert line.sender.flush(10)
    assert courier.taken == [b"1"]
    line.sender.stop()


def test_what_a_batch_raises_is_told_by_whoever_sends_it(tmp_path: Path) -> None:
    """Also what is no exception of the usual kind."""

    def fail() -> BatchOutcome:
        raise SystemExit("broken")

    line = Line(tmp_path, None)
    with pytest.raises(SystemExit, match="broken"):
        line.sender.keep_up_during(fail)


def test_a_batch_that_is_on_its_way_is_awaited_whatever_fails_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger may end even the thread of the sender. The next one must not send beside the batch."""
    line, ended = Line(tmp_path, None), threading.Event()

    def fail() -> None:
        raise SystemExit("broken")

    def answer_late() -> None:
        time.sleep(0.2)
        ended.set()

    monkeypatch.setattr(line.journal, "prepare_next_file", fail)
    with pytest.raises(SystemExit, match="broken"):
        line.sender.keep_up_during(answer_late)

    assert ended.is_set()


def test_a_batch_is_sent_also_where_no_thread_can_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a process Python starts none."""
    line = Line(tmp_path, None)
    monkeypatch.setattr(threading.Thread, "start", start_no_thread)

    assert line.sender.keep_up_during(threading.get_ident) == threading.get_ident()

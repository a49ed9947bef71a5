"""A client's claims in a ledger: what a ledger is, and what a tracker asks of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Final, Literal, Protocol, runtime_checkable

from langchain_ldai._base.guard import Notices
from langchain_ldai._base.options import check_function, check_seconds
from langchain_ldai.ledgers._queue import Claim, ClaimQueue, queues

OnLedgerError = Literal["drop", "send"]
"""What becomes of a metric whose claim could not be made in time."""


@runtime_checkable
class Ledger(Protocol):
    """What several processes agree on: which metric of which run has been recorded."""

    def claim(self, run: str, slots: Collection[str], claimant: str) -> Collection[str]:
        """Claim slots of a run, all in one step, and return those that are the claimant's now.

        A process calls it from one thread at a time: trackers and feedback routes over one ledger share one queue.
        Only after a call that did not return in time may a second call begin beside it. No chain and no event
        loop waits for it, except where Python starts no more threads, at the end of the process. It may take
        its time, and it may raise anything: the queue then calls it again with the same arguments.

        Args:
            run: Which run; text without a meaning of its own.
            slots: Names of the slots.
            claimant: Who claims. A slot that the same claimant has already is granted again, since the
                answer to a first call may have been lost.
        """
        ...


class Claims:
    """One client's claims in a ledger, in the queue that it shares with every other client of that ledger.

    Args:
        queue: Makes the claims.
        on_error: What becomes of a metric whose claim could not be made in time.
        timeout: Seconds for which a claim is attempted.
    """

    def __init__(self, queue: ClaimQueue, on_error: OnLedgerError, timeout: float) -> None:
        self._queue = queue
        self.on_error: Final = on_error
        self.timeout: Final = timeout

    @property
    def ledger(self) -> Ledger:
        """Where slots are claimed."""
        return self._queue.ledger

    def submit(
        self,
        run: str,
        slot: str,
        send: Callable[..., None],
        *args: object,
        answer: Future[bool] | None = None,
    ) -> None:
        """Claim a slot, and send what belongs in it once the ledger grants it.

        Args:
            run: Which run.
            slot: Name of the slot.
            send: Called with `args` on a background thread, to deliver the slot's events.
            args: What it is called with.
            answer: Gets whether the events were sent; `LedgerUnavailableError` where they were dropped, as the
                ledger could not claim the slot in time.
        """
        self._queue.put(Claim(self, run, slot, send, args, answer))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no claim in the ledger's queue is left; `False` after `timeout` seconds."""
        return self._queue.wait(timeout)


def wait_for_all(all_claims: Iterable[Claims], timeout: float | None) -> bool:
    """Wait until no claim is left in any of these ledgers' queues; `False` after `timeout` seconds in all."""
    deadline = None if timeout is None else time.monotonic() + timeout
    return all(
        claims.wait(None if deadline is None else max(0.0, deadline - time.monotonic())) for claims in all_claims
    )


def claims_in(ledger: Ledger | None, on_error: OnLedgerError, timeout: float) -> Claims | None:
    """Return a client's claims in a ledger; `None` without one.

    Args:
        ledger: Where slots are claimed.
        on_error: What becomes of a metric whose claim could not be made in time.
        timeout: Seconds for which a claim is attempted.

    Raises:
        TypeError: If the ledger is none, or an option is of another type.
        ValueError: If an option has a value it cannot have.
    """
    if on_error not in ("drop", "send"):
        raise ValueError(f'on_ledger_error is "drop" or "send", not {on_error!r}')
    check_seconds("ledger_timeout", timeout)
    if ledger is None:
        return None
    if not isinstance(ledger, Ledger) or isinstance(ledger, type):
        given = f"the class {ledger.__name__}" if isinstance(ledger, type) else type(ledger).__name__
        raise TypeError(f"a ledger is an object with claim(run, slots, claimant), not {given}")
    check_function("the ledger's claim", ledger.claim)
    return Claims(queues.of(ledger), on_error, timeout)


class ClaimingSend:
    """A `Send` whose trackers claim each slot before its events go.

    Args:
        send: Delivers an event.
        claims: Where slots are claimed.
    """

    __slots__ = ("_send", "claims", "notices")

    def __init__(self, send: Callable[[str, Mapping[str, object], float], None], claims: Claims) -> None:
        self._send = send
        self.claims = claims
        self.notices: Notices | None = getattr(send, "notices", None)

    def __call__(self, event_name: str, data: Mapping[str, object], metric_value: float) -> None:
        """Deliver one event that has no slot, or whose slot has been granted."""
        self._send(event_name, data, metric_value)

"""What a ledger is, and how a tracker claims in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Final, Literal, Protocol, runtime_checkable

from langchain_ldai._base.guard import Notices
from langchain_ldai._base.options import check_function, check_seconds
from langchain_ldai.ledgers._queue import Claim, ClaimQueue, queues

OnLedgerError = Literal["drop", "send"]
"""What becomes of a metric that the ledger could not claim in time."""


@runtime_checkable
class Ledger(Protocol):
    """Where several processes agree on which metrics of which run have been recorded.

    Any object with this method is a ledger.
    """

    def claim(self, run: str, slots: Collection[str], claimant: str) -> Collection[str]:
        """Claim slots of a run, all in one step, and return those that the claimant has now.

        A background thread calls this method, so no chain and no event loop waits for it. It may take its time. It
        may raise anything: it is then called again with the same arguments. A process makes one call at a time;
        only if a call did not return in time may another begin beside it. At the very end of a process, when
        Python starts no more threads, the thread that ends calls it.

        Args:
            run: Which run: a text without a meaning of its own.
            slots: Names of the slots.
            claimant: Who claims. A slot that this claimant has already is granted again, since the answer to its
                first call may have been lost.

        Returns:
            The slots that were free, and those that this claimant had.
        """
        ...


class ClaimSubmitter:
    """Puts one client's claims into the ledger's queue, which all clients of the ledger share.

    Args:
        queue: Makes the claims.
        on_error: What becomes of a metric that the ledger could not claim in time.
        timeout: Seconds for which the queue attempts a claim.
    """

    def __init__(self, queue: ClaimQueue, on_error: OnLedgerError, timeout: float) -> None:
        self._queue = queue
        self.on_error: Final = on_error
        self.timeout: Final = timeout

    @property
    def ledger(self) -> Ledger:
        """The ledger in which slots are claimed."""
        return self._queue.ledger

    def submit(
        self, run: str, slot: str, answer: Future[bool] | None, send: Callable[..., None], *args: object
    ) -> None:
        """Claim a slot, and call a function once the ledger grants it. This returns at once.

        Args:
            run: Which run.
            slot: Name of the slot.
            answer: Gets whether the events were sent; `LedgerUnavailableError` if they were dropped because the
                ledger could not claim the slot in time.
            send: Sends the slot's events. The queue calls it with `args` on a background thread.
            args: What it is called with.
        """
        self._queue.put(Claim(self, run, slot, answer, send, args))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no claim is left in the ledger's queue; return `False` after `timeout` seconds."""
        return self._queue.wait(timeout)


def wait_for_all(all_claims: Iterable[ClaimSubmitter], timeout: float | None) -> bool:
    """Wait until no claim is left in any ledger's queue; return `False` after `timeout` seconds in all."""
    deadline = None if timeout is None else time.monotonic() + timeout
    return all(
        claims.wait(None if deadline is None else max(0.0, deadline - time.monotonic())) for claims in all_claims
    )


def claim_submitter(ledger: Ledger | None, on_error: OnLedgerError, timeout: float) -> ClaimSubmitter | None:
    """Return what puts a client's claims into a ledger's queue; `None` without a ledger.

    Args:
        ledger: Where slots are claimed.
        on_error: What becomes of a metric that the ledger could not claim in time.
        timeout: Seconds for which the queue attempts a claim.

    Raises:
        TypeError: If `ledger` is no ledger, or an option is of another type.
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
    return ClaimSubmitter(queues.of(ledger), on_error, timeout)


class SendAfterClaim:
    """A `Send` that tells a tracker where to claim a slot before its events are sent.

    Args:
        send: Sends an event.
        claims: Where slots are claimed.
    """

    __slots__ = ("_send", "claims", "notices")

    def __init__(self, send: Callable[[str, Mapping[str, object], float], None], claims: ClaimSubmitter) -> None:
        self._send = send
        self.claims = claims
        self.notices: Notices | None = getattr(send, "notices", None)

    def __call__(self, event_name: str, data: Mapping[str, object], metric_value: float) -> None:
        """Send one event, which has no slot or whose slot the ledger has granted."""
        self._send(event_name, data, metric_value)

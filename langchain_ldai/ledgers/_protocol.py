"""What a ledger is, and what a claim is."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

from langchain_ldai._base.options import check_function, check_timeout, given_as
from langchain_ldai._wire.events import Event
from langchain_ldai.errors import LedgerUnavailableError

if TYPE_CHECKING:
    from ldclient import Context

OnLedgerError = Literal["drop", "send"]
"""What becomes of a metric that the ledger could not claim in time."""


@runtime_checkable
class Ledger(Protocol):
    """Where several processes agree on which metrics of which run have been recorded.

    Any object with this method is a ledger.

    Example:
        >>> from langchain_ldai.testing import RecordingClient
        >>> class Table:  # in one process; between processes, this is one transaction of a database
        ...     claimants = {}
        ...     def claim(self, run, slots, claimant):
        ...         return {slot for slot in slots if self.claimants.setdefault((run, slot), claimant) == claimant}
        >>> LdAiClient(RecordingClient(), ledger=Table())
        LdAiClient(RecordingClient, ledger=Table)
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


@dataclass(slots=True, eq=False)
class Claim:
    """A slot to claim for a metric, and the events to send once the ledger grants it.

    Args:
        run: Which run.
        slot: Name of the slot.
        context: Whom the events are counted for.
        events: What is sent.
        answer: Gets whether the events were sent; `LedgerUnavailableError` if they were dropped because the ledger
            could not claim the slot in time, or nothing could keep the claim. `None` where nobody waits for it.
        made_at: When the claim was made, in seconds of `monotonic()`.
    """

    run: str
    slot: str
    context: Context
    events: Sequence[Event]
    answer: Future[bool] | None = None
    made_at: float = field(default_factory=time.monotonic)

    def set_answer(self, is_sent: bool) -> None:
        """Answer, if anybody waits for it, whether the events were sent."""
        if self.answer is not None:
            self.answer.set_result(is_sent)

    def set_unavailable(self, reason: str, cause: BaseException | None = None) -> None:
        """Answer, if anybody waits for it, that the events were dropped, and why."""
        if self.answer is not None:
            error = LedgerUnavailableError(f"{self.slot} could not be claimed: {reason}")
            error.__cause__ = cause
            self.answer.set_exception(error)


class Claims(Protocol):
    """Claims slots in a ledger, and sends the events of those that it grants. It can be referred to weakly."""

    @property
    def ledger(self) -> Ledger:
        """The ledger in which slots are claimed."""
        ...

    def submit(self, claim: Claim) -> None:
        """Take a claim. This returns at once, and never raises."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the ledger has answered every claim; return `False` after `timeout` seconds."""
        ...


def wait_for_all(all_claims: WeakKeyDictionary[Claims, None], timeout: float | None) -> bool:
    """Wait until no claim is left in any ledger's queue; return `False` after `timeout` seconds in all.

    Meanwhile other threads may add to what is given, and a `WeakSet` cannot be copied then.
    """
    timeout = check_timeout(timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    referred_to = [reference() for reference in all_claims.keyrefs()]
    return all(
        claims.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        for claims in referred_to
        if claims is not None
    )


def check_ledger(ledger: object) -> None:
    """Raise `TypeError` if an object is no ledger."""
    if not isinstance(ledger, Ledger) or isinstance(ledger, type):
        raise TypeError(f"a ledger is an object with claim(run, slots, claimant), not {given_as(ledger)}")
    check_function("the ledger's claim", ledger.claim)

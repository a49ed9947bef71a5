"""The claims that wait for a ledger: which of them go to it in one call, and when."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import uniform
from typing import TYPE_CHECKING
from uuid import uuid4

from langchain_ldai._wire.events import Event
from langchain_ldai.ledgers._protocol import Claim, OnLedgerError

if TYPE_CHECKING:
    from ldclient import Context


@dataclass(frozen=True, eq=False)
class ClaimPolicy:
    """What a client wants done with its claims.

    Args:
        send: Sends events.
        on_error: What becomes of a metric that the ledger could not claim in time.
        timeout: Seconds for which a claim is attempted.
    """

    send: Callable[[Context, Sequence[Event]], object]
    on_error: OnLedgerError
    timeout: float


@dataclass(slots=True, eq=False)
class ClaimBatch:
    """A client's claims of one run. They go to the ledger in one call, which is repeated if it fails."""

    policy: ClaimPolicy
    claims: list[Claim]
    claimant: str = field(default_factory=lambda: uuid4().hex)
    attempts: int = 0
    not_before: float = 0.0
    failure: BaseException | None = None

    @property
    def deadline(self) -> float:
        """The time until which the first claim may wait."""
        return self.claims[0].made_at + self.policy.timeout


class PendingBatches:
    """The batches that wait for their next attempt, or their first.

    If a run's call fails, that run waits for its next attempt and other runs go on. If the calls of different runs
    fail one after the other, the ledger is down, and all runs wait.
    """

    def __init__(self) -> None:
        self._untried: OrderedDict[tuple[str, ClaimPolicy], ClaimBatch] = OrderedDict()
        self._failed: list[ClaimBatch] = []
        self._failed_runs_in_a_row = 0
        self._not_before = 0.0

    def __len__(self) -> int:
        return len(self._untried) + len(self._failed)

    @property
    def is_down(self) -> bool:
        """Whether the calls of different runs failed one after the other."""
        return self._failed_runs_in_a_row > 1

    def add(self, policy: ClaimPolicy, claim: Claim) -> None:
        """Put a claim into the batch of its run."""
        key = claim.run, policy
        if key in self._untried:
            self._untried[key].claims.append(claim)
        else:
            self._untried[key] = ClaimBatch(policy, [claim])

    def note_answer(self) -> None:
        """Note that the ledger has answered a call."""
        self._failed_runs_in_a_row = 0

    def put_back(self, batch: ClaimBatch, failure: BaseException) -> None:
        """Let a batch whose call failed wait for its next attempt."""
        now = time.monotonic()
        self._failed.append(batch)
        batch.failure = failure
        batch.attempts += 1
        batch.not_before = now + _seconds_after(batch.attempts)
        if batch.attempts == 1:
            self._failed_runs_in_a_row += 1
            self._not_before = now + _seconds_after(self._failed_runs_in_a_row)

    def take_late(self, now: float, *, is_over: bool) -> list[ClaimBatch]:
        """Take out the batches whose time is over.

        A batch that was never tried is late only if the ledger has just failed, or the process ends.

        Args:
            now: Seconds of `monotonic()`.
            is_over: Whether the time of all batches is over, as the process ends.
        """
        late = [batch for batch in self._failed if is_over or now >= batch.deadline]
        failure = self._failed[-1].failure if self._failed else None
        self._failed = [batch for batch in self._failed if batch not in late]
        if is_over or self._failed_runs_in_a_row:
            for key, batch in list(self._untried.items()):
                if is_over or now >= batch.deadline:
                    batch.failure = failure
                    late.append(self._untried.pop(key))
        return late

    def take_surplus(self, limit: int) -> list[ClaimBatch]:
        """Take out the newest batches, so that no more than the limit are left."""
        count = min(len(self) - limit, len(self._untried))
        return [self._untried.popitem()[1] for _ in range(count)]

    def take_oldest(self, now: float) -> tuple[ClaimBatch | None, float | None]:
        """Take out the batch to claim now; without one, return the seconds until one is due, `None` for never."""
        batch = failed = min(self._failed, key=lambda batch: batch.not_before, default=None)
        if failed is None or self.is_down or failed.not_before > now:
            batch = next(iter(self._untried.values()), failed)
        if batch is None:
            return None, None
        not_before = max(batch.not_before, self._not_before if self.is_down else 0.0)
        if not_before > now:
            return None, not_before - now
        if batch is failed:
            self._failed.remove(batch)
        else:
            self._untried.popitem(last=False)
        return batch, None


def _seconds_after(failures: int) -> float:
    """Return how long to wait after failures in a row: a random part of a time that doubles, up to a second."""
    return uniform(0.0, min(1.0, 0.05 * 2 ** min(failures, 5)))  # noqa: S311  the number is no secret

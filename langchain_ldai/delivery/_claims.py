"""Metrics that need a claim first: keeps them with their claimant's name, claims soon, and sends what is granted.

A metric is in the journal before its claim is made. If the process dies in between, the next one makes the claim
again in the same name, and a ledger grants a claimant again what it granted before. So a claim and its events
stay together, and a batch that is sent again is the same batch.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import replace
from typing import Final, NamedTuple
from uuid import uuid4

from langchain_ldai._base.guard import Guard
from langchain_ldai.delivery._courier import Courier, Keep
from langchain_ldai.delivery._http import ClientConfig
from langchain_ldai.delivery._journal_file import Batch, Record
from langchain_ldai.delivery._pipeline import DeliveryStats, Options, Pipeline
from langchain_ldai.delivery._sender import BatchOutcome, Sender
from langchain_ldai.ledgers._claim_queue import claim_in
from langchain_ldai.ledgers._protocol import Claim, Ledger

RETRY_SECONDS: Final = 0.5
"""How long to wait after the ledger has failed."""

MAX_REMEMBERED: Final = 100_000
"""How many of the ledger's answers are remembered until their events are sent. For others it is asked again."""

MAX_EXPECTED: Final = 100_000
"""How many claims wait to be made ahead of their delivery. Beyond that, only those that somebody waits for."""

MAX_RUNS: Final = 10_000
"""How many runs' claimants are remembered, so that a run's claims go to the ledger in one call."""

_NO_ANSWER: Final = "The ledger has not answered; metrics wait for it"
_NOT_TOLD: Final = "The answer to a claim could not be passed on"


class ClaimKey(NamedTuple):
    """What is claimed, and in whose name."""

    run: str
    slot: str
    claimant: str


class ClaimPipeline(Pipeline):
    """Keeps metrics that need a claim in one ledger, and sends those whose claim is granted.

    Args:
        config: The client's configuration.
        options: How events are kept and sent. With `send=False`, this process still sends what needs a claim.
        ledger: Where slots are claimed.
        keep: Takes those events of a refused record that were not tried yet: they need no claim any more.
    """

    def __init__(self, config: ClientConfig, options: Options, ledger: Ledger, keep: Keep) -> None:
        self._ledger = ledger
        super().__init__(config, options, f"claims-{type(ledger).__name__}", keep)

    def reset_after_fork(self) -> None:
        """Have a connection of its own, and no claims yet."""
        super().reset_after_fork()
        self._claimants = Claimants()
        self.sender.courier = self._claiming = ClaimingCourier(self._ledger, self.courier, self.sender)

    def append_claim(self, claim: Claim, events: bytes, count: int) -> bool:
        """Keep a metric, and have its slot claimed soon; return `False` if there was no room for it.

        Args:
            claim: The claim.
            events: The metric's events as JSON, joined by commas.
            count: How many they are.
        """
        key = ClaimKey(claim.run, claim.slot, self._claimants.name_for(claim.run, claim.slot))
        is_kept = self.append(_as_body(key, events), count)
        if is_kept:
            self._claiming.expect(key, claim.answer)
            self.sender.wake()
        return is_kept

    def wait(self, timeout: float | None) -> bool:
        """Wait until the ledger has answered every claim; return `False` after `timeout` seconds."""
        return self._claiming.wait(timeout)

    def stats(self) -> DeliveryStats:
        """Return what has become of the metrics so far."""
        return replace(super().stats(), duplicates=self._claiming.duplicates)


class Claimants:
    """The names in which claims are made: one for each run, so that its claims go to the ledger in one call.

    A slot that is claimed again gets another name, as the ledger would grant it to the same name twice.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # Python may collect a run, and so claim, in the thread that holds it
        self._of: OrderedDict[str, tuple[str, set[str]]] = OrderedDict()

    def name_for(self, run: str, slot: str) -> str:
        """Return the name in which a slot of a run is claimed now."""
        with self._lock:
            name, slots = self._of.get(run, ("", set()))
            if not name or slot in slots:
                name, slots = uuid4().hex, set()
                self._of[run] = name, slots
                if len(self._of) > MAX_RUNS:
                    self._of.popitem(last=False)
            slots.add(slot)
            return name


class ClaimingCourier:
    """Claims the slots of metrics, and has those delivered that the ledger grants.

    Args:
        ledger: Where slots are claimed.
        courier: Delivers what is granted.
        sender: Says how long to wait for the ledger.

    Attributes:
        duplicates: How many events were not sent, as their claim was not granted.
    """

    def __init__(self, ledger: Ledger, courier: Courier, sender: Sender) -> None:
        self._ledger = ledger
        self._courier = courier
        self._sender = sender
        self._guard = Guard()
        self._expected: deque[tuple[ClaimKey, Future[bool] | None]] = deque()
        self._answers: OrderedDict[ClaimKey, bool] = OrderedDict()
        self._answered = threading.Condition()
        self._unanswered = 0
        self.duplicates = 0
        self._retry_at = -math.inf

    def expect(self, key: ClaimKey, answer: Future[bool] | None) -> None:
        """Have a claim made soon. If too many wait, one that nobody asks about is made at its metric's delivery.

        Args:
            key: The claim. Its metric is in the journal.
            answer: Gets whether it is granted; `None` where nobody waits for it.
        """
        if answer is None and len(self._expected) >= MAX_EXPECTED:
            return
        with self._answered:
            self._unanswered += 1
        self._expected.append((key, answer))

    def wait(self, timeout: float | None) -> bool:
        """Wait until the ledger has answered the claims so far; return `False` after `timeout` seconds."""
        with self._answered:
            return self._answered.wait_for(lambda: self._unanswered == 0, timeout)

    # The sender calls what follows.

    def keep_up(self) -> float:
        """Make the claims that wait; return the `monotonic()` time at which to call this again."""
        if not self._expected:
            return math.inf
        if time.monotonic() < self._retry_at:
            return self._retry_at
        expected = dict(self._expected.popleft() for _ in range(len(self._expected)))
        answers: dict[ClaimKey, bool] = {}
        for keys in _by_run(expected):
            found = self._ask(keys)
            if found is None:
                self._expected.extendleft(reversed([each for each in expected.items() if each[0] not in answers]))
                self._retry_at = time.monotonic() + RETRY_SECONDS
                break
            answers.update(found)
        for key, is_granted in answers.items():
            self._answers[key] = is_granted
            if (answer := expected[key]) is not None:
                self._guard.call(_NOT_TOLD, key.run, answer.set_result, is_granted)
        while len(self._answers) > MAX_REMEMBERED:
            self._answers.popitem(last=False)
        with self._answered:
            self._unanswered -= len(answers)
            self._answered.notify_all()
        return self._retry_at if self._expected else math.inf

    def deliver(self, batch: Batch) -> BatchOutcome:
        """Deliver those metrics of a batch whose claims are granted; see `Courier.deliver`."""
        metrics = [_from_body(record) for record in batch.records]
        answers = {key: self._answers[key] for key, _ in metrics if key in self._answers}
        for keys in _by_run(key for key, _ in metrics if key not in answers):
            while (found := self._ask(keys)) is None:
                if not self._sender.may_wait(RETRY_SECONDS):
                    return BatchOutcome.KEPT
                self._sender.pause(RETRY_SECONDS, RETRY_SECONDS)
            answers.update(found)
        granted = [events for key, events in metrics if answers[key]]
        outcome = self._courier.deliver(batch._replace(records=granted)) if granted else BatchOutcome.SETTLED
        if outcome is BatchOutcome.SETTLED:
            self.duplicates += sum(events.events for key, events in metrics if not answers[key])
            for key in answers:
                self._answers.pop(key, None)
        return outcome

    def _ask(self, keys: list[ClaimKey]) -> dict[ClaimKey, bool] | None:
        """Return which of a run's claims are granted; `None` if the ledger does not answer."""
        run, _, claimant = keys[0]
        slots = [key.slot for key in keys]
        granted = self._guard.call(_NO_ANSWER, run, claim_in, self._ledger, run, slots, claimant)
        return None if granted is None else {key: key.slot in granted for key in keys}


def _by_run(keys: Iterable[ClaimKey]) -> list[list[ClaimKey]]:
    """Return the claims that can be made in one call each."""
    groups: dict[tuple[str, str], list[ClaimKey]] = {}
    for key in keys:
        groups.setdefault((key.run, key.claimant), []).append(key)
    return list(groups.values())


def _as_body(key: ClaimKey, events: bytes) -> bytes:
    """Return a record's body: the claim as JSON, and the events in the next line."""
    return b"%b\n%b" % (json.dumps(key._asdict()).encode(), events)


def _from_body(record: Record) -> tuple[ClaimKey, Record]:
    """Return the claim in a record, and what is left for LaunchDarkly."""
    claim, _, events = record.body.partition(b"\n")
    return ClaimKey(**json.loads(claim)), record._replace(body=events)

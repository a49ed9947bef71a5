"""Brings a batch to LaunchDarkly: tries until it is accepted, and searches it for an event that is refused."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final
from uuid import UUID, uuid5

from tenacity import RetryCallState, Retrying, retry_if_result, wait_random_exponential

from langchain_ldai.delivery._dead_letters import DeadLetters
from langchain_ldai.delivery._http import Answer, EventsEndpoint
from langchain_ldai.delivery._journal_file import Batch
from langchain_ldai.delivery._sender import BatchOutcome, Sender

_log = logging.getLogger(__name__)

MAX_BACKOFF_SECONDS: Final = 10.0
"""The longest wait before a batch is tried again, if the service does not say how long to wait."""

MAX_RETRY_AFTER_SECONDS: Final = 300.0
"""The longest wait that a service may ask for."""

UNAUTHORIZED_SECONDS: Final = 30.0
"""How long to wait after the SDK key was refused."""

HURRY_SECONDS: Final = 0.5
"""The longest wait after a failure while somebody waits for the events, unless the service asks for a wait."""

DOUBT_SECONDS: Final = 600.0
"""While LaunchDarkly refuses everything: how long it must refuse an event before that counts as bad."""

Keep = Callable[[bytes, int], object]
"""Puts events into a journal: JSON joined by commas, and their number."""

_UNAUTHORIZED: Final = (401, 403)


class Courier:
    """Brings batches to LaunchDarkly, one at a time.

    Args:
        endpoint: Where batches go.
        dead_letters: Takes the events that LaunchDarkly refuses.
        sender: Says how long to wait.
        keep: Takes those events of a refused record that were not tried yet.

    Attributes:
        delivered: How many events LaunchDarkly has accepted.
        retried: How often a batch was tried again.
        last_date: LaunchDarkly's clock at its last answer, in seconds since 1970.
    """

    def __init__(self, endpoint: EventsEndpoint, dead_letters: DeadLetters, sender: Sender, keep: Keep) -> None:
        self._endpoint = endpoint
        self._dead_letters = dead_letters
        self._sender = sender
        self._keep = keep
        self.delivered = self.retried = 0
        self.last_date: float | None = None
        self._is_stopped = False
        self._doubted: tuple[UUID | None, float] = None, 0.0
        self._backoff = wait_random_exponential(multiplier=0.5, max=MAX_BACKOFF_SECONDS)

    def deliver(self, batch: Batch) -> BatchOutcome:
        """Try to send a batch until it is done, or the sender may not wait any longer."""
        answer = self._until_final(partial(self._answer_to, batch))
        if answer.is_accepted:
            self.delivered += batch.events
            return BatchOutcome.SETTLED
        if not answer.is_refused:
            return BatchOutcome.KEPT
        if len(batch.records) > 1:
            return BatchOutcome.REFUSED
        self._split(batch.payload_id, batch.records[0].body, answer)
        return BatchOutcome.SETTLED

    def keep_up(self) -> float:
        """Do nothing; the sender need not call this again."""
        return math.inf

    def _until_final(self, attempt: Callable[[], Answer]) -> Answer:
        """Repeat an attempt until it is accepted or refused, or time is up; return the last answer."""
        retrying = Retrying(
            retry=retry_if_result(lambda answer: not (answer.is_accepted or answer.is_refused)),
            stop=lambda state: not self._sender.may_wait(_asked_wait(_answer_in(state)) or 0.0),
            wait=self._seconds_to_wait,
            before_sleep=self._wait_for_retry,
            sleep=lambda seconds: None,  # `_wait_for_retry` has waited
            retry_error_callback=_answer_in,
        )
        answer: Answer = retrying(attempt)
        return answer

    def _seconds_to_wait(self, state: RetryCallState) -> float:
        asked = _asked_wait(_answer_in(state))
        return float(self._backoff(state)) if asked is None else asked

    def _wait_for_retry(self, state: RetryCallState) -> None:
        answer, seconds = _answer_in(state), state.next_action.sleep  # type: ignore[union-attr]
        self._count_retry(answer, state.attempt_number)
        self._sender.pause(seconds, seconds if answer.retry_after else min(seconds, HURRY_SECONDS))

    def _answer_to(self, batch: Batch) -> Answer:
        bodies = [record.body for record in batch.records]
        answer = self._post(batch.payload_id, bodies)
        if answer.is_refused and len(bodies) == 1:
            is_everything_refused = not self._post(uuid5(batch.payload_id, "empty"), []).is_accepted
            if is_everything_refused and self._is_in_doubt(batch.payload_id):
                return replace(answer, status=0)  # as if none had come: everything is refused, not this event
            answer = self._post(batch.payload_id, bodies)
        return answer

    def _is_in_doubt(self, payload_id: UUID) -> bool:
        """Return whether a batch, refused with everything else, was refused for too short a time to be bad."""
        now = time.monotonic()
        if self._doubted[0] != payload_id:
            self._doubted = payload_id, now
        return now - self._doubted[1] < DOUBT_SECONDS

    def _post(self, payload_id: UUID, bodies: Sequence[bytes]) -> Answer:
        answer = self._sender.keep_up_during(partial(self._endpoint.post, str(payload_id), bodies))
        if answer.date is not None:
            self.last_date = answer.date
        if self._is_stopped and answer.is_accepted:
            self._is_stopped = False
            _log.info("LaunchDarkly takes events again")
        return answer

    def _split(self, payload_id: UUID, body: bytes, answer: Answer) -> None:
        """Send the events of a record that was refused, all but the bad ones."""
        events = [json.dumps(event, separators=(",", ":")) for event in json.loads(b"[%b]" % body)]
        if len(events) == 1:
            self._dead_letters.add(events[0], answer.reason)
            return
        ranges = _halves(0, len(events))
        while ranges:
            first, end = ranges.pop()
            part = ",".join(events[first:end]).encode()
            answer = self._until_final(partial(self._post, uuid5(payload_id, f"{first}-{end}"), [part]))
            if answer.is_accepted:
                self.delivered += end - first
            elif not answer.is_refused:
                self._keep(",".join(events[first:]).encode(), len(events) - first)
                return
            elif end - first == 1:
                self._dead_letters.add(events[first], answer.reason)
            else:
                ranges += _halves(first, end)

    def _count_retry(self, answer: Answer, attempts: int) -> None:
        self.retried += 1
        is_unauthorized = answer.status in _UNAUTHORIZED
        if self._is_stopped or (attempts < 2 and not is_unauthorized):
            return
        self._is_stopped = True
        what = "refuses the SDK key" if is_unauthorized else "takes no events at the moment"
        level = logging.ERROR if is_unauthorized else logging.WARNING
        _log.log(
            level, "LaunchDarkly %s (%s): events wait in %s", what, answer.reason, self._dead_letters.directory
        )


def _asked_wait(answer: Answer) -> float | None:
    """Return how many seconds to wait if the answer asks for a wait, else `None`."""
    if answer.retry_after:
        return min(answer.retry_after, MAX_RETRY_AFTER_SECONDS)
    return UNAUTHORIZED_SECONDS if answer.status in _UNAUTHORIZED else None


def _answer_in(state: RetryCallState) -> Answer:
    answer: Answer = state.outcome.result()  # type: ignore[union-attr]  # there is one after an attempt
    return answer


def _halves(first: int, end: int) -> list[tuple[int, int]]:
    """Return the second half of a range, and then the first: whoever pops one takes the first half first."""
    middle = (first + end) // 2
    return [(middle, end), (first, middle)]

"""How a batch comes to LaunchDarkly: tried until it is accepted, and searched for the event that is refused."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, NamedTuple, Protocol
from uuid import UUID, uuid5

from tenacity import RetryCallState, Retrying, retry_if_result, wait_random_exponential

from langchain_ldai.delivery._dead_letters import DeadLetters
from langchain_ldai.delivery._http import Answer
from langchain_ldai.delivery._journal_file import Batch

_log = logging.getLogger(__name__)

MAX_BACKOFF_SECONDS: Final = 10.0
"""The longest wait before a batch is tried again, where the service does not say how long to wait."""

MAX_RETRY_AFTER_SECONDS: Final = 300.0
"""The longest wait that a service may ask for."""

UNAUTHORIZED_SECONDS: Final = 30.0
"""How long to wait after the SDK key was refused."""

HURRY_SECONDS: Final = 0.5
"""How soon after a failure a batch may be tried again if somebody is in a hurry."""

DOUBT_SECONDS: Final = 600.0
"""For how long this process must be refused an event before it takes it for bad, where everything is refused."""

_UNAUTHORIZED: Final = (401, 403)
_REFUSED: Final = (400, 413)


class Outcome(Enum):
    """What came of a batch."""

    SETTLED = "accepted, or dead"
    REFUSED = "one of its events is bad, or it is too large: nothing of it was accepted"
    KEPT = "not accepted yet"


class Endpoint(Protocol):
    """Where batches go."""

    def post(self, payload_id: str, records: Sequence[bytes]) -> Answer:
        """Send a batch once, and say what came of it."""
        ...


class Pace(Protocol):
    """How long the courier may wait."""

    def may_wait(self, seconds: float) -> bool:
        """Return whether there is time to wait at least so long."""
        ...

    def pause(self, seconds: float, at_least: float) -> None:
        """Wait; less than `seconds`, but at least so long, if somebody is in a hurry."""
        ...


class _Attempt(NamedTuple):
    """What came of posting a batch, and whether that is the last word."""

    answer: Answer
    is_final: bool


class Courier:
    """Brings batches to LaunchDarkly, one at a time.

    Args:
        endpoint: Where batches go.
        dead_letters: Where events go that LaunchDarkly refuses.
        pace: How long to wait.
        keep: Puts events into the journal again: JSON joined by commas, and their number.

    Attributes:
        delivered: How many events LaunchDarkly has accepted.
        retried: How often a batch was tried again.
        last_date: LaunchDarkly's clock at its last answer, in seconds since 1970.
    """

    def __init__(
        self, endpoint: Endpoint, dead_letters: DeadLetters, pace: Pace, keep: Callable[[bytes, int], None]
    ) -> None:
        self._endpoint = endpoint
        self._dead_letters = dead_letters
        self._pace = pace
        self._keep = keep
        self.delivered = self.retried = 0
        self.last_date: float | None = None
        self._is_stopped = False
        self._doubted: tuple[UUID | None, float] = None, 0.0
        self._at_least = 0.0
        self._backoff = wait_random_exponential(multiplier=0.5, max=MAX_BACKOFF_SECONDS)
        self._retrying = Retrying(
            retry=retry_if_result(lambda attempt: not attempt.is_final),
            wait=self._seconds_to_wait,
            stop=self._has_no_time,
            sleep=self._sleep,
            before_sleep=self._count_retry,
            retry_error_callback=lambda state: state.outcome.result(),  # type: ignore[union-attr]
        )

    def deliver(self, batch: Batch) -> Outcome:
        """Send a batch until that is done, or the pace allows no more waiting."""
        attempt: _Attempt = self._retrying(self._attempt, batch)
        if not attempt.is_final:
            return Outcome.KEPT
        if attempt.answer.status not in _REFUSED:
            self.delivered += batch.events
            return Outcome.SETTLED
        if len(batch.records) > 1:
            return Outcome.REFUSED
        self._split(batch.payload_id, batch.records[0].body, attempt.answer)
        return Outcome.SETTLED

    def keep_up(self) -> float:
        """Do nothing; the sender need not call this again."""
        return math.inf

    def _attempt(self, batch: Batch) -> _Attempt:
        bodies = [record.body for record in batch.records]
        answer = self._post(batch.payload_id, bodies)
        if answer.status in _REFUSED and len(bodies) == 1:
            is_everything_refused = not _is_accepted(self._post(uuid5(batch.payload_id, "empty"), []))
            if is_everything_refused and self._is_in_doubt(batch.payload_id):
                return _Attempt(answer, is_final=False)
            answer = self._post(batch.payload_id, bodies)
        return _Attempt(answer, _is_accepted(answer) or answer.status in _REFUSED)

    def _is_in_doubt(self, payload_id: UUID) -> bool:
        """Return whether a batch was refused for too short a time, with everything else, to be taken for bad."""
        now = time.monotonic()
        if self._doubted[0] != payload_id:
            self._doubted = payload_id, now
        return now - self._doubted[1] < DOUBT_SECONDS

    def _post(self, payload_id: UUID, bodies: Sequence[bytes]) -> Answer:
        answer = self._endpoint.post(str(payload_id), bodies)
        if answer.date is not None:
            self.last_date = answer.date
        if self._is_stopped and _is_accepted(answer):
            self._is_stopped = False
            _log.info("LaunchDarkly takes events again")
        return answer

    def _split(self, payload_id: UUID, body: bytes, answer: Answer) -> None:
        """Send the events of a record that was refused, but for those that are bad."""
        events = [json.dumps(event, separators=(",", ":")) for event in json.loads(b"[%b]" % body)]
        if len(events) == 1:
            self._dead_letters.add(events[0], answer.reason)
            return
        ranges = _halves(0, len(events))
        while ranges:
            first, end = ranges.pop()
            part = ",".join(events[first:end]).encode()
            attempt = self._retrying(self._attempt_part, uuid5(payload_id, f"{first}-{end}"), part)
            if not attempt.is_final:
                self._keep(",".join(events[first:]).encode(), len(events) - first)
                return
            if attempt.answer.status not in _REFUSED:
                self.delivered += end - first
            elif end - first == 1:
                self._dead_letters.add(events[first], attempt.answer.reason)
            else:
                ranges += _halves(first, end)

    def _attempt_part(self, payload_id: UUID, part: bytes) -> _Attempt:
        answer = self._post(payload_id, [part])
        return _Attempt(answer, _is_accepted(answer) or answer.status in _REFUSED)

    # What follows, tenacity calls.

    def _seconds_to_wait(self, state: RetryCallState) -> float:
        answer = _answer_of(state)
        asked = _asked_wait(answer)
        seconds = float(self._backoff(state)) if asked is None else asked
        self._at_least = seconds if answer.retry_after else min(seconds, HURRY_SECONDS)
        return seconds

    def _has_no_time(self, state: RetryCallState) -> bool:
        return not self._pace.may_wait(_asked_wait(_answer_of(state)) or 0.0)

    def _sleep(self, seconds: float) -> None:
        self._pace.pause(seconds, self._at_least)

    def _count_retry(self, state: RetryCallState) -> None:
        self.retried += 1
        answer = _answer_of(state)
        is_unauthorized = answer.status in _UNAUTHORIZED
        if self._is_stopped or (state.attempt_number < 2 and not is_unauthorized):
            return
        self._is_stopped = True
        what = "refuses the SDK key" if is_unauthorized else "takes no events at the moment"
        level = logging.ERROR if is_unauthorized else logging.WARNING
        _log.log(
            level, "LaunchDarkly %s (%s): events wait in %s", what, answer.reason, self._dead_letters.directory
        )


def _answer_of(state: RetryCallState) -> Answer:
    attempt: _Attempt = state.outcome.result()  # type: ignore[union-attr]
    return attempt.answer


def _asked_wait(answer: Answer) -> float | None:
    """Return how long to wait, in seconds, where the answer says it; an answer that says 0 does not."""
    if answer.retry_after:
        return min(answer.retry_after, MAX_RETRY_AFTER_SECONDS)
    return UNAUTHORIZED_SECONDS if answer.status in _UNAUTHORIZED else None


def _halves(first: int, end: int) -> list[tuple[int, int]]:
    """Return the second and the first half of a range, of which the first is to be taken out first."""
    middle = (first + end) // 2
    return [(middle, end), (first, middle)]


def _is_accepted(answer: Answer) -> bool:
    return 200 <= answer.status < 300

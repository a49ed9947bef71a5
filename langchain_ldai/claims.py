"""Claims in a ledger that processes share: made on one background thread, which exists while there are any."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from importlib import import_module
from queue import SimpleQueue
from traceback import extract_tb
from typing import Final, Literal, Protocol, runtime_checkable
from uuid import uuid4

from langchain_ldai.boundary import Boundary, Notices
from langchain_ldai.checks import check_function, check_seconds
from langchain_ldai.errors import LedgerUnavailableError
from langchain_ldai.process import WORKER, is_ending, renew_in_forks

_log = logging.getLogger(__name__)

OnLedgerError = Literal["drop", "send"]
"""What becomes of a metric whose claim could not be made in time."""

MAX_PENDING_RUNS: Final = 10_000
"""Of how many runs claims may wait for a ledger that cannot be reached."""

EXIT_SECONDS: Final = 5.0
"""How long the end of the process is held up by a ledger that cannot be reached, and by an attempt under way."""

_IN_TIME: Final = "the ledger could not claim it in time"


@runtime_checkable
class Ledger(Protocol):
    """What several processes agree on: which metric of which run has been recorded."""

    def claim(self, run: str, slots: Collection[str], claimant: str) -> Collection[str]:
        """Claim slots of a run, all in one step, and return those that are the claimant's now.

        Called from one thread at a time in each process, and not from an event loop or a chain but where Python
        starts no thread any more, as at the end of the process. It may take its time and may raise whatever it
        likes: it is called again then, with the same arguments.

        Args:
            run: Which run; text without a meaning of its own.
            slots: Names of the slots.
            claimant: Who claims. A slot that the same claimant has already is granted again, since the
                answer to a first call may have been lost.
        """
        ...


class _Claim:
    """A slot to claim, and what is called with which arguments once it is granted."""

    __slots__ = ("args", "granted", "made", "run", "send", "slot")

    def __init__(self, run: str, slot: str, send: Callable[..., None], args: tuple[object, ...]) -> None:
        self.run = run
        self.slot = slot
        self.send = send
        self.args = args
        self.made = time.monotonic()
        self.granted: Future[bool] = Future()
        self.granted.set_running_or_notify_cancel()  # whoever waits for it cannot cancel it


class Claims:
    """Claims slots in a ledger and sends what is granted, without making anyone wait.

    While the ledger cannot be reached, claims wait in memory and are made again; nothing is sent twice.

    Args:
        ledger: Where slots are claimed.
        on_error: What becomes of a metric whose claim could not be made in time.
        timeout: Seconds for which a claim is attempted.
    """

    def __init__(self, ledger: Ledger, on_error: OnLedgerError, timeout: float) -> None:
        self.ledger = ledger
        # Only who has a ledger waits for it; and when a process ends it is late to import anything.
        self._tenacity = import_module("tenacity")
        self._on_error = on_error
        self._timeout = timeout
        self._boundary = Boundary()
        self.renew()
        renew_in_forks(self)

    def renew(self) -> None:
        """Have nothing to claim: what waited for a claim before a fork is the parent's."""
        self._inbox: SimpleQueue[_Claim] = SimpleQueue()
        self._pending: OrderedDict[str, list[_Claim]] = OrderedDict()
        self._working = threading.Lock()
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._exit_by = math.inf

    def submit(self, run: str, slot: str, send: Callable[..., None], *args: object) -> Future[bool]:
        """Claim a slot, and send what belongs in it once it is granted.

        Args:
            run: Which run.
            slot: Name of the slot.
            send: Called with `args` on the background thread, to deliver the slot's events.
            args: What it is called with.

        Returns:
            Whether the slot was granted and its events sent; `LedgerUnavailableError` where the ledger
            could not be reached in time and they were dropped.
        """
        claim = _Claim(run, slot, send, args)
        self._inbox.put(claim)
        self._have_worker()
        return claim.granted

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every claim is made and what was granted is sent.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether none is left.
        """
        with self._changed:
            self._changed.wait_for(self._is_idle, timeout)
            return not (self._working.locked() or self._is_left())

    def _is_idle(self) -> bool:
        can_work = self._have_worker()
        return not can_work or not (self._working.locked() or self._is_left())

    def _is_left(self) -> bool:
        return not self._inbox.empty() or bool(self._pending)

    def _have_worker(self) -> bool:
        """Have a thread work, while there is work; who works looks again before it stops.

        Nobody waits for a lock here, as Python may call it at any line: where it collects a stream that was left.

        Returns:
            `False` where work is left and nobody can do it now.
        """
        if not self._is_left() or not self._working.acquire(blocking=False):
            return True
        if not is_ending():
            try:
                threading.Thread(target=self._work, name=WORKER).start()
                return True
            except RuntimeError:
                if threading.main_thread().is_alive():
                    self._working.release()  # none can be started now: the next claim tries again
                    return False
        self._work()  # none can be started any more
        return True

    def _work(self) -> None:
        try:
            while claims := self._next():
                self._make(claims)
        finally:
            self._working.release()
            with self._changed:
                self._changed.notify_all()
        self._have_worker()

    def _next(self) -> list[_Claim]:
        """Take the claims of the run that has waited longest."""
        self._sort()
        return self._pending.popitem(last=False)[1] if self._pending else []

    def _sort(self) -> None:
        """Put what has come with the claims of its run, as far as so many may wait."""
        while not self._inbox.empty():
            claim = self._inbox.get()
            if len(self._pending) >= MAX_PENDING_RUNS and claim.run not in self._pending:
                self._give_up([claim], "too many claims wait")
            else:
                self._pending.setdefault(claim.run, []).append(claim)

    def _make(self, claims: list[_Claim]) -> None:
        run, deadline, claimant = claims[0].run, claims[0].made + self._timeout, uuid4().hex
        first = {claim.slot: claim for claim in reversed(claims)}
        if self._failure is not None and self._is_over(deadline):
            self._give_up(claims, _IN_TIME, self._failure)  # nor will it be long enough for another attempt
            return
        attempts = self._tenacity.Retrying(
            wait=self._tenacity.wait_random_exponential(multiplier=0.1, max=1.0),
            stop=lambda state: self._is_over(deadline),
            before_sleep=lambda state: self._sort(),
        )
        try:
            granted = attempts(lambda: set(self.ledger.claim(run, list(first), claimant)))
        except self._tenacity.RetryError as failure:
            self._failure = failure.last_attempt.exception()
            self._give_up(claims, _IN_TIME, self._failure)
            return
        self._failure = None
        for claim in claims:
            is_granted = claim.slot in granted and claim is first[claim.slot]
            if is_granted:
                self._boundary.run(run, claim.send, *claim.args)
            claim.granted.set_result(is_granted)

    def _is_over(self, deadline: float) -> bool:
        now = time.monotonic()
        if is_ending():
            self._exit_by = min(self._exit_by, now + EXIT_SECONDS)
        return now >= min(deadline, self._exit_by)

    def _give_up(self, claims: list[_Claim], reason: str, cause: BaseException | None = None) -> None:
        slots = ", ".join(claim.slot for claim in claims)
        done = "sent without a claim" if self._on_error == "send" else "dropped"
        if cause is not None:
            place = extract_tb(cause.__traceback__)[-1]
            reason += f", {type(cause).__name__} at {place.filename}:{place.lineno}"
        _log.error("%s of run %s %s: %s", slots, claims[0].run, done, reason)
        for claim in claims:
            if self._on_error == "send":
                self._boundary.run(claim.run, claim.send, *claim.args)
                claim.granted.set_result(True)
            else:
                unavailable = LedgerUnavailableError(f"{claim.slot} could not be claimed: {reason}")
                unavailable.__cause__ = cause
                claim.granted.set_exception(unavailable)


def claims_in(ledger: Ledger | None, on_error: OnLedgerError, timeout: float) -> Claims | None:
    """Return what claims slots in a ledger; `None` without one.

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
    return Claims(ledger, on_error, timeout)


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

"""What waits for LaunchDarkly on behalf of one client: its events, and the metrics that need a claim first."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence

from ldclient import Context

from langchain_ldai._wire.events import Event
from langchain_ldai.delivery._claims import ClaimPipeline
from langchain_ldai.delivery._event_encoder import EventEncoder
from langchain_ldai.delivery._http import ClientConfig
from langchain_ldai.delivery._pipeline import DeliveryStats, Options, Pipeline
from langchain_ldai.delivery._sender import Sender
from langchain_ldai.ledgers._protocol import Claim, Ledger


class EventQueue(Pipeline):
    """Takes a client's events, and sends them. Any thread may call it, also after `stop`.

    Args:
        config: The client's configuration.
        options: How events are kept and sent.

    Attributes:
        encoder: Turns the client's custom events into records.
        is_stopped: Whether the client was closed.

    Raises:
        ValueError: If a living process sends the directory's events with another SDK key.
    """

    def __init__(self, config: ClientConfig, options: Options) -> None:
        self.encoder = EventEncoder(config)
        self.is_stopped = False
        self._claims: dict[int, ClaimPipeline] = {}
        super().__init__(config, options)

    def reset_after_fork(self) -> None:
        """Have a connection of its own, and count from the beginning."""
        super().reset_after_fork()
        self._claims_lock = threading.RLock()  # a thread of the parent may hold the old one

    @property
    def last_date(self) -> float | None:
        """LaunchDarkly's clock at its last answer, in seconds since 1970."""
        return self.courier.last_date

    def append_all(self, context: Context, events: Sequence[Event]) -> None:
        """Keep events of one context that were made now, all but those that are not JSON."""
        try:
            record, count = self.encoder.encode_all(context, events, int(time.time() * 1_000)), len(events)
        except (TypeError, ValueError):
            record, count = self._encode_each(context, events)
        if count:
            self.append(record, count)

    def append_claim(self, claim: Claim, ledger: Ledger) -> bool:
        """Keep a metric until the ledger has answered its claim, and send it if that is granted.

        Returns:
            `False` if there was no room for it, or none of its events is JSON.
        """
        record, count = self._encode_each(claim.context, claim.events)
        return count > 0 and self.claims_in(ledger).append_claim(claim, record, count)

    def claims_in(self, ledger: Ledger) -> ClaimPipeline:
        """Return the pipeline of the metrics that need a claim in a ledger."""
        with self._claims_lock:
            found = self._claims.get(id(ledger))
            if found is None:
                found = ClaimPipeline(self._config, self._options, ledger, self.append)
                self._claims[id(ledger)] = found
            return found

    def refuse(self, key: str, reason: str) -> None:
        """Note that the event of this key cannot be sent, and why."""
        self.dead_letters.refuse(key, reason)

    def request_flush(self) -> None:
        """Have all events sent soon."""
        for sender in self._senders():
            sender.request_flush()

    def flush(self, timeout: float | None, is_given_up: Callable[[], bool] = lambda: False) -> bool:
        """Send what was appended so far; see `Sender.flush`."""
        latest = math.inf if timeout is None else time.monotonic() + timeout
        self.request_flush()
        is_done = True
        for sender in self._senders():
            is_done = sender.flush(latest - time.monotonic(), is_given_up) and is_done
        return is_done

    def stop(self, latest: float = math.inf) -> bool:
        """Stop as `Pipeline.stop` does; then, in the time that is left, stop the metrics that need a claim.

        Each batch that is accepted gives the later ones more time.
        """
        self.is_stopped = True
        is_empty = super().stop(latest)
        latest = self.sender.ends_at
        for pipeline in self._claims.copy().values():
            is_empty = pipeline.stop(latest) and is_empty
            latest = pipeline.sender.ends_at
        if self.sender.is_started:  # `keep` has brought events here that need no claim any more
            is_empty = super().stop(latest) and is_empty
        return is_empty

    def stats(self) -> DeliveryStats:
        """Return what has become of the events so far."""
        return sum((pipeline.stats() for pipeline in self._claims.copy().values()), super().stats())

    def _senders(self) -> list[Sender]:
        return [self.sender, *(pipeline.sender for pipeline in self._claims.copy().values())]

    def _encode_each(self, context: Context, events: Sequence[Event]) -> tuple[bytes, int]:
        """Return a record of the events that are JSON, and their number; refuse the others."""
        now = int(time.time() * 1_000)
        parts: list[bytes] = []
        for event in events:
            try:
                parts.append(self.encoder.encode_all(context, [event], now))
            except (TypeError, ValueError) as error:
                self.refuse(event[0], str(error))
        return b",".join(parts), len(parts)

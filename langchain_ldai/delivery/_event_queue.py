"""What waits for LaunchDarkly on behalf of one client: its journal, and the sender that empties it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ldclient import Context
from ldclient.config import Config

from langchain_ldai._base.process import register_fork_safe
from langchain_ldai.delivery._courier import Courier
from langchain_ldai.delivery._dead_letters import DeadLetters
from langchain_ldai.delivery._http import ASYNC_USER_AGENT, SYNC_USER_AGENT, EventsEndpoint
from langchain_ldai.delivery._journal import Journal
from langchain_ldai.delivery._sender import Sender
from langchain_ldai.delivery._wire_events import EventEncoder

if TYPE_CHECKING:
    from ldclient.async_config import AsyncConfig


Event = tuple[str, Mapping[str, object], float]
"""An event's name, its data, and its metric value."""


@dataclass(frozen=True)
class Options:
    """How events are kept and sent.

    Args:
        directory: Where they lie.
        max_bytes: How many bytes they may take there.
        sync: How often they are brought to the disk, in seconds; `None` for never.
        send: Whether this process sends them.
    """

    directory: Path
    max_bytes: int
    sync: float | None
    send: bool


@dataclass(frozen=True)
class DeliveryStats:
    """What has become of a client's events in this process.

    Args:
        spooled: How many events were written down.
        delivered: How many events LaunchDarkly accepted; also those that dead processes had left.
        retried: How often a batch of events was tried again.
        dead: How many events LaunchDarkly refused, or were none that it could take.
        dropped: How many events found no room.
        oldest_seconds: How long the oldest event has waited, in seconds; `None` if none waits.
    """

    spooled: int = 0
    delivered: int = 0
    retried: int = 0
    dead: int = 0
    dropped: int = 0
    oldest_seconds: float | None = None


class EventQueue:
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

    def __init__(self, config: Config | AsyncConfig, options: Options) -> None:
        self.encoder: Final = EventEncoder(config)
        self._config = config
        self._options = options
        key_hash = sha256((config.sdk_key or "").encode()).hexdigest()
        self._journal = Journal(options.directory, key_hash, options.max_bytes, lambda: self._sender.wake())
        self._sender = Sender(self._journal, config.flush_interval, options.sync)
        self.is_stopped = False
        self.reset_after_fork()
        register_fork_safe(self)
        self._sender.start()

    def reset_after_fork(self) -> None:
        """Have a connection of its own, and count from the beginning."""
        self._dead_letters = DeadLetters(self._options.directory)
        user_agent = SYNC_USER_AGENT if isinstance(self._config, Config) else ASYNC_USER_AGENT
        self._endpoint = EventsEndpoint(self._config, user_agent)
        self._courier = Courier(self._endpoint, self._dead_letters, self._sender, self._journal.append)
        self._sender.courier = self._courier if self._options.send else None

    @property
    def last_date(self) -> float | None:
        """LaunchDarkly's clock at its last answer, in seconds since 1970."""
        return self._courier.last_date

    def append(self, record: bytes, events: int = 1) -> None:
        """Keep events, as JSON with commas between them."""
        self._journal.append(record, events)
        if not self._sender.is_started:
            self._sender.start()

    def append_all(self, context: Context, events: Sequence[Event]) -> None:
        """Keep events of one context that were made now; those that cannot be sent are refused one by one."""
        now = int(time.time() * 1_000)
        try:
            self.append(self.encoder.encode_all(context, events, now), len(events))
        except (TypeError, ValueError) as error:
            if len(events) == 1:
                self.refuse(events[0][0], str(error))
                return
            for event in events:
                self.append_all(context, [event])

    def refuse(self, key: str, reason: str) -> None:
        """Note that the event of this key cannot be sent, and why."""
        self._dead_letters.refuse(key, reason)

    def request_flush(self) -> None:
        """Have all events sent soon."""
        self._sender.request_flush()

    def flush(self, timeout: float | None) -> bool:
        """Send what was appended so far; return whether that was done within `timeout` seconds."""
        return self._sender.flush(timeout)

    def stop(self) -> None:
        """Send what can be sent, leave the rest to other processes, and end the thread until the next event."""
        self.is_stopped = True
        self._sender.stop()
        self._endpoint.close()

    def stats(self) -> DeliveryStats:
        """Return what has become of the events so far."""
        written_at = self._journal.oldest_written_at()
        return DeliveryStats(
            spooled=self._journal.spooled,
            delivered=self._courier.delivered,
            retried=self._courier.retried,
            dead=self._dead_letters.count,
            dropped=self._journal.dropped,
            oldest_seconds=None if written_at is None else max(0.0, time.time() - written_at),
        )

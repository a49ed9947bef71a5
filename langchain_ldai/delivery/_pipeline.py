"""A journal and what empties it: a sender, its courier, and a connection."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from langchain_ldai._base.forks import register_fork_safe
from langchain_ldai.delivery._courier import Courier, Keep
from langchain_ldai.delivery._dead_letters import DeadLetters
from langchain_ldai.delivery._http import ClientConfig, EventsEndpoint
from langchain_ldai.delivery._journal import Journal
from langchain_ldai.delivery._sender import Sender


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
        dead: How many events LaunchDarkly refused, or could not be written as JSON.
        dropped: How many events found no room.
        duplicates: How many events were not sent, as a ledger says that their metric was recorded before.
        oldest_seconds: How long the oldest event has waited, in seconds; `None` if none waits.
    """

    spooled: int = 0
    delivered: int = 0
    retried: int = 0
    dead: int = 0
    dropped: int = 0
    duplicates: int = 0
    oldest_seconds: float | None = None

    def __add__(self, other: DeliveryStats) -> DeliveryStats:
        """Return what has become of the events of both."""
        ages = [each.oldest_seconds for each in (self, other) if each.oldest_seconds is not None]
        return DeliveryStats(
            self.spooled + other.spooled,
            self.delivered + other.delivered,
            self.retried + other.retried,
            self.dead + other.dead,
            self.dropped + other.dropped,
            self.duplicates + other.duplicates,
            max(ages, default=None),
        )


class Pipeline:
    """Takes records, and brings them to LaunchDarkly. Any thread may call it, also after `stop`.

    Args:
        config: The client's configuration.
        options: How events are kept and sent.
        folder: The folder in the directory where they lie; "" for the directory itself.
        keep: Takes those events of a refused record that were not tried yet; by default `append`.

    Attributes:
        courier: Brings batches to LaunchDarkly.
        dead_letters: Takes the events that LaunchDarkly refuses.
        sender: The thread that empties the journal.

    Raises:
        ValueError: If a living process sends the files with another SDK key.
    """

    def __init__(self, config: ClientConfig, options: Options, folder: str = "", keep: Keep | None = None) -> None:
        key_hash = sha256((config.sdk_key or "").encode()).hexdigest()
        self._config = config
        self._options = options
        self._keep = keep or self.append
        self._journal = Journal(
            options.directory / folder, key_hash, options.max_bytes, lambda: self.sender.wake()
        )
        self.sender = Sender(self._journal, config.flush_interval, options.sync)
        self.reset_after_fork()
        register_fork_safe(self)
        self.sender.start()

    def reset_after_fork(self) -> None:
        """Have a connection of its own, and count from the beginning."""
        self._endpoint = EventsEndpoint(self._config)
        self.dead_letters = DeadLetters(self._options.directory)
        self.courier = Courier(self._endpoint, self.dead_letters, self.sender, self._keep)
        self.sender.courier = self.courier if self._options.send else None

    def append(self, record: bytes, events: int = 1) -> bool:
        """Keep a record: once this returns, the end of the process does not lose it.

        Args:
            record: What is kept.
            events: How many events it holds.

        Returns:
            `False` if there was no room for it.
        """
        is_kept = self._journal.append(record, events)
        if not self.sender.is_started:
            self.sender.start()
        return is_kept

    def stop(self, latest: float = math.inf) -> bool:
        """Send what can be sent, leave the rest to other processes, and end the thread until the next event.

        Args:
            latest: The `monotonic()` time at which to give up if no batch is accepted; see `Sender.stop`.

        Returns:
            Whether nothing is left.
        """
        is_empty = self.sender.stop(latest=latest)
        self._endpoint.close()
        return is_empty

    def stats(self) -> DeliveryStats:
        """Return what has become of the events so far."""
        written_at = self._journal.oldest_written_at()
        return DeliveryStats(
            spooled=self._journal.spooled,
            delivered=self.courier.delivered,
            retried=self.courier.retried,
            dead=self.dead_letters.count,
            dropped=self._journal.dropped,
            oldest_seconds=None if written_at is None else max(0.0, time.time() - written_at),
        )

"""`DurableEvents`, with which a LaunchDarkly client's events outlive the process and an outage."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from reprlib import repr as short_repr
from typing import TYPE_CHECKING, Final, NoReturn, overload

from ldclient import Context
from ldclient.config import Config
from ldclient.interfaces import EventProcessor

from langchain_ldai._base.forks import OfOneProcess
from langchain_ldai._base.options import check_count, check_seconds, check_timeout
from langchain_ldai._wire.events import Event
from langchain_ldai.delivery._event_queue import EventQueue
from langchain_ldai.delivery._http import ClientConfig
from langchain_ldai.delivery._pipeline import DeliveryStats, Options
from langchain_ldai.delivery._processors import AsyncDurableEventProcessor, DurableEventProcessor, flush_in_thread
from langchain_ldai.ledgers._protocol import Claim, Ledger

if TYPE_CHECKING:
    from ldclient.async_config import AsyncConfig
    from ldclient.interfaces import AsyncEventProcessor

_ONE_CLIENT: Final = "each client needs a DurableEvents, and a directory, of its own"

SMALLEST_MAX_BYTES: Final = 64 << 10
"""The least that `max_bytes` may be: room for a few files."""


class JournaledClaims:
    """Claims slots in a ledger, and sends the events of those that it grants; what waits outlives the process.

    Args:
        ledger: Where slots are claimed.
        find_queue: Returns the queue of the client's events, `None` if the client sends none.
    """

    def __init__(self, ledger: Ledger, find_queue: Callable[[], EventQueue | None]) -> None:
        self.ledger: Final = ledger
        self._find_queue = find_queue

    def submit(self, claim: Claim) -> None:
        """Take a claim. This returns at once, and never raises."""
        queue = self._find_queue()
        if queue is None:
            claim.set_unavailable("the client sends no events, or has not been started")
        elif not queue.append_claim(claim, self.ledger):
            claim.set_unavailable("the metric cannot be kept")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the ledger has answered every claim; return `False` after `timeout` seconds."""
        queue = self._find_queue()
        return queue is None or queue.claims_in(self.ledger).wait(timeout)


class DurableEvents(OfOneProcess):
    """Keeps a LaunchDarkly client's events in files until LaunchDarkly has accepted them.

    Once `track()` has returned, the end of the process does not lose the event, not even a sudden one. A thread
    sends the files at each flush interval of the client, and goes on trying while LaunchDarkly cannot be reached.
    What a process leaves behind is sent by another one that uses the directory. All that the client sends goes
    this way, evaluation summaries too.

    A `DurableEvents` serves one client. Processes may share a directory if they use the same SDK key. After a fork
    the child process goes on with files of its own, also without `postfork()`. But without it, the client's
    `close()` can wait forever in the child, for a thread of the parent.

    Args:
        directory: Where the files lie, one directory for each LaunchDarkly environment. It is made if it does not
            exist, for this user alone.
        max_bytes: How many bytes the files may take. If they take more, the newest events are dropped, and the log
            says so. A metric takes some 350 bytes. Metrics that wait for a ledger may take as much again.
        sync: How often the files are brought to the disk, in seconds. By default the system decides when: the end
            of the process loses nothing, but a crash of the machine may lose the last half minute.
        send: Whether this process sends events. With `False` it only writes them down, and another process with
            the same directory sends them, such as `python -m langchain_ldai.delivery DIRECTORY drain --follow`.
            Metrics that a ledger has to grant are sent by this process all the same, as it has the ledger.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If an argument has a value it cannot have.

    Example:
        `launchdarkly.config(...)` stands for `Config(sdk_key, ...)` here.

        >>> from tempfile import TemporaryDirectory
        >>> from ldclient import LDClient
        >>> from langchain_ldai.testing import LoopbackLaunchDarkly
        >>> with TemporaryDirectory() as directory, LoopbackLaunchDarkly(flags) as launchdarkly:
        ...     events = DurableEvents(directory)
        ...     with LDClient(launchdarkly.config(event_processor_class=events)) as ld:
        ...         ai = LdAiClient(ld, delivery=events)
        ...         ai.completion_config("support-bot", context).create_tracker().track_success()
        ...     len(launchdarkly.custom_events("$ld:ai:generation:success"))
        1
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        max_bytes: int = 1 << 30,
        sync: float | None = None,
        send: bool = True,
    ) -> None:
        if not isinstance(directory, str | os.PathLike) or not os.fspath(directory):
            is_config = hasattr(directory, "sdk_key")  # the client was given the class, and has called it
            remedy = ": event_processor_class takes an instance, DurableEvents(directory)" if is_config else ""
            raise TypeError(f"directory is the path of a directory, not {short_repr(directory)}{remedy}")
        if check_count("max_bytes", max_bytes) < SMALLEST_MAX_BYTES:
            raise ValueError(f"max_bytes is at least {SMALLEST_MAX_BYTES:,}, not {max_bytes:,}")
        if sync is not None:
            check_seconds("sync", sync)
        if not isinstance(send, bool):
            raise TypeError(f"send is True or False, not {short_repr(send)}")
        self._options = Options(Path(directory).absolute(), max_bytes, sync, send)
        self._config: ClientConfig | None = None
        self._queue: EventQueue | None = None
        self._claims: dict[int, JournaledClaims] = {}
        self._processor: DurableEventProcessor | AsyncDurableEventProcessor | None = None

    def __repr__(self) -> str:
        return f"DurableEvents({str(self._options.directory)!r})"

    if not TYPE_CHECKING:  # to a type checker any name would exist

        def __getattr__(self, name: str) -> NoReturn:
            """Raise, with a remedy if a client was given a function that returns this."""
            remedy = ""
            if hasattr(EventProcessor, name):  # the client takes this for the event processor itself
                remedy = ": event_processor_class takes DurableEvents(directory) itself, and no function to it"
            raise AttributeError(f"DurableEvents has no attribute {name!r}{remedy}")

    @overload
    def __call__(self, config: Config) -> EventProcessor: ...
    @overload
    def __call__(self, config: AsyncConfig) -> AsyncEventProcessor: ...
    def __call__(self, config: ClientConfig) -> EventProcessor | AsyncEventProcessor:
        """Return the event processor of a client; LaunchDarkly's client calls this.

        Raises:
            ValueError: If this serves another client already, or another process uses the directory with another
                SDK key.
        """
        queue = self._queue
        if queue is None or (queue.is_stopped and config is not self._config):
            queue = EventQueue(config, self._options)
        elif config is not self._config:
            raise ValueError(f"{_ONE_CLIENT}: this one serves another client already")
        queue.is_stopped = False
        self._config, self._queue = config, queue
        for claims in self._claims.values():
            queue.claims_in(claims.ledger)
        if isinstance(config, Config):
            self._processor = DurableEventProcessor(config, queue)
        else:
            self._processor = AsyncDurableEventProcessor(config, queue)
        return self._processor

    def flush(self, timeout: float | None = None) -> bool:
        """Send everything that was tracked so far, and wait until LaunchDarkly has accepted it.

        Call it before a serverless function answers. An event loop awaits `flush_async` instead. With `send=False`
        the events are left to the process that sends them, and this does not wait for it.

        Args:
            timeout: Seconds to wait at most; `None` for no limit.

        Returns:
            Whether all was accepted. What was not is kept and sent later.
        """
        timeout = check_timeout(timeout)
        processor, queue = self._processor, self._queue
        if processor is None or queue is None:
            return True
        if isinstance(processor, DurableEventProcessor):
            return processor.flush_and_wait(timeout)
        processor.flush()
        return queue.flush(timeout)

    async def flush_async(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """Do what `flush` does, without holding up the event loop.

        Args:
            timeout: Seconds to wait at most; `None` for no limit.

        Returns:
            Whether all was accepted. What was not is kept and sent later.
        """
        timeout = check_timeout(timeout)
        processor = self._processor
        if processor is None:
            return True
        if isinstance(processor, AsyncDurableEventProcessor):
            return await processor.flush_and_wait(timeout)
        return await flush_in_thread(processor.flush_and_wait, timeout)

    def stats(self) -> DeliveryStats:
        """Return what has become of the events of this process so far."""
        return DeliveryStats() if self._queue is None else self._queue.stats()

    def send_all(self, context: Context, events: Sequence[Event]) -> bool:
        """Take events that are due together; they are safe once this returns. It never raises.

        Args:
            context: Whom the events are counted for.
            events: Name, data and metric value of each event, in order.

        Returns:
            `False` if the client sends no events, or has not been started yet; then none was taken.
        """
        if self._queue is None:
            return False
        self._queue.append_all(context, events)
        return True

    def claims_with(self, ledger: Ledger) -> JournaledClaims:
        """Return what keeps a metric's events together with its claim until the ledger has answered.

        Args:
            ledger: Where slots are claimed.
        """
        claims = self._claims.setdefault(id(ledger), JournaledClaims(ledger, lambda: self._queue))
        if self._queue is not None:
            self._queue.claims_in(ledger)
        return claims

    def check_client(self, client: object) -> None:
        """Check that a LaunchDarkly client sends its events through this.

        Raises:
            ValueError: If it sends them elsewhere, or this serves another client.
        """
        config = getattr(client, "_config", None)
        if getattr(config, "event_processor_class", None) is not self:
            raise ValueError(
                "the LaunchDarkly client does not send its events through this DurableEvents; make the client "
                "with Config(sdk_key, event_processor_class=events) and pass the same events as delivery="
            )
        if self._config is not None and self._config is not config:
            raise ValueError(f"{_ONE_CLIENT}: this one serves another client already")

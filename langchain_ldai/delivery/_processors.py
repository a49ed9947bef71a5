"""The event processors of LaunchDarkly's clients: all that a client sends goes into a journal."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from contextlib import suppress
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, Protocol

from ldclient import Context, interfaces
from ldclient.impl.events.event_processor import DefaultEventProcessor
from ldclient.impl.events.types import EventInputCustom
from ldclient.interfaces import EventProcessor

from langchain_ldai._base.process import register_fork_safe
from langchain_ldai.delivery._wire_events import EventEncoder

if TYPE_CHECKING:
    from ldclient.async_config import AsyncConfig
    from ldclient.config import Config
    from ldclient.impl.events.types import EventInput
    from ldclient.interfaces import AsyncEventProcessor
else:
    AsyncEventProcessor = getattr(interfaces, "AsyncEventProcessor", object)  # new in 9.17, as the asynchronous client

_ACCEPTED: Final = 202


class JournalQueue(Protocol):
    """Where events wait until LaunchDarkly has them, and what sends them. Any thread may call it.

    Attributes:
        encoder: Turns the client's custom events into records.
        last_date: LaunchDarkly's clock at its last answer, in seconds since 1970.
    """

    encoder: EventEncoder
    last_date: float | None

    def append(self, record: bytes) -> None:
        """Keep events, as JSON with commas between them."""

    def refuse(self, key: str, reason: str) -> None:
        """Note that the event of this key cannot be sent, and why."""

    def request_flush(self) -> None:
        """Have all events sent soon."""

    def flush(self, timeout: float | None) -> bool:
        """Have all events sent now; return whether they were accepted within `timeout` seconds."""

    def stop(self) -> None:
        """Send what can be sent, and end the threads."""


class DurableEventProcessor(EventProcessor):
    """Puts all that an `LDClient` sends into a journal.

    The SDK's own processor still makes the summaries and the index events. What it sends goes into the journal too.

    Args:
        config: The client's configuration.
        journal: Where the events go.
    """

    def __init__(self, config: Config, journal: JournalQueue) -> None:
        self._config = config
        self._journal = journal
        self._is_stopped = False
        self.reset_after_fork()
        self._start_sdk()
        journal.encoder.on_new_context = self._index
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Have the SDK's processor made anew when it is needed: its threads stayed in the parent process."""
        self._lock = threading.Lock()
        self._sdk: DefaultEventProcessor | None = None

    def send_event(self, event: EventInput) -> None:
        """Keep an event; when this returns, the death of the process does not lose it."""
        if self._is_stopped:
            return
        if is_plain(event):
            write(event, self._journal)
        else:
            self._give_to_sdk(event)

    def flush(self) -> None:
        """Have all events sent soon."""
        if self._sdk is not None:
            self._sdk.flush()
        self._journal.request_flush()

    def flush_and_wait(self, timeout: float | None) -> bool:
        """Have all events sent now; return whether LaunchDarkly accepted them within `timeout` seconds."""
        with self._lock:
            if self._sdk is not None and not self._is_stopped:
                self._sdk.flush()
                self._sdk._wait_until_inactive()  # until its batch is in the journal, which takes no network
        return self._journal.flush(timeout)

    def stop(self) -> None:
        """Take no more events, and send what can be sent."""
        with self._lock:
            if self._is_stopped:
                return
            self._is_stopped = True
            if self._sdk is not None:
                self._sdk.stop()
        self._journal.stop()

    def _index(self, context: Context) -> None:
        self._give_to_sdk(index_only(context))

    def _give_to_sdk(self, event: EventInput) -> None:
        (self._sdk or self._start_sdk()).send_event(event)

    def _start_sdk(self) -> DefaultEventProcessor:
        with self._lock:
            if self._sdk is None:
                self._sdk = DefaultEventProcessor(self._config, http=_JournalConnection(self._journal))
            return self._sdk


class AsyncDurableEventProcessor(AsyncEventProcessor):
    """Puts all that an `AsyncLDClient` sends into a journal. It is made on the client's event loop.

    Any thread may send events, also one without an event loop.

    Args:
        config: The client's configuration.
        journal: Where the events go.
    """

    def __init__(self, config: AsyncConfig, journal: JournalQueue) -> None:
        from ldclient.impl.events.async_event_processor import DefaultAsyncEventProcessor  # needs aiohttp

        self._loop = asyncio.get_running_loop()
        self._journal = journal
        self._is_stopped = False
        self._sdk = DefaultAsyncEventProcessor(config, http=_JournalConnection(journal))
        journal.encoder.on_new_context = self._index

    def send_event(self, event: EventInput) -> None:
        """Keep an event; when this returns, the death of the process does not lose it."""
        if self._is_stopped:
            return
        if is_plain(event):
            write(event, self._journal)
        else:
            self._give_to_sdk(event)

    def flush(self) -> None:
        """Have all events sent soon."""
        self._on_loop(self._sdk.flush)
        self._journal.request_flush()

    async def flush_and_wait(self, timeout: float | None) -> bool:
        """Have all events sent now; return whether LaunchDarkly accepted them within `timeout` seconds."""

    async def stop(self) -> None:
        """Take no more events, and send what can be sent."""
        if self._is_stopped:
            return
        self._is_stopped = True
        await self._sdk.stop()
        await asyncio.to_thread(self._journal.stop)

"""The event processors of LaunchDarkly's clients: all that a client sends goes into a journal."""

from __future__ import annotations

import asyncio
import atexit
import gzip
import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, TypeGuard

from ldclient import Context, interfaces
from ldclient.impl.events.event_processor import DefaultEventProcessor
from ldclient.impl.events.types import EventInputCustom
from ldclient.interfaces import EventProcessor

from langchain_ldai._base.forks import register_fork_safe
from langchain_ldai._base.loops import running_loop
from langchain_ldai.delivery._event_queue import EventQueue

if TYPE_CHECKING:
    from ldclient.async_config import AsyncConfig
    from ldclient.config import Config
    from ldclient.impl.events.types import EventInput
    from ldclient.interfaces import AsyncEventProcessor
else:  # 9.17 brought it, with the asynchronous client
    AsyncEventProcessor = getattr(interfaces, "AsyncEventProcessor", object)


class DurableEventProcessor(EventProcessor):
    """Puts all that an `LDClient` sends into a journal.

    The SDK's own processor makes the summaries and the index events. What it sends goes into the journal too: at
    each flush, and when the process ends.

    Args:
        config: The client's configuration.
        journal: Where the events go.
    """

    def __init__(self, config: Config, journal: EventQueue) -> None:
        self._config = config
        self._journal = journal
        self._is_stopped = False
        self.reset_after_fork()
        self._started_sdk()
        journal.encoder.on_new_context = self._index
        register_fork_safe(self)
        atexit.register(self._hand_over)

    def reset_after_fork(self) -> None:
        """Forget the SDK's processor, whose threads stayed in the parent; another is made when it is needed."""
        # Python may collect, and so end, a run in the thread that holds a lock.
        self._start_lock = threading.RLock()
        self._hand_over_lock = threading.RLock()
        self._sdk: DefaultEventProcessor | None = None

    def send_event(self, event: EventInput) -> None:
        """Keep an event; when this returns, the death of the process does not lose it."""
        if _is_plain(event):
            _write(event, self._journal)
        elif _has_json_context(event, self._journal):
            self._give_to_sdk(event)

    def flush(self) -> None:
        """Have all events sent soon."""
        if self._sdk is not None:
            self._sdk.flush()
        self._journal.request_flush()

    def flush_and_wait(self, timeout: float | None, is_given_up: Callable[[], bool] = lambda: False) -> bool:
        """Have all events sent now; return whether LaunchDarkly accepted them within `timeout` seconds."""
        self._hand_over()
        return self._journal.flush(timeout, is_given_up)

    def stop(self) -> None:
        """Make no more summaries, and send what can be sent; custom events are kept also after this."""
        atexit.unregister(self._hand_over)
        with self._hand_over_lock:
            if self._is_stopped:
                return
            self._is_stopped = True
            if self._sdk is not None:
                self._sdk.stop()
        self._journal.stop()

    def _index(self, context: Context) -> None:
        self._give_to_sdk(_index_only(context))

    def _give_to_sdk(self, event: EventInput) -> None:
        if not self._is_stopped and not sys.is_finalizing():  # once Python ends, the SDK's threads do not run
            with suppress(RuntimeError):  # a thread cannot start: Python ends, or the process has none to spare
                self._started_sdk().send_event(event)

    def _started_sdk(self) -> DefaultEventProcessor:
        with self._start_lock:
            if self._sdk is None:
                self._sdk = DefaultEventProcessor(self._config, http=_JournalConnection(self._journal))
            return self._sdk

    def _hand_over(self) -> None:
        """Wait until the SDK's processor has put its batch into the journal, which takes no network."""
        with self._hand_over_lock:
            if self._sdk is not None and not self._is_stopped:
                self._sdk.flush()
                self._sdk._wait_until_inactive()


class AsyncDurableEventProcessor(AsyncEventProcessor):
    """Puts all that an `AsyncLDClient` sends into a journal. It is made on the client's event loop.

    Any thread may send events. Where the loop has ended, and in a forked process, custom events still go into the
    journal, but no summaries and index events are made.

    Args:
        config: The client's configuration.
        journal: Where the events go.
    """

    def __init__(self, config: AsyncConfig, journal: EventQueue) -> None:
        from ldclient.impl.events.async_event_processor import DefaultAsyncEventProcessor  # needs aiohttp

        self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        self._journal = journal
        self._is_stopped = False
        self._sdk = DefaultAsyncEventProcessor(config, http=_JournalConnection(journal))
        journal.encoder.on_new_context = self._index
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Give up the event loop: it stayed in the parent process."""
        self._loop = None

    def send_event(self, event: EventInput) -> None:
        """Keep an event; when this returns, the death of the process does not lose it."""
        if _is_plain(event):
            _write(event, self._journal)
        elif _has_json_context(event, self._journal):
            self._on_loop(self._sdk.send_event, event)

    def flush(self) -> None:
        """Have all events sent soon."""
        self._on_loop(self._sdk.flush)
        self._journal.request_flush()

    async def flush_and_wait(self, timeout: float | None) -> bool:  # noqa: ASYNC109
        """Have all events sent now; return whether LaunchDarkly accepted them within `timeout` seconds."""
        started = time.monotonic()
        is_complete = True
        if running_loop() is self._loop:
            # Until its batch is in the journal, which takes no network.
            is_complete = await self._sdk.flush_and_wait(threading.TIMEOUT_MAX if timeout is None else timeout)
        if timeout is not None:
            timeout = max(0.0, timeout - (time.monotonic() - started))
        return await flush_in_thread(self._journal.flush, timeout) and is_complete

    async def stop(self) -> None:
        """Make no more summaries, and send what can be sent; custom events are kept also after this."""
        if self._is_stopped:
            return
        self._is_stopped = True
        loop, self._loop = self._loop, None  # from here on, the SDK's processor gets nothing more
        if running_loop() is loop:
            await self._sdk.stop()
        await asyncio.to_thread(self._journal.stop)

    def _index(self, context: Context) -> None:
        self._on_loop(self._sdk.send_event, _index_only(context))

    def _on_loop(self, call: Callable[..., None], *args: object) -> None:
        if self._loop is None:
            return
        if running_loop() is self._loop:
            call(*args)
        else:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(call, *args)


async def flush_in_thread(
    flush: Callable[[float | None, Callable[[], bool]], bool],
    timeout: float | None,  # noqa: ASYNC109
) -> bool:
    """Call `flush` on another thread. That ends soon after the caller is cancelled, as its loop waits for it."""
    is_given_up = threading.Event()
    try:
        return await asyncio.to_thread(flush, timeout, is_given_up.is_set)
    finally:
        is_given_up.set()


def _is_plain(event: EventInput) -> TypeGuard[EventInputCustom]:
    """Return whether the SDK would send an event as it is. It samples an event that has a sampling ratio."""
    return type(event) is EventInputCustom and event.sampling_ratio is None


def _has_json_context(event: EventInput, journal: EventQueue) -> bool:
    """Return whether an event's context is JSON. With one that is not, the SDK would lose its whole batch."""
    try:
        journal.encoder.check_context(event.context)
    except (TypeError, ValueError) as error:
        journal.refuse(str(getattr(event, "key", "identify")), str(error))
        return False
    return True


def _write(event: EventInputCustom, journal: EventQueue) -> None:
    try:
        record = journal.encoder.encode(event)
    except (TypeError, ValueError) as error:
        journal.refuse(str(event.key), str(error))
    else:
        journal.append(record)


def _index_only(context: Context) -> EventInputCustom:
    """Return a custom event that the SDK never sends, but makes an index event of."""
    event = EventInputCustom(int(time.time() * 1_000), context, "")
    event.sampling_ratio = 0
    return event


class _JournalConnection:
    """Stands in for the SDK's connection pool or `aiohttp` session: puts each batch into the journal."""

    def __init__(self, journal: EventQueue) -> None:
        self._journal = journal

    def request(
        self, *where: object, body: bytes | str | None = None, data: bytes | str | None = None, **options: object
    ) -> _Accepted:
        """Put a batch into the journal; the pool calls it `body`, the session `data`."""
        batch = body or data or b""
        batch = batch.encode("ascii") if isinstance(batch, str) else gzip.decompress(batch)
        self._journal.append(batch[1:-1], len(json.loads(batch)))  # without the brackets of the list
        self._journal.request_flush()
        return _Accepted(self._journal.last_date)


class _Accepted:
    """The answer to a batch: it was accepted, and LaunchDarkly's clock showed this when it answered last."""

    status: Final = 202

    def __init__(self, date: float | None) -> None:
        self.headers = {} if date is None else {"Date": formatdate(date, usegmt=True)}

    async def __aenter__(self) -> _Accepted:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def text(self, **options: object) -> str:
        return ""

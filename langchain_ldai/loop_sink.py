"""An asynchronous LaunchDarkly client's `track`, for any thread."""

import asyncio

from ldclient import Context

from langchain_ldai.evaluation import EventSink


class LoopSink:
    """Delivers events on the event loop of their client, whose buffer is no other thread's to touch.

    The loop is the first one in which the client is used; once that is closed, the next one.

    Args:
        sink: The client.
    """

    __slots__ = ("_loop", "_sink")

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._loop: asyncio.AbstractEventLoop | None = None

    def note_loop(self) -> None:
        """Note the loop that runs in this thread, where none is known."""
        if self._loop is None or self._loop.is_closed():
            self._loop = _running_loop()

    def track(
        self, event_name: str, context: Context, data: object = None, metric_value: float | None = None
    ) -> None:
        """Deliver an event, from the loop's own thread at once."""
        self.note_loop()
        if self._loop is None or self._loop is _running_loop():
            self._sink.track(event_name, context, data, metric_value)
        else:
            self._loop.call_soon_threadsafe(self._sink.track, event_name, context, data, metric_value)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

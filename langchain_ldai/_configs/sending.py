"""What LaunchDarkly's clients add to sending: the loop of the asynchronous one, and the environment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from ldclient import Context
from ldclient.evaluation import EvaluationDetail
from ldclient.hook import EvaluationSeriesContext, Hook, Metadata

from langchain_ldai._tracking.sending import track_each
from langchain_ldai._wire.events import Event


class EventSink(Protocol):
    """What takes events: an `ldclient` client, whose `track` neither blocks nor raises."""

    def track(
        self, event_name: str, context: Context, data: object = None, metric_value: float | None = None
    ) -> None: ...


class LoopSink:
    """Gives an asynchronous client its events on its own event loop, as no other thread may touch its buffer.

    The client's loop is the first one in which it is used; once that is closed, the next one.

    Args:
        sink: The client.
    """

    __slots__ = ("_loop", "_sink")

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._loop: asyncio.AbstractEventLoop | None = None

    def note_loop(self) -> None:
        """Take the loop that runs in this thread for the client's, where none is known."""
        if self._loop is None or self._loop.is_closed():
            self._loop = _running_loop()

    def track(
        self, event_name: str, context: Context, data: object = None, metric_value: float | None = None
    ) -> None:
        """Send an event: at once in the loop's own thread, else as soon as the loop comes to it."""
        self._call(partial(self._sink.track, event_name, context, data, metric_value))

    def send_all(self, context: Context, events: Sequence[Event]) -> None:
        """Send events that are due together, as `track` sends one; the loop is woken once."""
        self._call(partial(track_each, self._sink.track, context, events))

    def _call(self, send: Callable[[], None]) -> None:
        self.note_loop()
        if self._loop is None or self._loop is _running_loop():
            send()
        else:
            self._loop.call_soon_threadsafe(send)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Environment(Hook):
    """The LaunchDarkly environment that events come from; LaunchDarkly's client tells it to this hook.

    Attributes:
        id: LaunchDarkly's id of the environment, "" until it is known.
    """

    def __init__(self, environment_id: str) -> None:
        self.id = environment_id

    @property
    def metadata(self) -> Metadata:
        """The hook's name in the log of LaunchDarkly's client."""
        return Metadata(name="langchain-ldai")

    def before_evaluation(
        self, series_context: EvaluationSeriesContext, data: dict[str, object]
    ) -> dict[str, object]:
        """Keep the environment's id; the SDK tells it from release 9.20 on."""
        self.id = getattr(series_context, "environment_id", None) or self.id
        return data

    def after_evaluation(
        self, series_context: EvaluationSeriesContext, data: dict[str, object], detail: EvaluationDetail
    ) -> dict[str, object]:
        """Do nothing."""
        return data


_environments: Final[WeakKeyDictionary[object, Environment]] = WeakKeyDictionary()
"""The hook of each LaunchDarkly client. All our clients over it share one, as it cannot remove a hook."""


def environment_of(client: object, environment_id: str | None) -> Environment:
    """Return the environment of a LaunchDarkly client.

    Args:
        client: The client; it gets a hook where nothing else says the id.
        environment_id: The id, where the caller gave one.
    """
    known = environment_id or os.environ.get("LD_ENVIRONMENT_ID")
    environment = Environment(known or "")
    add_hook = getattr(client, "add_hook", None)
    if known or add_hook is None:
        return environment
    try:
        shared = _environments.setdefault(client, environment)
    except TypeError:  # a stand-in that cannot be a key
        shared = environment
    if shared is environment:
        add_hook(environment)
    return shared

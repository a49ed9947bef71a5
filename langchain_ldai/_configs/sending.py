"""What sending needs of LaunchDarkly's clients: the loop of the asynchronous one, and the environment."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from ldclient import Context
from ldclient.evaluation import EvaluationDetail
from ldclient.hook import EvaluationSeriesContext, Hook, Metadata

from langchain_ldai._base.loops import running_loop
from langchain_ldai._tracking.sending import track_each
from langchain_ldai._wire.events import ENVIRONMENT_ID, Event


class EventSink(Protocol):
    """What takes events: an `ldclient` client, whose `track` neither blocks nor raises."""

    def track(
        self, event_name: str, context: Context, data: object = None, metric_value: float | None = None
    ) -> None: ...


MAX_KEPT: Final = 1_000
"""How many calls are kept for a client that is not started. Then they are made all the same."""


class LoopSink:
    """Gives an asynchronous client its events on its own event loop, as no other thread may touch its buffer.

    The client's loop is the first one in which it is used; once that is closed, the next one. LaunchDarkly's
    client drops what it is given before it was started; such events are kept for the first event after that.

    Args:
        sink: The client.

    Attributes:
        on_ended_loop: Called when the loop of a client that had been started has ended, and the client is used on.
    """

    __slots__ = ("_is_started", "_kept", "_loop", "_sink", "on_ended_loop")

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._kept: deque[Callable[[], None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_started = False
        self.on_ended_loop: Callable[[], object] = lambda: None

    def note_loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the client's loop; if none is known, take the one that runs in this thread."""
        if self._loop is None or self._loop.is_closed():
            if self._loop is not None and self._is_started:
                self.on_ended_loop()
            self._loop = running_loop()
        return self._loop

    def track(
        self, event_name: str, context: Context, data: object = None, metric_value: float | None = None
    ) -> None:
        """Send an event: now in the loop's own thread, otherwise once the loop comes to it."""
        self._call(partial(self._sink.track, event_name, context, data, metric_value))

    def send_all(self, context: Context, events: Sequence[Event]) -> None:
        """Send events that are due together, as `track` sends one; the loop is woken once."""
        self._call(partial(track_each, self._sink.track, context, events))

    def _call(self, send: Callable[[], None]) -> None:
        self.note_loop()
        if self._loop is None or self._loop is running_loop():
            self._deliver(send)
        else:
            self._loop.call_soon_threadsafe(self._deliver, send)

    def _deliver(self, send: Callable[[], None]) -> None:
        self._kept.append(send)
        # No public name says whether the client was started. If it has not this one, no event is kept.
        started = getattr(self._sink, "_started", None)
        if started is False and len(self._kept) < MAX_KEPT:
            return
        self._is_started = started is True
        while self._kept:
            self._kept.popleft()()


class EnvironmentHook(Hook):
    """Learns from LaunchDarkly's client which environment events come from.

    Attributes:
        fields: What every event says of the environment: its id, or nothing until that is known.
    """

    def __init__(self, environment_id: str) -> None:
        self.fields = {ENVIRONMENT_ID: environment_id} if environment_id else {}

    @property
    def metadata(self) -> Metadata:
        """The hook's name in the log of LaunchDarkly's client."""
        return Metadata(name="langchain-ldai")

    def before_evaluation(
        self, series_context: EvaluationSeriesContext, data: dict[str, object]
    ) -> dict[str, object]:
        """Keep the environment's id."""
        if environment_id := getattr(series_context, "environment_id", None):
            self.fields[ENVIRONMENT_ID] = environment_id
        return data

    def after_evaluation(
        self, series_context: EvaluationSeriesContext, data: dict[str, object], detail: EvaluationDetail
    ) -> dict[str, object]:
        """Do nothing."""
        return data


_environments: Final[WeakKeyDictionary[object, EnvironmentHook]] = WeakKeyDictionary()
"""The hook of each LaunchDarkly client, shared by all our clients over it: nobody can remove a hook again."""


def environment_of(client: object, environment_id: str | None) -> EnvironmentHook:
    """Return the environment of a LaunchDarkly client.

    Args:
        client: The client. It gets a hook if nothing else says the id.
        environment_id: The id, where the caller gave one.
    """
    known = environment_id or os.environ.get("LD_ENVIRONMENT_ID", "")
    environment = EnvironmentHook(known)
    add_hook = getattr(client, "add_hook", None)
    if known or add_hook is None:
        return environment
    try:
        shared = _environments.setdefault(client, environment)
    except TypeError:  # a stand-in that cannot be a key
        shared = environment
    if shared is environment:
        with contextlib.suppress(TypeError):  # an asynchronous client before 9.20 takes other hooks
            add_hook(environment)
    return shared

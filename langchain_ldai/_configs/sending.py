"""How a client's trackers send their events: for one context, from one environment, on the client's loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from ldclient import Context
from ldclient.evaluation import EvaluationDetail
from ldclient.hook import EvaluationSeriesContext, Hook, Metadata

from langchain_ldai._base.guard import Notices
from langchain_ldai._wire import events


class EventSink(Protocol):
    """The one call on an `ldclient` client that delivers metrics; it neither blocks nor raises."""

    def track(
        self, event_name: str, context: Context, data: object = None, metric_value: float | None = None
    ) -> None: ...


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


class Environment(Hook):
    """The environment that events come from, which LaunchDarkly's client tells its hooks.

    Attributes:
        id: LaunchDarkly's id of the environment, "" until it is known.
    """

    def __init__(self, environment_id: str) -> None:
        self.id = environment_id

    @property
    def metadata(self) -> Metadata:
        """What LaunchDarkly's client calls the hook in its log."""
        return Metadata(name="langchain-ldai")

    def before_evaluation(
        self, series_context: EvaluationSeriesContext, data: dict[str, object]
    ) -> dict[str, object]:
        """Note the id, which releases of the SDK before 9.20 do not tell."""
        self.id = getattr(series_context, "environment_id", None) or self.id
        return data

    def after_evaluation(
        self, series_context: EvaluationSeriesContext, data: dict[str, object], detail: EvaluationDetail
    ) -> dict[str, object]:
        """Note nothing."""
        return data


_environments: Final[WeakKeyDictionary[object, Environment]] = WeakKeyDictionary()
"""One hook for each of LaunchDarkly's clients, however many of ours are made over it: it can forget none."""


def environment_of(client: object, environment_id: str | None) -> Environment:
    known = environment_id or os.environ.get("LD_ENVIRONMENT_ID")
    environment = Environment(known or "")
    add_hook = getattr(client, "add_hook", None)
    if known or add_hook is None:
        return environment
    try:
        shared = _environments.setdefault(client, environment)
    except TypeError:  # a stand-in that nothing can be noted for
        shared = environment
    if shared is environment:
        add_hook(environment)
    return shared


class ContextSend:
    """Delivers the events of one context, and looks each time whether the client still takes them.

    Args:
        context: Whom the events are counted for.
        track: Takes them.
        environment: Which LaunchDarkly environment the events come from.
        look: Says once where the client takes none; `None` for a client that cannot tell.
        notices: What the client has logged.
    """

    __slots__ = ("_context", "_environment", "_look", "_track", "notices")

    def __init__(
        self,
        context: Context,
        track: Callable[..., None],
        environment: Environment,
        look: Callable[[Mapping[str, object]], None] | None,
        notices: Notices,
    ) -> None:
        self._context = context
        self._track = track
        self._environment = environment
        self._look = look
        self.notices = notices

    def __call__(self, event_name: str, data: Mapping[str, object], metric_value: float) -> None:
        """Deliver one event."""
        if self._look is not None:
            self._look(data)
        if self._environment.id:
            data = {**data, events.ENVIRONMENT_ID: self._environment.id}
        self._track(event_name, self._context, data, metric_value)

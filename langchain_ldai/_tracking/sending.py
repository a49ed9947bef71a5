"""How a client's trackers send events: to a delivery at once, or to LaunchDarkly's client one by one."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ldclient import Context

from langchain_ldai._base.guard import Notices, call_each
from langchain_ldai._wire.events import Event
from langchain_ldai.ledgers._protocol import Claims

SendAll = Callable[[Context, Sequence[Event]], object]
"""Takes events of one context that are due together; returns `True` if they are safe from now on."""


def track_each(track: Callable[..., None], context: Context, events: Sequence[Event]) -> None:
    """Give events to a client's `track` one by one, also after one has failed; then raise what `track` raised.

    Each gets a copy of its data, so that its receiver cannot change the next one's.
    """
    call_each([(track, name, context, dict(data), value) for name, data, value in events])


class ClientSender(NamedTuple):
    """Sends the events of one client's trackers.

    Args:
        send_all: Takes the events that are due together.
        diagnose: Takes an event's data, and logs why the client takes no events, if it takes none.
        environment: What every event says of the LaunchDarkly environment: nothing while that is not known.
        notices: Logs each warning about the client once.
    """

    send_all: SendAll
    diagnose: Callable[[Mapping[str, object]], object]
    environment: Mapping[str, str]
    notices: Notices

    def send(self, context: Context, events: Sequence[Event]) -> None:
        """Send events now, in order, also after one has failed; then raise what the client raised."""
        if not self.send_all(context, events):
            self.diagnose(events[0][1])


class EventSender(NamedTuple):
    """What a tracker needs to send its events.

    Args:
        context: Whom the events are counted for.
        client: Sends them.
        claims: Takes the claims of metrics; `None` without a ledger.
    """

    context: Context
    client: ClientSender
    claims: Claims | None

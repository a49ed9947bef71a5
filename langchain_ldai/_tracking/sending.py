"""What a tracker hands its events to, and what a client may be given to deliver them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from langchain_ldai._base.guard import Notices
from langchain_ldai._wire.events import Event
from langchain_ldai.ledgers._claims import Claims, Ledger

if TYPE_CHECKING:
    from ldclient import Context


class EventSender(Protocol):
    """Sends the events of one context."""

    @property
    def context(self) -> Context:
        """Whom the events are counted for."""
        ...

    @property
    def claims(self) -> Claims | None:
        """Takes the claims of metrics; `None` without a ledger."""
        ...

    @property
    def notices(self) -> Notices | None:
        """What the client has logged."""
        ...

    @property
    def environment_id(self) -> str:
        """LaunchDarkly's id of the environment, "" until it is known."""
        ...

    def send(self, events: Sequence[Event]) -> None:
        """Send events at once, in order. An event that fails keeps no other back, and raises afterwards."""
        ...


@runtime_checkable
class EventDelivery(Protocol):
    """Takes the events of a client's runs in the place of the client's `track`, such as `DurableEvents`."""

    def send_all(self, context: Context, events: Sequence[Event]) -> None:
        """Take events that are due together, in order; they are safe once this returns. It never raises."""
        ...

    def claims_with(self, ledger: Ledger) -> Claims:
        """Return what keeps a metric's events together with its claim until the ledger has answered."""
        ...

    def check_client(self, client: object) -> None:
        """Raise `ValueError` if a client sends its other events elsewhere, or this serves another client."""
        ...

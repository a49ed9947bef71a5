"""The options of a client: checks them, and makes what its trackers claim with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import repr as short_repr
from typing import Final, Protocol

from ldclient import Context

from langchain_ldai._base.options import check_instance, check_seconds
from langchain_ldai._tracking.sending import SendAll
from langchain_ldai._wire.events import Event
from langchain_ldai.ledgers._claim_queue import QueuedClaims, queues
from langchain_ldai.ledgers._protocol import Claims, Ledger, OnLedgerError, check_ledger

_log = logging.getLogger(__name__)

_NO_DELIVERY: Final = (
    "The LaunchDarkly client sends its events through DurableEvents, but metrics that wait for the ledger are in "
    "memory and die with the process: pass the same DurableEvents as delivery="
)

LEDGER_TIMEOUT: Final = 60.0
"""How many seconds a claim is attempted by default."""


class EventDelivery(Protocol):
    """Takes the events of a client's runs in the place of the client's `track`, such as `DurableEvents`."""

    def send_all(self, context: Context, events: Sequence[Event]) -> bool:
        """Take events that are due together, in order; they are safe once this returns. It never raises.

        Returns:
            `False` if the client sends no events, or has not been started yet; then none was taken.
        """
        ...

    def claims_with(self, ledger: Ledger) -> Claims:
        """Return what keeps a metric's events together with its claim until the ledger has answered."""
        ...

    def check_client(self, client: object) -> None:
        """Raise `ValueError` if a client sends its other events elsewhere, or this serves another client."""
        ...


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """What a caller gave beside the LaunchDarkly client; see `LdAiClient`."""

    ledger: Ledger | None
    on_ledger_error: OnLedgerError | None
    ledger_timeout: float | None
    delivery: EventDelivery | None
    environment_id: str | None

    def check(self, client: object) -> None:
        """Raise `TypeError` or `ValueError` if an option is wrong, or does not fit the others or the client."""
        if not isinstance(self.environment_id, str | None):
            raise TypeError(f"environment_id is a str, not {type(self.environment_id).__name__}")
        self.check_claiming()
        if self.delivery is None:
            self._tell_of_forgotten_delivery(client)
            return
        check_instance(
            "delivery",
            self.delivery,
            "takes a client's events, as DurableEvents does",
            ("send_all", "claims_with", "check_client"),
        )
        for name in ("ledger_timeout", "on_ledger_error"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} is of no use beside delivery: a claim is kept until the ledger has answered. "
                    f"Leave out {name}, or delivery"
                )
        self.delivery.check_client(client)

    def _tell_of_forgotten_delivery(self, client: object) -> None:
        """Warn if claims wait in memory although the client's events outlive the process."""
        is_chosen = self.on_ledger_error is not None or self.ledger_timeout is not None
        processor = getattr(getattr(client, "_config", None), "event_processor_class", None)
        if self.ledger is not None and not is_chosen and hasattr(processor, "claims_with"):
            _log.warning(_NO_DELIVERY)

    def check_claiming(self) -> None:
        """Raise `TypeError` or `ValueError` if an option of the ledger is wrong."""
        if self.on_ledger_error not in (None, "drop", "send"):
            raise ValueError(f'on_ledger_error is "drop" or "send", not {short_repr(self.on_ledger_error)}')
        if self.ledger_timeout is not None:
            check_seconds("ledger_timeout", self.ledger_timeout)
        if self.ledger is not None:
            check_ledger(self.ledger)

    def claims(self, send: SendAll) -> Claims | None:
        """Return what takes the claims of the client's trackers; `None` without a ledger.

        Args:
            send: Sends the events once the ledger grants a claim.
        """
        if self.ledger is None:
            return None
        if self.delivery is not None:
            return self.delivery.claims_with(self.ledger)
        timeout = LEDGER_TIMEOUT if self.ledger_timeout is None else self.ledger_timeout
        return QueuedClaims(send, self.on_ledger_error or "drop", timeout, queues.of(self.ledger))

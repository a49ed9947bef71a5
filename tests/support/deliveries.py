"""A delivery that notes what it is given and claims at once, in the place of a journal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from ldclient import Context

from langchain_ldai._wire.events import Event
from langchain_ldai.ledgers import Ledger
from langchain_ldai.ledgers._protocol import Claim


@dataclass(eq=False)
class NotedClaims:
    """Keeps each claim until `answer` has the ledger answer it, as a journal keeps it over a crash."""

    ledger: Ledger
    delivery: "NotedDelivery"
    is_answered: bool = True
    kept: list[tuple[str, Claim]] = field(default_factory=list)
    all: list[Claim] = field(default_factory=list)

    def submit(self, claim: Claim) -> None:
        """See `Claims.submit`."""
        self.all.append(claim)
        self.kept.append((uuid4().hex, claim))

    def answer(self) -> None:
        """Have the ledger answer each claim that is kept."""
        while self.kept:
            claimant, claim = self.kept.pop(0)
            is_granted = claim.slot in self.ledger.claim(claim.run, [claim.slot], claimant)
            if is_granted:
                self.delivery.send_all(claim.context, claim.events)
            claim.set_answer(is_granted)

    def wait(self, timeout: float | None = None) -> bool:
        """See `Claims.wait`."""
        if self.is_answered:
            self.answer()
        return not self.kept


@dataclass(eq=False)
class NotedDelivery:
    """Notes what is handed over in one call, and the claims that it is given."""

    calls: list[tuple[Context, list[Event]]] = field(default_factory=list)
    checked: list[object] = field(default_factory=list)
    claims: list[NotedClaims] = field(default_factory=list)

    def send_all(self, context: Context, events: Sequence[Event]) -> bool:
        """See `EventDelivery.send_all`."""
        self.calls.append((context, list(events)))
        return True

    def claims_with(self, ledger: Ledger) -> NotedClaims:
        """See `EventDelivery.claims_with`."""
        self.claims.append(NotedClaims(ledger, self))
        return self.claims[-1]

    def check_client(self, client: object) -> None:
        """See `EventDelivery.check_client`."""
        if self.checked:
            raise ValueError("this delivery serves another client")
        self.checked.append(client)

    @property
    def names(self) -> list[list[str]]:
        """The names of the events of each call."""
        return [[name for name, _, _ in events] for _, events in self.calls]

    @property
    def data(self) -> list[list[Mapping[str, object]]]:
        """The data of the events of each call."""
        return [[data for _, data, _ in events] for _, events in self.calls]

"""Ledgers that fail, answer late, or lose their answer, over one that works."""

import threading
from collections.abc import Collection

from langchain_ldai.ledgers import MemoryLedger


class Unreliable(MemoryLedger):
    """Raises while it is down; `calls` are the claims made of it, `threads` who made them."""

    def __init__(self) -> None:
        super().__init__()
        self.up = threading.Event()
        self.was_asked = threading.Event()
        self.calls: list[tuple[str, frozenset[str], str]] = []
        self.threads: set[threading.Thread] = set()

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        self.calls.append((run, frozenset(slots), claimant))
        self.threads.add(threading.current_thread())
        is_up = self.up.is_set()  # before anybody hears of the call, and opens the gate
        self.was_asked.set()
        if not is_up:
            raise ConnectionError("down: and this message quotes a secret")
        return super().claim(run, slots, claimant)


class LosesItsAnswer(MemoryLedger):
    """Makes the first claim but fails before it answers, as when a connection breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = False

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        granted = super().claim(run, slots, claimant)
        if not self.answers:
            self.answers = True
            raise ConnectionError
        return granted


class Held(MemoryLedger):
    """Answers once its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.was_asked = threading.Event()
        self.calls: list[frozenset[str]] = []

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        self.calls.append(frozenset(slots))
        self.was_asked.set()
        assert self.gate.wait(60)
        return super().claim(run, slots, claimant)


class Hangs(MemoryLedger):
    """Does not answer the first calls until it is let go."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.let_go = threading.Event()
        self.was_asked = threading.Event()
        self.hanging = calls
        self.threads: list[threading.Thread] = []

    def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
        """See `Ledger.claim`."""
        self.threads.append(threading.current_thread())
        self.was_asked.set()
        if len(self.threads) <= self.hanging:
            self.let_go.wait(60)
        return super().claim(run, slots, claimant)

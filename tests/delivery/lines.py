"""A journal with its sender, and a courier that does what a test tells it."""

import math
import threading
from collections.abc import Callable
from pathlib import Path

from langchain_ldai.delivery._journal import Journal
from langchain_ldai.delivery._journal_file import Batch
from langchain_ldai.delivery._sender import BatchOutcome, Sender

SMALL = 64 << 10


class Scripted:
    """A courier that does what its script says, and then takes everything.

    Attributes:
        taken: The bodies of the records that it took.
        was_called: Set at each call.
        kept_up: How often the sender looked at what is due.
    """

    def __init__(self, *script: BatchOutcome | BaseException | Callable[[], BatchOutcome]) -> None:
        self.script = list(script)
        self.taken: list[bytes] = []
        self.was_called = threading.Event()
        self.kept_up = 0

    def keep_up(self) -> float:
        """See `BatchCourier.keep_up`."""
        self.kept_up += 1
        return math.inf

    def deliver(self, batch: Batch) -> BatchOutcome:
        """See `BatchCourier.deliver`."""
        self.was_called.set()
        step = self.script.pop(0) if self.script else BatchOutcome.SETTLED
        if isinstance(step, BaseException):
            raise step
        outcome = step() if callable(step) else step
        if outcome is BatchOutcome.SETTLED:
            self.taken += [record.body for record in batch.records]
        return outcome


class Line:
    """A journal and its sender."""

    def __init__(self, directory: Path, courier: Scripted | None, flush_seconds: float = 1000.0) -> None:
        self.journal = Journal(directory, "hash", SMALL, lambda: self.sender.wake())
        self.sender = Sender(self.journal, flush_seconds, None)
        self.sender.courier = courier

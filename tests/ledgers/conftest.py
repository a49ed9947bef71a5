"""What the tests of ledgers start from."""

from collections.abc import Callable, Iterator

import pytest

from langchain_ldai.ledgers import _claim_queue as claim_queue
from tests.ledgers.fakes import Hangs, Unreliable


@pytest.fixture
def unreliable() -> Unreliable:
    """A ledger that is down."""
    return Unreliable()


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that leaves no call behind, however short the time of its claims is: each has its answer."""
    monkeypatch.setattr(claim_queue, "_POLL_SECONDS", 60)


@pytest.fixture
def hangs() -> Iterator[Callable[[int], Hangs]]:
    """Give a maker of ledgers whose hanging calls end with the test."""
    made: list[Hangs] = []

    def make(calls: int) -> Hangs:
        made.append(Hangs(calls))
        return made[-1]

    yield make
    for ledger in made:
        ledger.let_go.set()
        for thread in ledger.threads:
            thread.join(60)

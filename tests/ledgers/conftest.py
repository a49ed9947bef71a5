"""What the tests of ledgers start from."""

import threading
from collections.abc import Iterator

import pytest

from tests.ledgers.fakes import Unreliable


@pytest.fixture
def unreliable() -> Unreliable:
    """A ledger that is down."""
    return Unreliable()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Once its work is done, no thread of the ledger's is there."""
    yield
    for thread in threading.enumerate():
        if thread.name == "langchain_ldai-claims":
            thread.join(10)
            assert not thread.is_alive()

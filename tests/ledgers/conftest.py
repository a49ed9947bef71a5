"""What the tests of ledgers start from."""

import pytest

from tests.ledgers.fakes import Unreliable


@pytest.fixture
def unreliable() -> Unreliable:
    """A ledger that is down."""
    return Unreliable()

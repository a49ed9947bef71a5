"""What the tests of faults share: one fork server for all the tests of a file."""

import os
from collections.abc import Iterator

import pytest

from tests.faults.fork_server import ForkServer


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    """Start workers."""
    if not hasattr(os, "fork"):
        pytest.skip("workers are forked")
    with ForkServer() as forks:
        yield forks

"""What the tests of faults share: a fork server for each file, and what becomes of the events of a case."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.case import Case
from tests.faults.fork_server import ForkServer
from tests.faults.scene import Outcome


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    """Start workers."""
    if not hasattr(os, "fork"):
        pytest.skip("workers are forked")
    with ForkServer() as forks:
        yield forks


@pytest.fixture
def outcome(case: Case, forks: ForkServer, tmp_path: Path) -> Outcome:
    """What becomes of the events of a case with durable delivery, at a small size."""
    return case.run(forks, tmp_path, is_durable=True, is_full=False)

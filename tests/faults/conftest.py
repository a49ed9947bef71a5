"""What the tests of faults share: a fork server, and what becomes of the events of a case."""

import os
from pathlib import Path

import pytest

from tests.faults.case import Case
from tests.faults.scene import Outcome
from tests.support.fork_server import ForkServer, shared_server


@pytest.fixture(scope="session")
def forks() -> ForkServer:
    """Start workers."""
    if not hasattr(os, "fork"):
        pytest.skip("workers are forked")
    return shared_server("tests.faults.loads")


@pytest.fixture
def outcome(case: Case, forks: ForkServer, tmp_path: Path) -> Outcome:
    """What becomes of the events of a case with durable delivery, at a small size."""
    return case.run(forks, tmp_path, is_durable=True, is_full=False)

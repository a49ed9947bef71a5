"""Nothing is lost, whatever becomes of the disk."""

from operator import attrgetter
from pathlib import Path

import pytest

from tests.faults.case import Case
from tests.faults.cases.disks import TABLE
from tests.faults.fork_server import ForkServer


@pytest.mark.parametrize("case", TABLE.cases, ids=attrgetter("name"))
def test_each_event_arrives_once_and_in_order(case: Case, forks: ForkServer, tmp_path: Path) -> None:
    """With `DurableEvents`, at a small size."""
    outcome = case.run(forks, tmp_path, is_durable=True, is_full=False)

    assert outcome.is_perfect, outcome

"""Nothing is lost or doubled, whatever LaunchDarkly answers."""

from operator import attrgetter

import pytest

from tests.faults.cases.answers import TABLE
from tests.faults.scene import Outcome


@pytest.mark.parametrize("case", TABLE.cases, ids=attrgetter("name"))
def test_each_event_arrives_once_and_in_order(outcome: Outcome) -> None:
    """It is neither lost nor doubled with durable delivery, and memory stays flat."""
    assert outcome.is_perfect

"""Both kinds of clients."""

from collections.abc import Iterator

import pytest

from tests.support.threads import join_threads


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    """Whether the client is asynchronous."""
    return request.param


@pytest.fixture(autouse=True)
def no_judge_is_left() -> Iterator[None]:
    """Once its work is done, no thread of a judge is there."""
    yield
    join_threads("judge")

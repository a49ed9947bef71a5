"""Both kinds of clients."""

import pytest


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    """Whether the client is asynchronous."""
    return request.param

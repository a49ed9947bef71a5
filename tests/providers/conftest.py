"""What the packages of providers leave behind."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Collect what the packages forgot while their warnings are expected."""
    yield
    gc.collect()

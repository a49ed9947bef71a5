"""What the tests of chat models share: AWS's descriptions of its services, which are read once."""

import functools
from collections.abc import Iterator
from importlib.util import find_spec

import pytest


@pytest.fixture(scope="session", autouse=True)
def aws_is_read_once() -> Iterator[None]:
    """Read a description once, not for each client: LangChain's package makes a session for each."""
    if not find_spec("botocore"):
        yield
        return
    from botocore.loaders import JSONFileLoader

    read = functools.cache(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", staticmethod(read))
        yield

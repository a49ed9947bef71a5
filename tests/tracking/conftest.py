"""A tracker of one run, and what it has sent."""

import pytest

from langchain_ldai import LdAiConfigTracker
from langchain_ldai._wire.tokens import RunIdentity
from tests.support.sent import Sent, sender_to


@pytest.fixture
def sent() -> Sent:
    """Return what the tracker has sent."""
    return Sent()


@pytest.fixture
def tracker(sent: Sent) -> LdAiConfigTracker:
    """Return a tracker of a new run."""
    identity = RunIdentity("run-1", "chat", "var-1", 3)
    return LdAiConfigTracker(identity, sender_to(sent), {"modelName": "gpt-4", "providerName": "openai"})

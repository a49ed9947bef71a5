"""A journal, and a LaunchDarkly that takes events."""

import pytest

from langchain_ldai.delivery import _sender
from tests.delivery.journals import make_journal
from tests.delivery.loopback_events import EventsServer


@pytest.fixture
def server():
    """A LaunchDarkly that takes events."""
    with EventsServer() as started:
        yield started


@pytest.fixture
def journal(tmp_path):
    """A journal in a directory of its own."""
    made = make_journal(tmp_path / "events")
    yield made
    made.complete()
    made.release()


@pytest.fixture
def impatient(monkeypatch):
    """A stop soon gives up a service that takes nothing, and not before its answer: for tests with events left."""
    monkeypatch.setattr(_sender, "CLOSE_SECONDS", 0.1)
    monkeypatch.setattr(_sender, "_GRACE_SECONDS", 60)

"""What arrives at a LaunchDarkly on loopback from other processes, whenever that is."""

from collections.abc import Callable
from typing import Final, TypeVar

from langchain_ldai.testing import LoopbackLaunchDarkly

PATIENCE_SECONDS: Final = 120
"""How long a test waits at most for a further event."""

T = TypeVar("T")


def once(launchdarkly: LoopbackLaunchDarkly, find: Callable[[], T]) -> T:
    """Return what a function finds among what has arrived, once it finds something."""
    while True:
        arrived = len(launchdarkly.custom_events())  # before the look: what comes in between is awaited no more
        if found := find():
            return found
        launchdarkly.wait_for_events(arrived + 1, timeout=PATIENCE_SECONDS)

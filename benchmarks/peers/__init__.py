"""Other packages' handlers, each doing its real work, and dropping what it would send at the last moment."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from benchmarks.arms import Arm
from benchmarks.delivery import Delivery


@dataclass(frozen=True, slots=True)
class Peer:
    """A package to compare with.

    Args:
        name: What the report calls it, and the module here whose `make` makes its arm.
        distribution: What it is installed as.
    """

    name: str
    distribution: str

    @property
    def version(self) -> str | None:
        """The version that is installed, `None` where none is."""
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None

    def make(self, delivery: Delivery) -> Arm:
        """Return its arm; what goes wrong is raised, so that no peer is left out in silence."""
        made: Arm = importlib.import_module(f"benchmarks.peers.{self.name}").make(self.name, delivery)
        return made


PEERS: Final = (
    Peer("langfuse", "langfuse"),
    Peer("openinference", "openinference-instrumentation-langchain"),
    Peer("posthog", "posthog"),
    Peer("langsmith", "langsmith"),
    Peer("mlflow", "mlflow-tracing"),
    Peer("launchdarkly", "launchdarkly-server-sdk-ai-langchain"),
)


def installed() -> Iterator[Peer]:
    """Yield the peers that are installed."""
    return (peer for peer in PEERS if peer.version is not None)


def absent() -> list[str]:
    """Return the names of the peers that are not installed."""
    return [peer.name for peer in PEERS if peer.version is None]

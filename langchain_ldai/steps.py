"""What is known of one step of a run; plain data."""

from typing import Final, NamedTuple


class Place(NamedTuple):
    """Where in a LangGraph a step runs: in which named node, and in which task and step of LangGraph's."""

    node: str | None = None
    task: str = ""
    step: int = 0


NOWHERE: Final = Place()


def key_of(run_id: object) -> object:
    """Return what a step is known by: the number of a `UUID`, whose own hash takes longer than all the rest."""
    return getattr(run_id, "int", run_id)


class ModelCall:
    """What is known of a model call.

    Args:
        provider: Name of the model's provider, "" where LangChain does not say.

    Attributes:
        model: Name of the model, "" until it is known.
        streamed: Whether a chunk has come.
    """

    __slots__ = ("model", "provider", "streamed")

    def __init__(self, provider: str) -> None:
        self.model = ""
        self.provider = provider
        self.streamed = False

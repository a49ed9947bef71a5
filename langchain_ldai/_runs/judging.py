"""What a handler needs of judges: they are drawn for a run, and what they are to score is gathered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from langchain_ldai._base.options import check_instance
from langchain_ldai._runs.trackers import RunTracker


class GatheredExchange(Protocol):
    """Gathers question and answer of one run, or of one named node, for the judges that were drawn for it."""

    @property
    def judges(self) -> tuple[str, ...]:
        """The keys of the judges."""
        ...

    def model_called(self, asked: object, told: Mapping[str, Any]) -> None:
        """Take what a model is asked: lists of messages, or prompts; and what else LangChain tells of the call."""
        ...

    def model_answered(self, result: object) -> None:
        """Take what a model answered."""
        ...

    def tool_called(self, key: object, name: str, told: Mapping[str, Any]) -> None:
        """Take a tool call that begins."""
        ...

    def tool_ended(self, key: object, result: object) -> None:
        """Take what a tool gave back, or raised."""
        ...

    def ended(self, output: object) -> None:
        """Take what the run, or a visit of the node, gave back."""
        ...

    def hand_over(self) -> None:
        """Have the judges score what was gathered. This returns at once."""
        ...


class RunJudges(Protocol):
    """Draws judges for runs, as `langchain_ldai.judges.Judges` does."""

    def draw(self, config: object, tracker: RunTracker, token: str) -> GatheredExchange | None:
        """Return what gathers an exchange for the judges drawn for a run; `None` where none is.

        Args:
            config: The AI Config that the run is counted for.
            tracker: The run's tracker.
            token: The resumption token as the handler hands it out.
        """
        ...

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until every exchange is scored; return `False` after `timeout` seconds."""
        ...


def check_judges(judges: object) -> None:
    """Raise `TypeError` if an object cannot draw judges."""
    if judges is not None:
        check_instance("judges", judges, "is a langchain_ldai.judges.Judges", ("draw", "flush"))

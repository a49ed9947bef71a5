"""Gathers question and answer of one run for its judges, as text, from what LangChain tells a handler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from langchain_core.messages import BaseMessage

from langchain_ldai._runs.observing import RunEnd
from langchain_ldai._runs.outcome import Outcome
from langchain_ldai._runs.steps import DecisionCall, Step, StepResult, tools_offered
from langchain_ldai.judges._calls import text_of
from langchain_ldai.judges._prompts import Exchange
from langchain_ldai.judges._trajectory import Trajectory, as_json

_ROLES: Final = {"human": "user", "ai": "assistant"}


class ExchangeGatherer:
    """Keeps what the judges of one run are to be shown, in text, and hands it over.

    Args:
        judges: The keys of the judges.
        submit: Has an exchange scored.
        has_trajectory: Whether the judges are to see the tool calls.

    Attributes:
        judges: The keys of the judges.
    """

    lost: ClassVar[str] = "What a judge is to score could not be read or handed over, a run may get no score"

    def __init__(
        self, judges: tuple[str, ...], submit: Callable[[Exchange], None], *, has_trajectory: bool
    ) -> None:
        self.judges: Final = judges
        self._submit = submit
        self._questions: dict[None, str] = {}  # one at most: `setdefault` is one step, and needs no lock
        self._answer = ""
        self._structured = ""
        self._trajectory = Trajectory() if has_trajectory else None

    def step_started(self, step: Step, told: Mapping[str, Any]) -> None:
        """See `RunObserver`; the question is that of the first model call. Decisions and handoffs are left out."""
        if step.call is not None:
            if isinstance(step.call, DecisionCall):
                return
            if not self._questions:
                self._questions.setdefault(None, _question_in(told.get("asked")))
            if self._trajectory is not None:
                self._trajectory.offer(tools_offered(told))
        elif step.tool and self._trajectory is not None:
            self._trajectory.call(step.key, step.tool, told)

    def step_ended(self, step: Step, output: object, error: BaseException | None, result: StepResult) -> None:
        """See `RunObserver`; the answer is that of the last model call, or the run's structured response."""
        if step.tool:
            if self._trajectory is not None:
                self._trajectory.end(step.key, output if error is None else error)
        elif error is not None:
            return
        elif step.call is not None and not isinstance(step.call, DecisionCall):
            self._answer = _answer_in(output)
        elif step.begins_visit and (found := _structured_in(output, is_all=not self._answer)) is not None:
            self._structured = as_json(found)

    def run_closed(self, end: RunEnd) -> None:
        """See `RunObserver`; only a success is scored."""
        if end.model_calls and end.outcome is Outcome.SUCCESS:
            trajectory = "" if self._trajectory is None else str(self._trajectory)
            self._submit(
                Exchange(self._questions.get(None, ""), self._structured or self._answer, trajectory, end.trace)
            )


def _answer_in(result: object) -> str:
    """Return the text of a model's answer."""
    generations = getattr(result, "generations", None) or [[]]
    first = next(iter(generations[0]), None)
    message = getattr(first, "message", None)
    return text_of(getattr(first, "text", "") if message is None else message)


def _question_in(asked: object) -> str:
    """Return what a model was asked: the text of the user's one message, or a line for each of several."""
    prompt = next(iter(asked), ()) if isinstance(asked, list) else ()
    if isinstance(prompt, str):
        return prompt
    messages = [each for each in prompt if isinstance(each, BaseMessage) and each.type != "system"]
    if [each.type for each in messages] == ["human"]:
        return text_of(messages[0])
    said = [(_ROLES.get(each.type, each.type), text_of(each)) for each in messages]
    return "\n".join(f"{role}: {text}" for role, text in said if text)


def _structured_in(output: object, *, is_all: bool) -> object:
    """Return the structured response in what a run gave back, `None` where there is none.

    Args:
        output: What the run gave back.
        is_all: Whether the model answered without text, so that an object is its structured output.
    """
    if isinstance(output, Mapping):
        if (response := output.get("structured_response")) is not None:
            return response
        if {"raw", "parsed", "parsing_error"} <= output.keys():
            return output["parsed"] if is_all else None
        return output if is_all and output and "messages" not in output else None
    is_model = hasattr(output, "model_dump") and not isinstance(output, (BaseMessage, type))
    return output if is_all and is_model else None

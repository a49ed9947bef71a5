"""`JudgeTask`: what a queue carries to the process in which a judge is asked."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, field, fields
from typing import Final, Self

_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeTask:
    """An answer that a judge is to score, later or in another process. It holds no prompt of the judged AI Config.

    Args:
        token: Resumption token of the run that gave the answer; sealed, where `Judges` has a sealer.
        judge: Key of the judge's AI Config.
        question: What the model was asked.
        answer: What it answered.
        trajectory: The tools that it called, "" where the judge is not to see them.
        trace_id: The trace of the run's root span, in hex, as its report has it: the judge's gets a link to that.
        span_id: The root span itself, in hex.

    Raises:
        TypeError: If a part is no text.

    Example:
        >>> from langchain_ldai.judges import JudgeTask
        >>> task = JudgeTask(token="...", judge="accuracy", question="How?", answer="Hold the button")
        >>> JudgeTask.from_json(task.to_json()) == task
        True
    """

    token: str = field(repr=False)
    judge: str
    question: str = field(repr=False)
    answer: str = field(repr=False)
    trajectory: str = field(default="", repr=False)
    trace_id: str | None = field(default=None, repr=False)
    span_id: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for part in fields(self):
            value: object = getattr(self, part.name)
            if not isinstance(value, str) and not (value is None and part.default is None):
                raise TypeError(f"{part.name} of a JudgeTask is a str, not {type(value).__name__}")

    def to_json(self) -> str:
        """Return the task as JSON. It shows what a user asked: take care where you keep it."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        return json.dumps({"v": _VERSION, **{name: value for name, value in parts.items() if value is not None}})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the task that `to_json` wrote.

        Raises:
            TypeError: If what is given, or a part of it, is no text.
            ValueError: If the text is no such JSON, or was written by a newer release of this package.
        """
        if not isinstance(text, str | bytes):
            raise TypeError(
                f"a judge task is read from the text that to_json() gave, not from {type(text).__name__}"
            )
        try:
            read: object = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("not a judge task: it is no JSON") from None
        if not isinstance(read, dict) or type(read.get("v")) is not int or read["v"] != _VERSION:
            raise ValueError(f"not a judge task of version {_VERSION}: was it written by a newer release?")
        missing = [part.name for part in fields(cls) if part.name not in read and part.default is MISSING]
        if missing:
            raise ValueError(f"not a judge task: it has no {missing[0]}")
        return cls(**{part.name: read[part.name] for part in fields(cls) if part.name in read})

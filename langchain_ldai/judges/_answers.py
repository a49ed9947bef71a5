"""Reading the score from a judge's answer: lenient about what is around it, strict about the score; pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

NOT_AN_OBJECT: Final = "not an object"
NOT_A_NUMBER: Final = "score is not a number"
OUT_OF_RANGE: Final = "score out of range"

_FENCE_AROUND: Final = re.compile(r"\s*```(?:json)?[ \t]*\r?\n(.*?)\r?\n?```\s*", re.DOTALL)
_FENCE_INSIDE: Final = re.compile(r"```(?:json)?[ \t]*\r?\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A score that a judge gave.

    Args:
        score: From 0 to 1.
        reasoning: Why, "" where the judge does not say.
    """

    score: float
    reasoning: str


def read_text(text: str) -> Verdict | str:
    """Return the verdict in a judge's text, or why there is none.

    The text is a JSON object as it stands, or one in a fence of backticks.
    """
    for written in _candidates(text):
        try:
            answer: object = json.loads(written)
        except (ValueError, RecursionError):
            continue
        return read_object(answer)
    return NOT_AN_OBJECT


def read_object(answer: object) -> Verdict | str:
    """Return the verdict in what JSON or a structured output says, or why there is none."""
    if not isinstance(answer, Mapping):
        return NOT_AN_OBJECT
    score: Any = answer.get("score")
    if type(score) not in (int, float) or (type(score) is float and not math.isfinite(score)):
        return NOT_A_NUMBER
    if not 0 <= score <= 1:
        return OUT_OF_RANGE
    reasoning = answer.get("reasoning", answer.get("reason", ""))
    # JSON knows a zero below zero.
    return Verdict(abs(float(score)), reasoning if isinstance(reasoning, str) else "")


def _candidates(text: str) -> list[str]:
    """Return what may be the JSON of an answer: the answer, without a fence around it, the first fence in it."""
    around, inside = _FENCE_AROUND.fullmatch(text), _FENCE_INSIDE.search(text)
    return [text, *(found[1] for found in (around, inside) if found)]

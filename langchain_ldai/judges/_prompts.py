"""What a judge is shown of an exchange, in either layout that LaunchDarkly's packages give its messages; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Final

from langchain_ldai._configs.payload import JUDGE_PLACEHOLDERS, Render
from langchain_ldai._configs.types import Message
from langchain_ldai._runs.observing import NO_TRACE, TraceIds

FORMAT: Final = (
    "Answer with a single JSON object and with nothing before or after it. It has two members: `score`, a number "
    "from 0 to 1, and `reasoning`, a text that says why."
)
"""What a judge is told whose model has no structured output."""

_HISTORY, _ANSWER, _INPUT = "message_history", "response_to_evaluate", "input"

MakeRender = Callable[[Mapping[str, object]], Render]
"""Makes the function that fills in a judge's tags from further variables."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a judge is to score.

    Args:
        question: What the model was asked.
        answer: What it answered.
        trajectory: The tools that it called, "" where a judge is not to see them.
        trace: The ids of the span of the run that answered; a judge is not shown them.

    Raises:
        TypeError: If a part is no text.
    """

    question: str = field(repr=False)
    answer: str = field(repr=False)
    trajectory: str = field(default="", repr=False)
    trace: TraceIds = NO_TRACE

    def __post_init__(self) -> None:
        for name in ("question", "answer", "trajectory"):
            value: object = getattr(self, name)
            if not isinstance(value, str):
                raise TypeError(f"{name} is a str, not {type(value).__name__}")

    @property
    def characters(self) -> int:
        """How long it is."""
        return len(self.question) + len(self.answer) + len(self.trajectory)


def messages_for(
    exchange: Exchange,
    prompt: Callable[[Render], Sequence[Message]],
    make_render: MakeRender,
    *,
    is_structured: bool,
) -> tuple[Message, ...]:
    """Return the messages that a judge's model gets, none where the judge has no prompt.

    Args:
        exchange: What is to be scored. None of it is read as a template.
        prompt: Returns the judge's messages, their tags filled in by a function.
        make_render: Makes that function, from what an exchange adds to the variables.
        is_structured: Whether the model is asked for structured output, and need not be told the format.
    """
    marks = {name: f"ldai-{token_hex(16)}" for name in (_HISTORY, _ANSWER, _INPUT)}
    if not exchange.question:
        marks[_INPUT] = ""
    messages = prompt(_render(make_render(marks), marks))
    if not messages:
        return ()
    told = "" if is_structured else FORMAT
    values = {
        _HISTORY: _joined(exchange.question, exchange.trajectory, exchange.answer, FORMAT),
        _ANSWER: exchange.answer,
        _INPUT: exchange.question,
    }
    used = {name for name in (_HISTORY, _ANSWER) for each in messages if marks[name] in each.content}
    by_mark = {mark: values[name] for name, mark in marks.items() if mark}
    filled = [_filled(each, by_mark) for each in messages]
    if not used:
        history = _joined(exchange.question, exchange.trajectory)
        shown = f"MESSAGE HISTORY:\n{history}\n\nRESPONSE TO EVALUATE:\n{exchange.answer}"
        return (*filled, Message("user", _joined(shown, told)))
    if next((each.role for each in reversed(filled) if each.role != "system"), "") != "user":
        filled.append(Message("user", exchange.answer))
    if told and _HISTORY not in used:
        last = max(place for place, each in enumerate(filled) if each.role == "user")
        filled[last] = _with_text(filled[last], told)
    return tuple(filled)


def _render(render: Render, marks: Mapping[str, str]) -> Render:
    """Return a function that also marks the placeholders of a text that is no template, and so stays as it is."""

    def marked(text: str) -> str:
        rendered = render(text)
        if rendered == text:
            for name, placeholder in JUDGE_PLACEHOLDERS.items():
                rendered = rendered.replace(placeholder, marks[name])
        return rendered

    return marked


def _joined(*parts: str) -> str:
    return "\n\n".join(filter(None, parts))


def _filled(message: Message, values: Mapping[str, str]) -> Message:
    """Return a message with its marks replaced, all in one step, so that no value is searched for marks."""
    pattern = re.compile("|".join(values))

    def fill(text: object) -> str:
        return pattern.sub(lambda found: values[found[0]], str(text))

    blocks = [{**each, "text": fill(each["text"])} if "text" in each else each for each in message.blocks]
    return replace(message, content=fill(message.content), blocks=tuple(blocks))


def _with_text(message: Message, text: str) -> Message:
    blocks = (*message.blocks, {"type": "text", "text": text}) if message.blocks else ()
    return replace(message, content=_joined(message.content, text), blocks=blocks)

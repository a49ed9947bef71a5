"""Judges whose models are of real provider packages, over loopback: structured output, text, and what they use."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from ldclient import Context

from langchain_ldai import JudgeResult, LdAiClient, LdAiHandler
from langchain_ldai.judges import Judges
from langchain_ldai.testing import RecordingClient
from tests.judges.judge_models import GOOD, METRIC, flags_with
from tests.providers.models import anthropic, openai
from tests.providers.server import WIRE, Answer, body, events, serving
from tests.support.chains import QUESTION, SUCCESS, TOKENS, chain

USER = Context.create("user-1")
VERDICT = json.loads(GOOD)


def openai_text(text: str) -> Answer:
    """Return OpenAI's answer of a text."""
    answer = json.loads((WIRE / "openai/answer.json").read_text("utf-8"))
    answer["choices"][0]["message"]["content"] = text
    return Answer([json.dumps(answer).encode()])


def anthropic_content(*blocks: Mapping[str, Any]) -> Answer:
    """Return Anthropic's answer of these blocks."""
    answer = json.loads((WIRE / "anthropic/answer.json").read_text("utf-8"))
    return Answer([json.dumps({**answer, "content": blocks}).encode()])


@dataclass(frozen=True)
class Provider:
    """A judge's model, and its answer.

    Args:
        model: Makes the model for an address.
        answer: What the provider answers.
        score: The score in it; `None` where there is none.
    """

    model: Callable[[str], BaseChatModel]
    answer: Answer
    score: float | None = 0.8


TOOL_USE = {"type": "tool_use", "id": "tool-1", "name": "Verdict", "input": VERDICT}
PROVIDERS = {
    "openai": Provider(openai, openai_text(GOOD)),
    "openai, in a fence": Provider(openai, openai_text(f"```json\n{GOOD}\n```")),
    "openai, prose": Provider(openai, openai_text("8 of 10"), None),
    "openai, too high": Provider(openai, openai_text('{"score": 85, "reasoning": ""}'), None),
    "anthropic": Provider(anthropic, anthropic_content(TOOL_USE)),
    "anthropic, in text": Provider(anthropic, anthropic_content({"type": "text", "text": GOOD})),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_a_providers_judge_scores(provider: Provider, is_async: bool) -> None:
    """The score is read from structured output, else from the text; its tokens are the judge's own."""
    client = RecordingClient(flags_with())
    ai = LdAiClient(client)
    token = ai.completion_config("support-bot", USER).create_tracker().resumption_token
    with serving(provider.answer) as url:
        judges = Judges(ai, model=lambda config: provider.model(url))
        exchange = {"question": "How?", "answer": "Hold the button"}
        if is_async:
            result = asyncio.run(judges.evaluate_async("accuracy", token, USER, **exchange))
        else:
            result = judges.evaluate("accuracy", token, USER, **exchange)

    expected = JudgeResult(METRIC, provider.score, "accuracy", reasoning=VERDICT["reasoning"])
    assert result == (expected if provider.score else None)
    assert [event.value for event in client.events if event.name == METRIC] == [provider.score] * bool(result)
    counted = [event for event in client.events if isinstance(event.data, dict)]
    judging = [event.name for event in counted if event.data.get("configKey") == "accuracy"]
    assert {SUCCESS, *TOKENS} <= set(judging)


CALLS: dict[str, tuple[Answer, Callable[..., object]]] = {
    "invoke": (body("openai/answer.json"), lambda subject, options: subject.invoke(QUESTION, options)),
    "stream": (events("openai/answer.sse"), lambda subject, options: list(subject.stream(QUESTION, options))),
}


@pytest.mark.parametrize(("answer", "call"), CALLS.values(), ids=CALLS)
def test_a_providers_run_is_judged(answer: Answer, call: Callable[..., object]) -> None:
    """Question and answer of a real model's run go to a real judge, and the score is the run's."""
    client = RecordingClient(flags_with())
    ai = LdAiClient(client)
    with serving(answer) as url, serving(openai_text(GOOD)) as judge_url:
        judges = Judges(ai, model=lambda config: openai(judge_url))
        handler = LdAiHandler(ai.completion_config("support-bot", USER), judges=judges)
        with handler.collect_runs() as runs:
            call(chain(openai(url)), {"callbacks": [handler]})
        assert handler.flush(10)

    assert client.metrics(runs[0].run_id)[METRIC] == [0.8]

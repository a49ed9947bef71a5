"""Judges whose models are of real provider packages, over loopback: structured output, text, and what they use."""

import asyncio
import gc
import json
import re
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph
from ldclient import Context

from langchain_ldai import JudgeResult, LdAiClient, LdAiHandler
from langchain_ldai.judges import Judges
from langchain_ldai.judges._gathering import ExchangeGatherer
from langchain_ldai.judges._prompts import Exchange
from langchain_ldai.judges._sampling import draw_of
from langchain_ldai.testing import RecordingClient
from tests.judges.judge_models import GOOD, METRIC, flags_with
from tests.providers.models import anthropic, openai
from tests.providers.server import WIRE, Answer, body, events, serving
from tests.support.chains import SUCCESS, TOKENS, create_agent, search
from tests.support.threads import join_threads

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


def openai_tool_call() -> Answer:
    """Return OpenAI's answer that calls `search`."""
    answer = json.loads((WIRE / "openai/answer.json").read_text("utf-8"))
    call = {"id": "call-1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    answer["choices"][0]["message"] |= {"content": None, "tool_calls": [call]}
    return Answer([json.dumps(answer).encode()])


ANTHROPIC_CALL = anthropic_content({"type": "tool_use", "id": "tool-1", "name": "search", "input": {}})
WHOLE = {
    "openai": (openai, [body("openai/answer.json")], openai_tool_call()),
    "anthropic": (anthropic, [body("anthropic/answer.json")], ANTHROPIC_CALL),
}
STREAMED = {"openai": [events("openai/answer.sse")], "anthropic": [events("anthropic/answer.sse")]}


def graph(model: BaseChatModel) -> Runnable:
    """Return a graph whose one node calls the model."""
    builder = StateGraph(MessagesState)
    builder.add_node("answer", lambda state, config: {"messages": model.invoke(state["messages"], config)})
    builder.add_edge(START, "answer")
    return builder.compile()


def asked_in_a_list(subject: Runnable, question: HumanMessage, options: RunnableConfig) -> object:
    """Call what takes messages."""
    return subject.invoke({"messages": [question]}, options)


def parsed(model: BaseChatModel) -> Runnable:
    """Return the model and a parser."""
    return model | StrOutputParser()


SHAPES: dict[str, tuple[Callable[[BaseChatModel], Runnable], Callable[..., object]]] = {
    "chain": (parsed, lambda subject, question, options: subject.invoke([question], options)),
    "stream": (parsed, lambda subject, question, options: list(subject.stream([question], options))),
    "agent": (lambda model: create_agent(model, [search]), asked_in_a_list),
    "graph": (graph, asked_in_a_list),
}
RATE, RUNS = 0.5, [f"run-{number}" for number in range(8)]
DRAWN = {run for run in RUNS if draw_of(run, "accuracy") < RATE}


def read_mark(shown: list[BaseMessage]) -> str:
    """Judge by the number of the run that is in its question."""
    (number,) = re.findall(r"run-(\d)", str(shown[-1].content))
    return json.dumps({"score": int(number) / 10, "reasoning": ""})


def exchanges() -> list[object]:
    """Return every exchange that is in memory; other tests may have left some."""
    return [each for each in gc.get_objects() if isinstance(each, (ExchangeGatherer, Exchange))]


class Weak(BaseCallbackHandler):
    """Keeps weak references to what the models answer."""

    def __init__(self) -> None:
        self.answers: list[weakref.ref[object]] = []

    def on_llm_end(self, response, **kwargs) -> None:
        """Note an answer."""
        self.answers.append(weakref.ref(response.generations[0][0].message))


@pytest.mark.parametrize("provider", WHOLE)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_drawn_run_gets_the_score_of_its_exchange_which_then_is_gone(shape: str, provider: str) -> None:
    """Of a chain, a stream, an agent and a graph, and also where it was not drawn, nothing stays in memory."""
    client = RecordingClient(flags_with(accuracy=RATE))
    ai = LdAiClient(client)
    judges = Judges(ai, model=lambda config: RunnableLambda(read_mark))
    run_ids = {"run_ids": lambda metadata: metadata["run"]}
    handler = LdAiHandler(ai.completion_config("support-bot", USER), judges=judges, **run_ids)
    make, answers, tool_call = WHOLE[provider]
    answers = {"stream": STREAMED[provider], "agent": [tool_call, *answers]}.get(shape, answers)
    build, call = SHAPES[shape]
    weak, questions, before = Weak(), [], exchanges()
    with serving(*answers) as url:
        subject = build(make(url))
        for run in RUNS:
            question = HumanMessage(f"What of {run}?")
            questions.append(weakref.ref(question))
            call(subject, question, {"callbacks": [handler, weak], "metadata": {"run": run}})
            del question
        assert handler.flush(10)

    scores = {event.data["runId"]: event.value for event in client.events if event.name == METRIC}
    assert scores == {run: int(run[-1]) / 10 for run in DRAWN}
    assert len(weak.answers) == len(RUNS) * len(answers)
    join_threads("judge")
    gc.collect()
    assert {each() for each in (*questions, *weak.answers)} == {None}
    assert [each for each in exchanges() if all(each is not other for other in before)] == []

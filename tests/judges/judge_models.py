"""Judges to ask, and models for them."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import ConfigDict, Field

from tests.support.models import USAGE

METRIC: Final = "$ld:ai:judge:accuracy"
GOOD: Final = '{"score": 0.8, "reasoning": "It says what to do."}'


class JudgeModel(BaseChatModel):
    """Answers alike whatever it is asked, keeps what it was shown, and has no structured output.

    An exception as its answer is raised. `gate`, where given, is waited for before each answer; `when_asked` is
    called before that.
    """

    answer: Any = GOOD
    shown: list[list[BaseMessage]] = Field(default_factory=list)
    gate: Any = None
    when_asked: Callable[[], object] = lambda: None
    model_config = ConfigDict(arbitrary_types_allowed=True)

    @property
    def _llm_type(self) -> str:
        return "judge"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        self.shown.append(messages)
        self.when_asked()
        if isinstance(self.gate, threading.Event):
            self.gate.wait(10)
        if isinstance(self.answer, BaseException):
            raise self.answer
        message = AIMessage(self.answer, usage_metadata=USAGE)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        if isinstance(self.gate, asyncio.Event):
            await self.gate.wait()
        return self._generate(messages)


class StructuredModel(JudgeModel):
    """Has structured output as LangChain gives it: the parsed answer, or none, and the message as it came."""

    parsed: Any = None
    schemas: list[object] = Field(default_factory=list)

    def with_structured_output(self, schema, *, include_raw=False, **kwargs) -> Runnable:
        """Return what asks for this schema."""
        assert include_raw
        self.schemas.append(schema)
        return self | RunnableLambda(lambda raw: {"raw": raw, "parsed": self.parsed, "parsing_error": None})


def judge_flag(**parts: object) -> dict[str, object]:
    """Return what LaunchDarkly serves for a judge."""
    return {
        "_ldMeta": {"enabled": True, "variationKey": "j1", "version": 4, "mode": "judge"},
        "model": {"name": "judge-model"},
        "provider": {"name": "Acme"},
        "evaluationMetricKey": METRIC,
        "messages": [{"role": "system", "content": "Rate it for {{ldctx.key}}."}],
        **parts,
    }


def judged_flag(**rates: float) -> dict[str, object]:
    """Return what LaunchDarkly serves for an AI Config with judges, by key and share of runs."""
    judges = [{"key": key, "samplingRate": rate} for key, rate in rates.items()]
    return {
        "_ldMeta": {"enabled": True, "variationKey": "friendly", "version": 3},
        "model": {"name": "small-1"},
        "provider": {"name": "acme"},
        "judgeConfiguration": {"judges": judges},
    }


def flags_with(judge: object = None, **rates: float) -> Mapping[str, object]:
    """Return the flags of `support-bot`, which has a judge `accuracy`, as a rule for each run."""
    judge = judge_flag() if judge is None else judge
    return {"support-bot": judged_flag(**(rates or {"accuracy": 1.0})), "accuracy": judge}

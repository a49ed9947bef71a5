"""How one judge scores one exchange: it is evaluated and asked, and its score is counted for the judged run."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

from langchain_core.runnables import Runnable

from langchain_ldai._base.guard import Guard
from langchain_ldai._base.options import described
from langchain_ldai._configs.client import AsyncLdAiClient, LdAiClient
from langchain_ldai._configs.evaluation import Evaluation
from langchain_ldai._configs.payload import PayloadReader, Render
from langchain_ldai._configs.types import LdAiJudgeConfig
from langchain_ldai._tracking.tracker import LdAiConfigTracker
from langchain_ldai._tracking.values import JudgeResult
from langchain_ldai.judges._answers import Verdict
from langchain_ldai.judges._calls import (
    MAX_LEFT_BEHIND,
    CallsLeftBehind,
    JudgeCall,
    NoScoreError,
    Question,
    is_without_async,
    structured,
    verdict_in,
)
from langchain_ldai.judges._prompts import Exchange, messages_for
from langchain_ldai.judges._spans import JudgeSpans

_log = logging.getLogger(__name__)

_NO_OBJECT: Final = "what LaunchDarkly serves for it is no AI Config"
_DISABLED: Final = "it is disabled"
_NO_METRIC: Final = "its AI Config names no evaluation metric that takes the score"
_NO_PROMPT: Final = "no prompt: its AI Config has neither messages nor instructions"
_NO_MODEL: Final = "the function given for model returned a %s and no chat model: have it return one"
_HANGING: Final = "%s calls that took too long still go on: set a time-out on the judges' models"
NO_ANSWER: Final = "no answer: the run's last model call gave no text"
_REFUSED: Final = "its answer is refused"
_NO_SCORE: Final = "Judge %r gives run %s no score, and the like is not told again: %s"
_NOT_SHOWN: Final = "A judge's span could not be ended, and does not show the score"
_FAILED: Final = "Judge {key!r} could not be asked, or its model failed: a run gets no score of it"


class Scoring(NamedTuple):
    """One exchange that one judge is to score.

    Args:
        judge_key: Key of the judge's AI Config.
        tracker: The tracker of the judged run, which counts the score.
        exchange: What is to be scored.
        spans: Makes the spans of the judge's run, `None` for no spans.
    """

    judge_key: str
    tracker: LdAiConfigTracker
    exchange: Exchange
    spans: JudgeSpans | None


class Scorer:
    """Has judges score exchanges. Nothing that fails is raised: the log tells each thing once for each judge.

    Args:
        client: Evaluates the judges.
        model: Makes a judge's chat model from its AI Config.
        variables: Values for the tags in the judges' messages.
        timeout: Seconds after which a judge that has not answered is cancelled.
        guard: Catches what other people's code raises.
    """

    def __init__(
        self,
        client: LdAiClient | AsyncLdAiClient,
        model: Callable[[LdAiJudgeConfig], Runnable[Any, Any]],
        variables: Mapping[str, object],
        timeout: float,
        guard: Guard,
    ) -> None:
        self._client = client
        self._model = model
        self._variables = variables
        self._timeout = timeout
        self._guard = guard
        self._left_behind = CallsLeftBehind()

    def score(self, scoring: Scoring) -> JudgeResult | None:
        """Return the score that a judge gives, and count it for the judged run; `None` if there is none."""
        result = None
        try:
            config: Any = self._client._evaluate(self._evaluation(scoring))
            call = self._call(scoring, config)
            result = _count(call.config, scoring.tracker, verdict_in(call.invoke()))
        except Exception as error:  # noqa: BLE001
            self.tell(error, scoring.judge_key, scoring.tracker.run_id)
        finally:
            self._show(scoring, result)
        return result

    async def score_async(self, scoring: Scoring) -> JudgeResult | None:
        """Do what `score` does, with a client of either kind."""
        result = None
        try:
            served: Any = self._client._evaluate(self._evaluation(scoring))
            call = self._call(scoring, await served if inspect.isawaitable(served) else served)
            result = _count(call.config, scoring.tracker, verdict_in(await call.ainvoke()))
        except Exception as error:  # noqa: BLE001
            self.tell(error, scoring.judge_key, scoring.tracker.run_id)
        finally:
            self._show(scoring, result)
        return result

    def _show(self, scoring: Scoring, result: JudgeResult | None) -> None:
        """Let the judge's root span end, with the score if there is one."""
        if scoring.spans is not None:
            self._guard.call(_NOT_SHOWN, scoring.tracker.run_id, scoring.spans.scored, result)

    def _call(self, scoring: Scoring, config: LdAiJudgeConfig | None) -> JudgeCall:
        """Return the call of a judge's model.

        Raises:
            NoScoreError: If the judge is not to be asked.
        """
        if not scoring.exchange.answer:
            raise NoScoreError(NO_ANSWER)
        if config is None:
            raise NoScoreError(_NO_OBJECT)
        if not config.enabled:
            raise NoScoreError(_DISABLED, logging.DEBUG)
        if config.evaluation_metric_key is None:
            raise NoScoreError(_NO_METRIC)
        if self._left_behind.are_too_many:
            raise NoScoreError(_HANGING % MAX_LEFT_BEHIND)
        prepare = partial(self._prepare, scoring, config)
        return JudgeCall(config, prepare, self._timeout, self._left_behind, scoring.spans)

    def _prepare(self, scoring: Scoring, config: LdAiJudgeConfig) -> Question:
        """Return what a judge is asked.

        Raises:
            NoScoreError: If the judge has no model, or no prompt.
        """
        judge_key, sender = scoring.judge_key, scoring.tracker._sender
        model: Any = self._model(replace(config, judges=()))
        if not callable(getattr(model, "invoke", None)):
            raise NoScoreError(_NO_MODEL % described(model))
        asking = structured(model)

        def prompt(render: Render) -> tuple[Any, ...]:
            return PayloadReader(judge_key, sender, render).judge_prompt(config.raw)

        def make_render(more: Mapping[str, object]) -> Render:
            return self._client._judge_render(judge_key, sender.context, {**self._variables, **more})

        messages = messages_for(scoring.exchange, prompt, make_render, is_structured=asking is not None)
        if not messages:
            raise NoScoreError(_NO_PROMPT)
        shown = replace(config, messages=messages).to_messages()
        return Question(asking or model, shown, needs_thread=is_without_async(model))

    def _evaluation(self, scoring: Scoring) -> Evaluation[LdAiJudgeConfig | None]:
        """Return the evaluation of a judge for the context, and in the agent graph, of a run."""
        tracker = scoring.tracker
        return self._client._attached_judge(scoring.judge_key, tracker._sender.context, tracker.identity.graph_key)

    def tell(self, error: Exception, judge_key: str, run_id: str) -> None:
        """Log once for each judge why it gives no score."""
        if isinstance(error, NoScoreError):
            known_by = (judge_key, error.reason)
            self._guard.notices.once(_log, error.level, known_by, _NO_SCORE, judge_key, run_id, error.reason)
        else:
            self._guard.caught(error, run_id, _FAILED.format(key=judge_key))


def _count(config: LdAiJudgeConfig, tracker: LdAiConfigTracker, verdict: Verdict | str) -> JudgeResult:
    """Count a verdict for the judged run.

    Raises:
        NoScoreError: If it is a reason why there is none. Nothing of the answer is in it.
    """
    if isinstance(verdict, str):
        raise NoScoreError(f"{_REFUSED}: {verdict}")
    metric_key = config.evaluation_metric_key or ""
    tracker._record_judge_score(metric_key, verdict.score, config.key)
    return JudgeResult(metric_key, verdict.score, config.key, reasoning=verdict.reasoning)

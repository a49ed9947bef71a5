"""`Judges`: has LaunchDarkly's judges score answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from reprlib import repr as short_repr
from typing import Any, Final

from langchain_core.runnables import Runnable
from ldclient import Context

from langchain_ldai._base.forks import OfOneProcess
from langchain_ldai._base.guard import Guard
from langchain_ldai._base.loops import running_loop
from langchain_ldai._base.options import check_count, check_function, check_instance, check_seconds, result_of
from langchain_ldai._configs.client import AsyncLdAiClient, LdAiClient
from langchain_ldai._configs.templates import check_variables
from langchain_ldai._configs.types import LdAiJudgeConfig
from langchain_ldai._runs.tracker_factory import Sealer, check_sealer
from langchain_ldai._runs.trackers import GraphRunTracker, RunTracker
from langchain_ldai._tracking.tracker import LdAiConfigTracker
from langchain_ldai._tracking.values import JudgeResult
from langchain_ldai._wire.ids import check_key
from langchain_ldai._wire.tokens import is_token
from langchain_ldai.judges._calls import NoScoreError
from langchain_ldai.judges._gathering import ExchangeGatherer
from langchain_ldai.judges._prompts import Exchange
from langchain_ldai.judges._queue import MAX_CHARACTERS, Job, JudgeQueue
from langchain_ldai.judges._sampling import draw_of
from langchain_ldai.judges._scoring import NO_ANSWER, Scorer, Scoring
from langchain_ldai.judges._spans import JudgeSpans, SpansForJudges, trace_ids
from langchain_ldai.judges.judge_task import JudgeTask

_log = logging.getLogger(__name__)

_NO_CONTEXT: Final = (
    "AI Config %r has judges, but its runs are not judged, as its context cannot be read: give the handler an AI "
    "Config of LdAiClient"
)
_NO_JUDGES: Final = (
    "AI Config %r has no judges, so its runs are not judged: attach some in LaunchDarkly. Of others without "
    "judges, this is not told"
)
_NO_LOOP: Final = (
    "AI Config %r has judges, but a run of it is not judged: the client is asynchronous, and no event loop runs"
)
_LOST: Final = "Answers are not scored (scores that are lost: %d): %s"
_FULL: Final = (
    "Judge %r is not asked: %s answers wait for judges already, or %s characters of questions and answers. More "
    "workers=, or defer=, would score them"
)
_NOT_DEFERRED: Final = "The function given for defer failed, or the token could not be sealed: a run gets no score"


class Judges(OfOneProcess):
    """Has LaunchDarkly's judges score answers.

    A judge is an AI Config. Its model is shown question and answer and asked for a score from 0 to 1. The score is
    counted for the run that gave the answer, and what the judge costs for the judge's AI Config.

    Args:
        client: The client that evaluates the judges. Give it the ledger of the judged runs: then each judge scores
            a run once, however often it is asked.
        model: Makes a judge's chat model from its AI Config, such as `create_chat_model`. It is called on a thread
            of its own.
        variables: Values for the mustache tags in the judges' messages.
        trajectory: Whether the judges see the tools that a run called, with their arguments and results.
        timeout: Seconds after which a judge that has not answered is cancelled. A thread that waits for a model
            goes on; while ten of them do, no judge is asked.
        workers: How many judges are asked at once.
        max_waiting: How many answers may wait for a judge, with at most 50 million characters of questions and
            answers. Of more, the newest is not scored.
        sealer: Seals the tokens of tasks, unless the handler's sealer does, and unseals those that `evaluate` is
            given.
        defer: Called with each task in the place of asking the judge, so that another process can ask it. It is
            called on the thread that ended the run.
        spans: A `langchain_ldai.spans.Spans`, which makes OpenTelemetry spans of the judges' own runs, each with
            the score and a link to the span of the run that it judges.

    Raises:
        TypeError: If the client is no client, or an option is of another type.
        ValueError: If an option has a value it cannot have.

    Example:
        handler = LdAiHandler(config, judges=Judges(ai, model=create_chat_model))
        chain.invoke({"question": "How?"}, {"callbacks": [handler]})
        handler.flush(10)
    """

    def __init__(
        self,
        client: LdAiClient | AsyncLdAiClient,
        *,
        model: Callable[[LdAiJudgeConfig], Runnable[Any, Any]],
        variables: Mapping[str, object] | None = None,
        trajectory: bool = False,
        timeout: float = 60.0,
        workers: int = 1,
        max_waiting: int = 1_000,
        sealer: Sealer | None = None,
        defer: Callable[[JudgeTask], object] | None = None,
        spans: SpansForJudges | None = None,
    ) -> None:
        if not isinstance(client, LdAiClient | AsyncLdAiClient):
            raise TypeError(f"client is an LdAiClient or an AsyncLdAiClient, not {short_repr(client)}")
        if not callable(model) or hasattr(model, "invoke"):
            raise TypeError(
                "model is a function from a judge's AI Config to a chat model, such as create_chat_model, not "
                f"{'None' if model is None else type(model).__name__}"
            )
        check_function("model", model, "the judge's AI Config")
        check_variables(variables)
        if not isinstance(trajectory, bool):
            raise TypeError(f"trajectory is True or False, not {short_repr(trajectory)}")
        check_seconds("timeout", timeout)
        check_function("defer", defer, "the task")
        if spans is not None:
            check_instance("spans", spans, "is a langchain_ldai.spans.Spans", ("for_judge",))
        if sealer is not None:
            check_sealer(sealer)
        self._client = client
        self._trajectory = trajectory
        self._max_waiting = check_count("max_waiting", max_waiting)
        self._sealer = sealer
        self._defer = defer
        self._spans = spans
        self._has_seen_run = False
        self._guard = Guard()
        self._scorer = Scorer(client, model, dict(variables or {}), timeout, self._guard)
        self._queue = JudgeQueue(
            workers=check_count("workers", workers), max_waiting=max_waiting, tell_lost=self._tell_lost
        )

    def __repr__(self) -> str:  # it may come into a log, and shows no variable
        return f"Judges({self._client!r})"

    def evaluate(
        self,
        judge_key: str,
        token: str,
        context: Context,
        *,
        question: str,
        answer: str,
        trajectory: str = "",
        trace_id: str | None = None,
        span_id: str | None = None,
    ) -> JudgeResult | None:
        """Have a judge score an answer, and count the score for the run that gave it.

        The judge is asked whatever its sampling rate is.

        Args:
            judge_key: Key of the judge's AI Config.
            token: Resumption token of the run, sealed where there is a sealer. A plain one is not signed: take it
                only from whom you trust.
            context: Whom the run was for.
            question: What the model was asked.
            answer: What it answered.
            trajectory: The tools that it called, in words.
            trace_id: That of the run's report, for a link from the judge's span to that of the run.
            span_id: That of the run's report, too.

        Returns:
            The score, or `None` where there is none. The log says why.

        Raises:
            TypeError: If an argument is of another type, or the client is asynchronous.
            ValueError: If LaunchDarkly can have no such key, or `trace_id` or `span_id` is none or is missing.
            InvalidResumptionTokenError: If the token cannot be read.

        Example:
            >>> from langchain_core.language_models import FakeListChatModel
            >>> model = FakeListChatModel(responses=['{"score": 1, "reasoning": "It helps."}'])
            >>> judges = Judges(ai, model=lambda config: model)
            >>> tracker = ai.completion_config("support-bot", context).create_tracker()
            >>> token = tracker.resumption_token
            >>> judges.evaluate("relevance", token, context, question="How?", answer="Hold the button").score
            1.0
            >>> client.metrics(tracker.run_id)
            {'relevance-score': [1.0]}
        """
        self._check_is_synchronous("evaluate_async")
        exchange = Exchange(question, answer, trajectory, trace_ids(trace_id, span_id))
        return self._scorer.score(self._scoring(judge_key, token, context, exchange))

    async def evaluate_async(
        self,
        judge_key: str,
        token: str,
        context: Context,
        *,
        question: str,
        answer: str,
        trajectory: str = "",
        trace_id: str | None = None,
        span_id: str | None = None,
    ) -> JudgeResult | None:
        """Do what `evaluate` does, with a synchronous or an asynchronous client."""
        exchange = Exchange(question, answer, trajectory, trace_ids(trace_id, span_id))
        return await self._scorer.score_async(self._scoring(judge_key, token, context, exchange))

    def evaluate_task(self, task: JudgeTask, context: Context) -> JudgeResult | None:
        """Do what `evaluate` does, for a task that `defer` was given.

        Args:
            task: The task.
            context: Whom the run was for.

        Raises:
            TypeError: If it is no task, the context is none, or the client is asynchronous.
            ValueError: If LaunchDarkly can have no such judge, or the ids of the trace are none.
            InvalidResumptionTokenError: If its token is none, or is sealed otherwise than here.
        """
        self._check_is_synchronous("evaluate_task_async")
        return self._scorer.score(self._scoring_of(task, context))

    async def evaluate_task_async(self, task: JudgeTask, context: Context) -> JudgeResult | None:
        """Do what `evaluate_task` does, with a synchronous or an asynchronous client."""
        return await self._scorer.score_async(self._scoring_of(task, context))

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the judges have scored every answer that waits.

        On an event loop whose tasks ask the judges, this does not wait: await `flush_async` there.

        Args:
            timeout: Seconds to wait at most; `None` for no limit, but for an event loop that is stopped, and not
                closed, two seconds.

        Returns:
            Whether no answer is left.
        """
        return self._queue.flush(timeout)

    async def flush_async(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  as `flush` has it
        """Do what `flush` does, without holding the event loop."""
        return await asyncio.to_thread(self._queue.flush, timeout)

    def draw(self, config: object, tracker: RunTracker, token: str) -> ExchangeGatherer | None:
        """Draw the judges of a run as it starts; a handler calls this.

        Args:
            config: The AI Config that the run is counted for.
            tracker: The run's tracker.
            token: The resumption token as the handler hands it out: sealed, where the handler has a sealer.

        Returns:
            What gathers the exchange for them; `None` where no judge was drawn.
        """
        drawn = []
        for judge in getattr(config, "judges", None) or _official_judges(config):
            if draw_of(tracker.identity.run_id, judge.key) < judge.sampling_rate:
                drawn.append(judge.key)
        if not self._has_seen_run:
            self._see_first_run(config, tracker)
        if not drawn:
            return None
        sender, key = tracker._sender, tracker.identity.config_key
        if sender is None:
            self._guard.notices.once(_log, logging.WARNING, ("context", key), _NO_CONTEXT, key)
            return None
        own = tracker if isinstance(tracker, LdAiConfigTracker) else LdAiConfigTracker(tracker.identity, sender)
        loop = None
        if self._defer is None and isinstance(self._client, AsyncLdAiClient):
            loop = running_loop() or self._client._events.note_loop()
            if loop is None:
                self._guard.notices.once(_log, logging.WARNING, ("loop", key), _NO_LOOP, key)
                return None
        judges = tuple(drawn)
        submit = partial(self._submit, judges, own, loop, token)
        return ExchangeGatherer(judges, submit, has_trajectory=self._trajectory)

    def _see_first_run(self, config: object, tracker: RunTracker) -> None:
        """Tell where the AI Config of the first run has no judges; those of an agent graph are its agents'."""
        if isinstance(tracker, GraphRunTracker):
            return
        self._has_seen_run = True
        if not getattr(config, "judges", None) and not _official_judges(config):
            _log.info(_NO_JUDGES, tracker.identity.config_key)

    def _submit(
        self,
        judges: Iterable[str],
        tracker: LdAiConfigTracker,
        loop: asyncio.AbstractEventLoop | None,
        token: str,
        exchange: Exchange,
    ) -> None:
        """Have judges score an exchange in the background, or hand it out as tasks."""
        for key in judges:
            if not exchange.answer:
                self._scorer.tell(NoScoreError(NO_ANSWER), key, tracker.run_id)
            elif self._defer is not None:
                self._guard.call(_NOT_DEFERRED, tracker.run_id, self._hand_out, self._defer, key, token, exchange)
            else:
                scoring = Scoring(key, tracker, exchange, self._spans_for(exchange))
                score, score_async = self._scorer.score, self._scorer.score_async
                job = Job(partial(score, scoring), partial(score_async, scoring), exchange.characters)
                if not self._queue.put(job, loop):
                    told = _log, logging.WARNING, ("full", key), _FULL
                    self._guard.notices.each_minute(*told, key, self._max_waiting, MAX_CHARACTERS)

    def _hand_out(self, defer: Callable[[JudgeTask], object], key: str, token: str, exchange: Exchange) -> None:
        task = JudgeTask(
            token=token if self._sealer is None or not is_token(token) else self._sealer.seal(token),
            judge=key,
            question=exchange.question,
            answer=exchange.answer,
            trajectory=exchange.trajectory,
            trace_id=exchange.trace.trace_id,
            span_id=exchange.trace.span_id,
        )
        result_of(defer, task)

    def _spans_for(self, exchange: Exchange) -> JudgeSpans | None:
        """Return what makes the spans of a judge's run, below the span that is current now."""
        return None if self._spans is None else self._spans.for_judge(exchange.trace)

    def _tell_lost(self, why: str, count: int) -> None:
        self._guard.notices.each_minute(_log, logging.WARNING, ("lost", why), _LOST, count, why)

    def _check_is_synchronous(self, instead: str) -> None:
        if isinstance(self._client, AsyncLdAiClient):
            raise TypeError(f"the client is asynchronous: await {instead}(...) instead")

    def _scoring_of(self, task: JudgeTask, context: Context) -> Scoring:
        if not isinstance(task, JudgeTask):
            raise TypeError(f"task is a JudgeTask, not {type(task).__name__}: JudgeTask.from_json reads one")
        exchange = Exchange(task.question, task.answer, task.trajectory, trace_ids(task.trace_id, task.span_id))
        return self._scoring(task.judge, task.token, context, exchange)

    def _scoring(self, judge_key: str, token: str, context: Context, exchange: Exchange) -> Scoring:
        check_key(judge_key)
        plain = token if self._sealer is None else self._sealer.unseal(token)
        tracker = self._client.create_tracker(plain, context)
        return Scoring(judge_key, tracker, exchange, self._spans_for(exchange))


def _official_judges(config: object) -> Iterable[Any]:
    """Return the judges of an AI Config of the official package."""
    attached: Iterable[Any] | None = getattr(getattr(config, "judge_configuration", None), "judges", None)
    return attached or ()

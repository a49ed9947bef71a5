"""`Judges`: has LaunchDarkly's judges score answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from reprlib import repr as short_repr
from typing import TYPE_CHECKING, Any

from langchain_ldai._base.guard import Guard
from langchain_ldai._base.options import check_function, check_seconds
from langchain_ldai._configs.client import AsyncLdAiClient, LdAiClient
from langchain_ldai._configs.templates import check_variables
from langchain_ldai._configs.types import LdAiJudgeConfig
from langchain_ldai._runs.totals import Sealer, check_sealer
from langchain_ldai._tracking.tracker import LdAiConfigTracker
from langchain_ldai._tracking.values import JudgeResult
from langchain_ldai.judges._prompts import Exchange
from langchain_ldai.judges._scoring import Scorer

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable
    from ldclient import Context


class Judges:
    """Has LaunchDarkly's judges score answers.

    A judge is an AI Config. Its model is shown question and answer and asked for a score from 0 to 1. The score is
    counted for the run that gave the answer, and what the judge costs for the judge's AI Config.

    Args:
        client: The client that evaluates the judges. Give it the ledger of the judged runs: then each judge scores
            a run once, however often it is asked.
        model: Makes a judge's chat model from its AI Config, such as `create_chat_model`.
        variables: Values for the mustache tags in the judges' messages.
        timeout: Seconds after which a judge that has not answered is cancelled.
        sealer: Unseals the tokens that `evaluate` is given.

    Raises:
        TypeError: If the client is no client, or an option is of another type.
        ValueError: If `timeout` is not above 0.
    """

    def __init__(
        self,
        client: LdAiClient | AsyncLdAiClient,
        *,
        model: Callable[[LdAiJudgeConfig], Runnable[Any, Any]],
        variables: Mapping[str, object] | None = None,
        timeout: float = 60.0,
        sealer: Sealer | None = None,
    ) -> None:
        if not isinstance(client, LdAiClient | AsyncLdAiClient):
            raise TypeError(f"client is an LdAiClient or an AsyncLdAiClient, not {short_repr(client)}")
        if model is None:
            raise TypeError("model is a function from a judge's AI Config to a chat model, not None")
        check_function("model", model, "the judge's AI Config")
        check_variables(variables)
        if sealer is not None:
            check_sealer(sealer)
        check_seconds("timeout", timeout)
        self._client = client
        self._sealer = sealer
        self._scorer = Scorer(client, model, dict(variables or {}), timeout, Guard())

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

        Returns:
            The score, or `None` where there is none. The log says why.

        Raises:
            TypeError: If an argument is of another type, or the client is asynchronous.
            InvalidResumptionTokenError: If the token cannot be read.
        """
        if isinstance(self._client, AsyncLdAiClient):
            raise TypeError("the client is asynchronous: await evaluate_async(...) instead")
        tracker = self._tracker_of(token, context)
        return self._scorer.score(judge_key, tracker, Exchange(question, answer, trajectory))

    async def evaluate_async(
        self,
        judge_key: str,
        token: str,
        context: Context,
        *,
        question: str,
        answer: str,
        trajectory: str = "",
    ) -> JudgeResult | None:
        """Do what `evaluate` does, with a synchronous or an asynchronous client."""
        tracker = self._tracker_of(token, context)
        return await self._scorer.score_async(judge_key, tracker, Exchange(question, answer, trajectory))

    def _tracker_of(self, token: str, context: Context) -> LdAiConfigTracker:
        plain = token if self._sealer is None else self._sealer.unseal(token)
        return self._client.create_tracker(plain, context)

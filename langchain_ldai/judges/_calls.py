"""One call of a judge's model, awaited or not: it is counted for the judge, and cancelled if it takes too long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from contextvars import Context
from typing import Any, Final
from uuid import uuid4

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable

from langchain_ldai._configs.types import LdAiJudgeConfig
from langchain_ldai._runs.handler import LdAiHandler
from langchain_ldai.judges._answers import Verdict, read_object, read_text

JUDGE_THREAD: Final = "langchain_ldai-judge"
"""Name of the threads in which judges work."""

_SCHEMA: Final = {
    "title": "Verdict",
    "description": "How good an answer is.",
    "type": "object",
    "properties": {
        "score": {"type": "number", "minimum": 0, "maximum": 1, "description": "From 0 to 1."},
        "reasoning": {"type": "string", "description": "Why the score is what it is."},
    },
    "required": ["score", "reasoning"],
    "additionalProperties": False,
}


class TookTooLongError(Exception):
    """A judge's model did not answer in time."""


def structured(model: Any) -> Runnable[Any, Any] | None:  # noqa: ANN401  of whatever the caller's function returned
    """Return what asks a model for a verdict as structured output; `None` where the model has none."""
    ask = getattr(model, "with_structured_output", None)
    if ask is None:
        return None
    try:
        asking: Runnable[Any, Any] = ask(_SCHEMA, include_raw=True)
    except NotImplementedError:
        return None
    return asking


def verdict_in(answer: object) -> Verdict | str:
    """Return the verdict in what a model answered, or why there is none.

    Of structured output the text counts where LangChain could not read it.
    """
    if not isinstance(answer, Mapping):
        return read_text(text_of(answer))
    if "raw" not in answer:  # a model of the caller's own may give the object alone
        return read_object(answer)
    if answer.get("parsed") is None:
        return read_text(text_of(answer["raw"]))
    return read_object(answer["parsed"])


def text_of(answer: object) -> str:
    """Return the text of a message, or of a model that returns none but a text."""
    if not isinstance(answer, BaseMessage):
        return answer if isinstance(answer, str) else ""
    text = answer.text
    return str(text() if callable(text) and not isinstance(text, str) else text)


class JudgeCall:
    """A call of a judge's model. Nothing of the chain that is judged reaches it, and it is counted for the judge.

    Args:
        config: The judge.
        model: Its model, or what asks that for structured output.
        messages: What it is shown.
        timeout: Seconds after which it is cancelled.

    Attributes:
        config: The judge.
    """

    def __init__(
        self, config: LdAiJudgeConfig, model: Runnable[Any, Any], messages: Sequence[BaseMessage], timeout: float
    ) -> None:
        self.config = config
        self._model = model
        self._messages = list(messages)
        self._timeout = timeout
        self._handler = LdAiHandler(config)
        self._lc_run_id = uuid4()

    def invoke(self) -> object:
        """Return what the model answers.

        Raises:
            TookTooLongError: If that takes too long. The thread that waits for the model is left behind.
        """
        answered: Future[object] = Future()
        thread = threading.Thread(target=self._answer, args=(answered,), name=JUDGE_THREAD, daemon=True)
        thread.start()
        wait([answered], self._timeout)
        if not answered.done():
            self._cancel()
            raise TookTooLongError
        return answered.result()

    def _answer(self, answered: Future[object]) -> None:
        try:
            answered.set_result(Context().run(self._model.invoke, self._messages, self._options()))
        except BaseException as error:  # noqa: BLE001  a model may raise anything
            raised = error if isinstance(error, Exception) else RuntimeError(f"it raised {type(error).__name__}")
            answered.set_exception(raised)

    async def ainvoke(self) -> object:
        """Return what the model answers; see `invoke`."""
        call = self._model.ainvoke(self._messages, self._options())
        task = asyncio.get_running_loop().create_task(_awaited(call), context=Context())
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await task
        except TimeoutError:
            if not limit.expired():
                raise
            self._cancel()
            raise TookTooLongError from None

    def _options(self) -> Any:  # noqa: ANN401  a RunnableConfig
        return {"callbacks": [self._handler], "run_id": self._lc_run_id, "run_name": "judge"}

    def _cancel(self) -> None:
        """End the judge's own run as cancelled, where LangChain has not ended it."""
        self._handler.on_chain_error(asyncio.CancelledError(), run_id=self._lc_run_id)
        self._handler.flush(0)


async def _awaited(call: Any) -> object:  # noqa: ANN401
    return await call

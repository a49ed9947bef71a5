"""One call of a judge's model, awaited or not: it is counted for the judge, and given up if it takes too long."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextvars import Context
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar
from uuid import uuid4

from langchain_core.language_models.chat_models import BaseChatModel, SimpleChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase

from langchain_ldai._base.forks import register_fork_safe
from langchain_ldai._configs.types import LdAiJudgeConfig
from langchain_ldai._runs.handler import LdAiHandler
from langchain_ldai._runs.metadata import JUDGE_KEY
from langchain_ldai.judges._answers import Verdict, read_object, read_text
from langchain_ldai.judges._spans import JudgeSpans

JUDGE_THREAD: Final = "langchain_ldai-judge"
"""Name of the threads in which judges work."""

MAX_LEFT_BEHIND: Final = 10
"""How many calls that took too long may go on, each on a thread of its own, or as a task."""

_LATE: Final = "it did not answer within %s seconds and was cancelled"

CANCEL_SECONDS: Final = 1.0
"""How long a task that is cancelled may take to end."""

_T = TypeVar("_T")

Call = Future[Any] | asyncio.Task[Any]
"""The work of a thread, or a task."""

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


class NoScoreError(Exception):
    """Why a judge gives a run no score.

    Args:
        reason: What the log says.
        level: How loud it says that.
    """

    def __init__(self, reason: str, level: int = logging.WARNING) -> None:
        super().__init__(reason)
        self.reason = reason
        self.level = level


def structured(model: Any) -> Runnable[Any, Any] | None:  # noqa: ANN401  of whatever the caller's function returned
    """Return what asks a model for a verdict as structured output; `None` where the model has none."""
    try:
        ask = getattr(model, "with_structured_output", None)
        asking: Runnable[Any, Any] | None = ask and ask(_SCHEMA, include_raw=True)
    except (NotImplementedError, NameError):  # `with_fallbacks` reads the method's annotations, or cannot
        return None
    return asking


def is_without_async(model: Any) -> bool:  # noqa: ANN401  of whatever the caller's function returned
    """Whether a chat model, or the one that begins a sequence, cannot itself be awaited, like Bedrock's.

    If it is awaited, LangChain calls it on one of the event loop's threads, which the application needs.
    """
    while isinstance(model, (RunnableBindingBase, RunnableSequence)):
        model = model.first if isinstance(model, RunnableSequence) else model.bound
    return getattr(type(model), "_agenerate", None) in (BaseChatModel._agenerate, SimpleChatModel._agenerate)


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


class CallsLeftBehind:
    """The calls that took too long and still go on: no thread can be stopped, and not each task."""

    def __init__(self) -> None:
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Forget the calls: their threads are the parent's."""
        self._calls: set[Call] = set()

    def add(self, call: Call) -> None:
        """Note a call until it ends."""
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    @property
    def are_too_many(self) -> bool:
        """Whether no further call may be made: each that hangs would keep one more thread."""
        return len(self._calls) >= MAX_LEFT_BEHIND


class Question(NamedTuple):
    """What a judge is asked.

    Args:
        model: Its model, or what asks that for structured output.
        messages: What that is shown.
        needs_thread: Whether the model is not to be awaited, see `is_without_async`.
    """

    model: Runnable[Any, Any]
    messages: list[BaseMessage]
    needs_thread: bool


class JudgeCall:
    """A call of a judge's model. Nothing of the chain that is judged reaches it, and it is counted for the judge.

    Args:
        config: The judge.
        prepare: Returns what it is asked. A thread calls it, since it may load a provider's package.
        timeout: Seconds after which the call is given up.
        left_behind: Takes a call that was given up and goes on.
        spans: Makes its spans, `None` for no spans.

    Attributes:
        config: The judge.
    """

    def __init__(
        self,
        config: LdAiJudgeConfig,
        prepare: Callable[[], Question],
        timeout: float,
        left_behind: CallsLeftBehind,
        spans: JudgeSpans | None,
    ) -> None:
        self.config = config
        self._prepare = prepare
        self._timeout = timeout
        self._left_behind = left_behind
        self._is_given_up = False
        self._on_threads: list[Future[Any]] = []
        self._handler = LdAiHandler(config, spans=spans)
        self._make_context = Context if spans is None else spans.context
        self._lc_run_id = uuid4()

    def invoke(self) -> object:
        """Return what the model answers.

        Raises:
            NoScoreError: If that takes too long. The thread that waits for the model is left behind.
        """
        answered = _on_thread(self._answer, self._make_context())
        wait([answered], min(self._timeout, threading.TIMEOUT_MAX))
        if not answered.done():
            self._give_up(answered)
            raise NoScoreError(_LATE % self._timeout)
        return answered.result()

    def _answer(self) -> object:
        question = self._prepare()
        if self._is_given_up:
            raise NoScoreError(_LATE % self._timeout)
        return question.model.invoke(question.messages, self._options())

    async def ainvoke(self) -> object:
        """Return what the model answers; see `invoke`. A task that cannot be cancelled is left behind."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._answer_async(), context=self._make_context())
        task.add_done_callback(_take_error)
        try:
            await asyncio.wait([task], timeout=self._timeout)
            if not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=CANCEL_SECONDS)
                raise NoScoreError(_LATE % self._timeout)
        except (NoScoreError, asyncio.CancelledError):  # also where who asks the judge is cancelled
            task.cancel()
            self._give_up(task, *self._on_threads)
            raise
        if task.cancelled():
            raise RuntimeError("it was cancelled")  # by itself, which ends no worker
        return task.result()

    async def _answer_async(self) -> object:
        model, messages, needs_thread = await self._thread_done(self._prepare)
        if needs_thread:
            return await self._thread_done(partial(model.invoke, messages, self._options()))
        return await model.ainvoke(messages, self._options())

    def _thread_done(self, work: Callable[[], _T]) -> asyncio.Future[_T]:
        """Have work done on a thread of its own, and note it."""
        done = _on_thread(work, self._make_context())
        self._on_threads.append(done)
        return asyncio.wrap_future(done)

    def _options(self) -> Any:  # noqa: ANN401  a RunnableConfig
        return {
            "callbacks": [self._handler],
            "metadata": {JUDGE_KEY: self.config.key},
            "run_id": self._lc_run_id,
            "run_name": "judge",
        }

    def _give_up(self, *calls: Call) -> None:
        """Leave behind what goes on, and end the judge's own run as cancelled, unless LangChain has."""
        for call in calls:
            if not call.done():
                self._left_behind.add(call)
        self._is_given_up = True
        self._handler.on_chain_error(asyncio.CancelledError(), run_id=self._lc_run_id)
        self._handler.flush(0)


def _on_thread(work: Callable[[], _T], context: Context) -> Future[_T]:
    """Have work done in a context, on a thread of its own; what stops a program is an error like any other."""
    done: Future[_T] = Future()
    done.set_running_or_notify_cancel()  # so that nobody can cancel it

    def do() -> None:
        try:
            done.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001  a model may raise anything
            raised = error if isinstance(error, Exception) else RuntimeError(f"it raised {type(error).__name__}")
            done.set_exception(raised)

    threading.Thread(target=do, name=JUDGE_THREAD, daemon=True).start()
    return done


def _take_error(task: asyncio.Task[Any]) -> None:
    """Take what a task raised, which asyncio would else log with its message where nobody waits for the task."""
    if not task.cancelled():
        task.exception()

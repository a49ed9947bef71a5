"""The call of a judge's model: on threads of its own, of which few are left behind, and it stops nothing else."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from ldclient import Context

from langchain_ldai import AsyncLdAiClient, JudgeResult, LdAiClient, LdAiHandler, RunReport
from langchain_ldai.judges import Judges, _calls
from langchain_ldai.judges._calls import JUDGE_THREAD, MAX_LEFT_BEHIND, CallsLeftBehind
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.testing import AsyncRecordingClient, RecordingClient
from tests.judges.judge_models import GOOD, JudgeModel, flags_with
from tests.support.chains import QUESTION, SUCCESS, chain
from tests.support.read_log import logged
from tests.support.threads import join_threads

USER = Context.create("user-1")
EXCHANGE = {"question": "How?", "answer": "Hold the button"}
Make = Callable[[object], Runnable]


class Asking:
    """Asks the judge `accuracy`, whose model a function makes, about a run of `support-bot`."""

    def __init__(self, make: Make, *, is_async: bool, timeout: float = 60) -> None:
        client = AsyncLdAiClient(AsyncRecordingClient(flags_with())) if is_async else None
        ai = LdAiClient(RecordingClient(flags_with()))
        self.token = ai.completion_config("support-bot", USER).create_tracker().resumption_token
        self.judges = Judges(client or ai, model=make, timeout=timeout)
        self.is_async = is_async

    def ask(self) -> JudgeResult | None:
        """Have the judge score an answer."""
        given = "accuracy", self.token, USER
        if self.is_async:
            return asyncio.run(self.judges.evaluate_async(*given, **EXCHANGE))
        return self.judges.evaluate(*given, **EXCHANGE)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """A gate that is opened after the test, and the threads that wait for it have ended then."""
    gate = threading.Event()
    yield gate
    gate.set()
    join_threads("judge")


def test_a_judges_model_is_made_on_a_thread(is_async: bool) -> None:
    """To load a provider's package takes seconds, in which an event loop is not to stand still."""
    made_on: list[str] = []

    def make(config: object) -> JudgeModel:
        made_on.append(threading.current_thread().name)
        return JudgeModel()

    assert Asking(make, is_async=is_async).ask().score == 0.8

    assert made_on == [JUDGE_THREAD]


def test_a_model_that_is_made_too_late_is_not_asked(
    is_async: bool, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """The time-out holds for what makes the model, too."""
    model = JudgeModel()

    def make(config: object) -> JudgeModel:
        gate.wait(60)
        return model

    assert Asking(make, is_async=is_async, timeout=0.01).ask() is None

    gate.set()
    join_threads("judge")
    assert model.shown == []
    assert "within 0.01 seconds" in caplog.text


def test_a_model_that_hangs_is_asked_no_more(
    is_async: bool, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call that hangs keeps a thread: after ten, no judge is asked, and the log says what helps."""
    asking = Asking(lambda config: gate.wait(60) and JudgeModel(), is_async=is_async, timeout=0.01)
    join_threads("judge")

    results = [asking.ask() for _ in range(MAX_LEFT_BEHIND + 3)]

    assert results == [None] * (MAX_LEFT_BEHIND + 3)
    assert [each.name for each in threading.enumerate()].count(JUDGE_THREAD) == MAX_LEFT_BEHIND
    late, hanging = [text for level, text in logged(caplog) if level == "WARNING"]
    assert ("within 0.01 seconds" in late, "set a time-out on the judges' models" in hanging) == (True, True)


def pass_minute(loop: asyncio.AbstractEventLoop) -> None:
    """Let a minute pass on the clock of a loop."""
    clock = loop.time
    loop.time = lambda: clock() + 61


class Hanging(BaseChatModel):
    """A model without an asynchronous call of its own, which waits for a gate."""

    gate: Any
    when_asked: Callable[[], object] = lambda: None

    @property
    def _llm_type(self) -> str:
        return "hanging"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        self.when_asked()
        self.gate.wait(60)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(GOOD))])


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: model.with_retry() | StrOutputParser()])
def test_a_model_that_cannot_be_awaited_takes_no_thread_of_the_event_loop(
    wrap: Callable[[Runnable], Runnable], gate: threading.Event
) -> None:
    """The loop has few threads, and the application needs them: a model that hangs has one of its own."""
    model = Hanging(gate=gate)
    asking = Asking(lambda config: wrap(model), is_async=True)
    hangs = asking.judges.evaluate_async("accuracy", asking.token, USER, **EXCHANGE)

    async def ask() -> list[str]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        model.when_asked = lambda: gate.is_set() or loop.call_soon_threadsafe(pass_minute, loop)
        assert await hangs is None
        await asyncio.wait_for(asyncio.to_thread(int), 50)
        return [each.name for each in threading.enumerate()]

    try:
        assert asyncio.run(ask()).count(JUDGE_THREAD) == 1
    finally:
        gate.set()
    assert asking.ask().score == 0.8


@pytest.mark.asyncio
async def test_a_model_that_does_not_let_itself_be_cancelled_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its judge is given up all the same, and what it raises later comes into no log."""
    monkeypatch.setattr(_calls, "CANCEL_SECONDS", 0.01)
    goes_on = asyncio.Event()

    async def answer(messages: object) -> str:
        pass_minute(asyncio.get_running_loop())
        while not goes_on.is_set():
            with suppress(asyncio.CancelledError):
                await goes_on.wait()
        raise ValueError("a secret")

    asking = Asking(lambda config: RunnableLambda(answer), is_async=True)
    left_behind = asking.judges._scorer._left_behind
    for _ in range(MAX_LEFT_BEHIND + 1):
        assert await asking.judges.evaluate_async("accuracy", asking.token, USER, **EXCHANGE) is None

    assert left_behind.are_too_many
    assert "calls that took too long still go on" in caplog.text
    goes_on.set()
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
    assert not left_behind.are_too_many
    gc.collect()
    assert "secret" not in caplog.text


@pytest.mark.parametrize("timeout", [float("inf"), 1e300])
def test_a_judge_may_take_any_time(timeout: float, is_async: bool) -> None:
    """Python waits for less than three hundred years at a time."""
    assert Asking(lambda config: JudgeModel(), is_async=is_async, timeout=timeout).ask().score == 0.8


def test_a_model_with_fallbacks_is_asked_in_text_where_its_annotations_cannot_be_read() -> None:
    """LangChain reads them to find `with_structured_output`, which a model of one's own may inherit."""
    model = JudgeModel(answer=ValueError("down")).with_fallbacks([JudgeModel()])

    assert Asking(lambda config: model, is_async=False).ask().score == 0.8


def hanging_calls() -> tuple[CallsLeftBehind, list[Future[object]]]:
    """Return calls that were left behind, as many as may be."""
    left_behind, calls = CallsLeftBehind(), [Future() for _ in range(MAX_LEFT_BEHIND)]
    for call in calls:
        left_behind.add(call)
    assert left_behind.are_too_many
    return left_behind, calls


def test_judges_are_asked_again_once_a_call_has_ended() -> None:
    """A call counts until its thread is free."""
    left_behind, calls = hanging_calls()

    calls[3].set_result(None)

    assert not left_behind.are_too_many


def test_the_calls_that_hang_stay_with_the_parent_of_a_fork() -> None:
    """A forked process has none of their threads, and starts to count anew."""
    left_behind, _ = hanging_calls()

    left_behind.reset_after_fork()

    assert not left_behind.are_too_many


def test_a_model_that_cancels_itself_cancels_no_other(is_async: bool) -> None:
    """It is a failure of the judge like any other, and who waits for a judge is asked after it."""
    answers = [asyncio.CancelledError(), '{"score": 0.8}']

    def answer(messages: object) -> object:
        given = answers.pop(0)
        if isinstance(given, BaseException):
            raise given
        return given

    async def answer_async(messages: object) -> object:
        return answer(messages)

    asking = Asking(lambda config: RunnableLambda(answer, afunc=answer_async), is_async=is_async)

    assert asking.ask() is None
    assert asking.ask().score == 0.8


def test_a_handler_that_sees_its_judges_waits_for_what_is_counted_of_them() -> None:
    """The judge's call is a run of another client, whose ledger is first met while `flush` waits for the judge."""
    client, gate = RecordingClient(flags_with()), threading.Event()
    plain, claiming = LdAiClient(client), LdAiClient(client, ledger=Slow())

    def config_for(metadata: Mapping[str, object]) -> object:
        return (claiming if "ldai_judge" in metadata else plain).completion_config("support-bot", USER)

    def late_model(config: object) -> Runnable:
        assert gate.wait(60)
        return JudgeModel().with_config(callbacks=[handler])

    judges = Judges(plain, model=late_model)
    reports: list[RunReport] = []
    handler = LdAiHandler(config_for, judges=judges, on_run_end=reports.append)
    chain().invoke(QUESTION, {"callbacks": [handler]})

    threading.Timer(0.2, gate.set).start()
    assert handler.flush(20)

    _, of_judge = reports
    assert client.metrics(of_judge.run_id)[SUCCESS] == [1]


class Slow(MemoryLedger):
    """Takes its time."""

    def claim(self, run: str, slots: Collection[str], claimant: str) -> Collection[str]:
        """See `Ledger.claim`."""
        time.sleep(0.2)
        return super().claim(run, slots, claimant)

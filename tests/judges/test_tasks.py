"""`JudgeTask` and `defer=`: judging is left to another process."""

import asyncio
import json
import threading

import pytest
from langchain_core.messages import AIMessageChunk
from ldclient import Context

from langchain_ldai import AsyncLdAiClient, InvalidResumptionTokenError, LdAiClient
from langchain_ldai.judges import Judges, JudgeTask
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.testing import AsyncRecordingClient, RecordingClient
from tests.judges.judge_models import METRIC, JudgeModel, flags_with, judge_flag
from tests.judges.judged import Judged
from tests.support.chains import chain
from tests.support.models import ScriptedChat
from tests.support.read_log import logged

USER = Context.create("user-1")
TASK = JudgeTask(token="t", judge="accuracy", question="How?", answer="é", trajectory="<tools>")


def test_a_task_is_json() -> None:
    """It goes through any queue and comes out equal; what it holds is what the page says."""
    text = TASK.to_json()

    assert JudgeTask.from_json(text) == TASK
    assert json.loads(text) == {
        "v": 1,
        "token": "t",
        "judge": "accuracy",
        "question": "How?",
        "answer": "é",
        "trajectory": "<tools>",
    }


def test_a_task_needs_no_trajectory() -> None:
    """A task of an application's own may leave it out."""
    written = {"v": 1, "token": "t", "judge": "accuracy", "question": "How?", "answer": "So"}

    assert JudgeTask.from_json(json.dumps(written)).trajectory == ""


def test_a_task_shows_nothing_of_its_exchange() -> None:
    """It may come into a log."""
    assert repr(TASK) == "JudgeTask(judge='accuracy')"


NO_TASKS = {
    "no JSON": "{",
    "too deep": "[" * 100_000,
    "no object": "[]",
    "a newer one": '{"v": 2, "token": "t", "judge": "j", "question": "", "answer": ""}',
    "a truth": '{"v": true, "token": "t", "judge": "j", "question": "", "answer": ""}',
    "a fraction": '{"v": 1.0, "token": "t", "judge": "j", "question": "", "answer": ""}',
    "no token": '{"v": 1, "judge": "j", "question": "", "answer": ""}',
}


@pytest.mark.parametrize("text", NO_TASKS.values(), ids=NO_TASKS)
def test_what_is_no_task_is_refused(text: str) -> None:
    """The error says that it is none, and quotes nothing of it."""
    with pytest.raises(ValueError, match="not a judge task") as caught:
        JudgeTask.from_json(text)

    assert text not in str(caught.value)


def test_a_part_of_another_type_is_named() -> None:
    """Each part is a text."""
    with pytest.raises(TypeError, match="token of a JudgeTask is a str, not int"):
        JudgeTask.from_json('{"v": 1, "token": 3, "judge": "j", "question": "", "answer": ""}')


def test_drawn_tasks_are_handed_out() -> None:
    """With `defer`, no judge is asked; another process scores the run by the task."""
    tasks: list[JudgeTask] = []
    judged = Judged(defer=tasks.append)

    judged.invoke(chain())

    assert (judged.scores, judged.model.shown) == ([], [])
    (task,) = tasks
    assert (task.judge, task.question, task.answer) == ("accuracy", "How?", "Hello, world")
    worker = Judges(judged.ai, model=lambda config: judged.model)
    assert worker.evaluate_task(JudgeTask.from_json(task.to_json()), USER).score == 0.8
    assert judged.scores == [(judged.reports[0].run_id, 0.8)]


def test_tasks_are_evaluated_with_an_asynchronous_client() -> None:
    """`evaluate_task_async` does the same."""
    tasks: list[JudgeTask] = []
    judged = Judged(defer=tasks.append)
    judged.invoke(chain())
    client = AsyncRecordingClient(flags_with())
    worker = Judges(AsyncLdAiClient(client), model=lambda config: JudgeModel())

    result = asyncio.run(worker.evaluate_task_async(tasks[0], USER))

    assert result.score == 0.8
    assert client.metrics(judged.reports[0].run_id)[METRIC] == [0.8]


def test_an_asynchronous_client_needs_the_awaited_way() -> None:
    """The error names it."""
    judges = Judges(AsyncLdAiClient(AsyncRecordingClient(flags_with())), model=lambda config: JudgeModel())

    with pytest.raises(TypeError, match=r"asynchronous: await evaluate_task_async\(\.\.\.\) instead"):
        judges.evaluate_task(TASK, USER)


def test_a_task_is_sealed_where_tokens_are() -> None:
    """With a sealer, the task's token is sealed, and a plain one is refused."""
    tasks: list[JudgeTask] = []
    sealer = TokenSealer([TokenSealer.generate_key()])
    judged = Judged(defer=tasks.append, sealer=sealer)

    judged.invoke(chain())

    plain = judged.reports[0].resumption_token
    assert sealer.unseal(tasks[0].token) == plain
    assert judged.judges.evaluate_task(tasks[0], USER).score == 0.8
    with pytest.raises(InvalidResumptionTokenError):
        judged.judges.evaluate("accuracy", plain, USER, question="How?", answer="So")


@pytest.mark.parametrize("names", [[], ["sealer"]], ids=["alone", "beside that of the judges"])
def test_a_handlers_sealer_seals_its_tasks(names: list[str]) -> None:
    """A handler that hands out sealed tokens alone hands out no task with a plain one, and none sealed twice."""
    tasks: list[JudgeTask] = []
    sealer = TokenSealer([TokenSealer.generate_key()])
    judged = Judged(defer=tasks.append, options={"sealer": sealer}, **dict.fromkeys(names, sealer))

    judged.invoke(chain())

    assert tasks[0].token == judged.reports[0].resumption_token
    assert sealer.unseal(tasks[0].token)
    worker = Judges(judged.ai, model=lambda config: judged.model, sealer=sealer)
    assert worker.evaluate_task(tasks[0], USER).score == 0.8


async def deferred(task: JudgeTask) -> None:
    """Stand for a function that nobody awaits."""


FAILING = {
    "raises": (lambda task: 1 / 0, "ZeroDivisionError"),
    "returns an awaitable": (lambda task: deferred(task), "which a callback cannot await"),
}


@pytest.mark.parametrize(("defer", "told"), FAILING.values(), ids=FAILING)
def test_a_function_that_fails_costs_the_score(defer, told: str, caplog: pytest.LogCaptureFixture) -> None:
    """The run is counted all the same, and the log says what failed."""
    judged = Judged(defer=defer)

    assert judged.invoke(chain()) == "Hello, world"

    assert "function given for defer failed" in caplog.text
    assert told in caplog.text


def test_a_coroutine_function_is_refused() -> None:
    """Nobody would await it."""
    with pytest.raises(TypeError, match="defer is a plain function"):
        Judges(LdAiClient(RecordingClient()), model=print, defer=deferred)


def test_no_task_is_handed_out_without_an_answer() -> None:
    """What cannot be scored does not go through a queue."""
    tasks: list[JudgeTask] = []

    Judged(defer=tasks.append).invoke(chain(ScriptedChat(script=[[AIMessageChunk("")]])))

    assert tasks == []


def test_an_answer_too_many_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A full queue drops the newest answer; a warning names the judge and the remedy."""
    gate = threading.Event()
    judged = Judged(model=JudgeModel(gate=gate), max_waiting=1)
    handlers = {"callbacks": [judged.handler]}
    chain().invoke({"question": "1"}, handlers)
    while not judged.model.shown:
        assert not judged.judges.flush(0.01)

    for number in ("2", "3", "4"):
        chain().invoke({"question": number}, handlers)

    gate.set()
    assert judged.handler.flush(10)
    assert len(judged.scores) == 2
    ((level, text),) = logged(caplog)
    assert (level, "'accuracy'" in text, "1 answers wait" in text, "defer=" in text) == (
        "WARNING",
        True,
        True,
        True,
    )


def test_an_empty_answer_is_not_worth_a_judge(caplog: pytest.LogCaptureFixture) -> None:
    """`evaluate` asks nobody about no answer."""
    judged = Judged({**flags_with(), "accuracy": judge_flag()})
    token = judged.ai.completion_config("support-bot", USER).create_tracker().resumption_token

    assert judged.judges.evaluate("accuracy", token, USER, question="How?", answer="") is None

    assert judged.model.shown == []
    assert "no answer" in caplog.text


def test_the_text_of_a_task_is_no_task() -> None:
    """A worker that forgets to read it is told how."""
    ai = LdAiClient(RecordingClient(flags_with()))
    text = JudgeTask(token="t", judge="accuracy", question="q", answer="a").to_json()
    with pytest.raises(TypeError, match=r"not str: JudgeTask\.from_json reads one"):
        Judges(ai, model=lambda config: JudgeModel()).evaluate_task(text, Context.create("ada"))

"""Judging with an asynchronous client: tasks of the event loop that started the run."""

import asyncio

import pytest
from ldclient import Context

from langchain_ldai import AsyncLdAiClient, LdAiHandler, RunReport
from langchain_ldai.judges import Judges
from langchain_ldai.testing import AsyncRecordingClient
from tests.judges.judge_models import METRIC, JudgeModel, flags_with
from tests.support.chains import QUESTION, chain
from tests.support.read_log import logged

USER = Context.create("user-1")


@pytest.fixture
def client() -> AsyncRecordingClient:
    """An asynchronous client whose runs are all judged."""
    return AsyncRecordingClient(flags_with())


async def judged_handler(
    client: AsyncRecordingClient, model: JudgeModel, reports: list[RunReport], **options: object
) -> tuple[LdAiHandler, Judges]:
    """Return a handler whose runs are judged with this model, and its judges."""
    ai = AsyncLdAiClient(client)
    judges = Judges(ai, model=lambda config: model, **options)
    config = await ai.completion_config("support-bot", USER)
    return LdAiHandler(config, judges=judges, on_run_end=reports.append), judges


@pytest.mark.asyncio
async def test_a_run_is_judged_on_its_event_loop(client: AsyncRecordingClient, reports: list[RunReport]) -> None:
    """Its model is asked in a task, and `flush_async` waits without holding the loop."""
    gate = asyncio.Event()
    handler, judges = await judged_handler(client, JudgeModel(gate=gate), reports)

    await chain().ainvoke(QUESTION, {"callbacks": [handler]})

    assert not handler.flush(10)
    gate.set()
    assert await judges.flush_async(10)
    assert client.metrics(reports[0].run_id)[METRIC] == [0.8]


@pytest.mark.asyncio
async def test_a_run_in_a_thread_is_judged_on_the_clients_loop(
    client: AsyncRecordingClient, reports: list[RunReport]
) -> None:
    """A synchronous run in a thread has no loop of its own, and the client's loop asks its judge."""
    handler, judges = await judged_handler(client, JudgeModel(), reports)

    await asyncio.to_thread(chain().invoke, QUESTION, {"callbacks": [handler]})

    assert await judges.flush_async(10)
    assert client.metrics(reports[0].run_id)[METRIC] == [0.8]


def test_a_run_without_any_loop_is_told_once(
    client: AsyncRecordingClient, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """After the client's loop has ended, a run is counted and not judged."""
    handler, _ = asyncio.run(judged_handler(client, JudgeModel(), reports))

    for _ in range(2):
        chain().invoke(QUESTION, {"callbacks": [handler]})

    assert [report.judges for report in reports] == [(), ()]
    ((level, text),) = [each for each in logged(caplog) if "judged" in each[1]]
    assert (level, "no event loop runs" in text) == ("WARNING", True)


def test_answers_whose_loop_ends_are_told(
    client: AsyncRecordingClient, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """A loop that ends before its judges were asked scores nothing, and the log says so."""

    async def main() -> LdAiHandler:
        handler, _ = await judged_handler(client, JudgeModel(gate=asyncio.Event()), reports)
        await chain().ainvoke(QUESTION, {"callbacks": [handler]})
        return handler

    handler = asyncio.run(main())

    assert handler.flush(10)
    assert METRIC not in client.metrics(reports[0].run_id)
    assert "event loop that was to ask the judges has ended" in caplog.text

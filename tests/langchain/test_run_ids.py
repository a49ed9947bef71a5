"""A run may be named by its caller, by any id, and by the same one again (facts 11, 12)."""

from contextlib import nullcontext
from uuid import uuid4

import pytest
from langchain_core.runnables import RunnableLambda
from pydantic import ValidationError

from langchain_ldai import LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.support.calls import BATCHED, INVOKED, STREAMED, Call, each, run
from tests.support.chains import QUESTION, SUCCESS, TOKENS, chain, counts
from tests.support.models import ScriptedChat
from tests.support.observe import summarize

pytestmark = pytest.mark.asyncio


@each({**INVOKED, **STREAMED})
async def test_a_run_id_may_be_a_string(
    call: Call, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """A caller's `run_id` arrives as it is, a string too, and as its children's parent (facts 11, 104)."""
    await run(call, chain(), QUESTION, {"callbacks": [handler], "run_id": "request-7"})

    assert [report.root_run_id for report in reports] == ["request-7"]
    assert counts(client, reports[0].run_id) == {SUCCESS: [1], **TOKENS}


@each(INVOKED)
async def test_a_models_run_id_has_to_read_like_a_uuid(
    call: Call, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """New: LangChain refuses another one once the model has answered, so the run is a success (fact 11)."""
    for run_id in (str(uuid4()), "request-7"):
        with nullcontext() if run_id != "request-7" else pytest.raises(ValidationError):
            await run(call, ScriptedChat(), "?", {"callbacks": [handler], "run_id": run_id})

    assert summarize(reports) == [("success", 1, 0, 13)] * 2


@pytest.mark.parametrize("run_id", ["request-7", uuid4()], ids=["string", "uuid"])
@each({**INVOKED, **STREAMED})
async def test_a_run_id_used_again_is_a_new_run(
    call: Call, run_id: object, handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """Sequential calls under one id are runs of their own, after a failure as well (fact 12)."""
    fails, answers = chain(ScriptedChat(script=[ConnectionError()])), chain()

    for runnable in (answers, fails, answers):
        with pytest.raises(ConnectionError) if runnable is fails else nullcontext():
            await run(call, runnable, QUESTION, {"callbacks": [handler], "run_id": run_id})

    assert [report.outcome for report in reports] == ["success", "error", "success"]
    assert {report.root_run_id for report in reports} == {run_id}
    assert len({report.run_id for report in reports}) == 3
    assert counts(client, reports[2].run_id) == {SUCCESS: [1], **TOKENS}


async def test_a_run_id_used_twice_at_once_doubles_nothing(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """Two runs under one id cannot be told apart: the first end under it ends the run, and no call is doubled.

    What the outer one then still starts is below a root that has just ended; the id may be used again (fact 12).
    """
    config = {"callbacks": [handler], "run_id": uuid4()}
    meanwhile = RunnableLambda(lambda question: [question, chain().invoke(question, config)][0])

    (meanwhile | chain()).invoke(QUESTION, config)
    chain().invoke(QUESTION, config)

    assert {report.outcome for report in reports} == {"success"}
    assert summarize(reports) == [("success", 1, 0, 13)] * 2


@pytest.mark.parametrize("batch", ["batch", "abatch"])
async def test_a_run_id_for_a_batch_is_the_first_elements(
    batch: str, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """LangChain gives the id to one element and says so; each element is a run (facts 11, 12)."""
    run_id = uuid4()

    with pytest.warns(RuntimeWarning, match="run_id"):
        await run(BATCHED[batch], chain(), QUESTION, {"callbacks": [handler], "run_id": run_id})

    assert len({report.root_run_id for report in reports}) == len({report.run_id for report in reports}) == 3
    assert run_id in {report.root_run_id for report in reports}

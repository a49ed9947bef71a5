"""A failure in another handler, or in the client, does not reach the chain (fact 95)."""

import asyncio
import math

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import QUESTION, SUCCESS, TOKENS, chain, counts
from tests.support.models import ScriptedChat
from tests.support.observe import EventLog, summarize

pytestmark = pytest.mark.asyncio


class Breaks(BaseCallbackHandler):
    """A handler of somebody else's that raises at one kind of event, out of the user's call."""

    raise_error = True

    def __init__(self, event: str, error: BaseException) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise error

        setattr(self, event, fail)


@pytest.mark.parametrize(
    ("event", "expected"),
    [("on_chat_model_start", [("error", 1, 0, 0)]), ("on_llm_end", [("error", 1, 0, 13)])],
    ids=["at-its-start", "at-its-end"],
)
@each(INVOKED)
async def test_a_handler_that_breaks_a_model_call_makes_the_run_an_error(
    call: Call, event: str, expected: object, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """With `raise_error` it breaks the user's call; what the call used by then is known (fact 95)."""
    breaks = Breaks(event, ZeroDivisionError("by design"))

    with pytest.raises(ZeroDivisionError):
        await run(call, chain(), QUESTION, {"callbacks": [handler, breaks]})

    handler.flush()
    assert summarize(reports) == expected


@each(INVOKED)
async def test_a_handler_that_breaks_a_root_leaves_it_to_the_timeout(
    call: Call, config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """LangChain then sends no end: the run is abandoned in its time, as any silent one (facts 95, 117)."""
    handler = LdAiHandler(config, on_run_end=reports.append, run_timeout=1e-6)

    breaks = Breaks("on_chat_model_start", ZeroDivisionError("by design"))
    with pytest.raises(ZeroDivisionError):
        await run(call, ScriptedChat(), "?", {"callbacks": [handler, breaks]})

    assert (reports, handler.open_runs) == ([], 1)
    assert handler.flush()
    assert (summarize(reports), handler.open_runs) == ([("abandoned", 1, 0, 0)], 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
async def test_an_interruption_within_a_handler_cancels_the_run(
    error: type[BaseException], handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A `BaseException` passes through every handler to the root (facts 77, 95)."""
    breaks = Breaks("on_llm_end", error())

    with pytest.raises(error):
        chain().invoke(QUESTION, {"callbacks": [handler, breaks]})

    assert summarize(reports) == [("cancelled", 1, 0, 13)]


class Unreliable(RecordingClient):
    """A client that raises what is in `error`, while something is, for as many events as it `lasts`."""

    error: BaseException | None = None
    lasts: float = math.inf

    def track(self, *args: object, **kwargs: object) -> None:
        self.lasts -= 1
        if self.error is not None and self.lasts >= 0:
            raise self.error
        super().track(*args, **kwargs)


@pytest.fixture
def unreliable(context: Context) -> tuple[Unreliable, LdAiCompletionConfig]:
    """A client that can fail, and an AI Config of it."""
    client = Unreliable({"support-bot": FLAG})
    return client, LdAiClient(client).completion_config("support-bot", context)


@each({**INVOKED, **STREAMED})
async def test_a_client_that_fails_is_heard_of_once_and_only_in_the_log(
    call: Call, unreliable: tuple, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """The chain, and LangChain's own log, have nothing of it: no handler event raises (fact 95)."""
    (client, config), events, answers = unreliable, EventLog(), []
    handler, client.error = LdAiHandler(config, on_run_end=reports.append), ConnectionError("by design")

    for _ in range(3):
        answers.append(await run(call, chain(), QUESTION, {"callbacks": [handler, events]}))

    assert answers[0] == answers[1] == answers[2]
    assert len(events.seen) % 3 == 0
    assert [report.outcome for report in reports] == ["success"] * 3
    assert {record.name.partition(".")[0] for record in caplog.records} == {"langchain_ldai"}
    assert len({record.getMessage() for record in caplog.records}) == len(caplog.records) <= 2
    caplog.clear()


@each(INVOKED)
async def test_a_client_that_fails_once_loses_one_event(
    call: Call, unreliable: tuple, reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """The other metrics of the run are sent all the same (fact 95)."""
    client, config = unreliable
    handler, client.error = LdAiHandler(config, on_run_end=reports.append), ConnectionError("by design")
    client.lasts = 1

    await run(call, chain(), QUESTION, {"callbacks": [handler]})

    caplog.clear()
    assert counts(client, reports[0].run_id) == {SUCCESS: [1], **TOKENS}


async def test_an_interruption_while_sending_reaches_the_caller_and_breaks_no_later_run(
    unreliable: tuple, reports: list[RunReport]
) -> None:
    """Control-C while an event is sent goes up as it is, and leaves neither a lock nor a run behind (fact 95)."""
    client, config = unreliable
    handler, client.error = LdAiHandler(config, on_run_end=reports.append), KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt):
        chain().invoke(QUESTION, {"callbacks": [handler]})
    client.error = None
    await chain().ainvoke(QUESTION, {"callbacks": [handler]})

    assert counts(client, reports[-1].run_id) == {SUCCESS: [1], **TOKENS}
    assert handler.flush()
    assert handler.open_runs == 0

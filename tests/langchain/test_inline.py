"""The handler runs inline, sync and async: what that gives, and what it costs others (facts 37 to 42)."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.runnables import RunnableLambda

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, RunReport
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import QUESTION, chain
from tests.support.models import ScriptedChat, ScriptedLLM
from tests.support.observe import EventLog, summarize

pytestmark = pytest.mark.asyncio


class Slow(AsyncCallbackHandler):
    """An async handler that gives way to other tasks at each of its events."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def on_chat_model_start(self, *args: object, **kwargs: object) -> None:
        await asyncio.sleep(0.001)
        self.seen.append("start")

    async def on_llm_new_token(self, *args: object, **kwargs: object) -> None:
        await asyncio.sleep(0)
        self.seen.append("token")

    async def on_llm_end(self, *args: object, **kwargs: object) -> None:
        await asyncio.sleep(0.001)
        self.seen.append("end")


class Threads(LdAiHandler):
    """Notes the threads on which it is told of model calls."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.threads: set[threading.Thread] = set()

    def on_llm_end(self, *args: object, **kwargs: object) -> None:
        self.threads.add(threading.current_thread())
        super().on_llm_end(*args, **kwargs)


async def test_async_runs_are_told_on_the_loops_own_thread(
    config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """No event hops to an executor, so none overlaps or overtakes another of its loop (fact 37)."""
    handler = Threads(config, on_run_end=reports.append)

    await asyncio.gather(*[ScriptedChat().ainvoke("?", {"callbacks": [handler]}) for _ in range(20)])

    assert handler.threads == {threading.current_thread()}
    assert summarize(reports) == [("success", 1, 0, 13)] * 20


@pytest.mark.parametrize("call", ["ainvoke", "astream"])
async def test_a_busy_executor_delays_no_event(call: str, handler: LdAiHandler, reports: list[RunReport]) -> None:
    """A handler that is not inline would wait for a thread, and the model call with it (fact 38)."""
    free = threading.Event()
    executor = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(executor)
    executor.submit(free.wait, 60)

    await asyncio.wait_for(run({**INVOKED, **STREAMED}[call], ScriptedChat(), "?", {"callbacks": [handler]}), 30)

    free.set()
    assert summarize(reports) == [("success", 1, 0, 13)]


@pytest.mark.parametrize(
    ("inline", "beside", "seen"),
    [
        (False, False, ["on_llm_start", "on_llm_end"]),
        (False, True, ["on_llm_end"]),
        (True, True, ["on_llm_start", "on_llm_end"]),
    ],
    ids=["alone", "beside-ours", "inline-beside-ours"],
)
async def test_an_async_legacy_llm_starts_unseen_by_others(
    inline: bool, beside: bool, seen: list[str], handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """The side effect that is documented: LangChain tells inline handlers alone, if there is one (fact 39)."""
    events = EventLog(inline=inline)

    await ScriptedLLM().ainvoke("?", {"callbacks": [events, *[handler] * beside]})

    assert events.seen == seen
    assert summarize(reports) == [("success", 1, 0, 9)] * beside


async def test_a_chat_model_starts_seen_by_all(handler: LdAiHandler) -> None:
    """The side effect is on legacy LLMs alone, and async (fact 39)."""
    chat, legacy = EventLog(), EventLog()

    await ScriptedChat().ainvoke("?", {"callbacks": [chat, handler]})
    ScriptedLLM().invoke("?", {"callbacks": [legacy, handler]})

    assert (chat.seen[0], legacy.seen[0]) == ("on_chat_model_start", "on_llm_start")


@each({**INVOKED, **STREAMED})
async def test_the_handler_sets_no_context_variable(call: Call, handler: LdAiHandler) -> None:
    """Run inline, whatever it set would leak into the user's code, and out of it (fact 40)."""
    seen = []
    look = RunnableLambda(lambda question: [question, seen.append({var.name for var in copy_context()})][0])
    before = set(copy_context())

    await run(call, look | chain(), QUESTION, {"callbacks": [EventLog(inline=True)]})
    await run(call, look | chain(), QUESTION, {"callbacks": [handler]})

    assert seen[0] == seen[1]
    assert {var for var in copy_context() if "ldai" in var.name} <= before


@each(STREAMED)
async def test_a_slow_async_handler_beside_it_changes_nothing(
    call: Call, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Under sync calls LangChain runs that one in a loop of its own, event by event, in order (facts 37, 41)."""
    slow = Slow()

    await run(call, chain(), QUESTION, {"callbacks": [slow, handler]})

    assert (slow.seen[0], set(slow.seen[1:-1]), slow.seen[-1]) == ("start", {"token"}, "end")
    assert summarize(reports) == [("success", 1, 0, 13)]


async def test_a_run_is_told_before_those_who_take_their_time(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Ends are shielded: a run cancelled while another handler is at its end stays a success (facts 20, 42)."""

    class Holds(AsyncCallbackHandler):
        reached, let_go = asyncio.Event(), asyncio.Event()

        async def on_llm_end(self, *args: object, **kwargs: object) -> None:
            self.reached.set()
            await self.let_go.wait()

    task = asyncio.create_task(ScriptedChat().ainvoke("?", {"callbacks": [Holds(), handler]}))
    await Holds.reached.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    Holds.let_go.set()

    assert summarize(reports) == [("success", 1, 0, 13)]

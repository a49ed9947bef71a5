"""From a chain to LaunchDarkly's endpoint and back, with the real client and real processes."""

import asyncio
import os
import subprocess
import sys
import threading
from datetime import date
from pathlib import Path

import pytest
from ldclient import AsyncLDClient, Context, LDClient

from langchain_ldai import AsyncLdAiClient, LdAiClient, LdAiHandler
from langchain_ldai._configs import client
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.testing import AsyncRecordingClient, LoopbackLaunchDarkly, RecordingClient
from tests.conftest import FLAG
from tests.support.chains import DURATION, FIRST_TOKEN, QUESTION, SUCCESS, TOKENS, TOOL_CALL, chain
from tests.support.programs import run_program

FEEDBACK_PROCESS = Path(__file__).parent.parent.parent / "cookbook" / "feedback.py"
FEEDBACK = "$ld:ai:feedback:user:positive"


def test_a_run_and_its_later_feedback_arrive_under_one_run_id(context: Context) -> None:
    """Three streamed tokens give six events on the wire, once each; a second process adds one to the same run."""
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        ld = LDClient(launchdarkly.config())
        handler = LdAiHandler(LdAiClient(ld).completion_config("support-bot", context))
        with handler.collect_runs() as runs:
            list(chain().stream(QUESTION, {"callbacks": [handler]}))
        ld.close()
        subprocess.run(
            [sys.executable, FEEDBACK_PROCESS, runs[0].resumption_token],
            env={**os.environ, "LAUNCHDARKLY_URL": launchdarkly.url},
            check=True,
            timeout=120,
        )

        events = [event for event in launchdarkly.custom_events() if isinstance(event.data, dict)]
    of_runs = [event for event in events if "runId" in event.data]
    assert sorted(event.name for event in of_runs) == sorted([FIRST_TOKEN, DURATION, SUCCESS, *TOKENS, FEEDBACK])
    assert {event.data["runId"] for event in of_runs} == {runs[0].run_id}
    assert {event.context.key for event in of_runs} == {"user-1"}
    assert {event.name: event.value for event in of_runs if event.name in TOKENS} == {
        name: values[0] for name, values in TOKENS.items()
    }


@pytest.mark.asyncio
async def test_events_from_before_the_start_are_delivered(context: Context) -> None:
    """An application makes both clients on import, and starts one later: each event arrives, in order."""
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        ld = AsyncLDClient(launchdarkly.async_config())
        ai = AsyncLdAiClient(ld)
        await ai.completion_config("support-bot", context)

        await ld.start()
        tracker = (await ai.completion_config("support-bot", context)).create_tracker()
        await asyncio.to_thread(tracker.track_success)
        await ld.close()

        arrived = [event.name for event in launchdarkly.custom_events()]
    usage = "$ld:ai:usage:completion-config"
    assert arrived == ["$ld:ai:sdk:info", usage, usage, SUCCESS]


ENDED_LOOP = "is used after the event loop in which it was started has ended"


TWO_LOOPS = """
import asyncio, sys
from ldclient import AsyncLDClient, Context
from langchain_ldai import AsyncLdAiClient
from langchain_ldai.testing import LoopbackLaunchDarkly

async def start():
    ld = AsyncLDClient(launchdarkly.async_config())
    await ld.start()
    ai = AsyncLdAiClient(ld)
    await count(ai)
    if sys.argv[1] == "close":
        await ld.close()
    return ai

async def count(ai):
    (await ai.completion_config("support-bot", Context.create("ada"))).create_tracker().track_success()

with LoopbackLaunchDarkly({}) as launchdarkly:
    ai = asyncio.run(start())
    asyncio.run(count(ai))
    asyncio.run(count(ai))
"""


@pytest.mark.parametrize(("end", "times"), [("leave open", 1), ("close", 0)])
def test_a_client_that_is_used_after_its_loop_has_ended_is_told_once(end: str, times: int) -> None:
    """Its tasks ended with the loop: LaunchDarkly's client takes what it is given, and never sends it."""
    done = run_program(TWO_LOOPS, end)

    assert (done.returncode, done.stderr.count(ENDED_LOOP)) == (0, times), done.stderr


def test_a_client_that_is_started_in_its_second_loop_is_not_told_of(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """A program may ask for an AI Config in a loop before that of its server, in which it starts the client."""
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        ld = AsyncLDClient(launchdarkly.async_config())
        ai = AsyncLdAiClient(ld)

        async def serve() -> None:
            await ld.start()
            (await ai.completion_config("support-bot", context)).create_tracker().track_success()
            await ld.close()

        asyncio.run(ai.completion_config("support-bot", context))
        asyncio.run(serve())

        assert len(launchdarkly.custom_events(SUCCESS)) == 1
    assert ENDED_LOOP not in caplog.text


def test_events_for_a_client_that_is_never_started_are_not_kept_without_end(context: Context) -> None:
    """With the thousandth the client is given all of them, and does with them what it does."""
    taken: list[str] = []

    class NeverStarted(AsyncRecordingClient):
        _started = False

        def track(self, event_name: str, *others: object) -> None:
            taken.append(event_name)

    ai = AsyncLdAiClient(NeverStarted({"support-bot": FLAG}))
    tracker = asyncio.run(ai.completion_config("support-bot", context)).create_tracker()

    for _ in range(997):
        tracker.track_tool_call("search")
    before = len(taken)
    tracker.track_tool_call("search")

    assert (before, len(taken)) == (0, 1_000)


@pytest.mark.asyncio
async def test_an_asynchronous_client_delivers_the_same(context: Context) -> None:
    """`AsyncLdAiClient` over the real `AsyncLDClient` evaluates and delivers like the synchronous one."""
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        async with AsyncLDClient(launchdarkly.async_config()) as ld:
            await ld.start()
            config = await AsyncLdAiClient(ld).completion_config("support-bot", context)
            handler = LdAiHandler(config)
            with handler.collect_runs() as runs:
                await chain().ainvoke(QUESTION, {"callbacks": [handler]})

        metrics = launchdarkly.metrics(runs[0].run_id)
    assert set(metrics) == {DURATION, SUCCESS, *TOKENS}
    assert config.messages[0].content == "You help Sandy."


def test_leaving_both_blocks_delivers_everything(context: Context) -> None:
    """`LdAiClient` waits for its ledger, then `LDClient` delivers and closes, which the first leaves to it."""
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        with LDClient(launchdarkly.config()) as ld, LdAiClient(ld, ledger=MemoryLedger()) as ai:
            handler = LdAiHandler(ai.completion_config("support-bot", context))
            with handler.collect_runs() as runs:
                chain().invoke(QUESTION, {"callbacks": [handler]})
        assert set(launchdarkly.metrics(runs[0].run_id)) == {DURATION, SUCCESS, *TOKENS}

        with LDClient(launchdarkly.config()) as ld:
            with LdAiClient(ld) as ai:
                tracker = ai.completion_config("support-bot", context).create_tracker()
            tracker.track_success()
        assert launchdarkly.metrics(tracker.run_id) == {SUCCESS: [1]}


@pytest.mark.asyncio
async def test_leaving_both_asynchronous_blocks_delivers_everything(context: Context) -> None:
    """As for the synchronous ones."""
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        async with (
            AsyncLDClient(launchdarkly.async_config()) as ld,
            AsyncLdAiClient(ld, ledger=MemoryLedger()) as ai,
        ):
            handler = LdAiHandler(await ai.completion_config("support-bot", context))
            with handler.collect_runs() as runs:
                await chain().ainvoke(QUESTION, {"callbacks": [handler]})

    assert set(launchdarkly.metrics(runs[0].run_id)) == {DURATION, SUCCESS, *TOKENS}


def test_leaving_the_block_says_where_claims_are_left(
    context: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A ledger that does not answer holds the end up for a bounded time, and what that costs is told."""
    answers = threading.Event()

    class Slow(MemoryLedger):
        def claim(self, *given):
            answers.wait(10)
            return super().claim(*given)

    monkeypatch.setattr(client, "LEAVING_SECONDS", 0.05)
    with LdAiClient(RecordingClient({"support-bot": FLAG}), ledger=Slow()) as ai:
        ai.completion_config("support-bot", context).create_tracker().track_success()
    answers.set()

    assert "Claims still wait for the ledger at the end of the client's block" in caplog.messages[-1]
    assert ai.close()


def test_three_serverless_invocations_lose_none(context: Context) -> None:
    """`close()` at the end of each, and `postfork()` at the next one's beginning: all has arrived on return."""
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        ld = LDClient(launchdarkly.config(flush_interval=3600))
        ai = LdAiClient(ld, ledger=MemoryLedger())
        handler = LdAiHandler(lambda metadata: ai.completion_config("support-bot", context))
        is_open = True

        def invocation() -> str:
            nonlocal is_open
            if not is_open:
                ld.postfork()
            with handler.collect_runs() as runs:
                chain().invoke(QUESTION, {"callbacks": [handler]})
            handler.flush(5)
            ai.close(5)
            ld.close()
            is_open = False
            return runs[0].run_id

        for _ in range(3):
            assert set(launchdarkly.metrics(invocation())) == {DURATION, SUCCESS, *TOKENS}


@pytest.mark.asyncio
async def test_three_asynchronous_serverless_invocations_lose_none(context: Context) -> None:
    """`await ld.flush_and_wait(5)` at the end of each; the client stays open."""
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        async with AsyncLDClient(launchdarkly.async_config(flush_interval=3600)) as ld:
            ai = AsyncLdAiClient(ld, ledger=MemoryLedger())

            async def invocation() -> str:
                handler = LdAiHandler(await ai.completion_config("support-bot", context))
                with handler.collect_runs() as runs:
                    await chain().ainvoke(QUESTION, {"callbacks": [handler]})
                handler.flush(5)
                await ai.close(5)
                assert await ld.flush_and_wait(5)
                return runs[0].run_id

            for _ in range(3):
                assert set(launchdarkly.metrics(await invocation())) == {DURATION, SUCCESS, *TOKENS}


def test_half_a_surrogate_pair_in_a_name_breaks_no_batch(context: Context) -> None:
    """The SDK's JSON writes such a character as an escape, so a tool's name needs no repair on its way."""
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        with LDClient(launchdarkly.config()) as client:
            tracker = LdAiClient(client).completion_config("support-bot", context).create_tracker()
            tracker.track_tool_calls(["search", "sea\ud800rch"])
            tracker.track_success()

        calls = [event.data["toolKey"] for event in launchdarkly.custom_events(TOOL_CALL)]
        metrics = launchdarkly.metrics(tracker.run_id)

    assert calls == ["search", "sea\ud800rch"]
    assert metrics[SUCCESS] == [1]


@pytest.mark.parametrize(("is_durable", "arrived"), [(False, set()), (True, {"user-2"})], ids=["SDK", "durable"])
def test_an_attribute_that_is_no_json_costs_what_its_warning_says(
    is_durable: bool, arrived: set[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """LaunchDarkly's client loses every event that it would send in the same batch, and says nothing of whose."""
    options = {"event_processor_class": DurableEvents(tmp_path)} if is_durable else {}
    dated = Context.builder("user-1").set("since", date(2026, 11, 30)).build()
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        ld = LDClient(launchdarkly.config(**options))
        ai = LdAiClient(ld)
        for context in (dated, Context.create("user-2")):
            ai.completion_config("support-bot", context).create_tracker().track_success()
        ld.close()

        assert {event.context.key for event in launchdarkly.custom_events(SUCCESS)} == arrived
    assert "The attribute 'since' of a context is no JSON" in caplog.text

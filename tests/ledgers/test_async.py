"""Claims of an asynchronous client, which its loop's thread alone may touch."""

import asyncio
import threading

import pytest
from ldclient import AsyncLDClient, Context

from langchain_ldai import AsyncLdAiClient
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.testing import AsyncRecordingClient, LoopbackLaunchDarkly
from tests.conftest import FLAG
from tests.support.chains import SUCCESS


@pytest.mark.asyncio
async def test_an_asynchronous_client_claims_as_well(context: Context) -> None:
    """`AsyncLdAiClient` records a metric once among the trackers of a run; `close` is awaited."""
    client = AsyncRecordingClient({"support-bot": FLAG})
    ai = AsyncLdAiClient(client, ledger=MemoryLedger())
    tracker = (await ai.completion_config("support-bot", context)).create_tracker()

    tracker.track_success()
    ai.create_tracker(tracker.resumption_token, context).track_error()

    assert await ai.close()
    assert client.metrics(tracker.run_id) == {SUCCESS: [1]}
    assert await AsyncLdAiClient(client).close()


@pytest.mark.asyncio
async def test_an_asynchronous_client_is_only_touched_on_its_loop(context: Context) -> None:
    """What is granted on the claiming thread, or recorded on any other, reaches a real `AsyncLDClient`."""
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        async with AsyncLDClient(launchdarkly.async_config()) as client:
            await client.start()
            ai = AsyncLdAiClient(client, ledger=MemoryLedger())
            tracker = (await ai.completion_config("support-bot", context)).create_tracker()
            await asyncio.to_thread(tracker.track_success)
            await asyncio.to_thread(tracker.track_tool_call, "search")
            assert await ai.close()

        assert launchdarkly.metrics(tracker.run_id) == {SUCCESS: [1], "$ld:ai:tool_call": [1]}


class OnOneThread(AsyncRecordingClient):
    """A client that notes on which threads it is used."""

    def __init__(self) -> None:
        super().__init__({"support-bot": FLAG})
        self.threads: set[int] = set()

    def track(self, event_name, context, data=None, metric_value=None) -> None:
        """Note the thread."""
        self.threads.add(threading.get_ident())


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["in-the-loop", "before-it"])
async def test_an_asynchronous_client_is_used_on_one_thread(where: str, context: Context) -> None:
    """No other thread than its loop's calls an asynchronous client, wherever it was made."""
    client = OnOneThread()
    if where == "before-it":
        ai = await asyncio.to_thread(AsyncLdAiClient, client, ledger=MemoryLedger())
        client.threads.clear()
    else:
        ai = AsyncLdAiClient(client, ledger=MemoryLedger())
    tracker = (await ai.completion_config("support-bot", context)).create_tracker()

    await asyncio.to_thread(tracker.track_success)
    await asyncio.to_thread(tracker.track_tool_call, "search")
    await ai.close()

    assert client.threads == {threading.get_ident()}


def test_an_asynchronous_client_without_a_loop_is_used_where_one_is() -> None:
    """Before any loop runs there is none to hop to: a client of one's own is called at once."""
    client = AsyncRecordingClient()

    AsyncLdAiClient(client)

    assert len(client.events) == 1

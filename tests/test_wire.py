"""From a chain to LaunchDarkly's endpoint and back, with the real client and real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ldclient import AsyncLDClient, Context, LDClient

from langchain_ldai import AsyncLdAiClient, LdAiClient, LdAiHandler
from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.conftest import FLAG
from tests.support.chains import DURATION, FIRST_TOKEN, QUESTION, SUCCESS, TOKENS, TOOL_CALL, chain

FEEDBACK_PROCESS = Path(__file__).parent.parent / "cookbook" / "feedback.py"
FEEDBACK = "$ld:ai:feedback:user:positive"


def test_a_run_and_its_later_feedback_arrive_under_one_run_id(context: Context) -> None:
    """Three streamed tokens give six events on the wire, once each; a second process adds one to the same run."""
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        client = LDClient(launchdarkly.config())
        handler = LdAiHandler(LdAiClient(client).completion_config("support-bot", context))
        with handler.collect_runs() as runs:
            list(chain().stream(QUESTION, {"callbacks": [handler]}))
        client.close()
        subprocess.run(
            [sys.executable, FEEDBACK_PROCESS, runs[0].resumption_token],
            env={**os.environ, "LAUNCHDARKLY_URL": launchdarkly.url},
            check=True,
            timeout=60,
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
async def test_an_asynchronous_client_delivers_the_same(context: Context) -> None:
    """`AsyncLdAiClient` over the real `AsyncLDClient` evaluates and delivers like the synchronous one."""
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        async with AsyncLDClient(launchdarkly.async_config()) as client:
            await client.start()
            config = await AsyncLdAiClient(client).completion_config("support-bot", context)
            handler = LdAiHandler(config)
            with handler.collect_runs() as runs:
                await chain().ainvoke(QUESTION, {"callbacks": [handler]})

        metrics = launchdarkly.metrics(runs[0].run_id)
    assert set(metrics) == {DURATION, SUCCESS, *TOKENS}
    assert config.messages[0].content == "You help Sandy."


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

"""The newest generation of LaunchDarkly's Python packages, as a client of the local LaunchDarkly."""

import sys

import pytest

from langchain_ldai.dev.queries import Filter, latest_runs
from tests.dev.conftest import Desk
from tests.support.models import ScriptedChat

if sys.version_info < (3, 12):
    pytest.skip("LaunchDarkly's newest packages need Python 3.12", allow_module_level=True)

import launchdarkly_ai_server as newest
from launchdarkly_ai_langchain_messages import create_langchain_messages_handler


@pytest.mark.asyncio
async def test_the_newest_generation_is_served_and_its_run_shows(desk: Desk) -> None:
    """Its run is there, with tokens and outcome, under its own `runId`."""
    addresses = dict.fromkeys(("baseUri", "streamUri", "eventsUri"), desk.url)
    await newest.init_client({"sdkKey": "sdk-dev", "otlpEndpoint": desk.url, **addresses})
    config = newest.config(key="support-bot", handler=create_langchain_messages_handler(ScriptedChat()))

    await config.invoke("How do I switch it off?", {"kind": "user", "key": "user-1", "plan": "enterprise"})
    await newest.shutdown()

    (run,) = latest_runs(desk.store, Filter("support-bot"), 10)
    assert (run.variation, run.outcome, run.context) == ("friendly", "success", "user-1")
    assert run.tokens == 13

"""What the log says where a process ends without having closed the LaunchDarkly client."""

import gc
import weakref

import pytest
from ldclient import Context, LDClient

from langchain_ldai import LdAiClient
from langchain_ldai._configs import diagnosis
from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.conftest import FLAG
from tests.support.programs import run_program

LEFT_OPEN = "The LaunchDarkly client was still open when the process ended"

COUNT = """
import atexit, asyncio, os, sys
from ldclient import AsyncLDClient, Context, LDClient
from langchain_ldai import AsyncLdAiClient, LdAiClient
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.testing import LoopbackLaunchDarkly

launchdarkly = LoopbackLaunchDarkly({})
launchdarkly.__enter__()

def count(ld, **options):
    config = LdAiClient(ld, **options).completion_config("support-bot", Context.create("ada"))
    config.create_tracker().track_success()

async def count_async(*, closes):
    ld = AsyncLDClient(launchdarkly.async_config())
    await ld.start()
    config = await AsyncLdAiClient(ld).completion_config("support-bot", Context.create("ada"))
    config.create_tracker().track_success()
    if closes:
        await ld.close()
"""

LEFT = {
    "at the end of a script": "ld = LDClient(launchdarkly.config())\ncount(ld)",
    "with what only a function held": "count(LDClient(launchdarkly.config()))",
    "after a flush": "ld = LDClient(launchdarkly.config())\ncount(ld)\nld.flush()",
    "of asyncio": "asyncio.run(count_async(closes=False))",
    "before another that is closed": """
count(LDClient(launchdarkly.config()))
with LDClient(launchdarkly.config()) as ld:
    count(ld)
""",
    "used in a fork, after `postfork`": """
ld = LDClient(launchdarkly.config())
count(ld)
ld.close()
if os.fork() == 0:
    ld.postfork()
    count(ld)
    sys.exit()
os.wait()
""",
}
CLOSED = {
    "by a block": "with LDClient(launchdarkly.config()) as ld:\n    count(ld)",
    "at exit": "ld = LDClient(launchdarkly.config())\natexit.register(ld.close)\ncount(ld)",
    "of asyncio": "asyncio.run(count_async(closes=True))",
    "never used": "ld = LDClient(launchdarkly.config())\nLdAiClient(ld)",
    "offline": "count(LDClient(launchdarkly.config(offline=True)))",
    "by the parent of a fork": """
ld = LDClient(launchdarkly.config())
count(ld)
if os.fork() == 0:
    sys.exit()
os.wait()
ld.close()
""",
    "never, but durable": """
durable = DurableEvents("events")
count(LDClient(launchdarkly.config(event_processor_class=durable)), delivery=durable)
""",
}


@pytest.mark.parametrize(
    ("code", "times"),
    [*((code, 1) for code in LEFT.values()), *((code, 0) for code in CLOSED.values())],
    ids=[*(f"left open {name}" for name in LEFT), *(f"closed {name}" for name in CLOSED)],
)
def test_a_client_that_is_left_open_is_told_once(code: str, times: int, tmp_path) -> None:
    """LaunchDarkly's client loses what it has not sent yet, where nobody closes it, and says nothing of that."""
    done = run_program(COUNT + code, folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stderr.count(LEFT_OPEN) == times, done.stderr


def test_clients_that_were_closed_are_not_kept(context: Context) -> None:
    """A program that opens and closes clients has the memory of each back once it uses the next."""
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        providers = []
        for _ in range(3):
            with LDClient(launchdarkly.config()) as ld:
                LdAiClient(ld).completion_config("support-bot", context).create_tracker().track_success()
                providers.append(weakref.ref(ld.data_source_status_provider))
            del ld
        gc.collect()

    assert len([each for each in providers if each() is not None]) <= 1
    assert len(diagnosis._in_use) <= 1

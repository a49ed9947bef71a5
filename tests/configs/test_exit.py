"""What the log says where a process ends without having closed the LaunchDarkly client."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from ldclient import Context, LDClient

from langchain_ldai import LdAiClient
from langchain_ldai._configs import open_clients
from langchain_ldai.testing import LoopbackLaunchDarkly
from tests.conftest import FLAG
from tests.support.programs import run_program

ROOT = Path(__file__).parent.parent.parent
LEFT_OPEN = "The LaunchDarkly client was still open when the process ended"

COUNT = """
import atexit, asyncio, multiprocessing, multiprocessing.util, os, sys, threading
from types import SimpleNamespace
from ldclient import AsyncLDClient, Context, LDClient
from ldclient.interfaces import DataSourceState
from langchain_ldai import AsyncLdAiClient, LdAiClient
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.testing import LoopbackLaunchDarkly, RecordingClient

launchdarkly = LoopbackLaunchDarkly({})
launchdarkly.__enter__()

def count(ld, **options):
    config = LdAiClient(ld, **options).completion_config("support-bot", Context.create("ada"))
    config.create_tracker().track_success()

class WithoutState(RecordingClient):
    # Says its state once, and raises after that.

    @property
    def data_source_status_provider(self):
        return self

    @property
    def status(self):
        return STATES.pop()

STATES = [SimpleNamespace(state=DataSourceState.VALID)]

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
    "in a worker that `multiprocessing` forks": """
worker = multiprocessing.get_context("fork").Process(target=lambda: count(LDClient(launchdarkly.config())))
worker.start()
worker.join()
""",
    "beside one that does not say its state": """
count(WithoutState())
count(LDClient(launchdarkly.config()))
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
    "in a worker that `multiprocessing` forks": """
def work():
    ld = LDClient(launchdarkly.config())
    multiprocessing.util.Finalize(None, ld.close, exitpriority=0)
    count(ld)

worker = multiprocessing.get_context("fork").Process(target=work)
worker.start()
worker.join()
""",
    "at exit of a fork of the program's own, beside `multiprocessing`": """
if os.fork() == 0:
    ld = LDClient(launchdarkly.config())
    atexit.register(ld.close)
    count(ld)
    sys.exit()
os.wait()
""",
    "with a data system of its own": """
from ldclient.datasystem import custom
from ldclient.interfaces import ChangeSetBuilder, Selector, Update

class Flags:
    name = "flags"

    def __init__(self):
        self.stopped = threading.Event()
        self.stop = self.stopped.set

    def build(self, config):
        return self

    def sync(self, store):
        yield Update(DataSourceState.VALID, ChangeSetBuilder.empty(Selector.no_selector()))
        self.stopped.wait()

with LDClient(launchdarkly.config(datasystem_config=custom().synchronizers(Flags(), Flags()).build())) as ld:
    count(ld)
""",
    "never, but sends nothing": "count(LDClient(launchdarkly.config(send_events=False)))",
    "never, but durable": """
durable = DurableEvents("events")
count(LDClient(launchdarkly.config(event_processor_class=durable)), delivery=durable)
""",
    "never, but durable by itself": """
count(LDClient(launchdarkly.config(event_processor_class=DurableEvents("events"))))
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


def test_a_client_that_was_given_to_atexit_before_the_import_is_closed_at_exit(tmp_path: Path) -> None:
    """The log does not say that a client was left open which the end of the process then closes."""
    code = """
import atexit, sys
from ldclient import Context, LDClient
from ldclient.config import Config
url = sys.argv[1]
ld = LDClient(Config("sdk-key", base_uri=url, stream_uri=url, events_uri=url, diagnostic_opt_out=True))
atexit.register(ld.close)
from langchain_ldai import LdAiClient
LdAiClient(ld).completion_config("support-bot", Context.create("ada")).create_tracker().track_success()
"""
    with LoopbackLaunchDarkly({"support-bot": FLAG}) as launchdarkly:
        command = [sys.executable, "-c", code, launchdarkly.url]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
        arrived = launchdarkly.custom_events("$ld:ai:generation:success")

    assert (len(arrived), done.stderr) == (1, "")


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
    assert len(open_clients.in_use) <= 1

"""What the event processors keep, refuse and hand on, apart from the events themselves."""

import asyncio
import gc
import json
import sys
import threading
import weakref

import pytest
from ldclient import Context
from ldclient.async_config import AsyncConfig
from ldclient.config import Config
from ldclient.impl.events.types import EventFactory, EventInputCustom
from ldclient.impl.model import FeatureFlag
from ldclient.interfaces import AsyncEventProcessor, EventProcessor

from langchain_ldai.delivery._processors import AsyncDurableEventProcessor, DurableEventProcessor
from tests.delivery.loopback_events import EventsServer, MemoryJournal
from tests.support.programs import run_program

USER = Context.create("user-1")
EVENTS = EventFactory(False)
FLAG = FeatureFlag({"key": "flag", "version": 1, "variations": [True], "debugEventsUntilDate": 4_000_000_000_000})


def tracked(key, data=None, context=USER):
    """What `track` gives to an event processor."""
    return EVENTS.new_custom_event(key, context, data, None)


def evaluated():
    """What an evaluation of the flag gives to an event processor."""
    return EVENTS.new_default_event(FLAG, USER, True, None)


def kinds(journal):
    """The kinds of the events in a journal, in their order."""
    return [event["kind"] for event in json.loads(b"[%b]" % b",".join(journal.records))]


class SyncClient:
    """Makes and uses the processor of an `LDClient`."""

    def __init__(self, url):
        config = Config("sdk-key", events_uri=url, flush_interval=1_000)
        self.journal = MemoryJournal(config)
        self.processor = DurableEventProcessor(config, self.journal)

    @classmethod
    async def start(cls, url="http://127.0.0.1:9"):
        return cls(url)

    async def flush(self, seconds=5):
        return self.processor.flush_and_wait(seconds)

    async def stop(self):
        self.processor.stop()


class AsyncClient:
    """Makes and uses the processor of an `AsyncLDClient`."""

    def __init__(self, url):
        config = AsyncConfig("sdk-key", events_uri=url, flush_interval=1_000)
        self.journal = MemoryJournal(config)
        self.processor = AsyncDurableEventProcessor(config, self.journal)

    @classmethod
    async def start(cls, url="http://127.0.0.1:9"):
        return cls(url)

    async def flush(self, seconds=5):
        return await self.processor.flush_and_wait(seconds)

    async def stop(self):
        await self.processor.stop()


both = pytest.mark.parametrize("start", [SyncClient.start, AsyncClient.start], ids=["sync", "async"])


@both
@pytest.mark.asyncio
async def test_an_event_is_kept_before_send_event_returns(start):
    """A custom event is in the journal at once; what comes of it in the SDK's processor follows."""
    client = await start()

    client.processor.send_event(tracked("clicked"))
    kept = kinds(client.journal)
    await client.stop()

    assert kept == ["custom"]


@both
@pytest.mark.asyncio
async def test_what_is_not_json_is_refused_alone(start):
    """An event that is not JSON is noted with its key and the reason, and harms no other event."""
    client = await start()

    client.processor.send_event(tracked("before"))
    client.processor.send_event(tracked("bad", {"at": object()}))
    client.processor.send_event(tracked(("bad",), float("inf")))
    client.processor.send_event(tracked("after"))
    keys = [json.loads(record)["key"] for record in client.journal.records]
    await client.stop()

    assert keys == ["before", "after"]
    assert [key for key, _ in client.journal.refused] == ["bad", "('bad',)"]
    assert client.journal.refused[0][1] == "Object of type object is not JSON serializable"


@both
@pytest.mark.asyncio
async def test_custom_events_alone_are_kept_after_the_stop(start):
    """Who closes a client and goes on to track loses nothing; stopping and flushing again do no harm."""
    with EventsServer() as server:
        client = await start(server.url)
        client.processor.send_event(tracked("before"))
        await client.stop()
        stopped_once = client.journal.is_stopped
        client.journal.is_stopped = False
        client.processor.send_event(tracked("after"))
        client.processor.send_event(evaluated())
        client.journal.encoder.encode(tracked("a", context=Context.create("unknown")))
        client.processor.flush()
        flushed = await client.flush()
        await client.stop()

    assert [event["kind"] for event in server.events] == ["custom", "index", "custom"]
    assert (stopped_once, client.journal.is_stopped, flushed, client.journal.records) == (True, False, True, [])


@both
@pytest.mark.parametrize("seconds", [5, None], ids=["timeout", "no timeout"])
@pytest.mark.asyncio
async def test_a_flush_that_waits_brings_everything(start, seconds):
    """Once `flush_and_wait` returns, summaries and index events have arrived too."""
    with EventsServer() as server:
        client = await start(server.url)
        client.processor.send_event(evaluated())
        client.processor.send_event(tracked("clicked"))
        flushed = await client.flush(seconds)
        arrived = sorted(event["kind"] for event in server.events)
        await client.stop()

    assert flushed
    assert arrived == ["custom", "debug", "index", "summary"]


@both
@pytest.mark.asyncio
async def test_a_flush_that_waits_says_what_did_not_arrive(start):
    """`flush_and_wait` returns whether everything was accepted."""
    client = await start()

    client.processor.send_event(tracked("clicked"))
    flushed = await client.flush()
    await client.stop()

    assert flushed is False


@both
@pytest.mark.asyncio
async def test_a_flush_is_passed_on(start):
    """`flush` asks the journal at once, and again when the SDK's batch has come."""
    client = await start()
    append, gate = client.journal.append, threading.Event()
    client.journal.append = lambda *record: gate.wait(60) and append(*record)

    client.processor.send_event(evaluated())
    client.processor.flush()
    at_once = client.journal.flushes_requested
    gate.set()
    has_come = await asyncio.to_thread(client.journal.wait_for_records, 1)
    await client.flush()
    in_all = client.journal.flushes_requested
    await client.stop()

    assert (at_once, has_come, in_all) == (1, True, 2)


@pytest.mark.asyncio
async def test_the_timeout_is_for_all_of_a_flush():
    """The time that the SDK's processor takes is not granted to the journal again."""
    client = await AsyncClient.start()
    granted = []
    client.journal.flush = lambda timeout, is_given_up=None: granted.append(timeout) or True

    flushed = await client.flush(5), await client.flush(0), await client.flush(None)
    await client.stop()

    assert flushed == (True, False, True)
    assert 0 < granted[0] < 5
    assert granted[1:3] == [0, None]


@both
@pytest.mark.asyncio
async def test_the_sdk_learns_the_services_clock(start):
    """Once the service's clock has passed the date, no debug event is made, whatever our own clock shows."""
    client = await start()
    client.journal.flush = lambda timeout, is_given_up=None: True  # keeps what is there

    for service_clock in (None, 3_999_999_999, 4_000_000_001, None):
        client.processor.send_event(evaluated())
        client.journal.last_date = service_clock
        await client.flush()
    debugged = kinds(client.journal).count("debug")
    await client.stop()

    assert debugged == 3


@both
@pytest.mark.parametrize(
    ("ratio", "expected"), [(0, ["index"]), (1, ["index", "custom"])], ids=["never", "always"]
)
@pytest.mark.asyncio
async def test_sampling_is_left_to_the_sdk(start, ratio, expected):
    """For a custom event with a sampling ratio the SDK draws lots."""
    client = await start()
    client.journal.flush = lambda timeout, is_given_up=None: True

    event = EventInputCustom(1, USER, "clicked")
    event.sampling_ratio = ratio
    client.processor.send_event(event)
    await client.flush()
    found = kinds(client.journal)
    await client.stop()

    assert found == expected


@both
@pytest.mark.asyncio
async def test_any_thread_may_send(start):
    """Events of threads without an event loop arrive, with what the SDK makes of them on its own loop."""
    asyncio.get_running_loop().set_debug(True)  # it then raises where another thread touches it
    client = await start()
    client.journal.flush = lambda timeout, is_given_up=None: True
    await client.flush()  # the SDK's processor waits for events now

    def send():
        client.processor.send_event(tracked("clicked"))
        client.processor.send_event(evaluated())
        client.processor.flush()

    await asyncio.to_thread(send)
    await client.flush()
    found = sorted(kinds(client.journal))
    await client.stop()

    assert found == ["custom", "debug", "index", "summary"]


def test_events_are_kept_when_the_loop_is_closed():
    """A custom event is kept also when the client's event loop has ended without `close`."""
    client = asyncio.run(AsyncClient.start())
    client.processor.send_event(tracked("clicked"))
    client.processor.send_event(evaluated())
    client.processor.flush()
    kept = kinds(client.journal)
    flushed = asyncio.run(asyncio.wait_for(client.flush(None), 20))
    asyncio.run(asyncio.wait_for(client.stop(), 20))

    assert (kept, flushed, client.journal.is_stopped) == (["custom"], False, True)


def test_they_are_what_the_sdk_asks_for():
    """Each processor is of the type that the SDK documents."""
    assert issubclass(DurableEventProcessor, EventProcessor)
    assert issubclass(AsyncDurableEventProcessor, AsyncEventProcessor)


@pytest.mark.asyncio
async def test_the_sdks_processor_is_made_anew_after_a_fork():
    """Reset as after a fork, the processor makes summaries and index events with new threads."""
    client = await SyncClient.start()
    client.journal.flush = lambda timeout, is_given_up=None: True
    of_the_parent = client.processor._sdk

    client.processor.reset_after_fork()
    client.processor.flush()
    nothing_to_flush = await client.flush()
    client.processor.send_event(tracked("clicked"))
    client.processor.send_event(evaluated())
    await client.flush()
    found = sorted(kinds(client.journal))
    await client.stop()
    of_the_parent.stop()

    assert nothing_to_flush
    assert found == ["custom", "debug", "index", "summary"]


@pytest.mark.asyncio
async def test_a_processor_that_was_not_used_since_a_fork_stops():
    """Reset as after a fork, an unused processor has no threads to wait for, and starts none any more."""
    client = await SyncClient.start()
    of_the_parent = client.processor._sdk
    threads = set(threading.enumerate())

    client.processor.reset_after_fork()
    await client.stop()
    client.journal.encoder.encode(tracked("too late"))
    started = set(threading.enumerate()) - threads
    of_the_parent.stop()

    assert (client.journal.is_stopped, started) == (True, set())


@pytest.mark.asyncio
async def test_a_fork_without_threads_keeps_custom_events(monkeypatch):
    """Python 3.12 starts no thread once the process ends, and a system may have none to spare."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    client = await SyncClient.start()
    of_the_parent = client.processor._sdk
    client.processor.reset_after_fork()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        client.processor.send_event(tracked("clicked"))
        client.processor.send_event(evaluated())
    found = kinds(client.journal)
    await client.stop()
    of_the_parent.stop()

    assert found == ["custom"]


@pytest.mark.asyncio
async def test_the_loop_is_given_up_after_a_fork():
    """Reset as after a fork, the asynchronous processor keeps custom events, and leaves the loop alone."""
    client = await AsyncClient.start()
    client.journal.flush = lambda timeout, is_given_up=None: True
    of_the_parent = client.processor._sdk

    client.processor.reset_after_fork()
    client.processor.send_event(tracked("clicked"))
    client.processor.send_event(evaluated())
    client.processor.flush()
    await client.flush()
    found = kinds(client.journal)
    await client.stop()
    await of_the_parent.stop()

    assert (found, client.journal.is_stopped) == (["custom"], True)


IN_A_CHILD = """
import asyncio, os, signal, sys
from tests.delivery.test_processors import AsyncClient, SyncClient, USER, evaluated, kinds, tracked

async def start():
    return await {"sync": SyncClient, "async": AsyncClient}[sys.argv[1]].start()

async def use(client):
    client.processor.send_event(tracked("clicked"))
    client.processor.send_event(evaluated())
    client.processor.flush()
    await client.flush()
    await client.stop()

loop = asyncio.new_event_loop()
client = loop.run_until_complete(start())
client.journal.flush = lambda timeout, is_given_up=None: True
process = os.fork()
if process == 0:
    signal.alarm(20)
    loop.run_until_complete(use(client))
    print(sorted(kinds(client.journal)), flush=True)
    os._exit(0)
status = os.waitpid(process, 0)[1]
loop.run_until_complete(use(client))
loop.close()
print(sorted(kinds(client.journal)), status)
"""

ALL = ["custom", "debug", "index", "summary"]


AT_EXIT = """
import atexit
from ldclient.config import Config
from tests.delivery.test_processors import DurableEventProcessor, MemoryJournal, evaluated, kinds, tracked

config = Config("sdk-key", flush_interval=1_000)
journal = MemoryJournal(config)
atexit.register(lambda: print(sorted(kinds(journal))))  # runs after what is registered later
processor = DurableEventProcessor(config, journal)
processor.send_event(tracked("clicked"))
processor.send_event(evaluated())
"""


def test_the_end_of_the_process_loses_nothing():
    """What the SDK's processor holds goes into the journal when the process ends without `close`."""
    done = run_program(AT_EXIT)

    assert (done.stdout, done.stderr) == (f"{ALL}\n", "")


@pytest.mark.asyncio
async def test_a_stopped_processor_is_let_go():
    """Clients that come and go leave nothing for the end of the process."""
    client = await SyncClient.start()
    await client.stop()
    client.journal.encoder.on_new_context = len
    kept = weakref.ref(client.processor)

    del client
    gc.collect()

    assert kept() is None


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize(("client", "in_child"), [("sync", ALL), ("async", ["custom"])])
def test_parent_and_child_send_their_own(client, in_child):
    """After a fork without `postfork()`, each process keeps its own events, and neither hangs."""
    done = run_program(IN_A_CHILD, client)

    assert (done.stdout.splitlines(), done.stderr) == ([str(in_child), f"{ALL} 0"], "")

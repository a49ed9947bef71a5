"""What workers do: they open a LaunchDarkly client, and send events that carry the lane's name and a number."""

import logging
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from langchain_core.messages import AIMessageChunk
from ldclient import Context, LDClient
from ldclient.config import Config, HTTPConfig

from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.delivery import DurableEvents, _sender
from tests.faults.launchdarkly import CONFIG_KEY
from tests.faults.progress import ProgressFile
from tests.support.models import USAGE_CHUNK, ScriptedChat
from tests.support.serving import addresses

SDK_KEY: Final = "sdk-faults"
CONTEXT: Final = Context.create("user-1")
TRACKED: Final = frozenset({"load"})
RUN_EVENTS: Final = frozenset(
    {
        "$ld:ai:duration:total",
        "$ld:ai:generation:success",
        "$ld:ai:tokens:input",
        "$ld:ai:tokens:output",
        "$ld:ai:tokens:total",
        "$ld:ai:tokens:ttf",
    }
)
RUNS: Final = "runs"
"""A lane whose name begins like this makes runs; any other calls `track`."""

SHARED: Final = "runs-of-several-processes"
"""A lane whose runs more than one process makes, so that there is no order to keep."""

OVER: Final = "over"
"""The file that tells workers that the scene is over."""

FOR_EVER: Final = 1_000_000_000


def events_of(lane: str) -> frozenset[str]:
    """Return the names of the events that each number of a lane sends."""
    return RUN_EVENTS if lane.startswith(RUNS) else TRACKED


@dataclass(frozen=True)
class Target:
    """Where a worker sends its events.

    Attributes:
        url: The address of LaunchDarkly.
        folder: Where workers say how far they got.
        journal: The directory of `DurableEvents`; `None` for the SDK's own event processor.
        flush_interval: Seconds between two flushes.
        padding: Bytes that each event is larger than it need be, in loads that call `track`.
        max_pending: How many events the SDK's own event processor buffers.
        timeout: Seconds after which a connection, or an answer, is given up; `None` for the SDK's own.
        proxy: The address of a proxy that leads to LaunchDarkly; `None` for none.
        sends: Whether the worker sends what is in its journal.
    """

    url: str
    folder: Path
    journal: Path | None
    flush_interval: float
    padding: int = 0
    max_pending: int = 10_000
    timeout: float | None = None
    proxy: str | None = None
    sends: bool = True


class Client:
    """A LaunchDarkly client in a worker.

    Attributes:
        ld: The SDK's client.
        events: Its durable delivery, if it has one.
    """

    def __init__(self, target: Target) -> None:
        logging.basicConfig(level=logging.WARNING)
        self.target = target
        self._padding = "x" * target.padding
        self.events = None if target.journal is None else DurableEvents(target.journal, send=target.sends)
        durable = {"event_processor_class": self.events} if self.events else {}
        timeouts = (
            {} if target.timeout is None else {"connect_timeout": target.timeout, "read_timeout": target.timeout}
        )
        self.ld = LDClient(
            Config(
                SDK_KEY,
                **addresses(target.url),
                **durable,
                flush_interval=target.flush_interval,
                events_max_pending=target.max_pending,
                http=HTTPConfig(**timeouts, http_proxy=target.proxy),
                diagnostic_opt_out=True,
                initial_reconnect_delay=0.1,
            ),
            start_wait=2,
        )

    def ai(self, **options: object) -> LdAiClient:
        """Return a client of AI Configs over it."""
        return LdAiClient(self.ld, delivery=self.events, **options)

    def track(self, lane: str, number: int) -> None:
        """Send one numbered event."""
        self.ld.track("load", CONTEXT, {"mark": f"{lane}:{number}", "padding": self._padding}, 1)


class Pace:
    """Keeps a loop to a rate, as well as the machine can.

    Args:
        rate: Rounds a second; `None` for as many as there can be.
    """

    def __init__(self, rate: float | None) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._next = time.monotonic()

    def wait(self) -> None:
        """Wait until the next round is due."""
        if self._interval:
            self._next += self._interval
            time.sleep(max(0.0, self._next - time.monotonic()))


def send(client: Client, lane: str, count: int, rate: float | None = None) -> None:
    """Send the numbers 0 to `count` of a lane."""
    progress = ProgressFile(client.target.folder, lane, count)
    pace = Pace(rate)
    one = runner(client.ai(), lane) if lane.startswith(RUNS) else lambda number: client.track(lane, number)
    for number in range(count):
        one(number)
        progress.note(number + 1)
        pace.wait()


def runner(ai: LdAiClient, lane: str) -> Callable[[int], None]:
    """Return what makes one run of a chain, streamed."""
    config = ai.completion_config(CONFIG_KEY, CONTEXT)
    handler = LdAiHandler(config, run_ids=lambda metadata: metadata["mark"])
    chain = ScriptedChat(script=[[AIMessageChunk("Hello"), USAGE_CHUNK]])

    def run(number: int) -> None:
        for _ in chain.stream("hi", {"callbacks": [handler], "metadata": {"mark": f"{lane}:{number}"}}):
            pass

    return run


def close(client: Client) -> None:
    """End as a program should."""
    client.ld.close()


def leave(client: Client) -> None:
    """End without `close()`; a machine that is busy has all the time that it needs for what Python does then."""
    _sender.EXIT_SECONDS = 60.0


def flush(client: Client) -> None:
    """Flush, and wait for it where that is possible."""
    if client.events is None:
        client.ld.flush()
    else:
        client.events.flush(60)


def flush_and_vanish(client: Client) -> None:
    """End at once after a flush, with no exit hook, as children of many servers do."""
    sys.setswitchinterval(60)  # no other thread comes in between, however busy the machine is
    flush(client)
    os._exit(0)


def close_when_told(client: Client) -> None:
    """Stay until the scene says that it is over, then close."""
    while not (client.target.folder / OVER).exists():
        time.sleep(0.02)
    client.ld.close()


def load(
    target: Target,
    lane: str,
    count: int,
    rate: float | None = None,
    end: Callable[[Client], None] = close,
    threads: int = 1,
) -> None:
    """Open a client, send the numbers of a lane, or of one lane for each thread, and end.

    Args:
        target: Where to.
        lane: The lane's name.
        count: Numbers of each lane.
        rate: Numbers a second.
        end: How the process ends.
        threads: How many lanes send at once.
    """
    client = Client(target)
    lanes = [lane] if threads == 1 else [f"{lane}-{number}" for number in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda name: send(client, name, count, rate), lanes))
    end(client)


def deliver_rest(target: Target) -> None:
    """Open a client, as the next process of the same program does, until the scene is over."""
    close_when_told(Client(target))

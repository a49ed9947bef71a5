"""What LaunchDarkly answers to a batch of events."""

import time
from contextlib import AbstractContextManager
from typing import Final

from tests.faults.case import Table
from tests.faults.launchdarkly import (
    CUT_AFTER,
    CUT_BEFORE,
    Fault,
    Reply,
    answer,
    drip,
    refuse_larger,
    refuse_with,
    slow,
)
from tests.faults.loads import CONTEXT, Client, Target, close_when_told
from tests.faults.progress import ProgressFile
from tests.faults.scene import Scene

TABLE: Final = Table()
STATUSES: Final = (400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504)
_BAD: Final = b"this one is bad"


def _load_during(scene: Scene, fault: Fault, seconds: float) -> None:
    """Send events before, during and after a fault, then close."""
    _load_within(scene, seconds, scene.launchdarkly.failing(fault))


def _load_within(scene: Scene, seconds: float, *blocks: AbstractContextManager[None]) -> None:
    """Send events before, during and after faults, each of which lasts for as long as its block, then close."""
    rate = scene.size(full=20, small=100)
    count = int(rate * (seconds * len(blocks) + scene.size(full=15, small=0.5)))
    worker = scene.start(lane="load", count=count, rate=rate, end=close_when_told)
    scene.wait_until_done("load", 1)
    for block in blocks:
        with block:
            time.sleep(seconds)
    scene.wait_until_done("load", count)
    scene.say_over()
    scene.finish(worker)


def _load_with(scene: Scene, *replies: Reply) -> None:
    """Send events, have the first batches answered like this, then close."""
    scene.launchdarkly.reply_once(*replies)
    scene.finish(scene.start(lane="load", count=scene.size(full=4_000, small=150), rate=200))


@TABLE.case("each error status once", STATUSES)
def each_status_once(scene: Scene, status: int) -> None:
    """The first batch is refused."""
    _load_with(scene, Reply(status))


@TABLE.case("each error status for five minutes", STATUSES)
def each_status_for_long(scene: Scene, status: int) -> None:
    """Every batch is refused for a time."""
    _load_during(scene, answer(status), scene.size(full=300, small=0.6))


@TABLE.case("429 and 503 that say when to try again", (429, 503))
def retry_after(scene: Scene, status: int) -> None:
    """Retry-After is one second, for a time."""
    _load_during(scene, answer(status, retry_after="1"), scene.size(full=60, small=1.2))


@TABLE.case("connections cut before and after a batch is received", (CUT_BEFORE, CUT_AFTER))
def cut_connections(scene: Scene, reply: Reply) -> None:
    """The first three requests get no answer, so they are sent again."""
    _load_with(scene, *[reply] * 3)


@TABLE.case("answers that take longer than the SDK waits, for a minute")
def slow_answers(scene: Scene) -> None:
    """Each batch is received all the same, so that it is received twice."""
    timeout = scene.size(full=5.0, small=0.3)
    scene.change_target(timeout=timeout)
    _load_during(scene, slow(timeout * 1.5), scene.size(full=60, small=0.6))


@TABLE.case("answers that go on byte by byte, for a minute")
def dripping_answers(scene: Scene) -> None:
    """Each byte renews the time-out, so the first of them would keep everything back for as long as it goes on."""
    scene.change_target(timeout=scene.size(full=2.0, small=0.2))
    _load_during(scene, drip(scene.size(full=60, small=3)), scene.size(full=60, small=0.6))


@TABLE.case("a proxy that is away, and then asks for a login, for a minute each")
def dead_proxy(scene: Scene) -> None:
    """LaunchDarkly can be reached through it alone."""
    scene.change_target(url="http://launchdarkly.invalid", proxy=scene.launchdarkly.url)
    faults = scene.launchdarkly.away(), scene.launchdarkly.failing(answer(407))
    _load_within(scene, scene.size(full=60, small=0.6), *faults)


@TABLE.case("batches over 20,000 bytes are refused with 413")
def too_large(scene: Scene) -> None:
    """The bound holds for good, as that of a proxy does."""
    scene.launchdarkly.fault = refuse_larger(20_000)
    scene.change_target(flush_interval=scene.size(full=5.0, small=0.5))
    scene.finish(scene.start(lane="load", count=scene.size(full=10_000, small=400)))


def track_among(target: Target, count: int, bad: dict[str, object]) -> None:
    """Send events of which every hundredth is followed by a bad one."""
    client = Client(target)
    progress = ProgressFile(target.folder, "load", count)
    for number in range(count):
        client.track("load", number)
        progress.note(number + 1)
        if number % 100 == 50:
            client.ld.track("bad", CONTEXT, bad)
    client.ld.close()


@TABLE.case("a bad event among others is refused with 400")
def bad_event(scene: Scene) -> None:
    """LaunchDarkly refuses the batch that holds it."""
    scene.launchdarkly.fault = refuse_with(_BAD)
    scene.finish(scene.start(track_among, count=scene.size(full=10_000, small=300), bad={"text": _BAD.decode()}))


@TABLE.case("an event among others is not JSON")
def not_json(scene: Scene) -> None:
    """The SDK cannot encode the batch that holds it."""
    scene.finish(scene.start(track_among, count=scene.size(full=10_000, small=300), bad={"text": object}))

"""How processes end, stand still and multiply."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Final
from unittest import mock

from tests.faults.case import Table
from tests.faults.launchdarkly import answer, receive, slow
from tests.faults.loads import (
    FOR_EVER,
    SDK_KEY,
    Client,
    Target,
    close,
    close_when_told,
    flush,
    flush_and_vanish,
    leave,
    send,
)
from tests.faults.progress import ProgressFile
from tests.faults.scene import Scene

TABLE: Final = Table()
_LATE_FLUSH: Final = 5.0
"""The SDK's default of seconds between two flushes: most processes below end earlier."""


@TABLE.case("200 processes, one after the other, are killed (SIGKILL)")
def kills(scene: Scene) -> None:
    """Many die while a batch of theirs is under way: LaunchDarkly answers late."""
    scene.launchdarkly.fault = slow(0.1)
    scene.change_target(flush_interval=scene.size(full=0.5, small=0.2))
    moments = random.Random(7)
    for number in range(scene.size(full=200, small=5)):
        worker = scene.start(lane=f"kill-{number}", count=FOR_EVER, rate=2_000)
        scene.wait_until_done(f"kill-{number}", moments.randrange(1, 1_000))
        worker.kill()
    scene.play_next_process()


@TABLE.case("2 of 4 processes are killed")
def two_of_four_die(scene: Scene) -> None:
    """They share a journal, and the living go on."""
    count = scene.size(full=3_000, small=60)
    workers = [scene.start(lane=f"runs-{number}", count=count, rate=150) for number in range(4)]
    for number in (0, 2):
        scene.wait_until_done(f"runs-{number}", count // 2 + number * 5)
        workers[number].kill()
    scene.finish(workers[1], workers[3])
    scene.play_next_process()


def fork_children(target: Target, count: int) -> None:
    """Send events in a process and in four children of it, of which two end without any exit hook."""
    client = Client(target)
    send(client, "parent-before", count)
    children = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            send(client, f"child-{number}", count)
            if number % 2:
                os._exit(0)
            return
        children.append(pid)
    send(client, "parent-after", count)
    for pid in children:
        os.waitpid(pid, 0)
    client.ld.close()


def drain(target: Target) -> None:
    """Become a sidecar: send what the processes write that have a journal in common."""
    command = [
        "-m",
        "langchain_ldai.delivery",
        str(target.journal),
        "drain",
        "--follow",
        "--events-uri",
        target.url,
    ]
    environment = {**os.environ, "LAUNCHDARKLY_SDK_KEY": SDK_KEY}
    os.execve(sys.executable, [sys.executable, *command], environment)


@TABLE.case("processes only write, a sidecar sends; one of each is killed")
def sidecar(scene: Scene) -> None:
    """The sidecar is started again."""
    scene.change_target(sends=False)
    count = scene.size(full=10_000, small=300)
    writers = [scene.start(lane=f"load-{number}", count=count, rate=500) for number in range(3)]
    scene.wait_until_done("load-0", 1)
    sidecars = []
    for part in range(1, 3):
        if scene.is_durable:
            sidecars.append(scene.start(drain))
        scene.wait_until_done("load-0", part * count // 4)
        if part == 1 and sidecars:
            sidecars[0].kill()
    writers[0].kill()
    scene.finish(*writers[1:])
    scene.wait_until_arrived()


@TABLE.case("forked children that do not call postfork()")
def forks(scene: Scene) -> None:
    """The SDK's threads do not live on in a child."""
    scene.finish(scene.start(fork_children, count=scene.size(full=2_000, small=50)))
    scene.play_next_process()


@TABLE.case("processes are stopped (SIGSTOP) and continued")
def stopped_and_continued(scene: Scene) -> None:
    """Meanwhile another process with the same journal goes on."""
    count = scene.size(full=6_000, small=100)
    workers = [scene.start(lane=f"runs-{number}", count=count, rate=200) for number in range(2)]
    for number, worker in enumerate(workers):
        scene.wait_until_done(f"runs-{number}", count // 3)
        worker.send_signal(signal.SIGSTOP)
        time.sleep(scene.size(full=20, small=0.2))
        worker.send_signal(signal.SIGCONT)
    scene.finish(*workers)


@TABLE.case("SIGTERM, under load")
def terminated(scene: Scene) -> None:
    """No signal handler is installed."""
    scene.change_target(flush_interval=_LATE_FLUSH)
    worker = scene.start(lane="runs", count=FOR_EVER, rate=200)
    scene.wait_until_done("runs", scene.size(full=2_500, small=100))
    worker.send_signal(signal.SIGTERM)
    worker.wait()
    scene.play_next_process()


@TABLE.case("the process ends without close()")
def exit_without_close(scene: Scene) -> None:
    """No other process comes after it."""
    scene.change_target(flush_interval=_LATE_FLUSH)
    scene.finish(scene.start(lane="load", count=scene.size(full=2_000, small=200), end=leave))


@TABLE.case("the process ends without close(), after flush()")
def exit_after_flush(scene: Scene) -> None:
    """No other process comes after it."""
    scene.change_target(flush_interval=_LATE_FLUSH)
    scene.finish(scene.start(lane="load", count=scene.size(full=2_000, small=200), end=flush_and_vanish))


def invoke(target: Target, invocations: int, end: Callable[[Client], None]) -> None:
    """Send ten events in each invocation, do the same at the end of each, and stand still until the next one."""
    client = Client(target)
    count = invocations * 10
    progress = ProgressFile(target.folder, "load", count)
    for number in range(count):
        client.track("load", number)
        progress.note(number + 1)
        if number % 10 == 9:
            end(client)
            os.kill(os.getpid(), signal.SIGSTOP)


def _invoke_and_kill(scene: Scene, end: Callable[[Client], None]) -> None:
    scene.change_target(flush_interval=_LATE_FLUSH)
    invocations = scene.size(full=100, small=5)
    worker = scene.start(invoke, invocations=invocations, end=end)
    for invocation in range(invocations):
        worker.wait_until_stopped()
        if invocation + 1 < invocations:
            worker.send_signal(signal.SIGCONT)
    worker.kill()


@TABLE.case("serverless: each invocation ends with flush(), then the process is killed")
def serverless_flush(scene: Scene) -> None:
    """Nothing is left of its disk."""
    _invoke_and_kill(scene, flush)


@TABLE.case("serverless: the first invocation closes the client of all")
def serverless_close(scene: Scene) -> None:
    """Later invocations send through a client that is closed; the next process finds their events."""
    _invoke_and_kill(scene, close)
    scene.play_next_process()


def jump(target: Target, count: int) -> None:
    """Send large events while the clock jumps an hour ahead, and then to the day before."""
    client = Client(target)
    progress = ProgressFile(target.folder, "load", count * 3)
    for part, offset in enumerate((0.0, 3_600.0, -86_400.0)):
        now = time.time() + offset
        with (
            mock.patch("time.time", lambda at=now: at),
            mock.patch("time.time_ns", lambda at=now: int(at * 1e9)),
        ):
            for number in range(part * count, (part + 1) * count):
                client.track("load", number)
                progress.note(number + 1)
    close_when_told(client)


@TABLE.case("the clock jumps an hour ahead, then a day back")
def clock_jumps(scene: Scene) -> None:
    """The process is killed before it could send, and the next one sends its files in order."""
    scene.change_target(padding=4_000)
    scene.launchdarkly.fault = answer(503)
    count = scene.size(full=12_000, small=1_200)
    worker = scene.start(jump, count=count)
    scene.wait_until_done("load", count * 3)
    worker.kill()
    scene.launchdarkly.fault = receive
    scene.play_next_process()

"""The command that looks at a directory of events, and sends what waits there."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from ldclient.config import Config

from langchain_ldai.delivery._dead_letters import NAME, OLDER_NAME
from langchain_ldai.delivery._inheritance import may_open
from langchain_ldai.delivery._journal_file import DAMAGED_SUFFIX, JournalFile
from langchain_ldai.delivery._owners import FILE_SUFFIX, living_key_hashes
from langchain_ldai.delivery._pipeline import Options, Pipeline

KEY_VARIABLE: Final = "LAUNCHDARKLY_SDK_KEY"
PROGRESS_SECONDS: Final = 0.5
_MAX_BYTES: Final = 1 << 40
"""A drain writes almost nothing, so what others have written must not stop it."""


class Waiting(NamedTuple):
    """What waits in a directory.

    Args:
        events: How many events.
        bytes: How many bytes they take.
        oldest_seconds: How long the oldest has waited.
    """

    events: int
    bytes: int
    oldest_seconds: float


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit status.

    Args:
        arguments: What stands behind the command's name.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    directory: Path = options.directory
    if not directory.is_dir():
        parser.error(f"{directory} is no directory")
    if not os.access(directory, os.R_OK | os.X_OK):
        parser.error(f"{directory} cannot be read by this user")
    if report := {"status": _status, "dead": _dead}.get(options.action):
        _write(report(directory))
        return 0
    if not os.access(directory, os.W_OK):
        parser.error(f"{directory} cannot be written by this user")
    key = os.environ.get(KEY_VARIABLE, "")
    if not key:
        parser.error(f"drain sends with the SDK key in the environment variable {KEY_VARIABLE}, which is not set")
    try:
        return _drain(directory, key, options.events_uri, is_endless=options.follow)
    except ValueError as error:
        parser.error(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="langchain-ldai delivery",
        description="Look at the events that wait in a directory of DurableEvents, or send them.",
    )
    parser.add_argument("directory", type=Path, help="the directory that DurableEvents was given")
    actions = parser.add_subparsers(dest="action", required=True, metavar="status | drain | dead")
    actions.add_parser("status", help="say what waits, and for how long")
    drain = actions.add_parser(
        "drain",
        help=f"send what processes have left, with the SDK key in {KEY_VARIABLE}",
        description="Send what processes have left. Those that live send their events themselves.",
    )
    drain.add_argument("--follow", action="store_true", help="go on, and send what processes leave from now on")
    drain.add_argument("--events-uri", default=None, help="where events go, if not to LaunchDarkly itself")
    actions.add_parser("dead", help="print the events that LaunchDarkly has refused, each with the reason")
    return parser


def waiting_in(directory: Path) -> Waiting:
    """Return what waits in a directory, also what its process is just writing."""
    now = time.time()
    events = size = 0
    oldest = now
    for path in directory.glob(f"*{FILE_SUFFIX}"):
        file = JournalFile(path, 0)
        for record in file.waiting():
            events += record.events
            size += len(record.body)
            oldest = min(oldest, record.written_at)
        file.close()
    return Waiting(events, size, now - oldest)


def _status(directory: Path) -> Iterator[str]:
    waiting = waiting_in(directory)
    yield f"waiting: {_count(waiting.events, 'event')}, {waiting.bytes:,} bytes"
    if waiting.events:
        yield f"oldest: {_age(waiting.oldest_seconds)}"
    yield from _foreign(directory)
    yield f"processes at work: {sum(map(bool, living_key_hashes(directory)))}"
    for folder in sorted(directory.glob("claims-*")):
        count = waiting_in(folder).events
        if count:
            ledger = folder.name.partition("-")[2]
            yield f"waiting for a {ledger}: {_count(count, 'event')}; a process that has this ledger sends them"
    yield f"dead: {_count(sum(1 for _ in _dead(directory)), 'event')}"
    damaged = len([*directory.glob(f"*{DAMAGED_SUFFIX}"), *directory.glob(f"claims-*/*{DAMAGED_SUFFIX}")])
    if damaged:
        files = _count(damaged, "file")
        yield f"damaged: {files}, kept as *{DAMAGED_SUFFIX}; what could be read is sent all the same"


def _foreign(directory: Path) -> list[str]:
    count = sum(not may_open(path) for path in directory.glob(f"*{FILE_SUFFIX}"))
    told = f"of another user: {_count(count, 'file')}, whose events are not counted here, and not sent"
    return [told] if count else []


def _dead(directory: Path) -> Iterator[str]:
    for name in (OLDER_NAME, NAME):
        if (directory / name).exists():
            with (directory / name).open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    yield line.rstrip("\n")


def _drain(directory: Path, key: str, events_uri: str | None, *, is_endless: bool) -> int:
    """Send what waits; return 0 if all was sent but what living processes send."""
    # Containers end it by SIGTERM. As a container's first process it would not notice that without a handler.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config = Config(key) if events_uri is None else Config(key, events_uri=events_uri)
    pipeline = Pipeline(config, Options(directory, _MAX_BYTES, sync=None, send=True))
    is_over = threading.Event()
    progress = threading.Thread(target=_show_progress, args=(pipeline, directory, is_over), daemon=True)
    progress.start()
    with suppress(KeyboardInterrupt):
        if is_endless:
            threading.Event().wait()
    is_empty = False
    with suppress(KeyboardInterrupt):  # the user does not want to wait: the next process sends what is left
        is_empty = pipeline.stop()
    is_over.set()
    progress.join()
    stats = pipeline.stats()
    _write([f"sent {_count(stats.delivered, 'event')}" + (f", {stats.dead:,} dead" if stats.dead else "")])
    foreign = _foreign(directory)
    _write(foreign)
    return 0 if is_empty and not foreign else 1


def _show_progress(pipeline: Pipeline, directory: Path, is_over: threading.Event) -> None:
    """Show on a terminal how many events are sent, and of how many."""
    if not sys.stderr.isatty():
        return
    total = waiting_in(directory).events
    while not is_over.wait(PROGRESS_SECONDS):
        sent = pipeline.courier.delivered
        sys.stderr.write(f"\rsent {sent:,} of {max(total, sent):,} events")
        sys.stderr.flush()
    sys.stderr.write("\n")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return _count(int(seconds // size), unit)
    return _count(int(seconds), "second")


def _write(lines: Iterator[str] | list[str]) -> None:
    try:
        for line in lines:
            print(line)
        print(end="", flush=True)
    except BrokenPipeError:
        write_no_more()


def write_no_more() -> None:
    """Discard what is still written: nobody reads it, as `head`, for example, has read enough."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())

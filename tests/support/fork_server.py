"""Starts workers in milliseconds: a process that has imported everything forks one for each order.

A worker is a process of its own in every respect: it ends as a Python program does, and can be killed.
"""

import atexit
import gc
import importlib
import os
import pickle
import queue
import select
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

_LENGTH: Final = struct.Struct("<I")
_ROOT: Final = Path(__file__).parent.parent.parent
_Order = tuple[Callable[..., None], dict[str, object], str]


class Worker:
    """A process that the fork server started."""

    def __init__(self, server: "ForkServer", pid: int) -> None:
        self.pid = pid
        self._server = server
        self._status: Future[int] = Future()
        self._sent: set[int] = set()
        self._stops: queue.SimpleQueue[None] = queue.SimpleQueue()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        self._sent.add(-number)
        self._server.order(("signal", self.pid, number))

    def kill(self) -> None:
        """Kill the process, and return once it is dead."""
        self.send_signal(signal.SIGKILL)
        self._status.result(60)

    def wait(self, timeout: float = 60) -> int:
        """Return the exit code, negative for a signal, once the process has ended."""
        return self._status.result(timeout)

    @property
    def has_failed(self) -> bool:
        """Whether the process has ended in another way than well or by a signal that it was sent."""
        return self._status.done() and self._status.result() not in {0, *self._sent}

    def wait_until_stopped(self, timeout: float = 60) -> None:
        """Wait until the process stands still, once for each time that it does."""
        self._stops.get(timeout=timeout)

    def note(self, word: bytes, *status: bytes) -> None:
        """Take a report of the fork server's."""
        if word == b"stopped":
            self._stops.put(None)
        else:
            self._status.set_result(int(*status))


@cache
def shared_server(*modules: str) -> "ForkServer":
    """Return the one server of this process that has imported these modules."""
    server = ForkServer(*modules).__enter__()
    atexit.register(server.__exit__)
    return server


class ForkServer:
    """Starts workers within a `with` block; what still runs at its end, or when its owner dies, is killed.

    Args:
        modules: Names of the modules that workers need, which are imported once.
    """

    def __init__(self, *modules: str) -> None:
        self._modules = modules

    def __enter__(self) -> "ForkServer":
        self._lock = threading.Lock()
        self._workers: dict[int, Worker] = {}
        self._started: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", __name__, *self._modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
        self._reader = threading.Thread(target=self._read_reports, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stdin.close()
        self._process.wait(60)
        self._reader.join()
        self._process.stdout.close()

    def start(self, log: Path, function: Callable[..., None], **arguments: object) -> Worker:
        """Call a function in a new process, whose output goes to `log`."""
        with self._lock:
            self._write((function, arguments, str(log)))
            return self._started.get(timeout=120)

    def order(self, order: object) -> None:
        """Pass an order on."""
        with self._lock:
            self._write(order)

    def _write(self, order: object) -> None:
        data = pickle.dumps(order)
        self._process.stdin.write(_LENGTH.pack(len(data)) + data)
        self._process.stdin.flush()

    def _read_reports(self) -> None:
        for line in self._process.stdout:
            word, pid, *status = line.split()
            if word == b"started":
                worker = self._workers[int(pid)] = Worker(self, int(pid))
                self._started.put(worker)
            else:
                self._workers[int(pid)].note(word, *status)


def serve() -> _Order | None:
    """Take orders until there are no more. Returns twice: in each worker, with its order, and at the end."""
    children: set[int] = set()
    while True:
        _reap(children)
        if not select.select([0], [], [], 0.01 if children else None)[0]:
            continue
        order = _read_order()
        if order is None:
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            return None
        if order[0] == "signal":
            if order[1] in children:
                os.kill(order[1], order[2])
            continue
        pid = os.fork()
        if pid == 0:
            return order
        children.add(pid)
        _report(f"started {pid}")


def _reap(children: set[int]) -> None:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                _report(f"stopped {pid}")
            else:
                children.discard(pid)
                _report(f"ended {pid} {os.waitstatus_to_exitcode(status)}")


def _read_order() -> tuple | None:
    head = os.read(0, _LENGTH.size)
    if not head:
        return None
    data, (left,) = b"", _LENGTH.unpack(head)
    while len(data) < left:
        data += os.read(0, left - len(data))
    return pickle.loads(data)


def _report(line: str) -> None:
    with suppress(BrokenPipeError):
        os.write(1, f"{line}\n".encode())


def main() -> None:
    """Serve; in a worker, do what was ordered, and end as any program does."""
    for name in sys.argv[1:]:
        with suppress(ImportError):  # what this environment lacks, no worker needs
            importlib.import_module(name)
    assert threading.active_count() == 1, "a fork would lose threads, and what they hold"
    gc.freeze()  # a worker that collects or ends goes over its own objects, and not over what it has imported
    order = serve()
    if order is None:
        return
    function, arguments, log = order
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    function(**arguments)


if __name__ == "__main__":
    main()

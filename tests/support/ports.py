"""Ports of this machine that nobody else is given while a test needs them."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_port(beside: int = 0) -> Iterator[int]:
    """Keep a port for a server that starts within the block; until it listens, connections are refused.

    Linux lets a server listen where another socket is bound, and gives nobody else the port of that.

    Args:
        beside: How far above the port is another one that the server needs; 0 where it needs none.
    """
    while True:
        with socket.socket() as kept, socket.socket() as other:
            try:
                port = _bound(kept, 0)
                if beside:
                    _bound(other, port + beside)
            except (OSError, OverflowError):  # somebody has the other one, or there is none
                continue
            if sys.platform != "linux":
                kept.close()
                other.close()
            yield port
            return


def _bound(kept: socket.socket, port: int) -> int:
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", port))
    return int(kept.getsockname()[1])

"""A local LaunchDarkly that runs in this process."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from langchain_ldai.dev.configs_file import EXAMPLE
from langchain_ldai.dev.served_configs import ServedConfigs
from langchain_ldai.dev.server import Address, DevServer, listen
from langchain_ldai.dev.store import Store


@dataclass
class Answer:
    """What a request was answered."""

    status: int
    text: str
    headers: Mapping[str, str]


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as it is."""

    def redirect_request(self, *given):
        return None


@dataclass
class Desk:
    """A local LaunchDarkly, its store and its file of AI Configs."""

    url: str
    store: Store
    file: Path
    server: DevServer

    def ask(self, path: str, body: object = None, **headers: str) -> Answer:
        """Send a request, a POST where it has a body; other than bytes it is sent as JSON."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **named})
        try:
            with urllib.request.build_opener(NoRedirects).open(request, timeout=30) as response:
                return Answer(response.status, response.read().decode(), response.headers)
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, refused.read().decode(), refused.headers)


@contextmanager
def running(directory: Path, token: str = "") -> Iterator[Desk]:
    """Run a local LaunchDarkly within a block.

    Args:
        directory: Where its files are.
        token: What SDKs and browsers must send.
    """
    file = directory / "ai-configs.yaml"
    file.write_text(EXAMPLE, "utf-8")
    store = Store(directory / "runs.db")
    server = DevServer(ServedConfigs(file), store, token)
    socket = listen(Address(port=0))
    thread = threading.Thread(target=server.run, args=([socket],))
    thread.start()
    try:
        yield Desk(f"http://127.0.0.1:{socket.getsockname()[1]}", store, file, server)
    finally:
        server.should_exit = True
        thread.join(30)
        store.close()
    assert not thread.is_alive()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A local LaunchDarkly that serves the example."""
    with running(tmp_path) as desk:
        yield desk

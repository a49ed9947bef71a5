"""What a process leaves when it ends, and however it ends, is sent: by itself, or by the next one."""

import atexit
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from langchain_ldai.delivery import DurableEvents, _courier, _sender
from tests.delivery.clients import arrived, make_client, run_process, track
from tests.delivery.journals import files_in
from tests.delivery.loopback_events import EventsServer


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long before the next attempt, or look."""
    monkeypatch.setattr(_courier, "MAX_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr(_sender, "LOOK_SECONDS", 0.05)


@pytest.mark.parametrize("end", ["pass", "raise SystemExit(3)", "raise ValueError"])
def test_the_end_of_the_process_sends_what_is_left(tmp_path: Path, server: EventsServer, end: str) -> None:
    """Nobody need close the client."""
    run_process(end, tmp_path, server)

    assert arrived(server) == [1, 2]
    assert files_in(tmp_path) == []


_LATE = """
import gc, sys
from ldclient import Context, LDClient
from ldclient.config import Config
from langchain_ldai.delivery import DurableEvents

directory, url, kind = sys.argv[1:]
options = {"events_uri": url, "use_ldd": True, "diagnostic_opt_out": True}
client = LDClient(Config("sdk-1", event_processor_class=DurableEvents(directory), **options))
user = Context.create("user-1")

class Late:
    def __init__(self):
        self.itself, self.client, self.user = self, client, user

    def __del__(self):
        self.client.track("key", self.user, {"n": 1})

gc.disable()
late = Late()
if kind == "garbage":
    del late
gc.enable()
"""


@pytest.mark.parametrize("kind", ["garbage", "global"])
def test_what_python_collects_at_its_end_loses_no_event_and_holds_nothing_up(
    tmp_path: Path, server: EventsServer, kind: str
) -> None:
    """No thread runs then, and nothing can be imported. A stream that was dropped ends its run there."""
    program = [sys.executable, "-c", _LATE, str(tmp_path), server.url, kind]
    ended = subprocess.run(program, check=True, capture_output=True, text=True, timeout=120)
    assert ended.stderr == ""
    with make_client(server, DurableEvents(tmp_path)):
        pass

    assert arrived(server) == [1]


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGTERM)", "os.abort()"])
def test_a_sudden_end_leaves_it_to_the_next_process(tmp_path: Path, server: EventsServer, end: str) -> None:
    """Nothing is lost then either."""
    run_process(end, tmp_path, server)
    assert arrived(server) == []
    with make_client(server, DurableEvents(tmp_path)):
        pass

    assert arrived(server) == [1, 2]


def test_a_client_that_is_left_open_is_stopped_at_exit(
    tmp_path: Path, server: EventsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it tracked, also after it was closed, is sent by the hook."""
    hooks: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", hooks.append)
    client = make_client(server, DurableEvents(tmp_path))
    client.close()
    track(client, 1)
    hooks[-1]()

    assert arrived(server) == [1]

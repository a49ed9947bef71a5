"""Clients that send their events through `DurableEvents`."""

from pathlib import Path

from ldclient import Context, LDClient
from ldclient.config import Config

from langchain_ldai.delivery import DurableEvents
from tests.delivery.journals import run_child
from tests.delivery.loopback_events import EventsServer

USER = Context.create("user-1")
KEY = "sdk-key"


def make_client(server: EventsServer, events: DurableEvents, key: str = KEY, **options: object) -> LDClient:
    """Return a client that sends its events through `events`, and flushes only when it is told to."""
    config = Config(
        key, events_uri=server.url, use_ldd=True, flush_interval=1000, event_processor_class=events, **options
    )
    return LDClient(config, start_wait=0)


def track(client: LDClient, *numbers: int) -> None:
    """Track an event for each number."""
    for number in numbers:
        client.track("counted", USER, {"n": number}, number)


def arrived(server: EventsServer) -> list[int]:
    """Return the numbers of the tracked events that the server accepted, in order."""
    return [event["data"]["n"] for event in server.accepted if event["kind"] == "custom"]


def run_process(end: str, directory: Path, server: EventsServer) -> None:
    """Run a process that tracks two events and ends."""
    code = (
        "from types import SimpleNamespace\n"
        "from langchain_ldai.delivery import DurableEvents\n"
        "from tests.delivery.clients import make_client, track\n"
        "client = make_client(SimpleNamespace(url=sys.argv[1]), DurableEvents(sys.argv[2]))\n"
        f"track(client, 1, 2)\n{end}"
    )
    run_child(code, server.url, directory)

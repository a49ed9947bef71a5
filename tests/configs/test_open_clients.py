"""Which clients are told of at the end of a process; tests/configs/test_exit.py ends real ones."""

import asyncio
import multiprocessing
import multiprocessing.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from ldclient import Context
from ldclient.config import Config
from ldclient.datasystem import custom
from ldclient.interfaces import DataSourceState

from langchain_ldai import AsyncLdAiClient
from langchain_ldai._configs import open_clients
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.testing import AsyncRecordingClient
from tests.conftest import FLAG


class Provider(SimpleNamespace):
    """Tells the state of a client; it is in use by its identity, as LaunchDarkly's is."""

    __hash__ = object.__hash__


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """The status provider of a client that is open, in a process that knows no other."""
    monkeypatch.setattr(open_clients, "in_use", {})
    monkeypatch.setattr(open_clients, "_forked", [])
    return Provider(status=SimpleNamespace(state=DataSourceState.VALID))


@pytest.mark.parametrize("state", DataSourceState)
def test_only_a_client_that_is_connected_is_told_of(
    provider: Provider, state: DataSourceState, caplog: pytest.LogCaptureFixture
) -> None:
    """One that was closed, or has never come to its flags, is not; the others are, once."""
    open_clients.note_use(provider)
    provider.status.state = state

    open_clients._tell_of_open_clients()
    open_clients._tell_of_open_clients()

    assert len(caplog.records) == (state in (DataSourceState.VALID, DataSourceState.INTERRUPTED))


@pytest.mark.parametrize(("is_worker", "told"), [(True, 1), (False, 0)], ids=["of multiprocessing", "of os.fork"])
def test_a_fork_forgets_its_parents_clients(
    provider: Provider,
    is_worker: bool,
    told: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are the parent's to close. The fork tells of its own: multiprocessing's, when that says it ends."""
    at_end: list[Callable[[], object]] = []
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object() if is_worker else None)
    monkeypatch.setattr(multiprocessing.util, "Finalize", lambda _, call, exitpriority: at_end.append(call))
    open_clients.note_use(provider)

    open_clients._reset_after_fork()
    known_after_fork = list(open_clients.in_use)
    for each in (provider, Provider(status=provider.status)):
        open_clients.note_use(each)
    for call in at_end:
        call()

    assert known_after_fork == []
    assert (len(at_end), len(caplog.records)) == (told, told)


@pytest.mark.parametrize(
    ("options", "loses"),
    [
        ({}, True),
        ({"send_events": False}, False),
        ({"offline": True}, False),
        ({"event_processor_class": DurableEvents(Path("events"))}, False),
        ({"datasystem_config": custom().build()}, False),
    ],
    ids=["as usual", "sends no events", "offline", "durable", "data system of its own"],
)
def test_a_client_that_loses_nothing_or_does_not_tell_its_end_is_left_alone(
    options: dict[str, object], loses: bool
) -> None:
    """The log says nothing of it at exit."""
    client = SimpleNamespace(_config=Config("sdk-key", **options))  # a real one would connect

    assert open_clients.may_lose_events(client) is loses


@pytest.mark.parametrize("state", [DataSourceState.VALID, DataSourceState.OFF])
def test_a_client_that_outlives_its_event_loop_is_told_of_once(
    state: DataSourceState, provider: Provider, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """An AsyncLDClient starts once, and its tasks end with their loop; one that was closed there ended well."""
    client = AsyncRecordingClient({"support-bot": FLAG})
    client._started = True
    client.data_source_status_provider = provider
    provider.status.state = state
    ai = AsyncLdAiClient(client)

    async def count() -> None:
        (await ai.completion_config("support-bot", context)).create_tracker().track_duration(5)

    for _ in range(3):
        asyncio.run(count())

    said = [
        record for record in caplog.records if "after the event loop in which it was started" in record.message
    ]
    assert len(said) == (state is DataSourceState.VALID)

"""A client with `delivery=` is given one that fits its LaunchDarkly client, and nothing that cannot apply."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest
from ldclient import Context, LDClient
from ldclient.config import Config

from langchain_ldai import AsyncLdAiClient, LdAiClient, LdAiConfigTracker, TokenUsage
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.testing import AsyncRecordingClient, RecordingClient
from tests.conftest import FLAG
from tests.support.chains import SUCCESS, TOKENS
from tests.support.deliveries import NotedDelivery

Make = Callable[..., LdAiClient | AsyncLdAiClient]
CLIENTS: Final = {
    "sync": lambda **options: LdAiClient(RecordingClient(), **options),
    "async": lambda **options: AsyncLdAiClient(AsyncRecordingClient(), **options),
}
both_clients = pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS)


class Partial:
    """Takes events, and knows nothing of claims."""

    def send_all(self, context: Context, events: object) -> None:
        """Do nothing."""


class AsyncSends(NotedDelivery):
    """Would have to be awaited."""

    async def send_all(self, context: Context, events: object) -> None:
        """Do nothing."""


REFUSED: Final = {
    "class": (NotedDelivery, "give an instance, not the class NotedDelivery"),
    "text": ("ld-events", "delivery takes a client's events, as DurableEvents does; str is no such object"),
    "partial": (Partial(), "Partial is no such object"),
    "async": (AsyncSends(), r"send_all\(\) of AsyncSends would never be awaited"),
}


@both_clients
@pytest.mark.parametrize(("delivery", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_delivery_is_refused(make: Make, delivery: object, message: str) -> None:
    """The message names the option and what was given."""
    with pytest.raises(TypeError, match=message):
        make(delivery=delivery)


@both_clients
@pytest.mark.parametrize(
    "option", [{"ledger_timeout": 60.0}, {"on_ledger_error": "drop"}, {"on_ledger_error": "send"}], ids=str
)
def test_an_option_that_a_delivery_leaves_no_room_for_is_refused(make: Make, option: dict[str, object]) -> None:
    """A claim is kept until the ledger has answered: the message names the option and says why."""
    delivery = NotedDelivery()

    with pytest.raises(ValueError, match=f"{next(iter(option))} .* kept until the ledger has answered"):
        make(delivery=delivery, ledger=MemoryLedger(), **option)

    assert delivery.checked == []


@both_clients
def test_a_delivery_that_serves_another_client_is_refused(make: Make) -> None:
    """The delivery looks at the client, and its own error goes on to the caller."""
    delivery = NotedDelivery()
    make(delivery=delivery)

    with pytest.raises(ValueError, match="serves another client"):
        make(delivery=delivery)


def test_a_delivery_is_shown_launchdarklys_client() -> None:
    """The asynchronous client too shows the object that it was given."""
    client, async_client, deliveries = (
        RecordingClient(),
        AsyncRecordingClient(),
        [NotedDelivery(), NotedDelivery()],
    )

    LdAiClient(client, delivery=deliveries[0])
    AsyncLdAiClient(async_client, delivery=deliveries[1])

    assert [each.checked for each in deliveries] == [[client], [async_client]]


def test_a_client_that_is_refused_is_not_shown(client: RecordingClient) -> None:
    """A delivery is bound to a client only if the client can be made."""
    delivery = NotedDelivery()

    with pytest.raises(TypeError, match="a ledger is"):
        LdAiClient(client, ledger=SimpleNamespace(), delivery=delivery)

    assert (delivery.checked, client.events) == ([], [])


@pytest.mark.asyncio
async def test_an_asynchronous_clients_events_need_no_event_loop(context: Context) -> None:
    """The delivery takes them in the thread in which they are recorded."""
    delivery = NotedDelivery()
    config = await AsyncLdAiClient(
        AsyncRecordingClient({"support-bot": FLAG}), delivery=delivery
    ).completion_config("support-bot", context)

    await asyncio.to_thread(config.create_tracker().track_success)

    assert delivery.names == [[SUCCESS]]


@both_clients
def test_another_ledger_is_claimed_in_through_the_delivery(make: Make, context: Context) -> None:
    """What `with_ledger` returns keeps the delivery, and `close` waits for its claims too."""
    delivery, ledger = NotedDelivery(), MemoryLedger()
    ai = make(delivery=delivery)
    token = LdAiClient(RecordingClient()).completion_config("bot", context).create_tracker().resumption_token
    other = ai.with_ledger(ledger, timeout=5.0)
    other.create_tracker(token, context).track_success()
    assert delivery.calls == []

    closed = ai.close()

    assert asyncio.run(closed) if asyncio.iscoroutine(closed) else closed
    assert [claims.ledger for claims in delivery.claims] == [ledger]
    assert delivery.names == [[SUCCESS]]


def test_a_block_may_end_before_the_ledger_has_answered(
    client: RecordingClient, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """The delivery keeps the claims for the next process, so that nothing is lost and nothing is logged."""
    delivery = NotedDelivery()
    with LdAiClient(client, ledger=MemoryLedger(), delivery=delivery) as ai:
        delivery.claims[0].is_answered = False
        ai.completion_config("support-bot", context).create_tracker().track_success()

    assert len(delivery.claims[0].kept) == 1
    assert caplog.messages == []


def test_the_environment_is_in_what_is_handed_over(client: RecordingClient, context: Context) -> None:
    """Events and claims alike say which environment they come from."""
    delivery = NotedDelivery()
    ai = LdAiClient(client, ledger=MemoryLedger(), delivery=delivery, environment_id="e" * 24)
    tracker = ai.completion_config("support-bot", context).create_tracker()

    tracker.track_tool_call("search")
    tracker.track_success()
    assert ai.close()

    assert [data["environmentId"] for each in delivery.data for data in each] == ["e" * 24] * 2


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often another thread wakes it."""

    woken = 0

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object, context: object = None):
        """Count the call."""
        self.woken += 1
        return super().call_soon_threadsafe(callback, *args, context=context)


def test_an_event_loop_is_woken_once_for_what_is_due_together(context: Context) -> None:
    """From another thread three events cost an asynchronous client what one costs, and come in order."""
    client = AsyncRecordingClient({"support-bot": FLAG})

    async def wakings_of(record: Callable[[LdAiConfigTracker], object]) -> int:
        tracker = (await ai.completion_config("support-bot", context)).create_tracker()
        loop = asyncio.get_running_loop()
        before = loop.woken
        await asyncio.to_thread(record, tracker)
        return loop.woken - before

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        ai = AsyncLdAiClient(client)
        of_one = runner.run(wakings_of(lambda tracker: tracker.track_success()))
        client.clear()
        of_three = runner.run(wakings_of(lambda tracker: tracker.track_tokens(TokenUsage(3, 2, 1))))

    assert of_three == of_one
    assert [event.name for event in client.events][1:] == list(TOKENS)


@pytest.mark.parametrize(
    ("options", "is_told"),
    [
        ({"ledger": MemoryLedger()}, True),
        ({"ledger": MemoryLedger(), "on_ledger_error": "send"}, False),
        ({}, False),
    ],
    ids=["ledger", "ledger's policy", "no ledger"],
)
def test_a_delivery_that_is_forgotten_beside_a_ledger_is_told(
    options: dict[str, object], is_told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The client's events outlive the process and the claims do not; who says what becomes of them knows."""
    config = Config("sdk-1", offline=True, event_processor_class=DurableEvents(tmp_path / "events"))

    with LDClient(config) as ld:
        LdAiClient(ld, **options)

    assert ("pass the same DurableEvents as delivery=" in caplog.text) is is_told

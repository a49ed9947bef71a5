"""A time limit of `close` and `flush` is a number of seconds, or none."""

import asyncio
import threading
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from ldclient import Context

from langchain_ldai import AsyncLdAiClient, LdAiClient, LdAiHandler
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.judges import Judges
from langchain_ldai.testing import AsyncRecordingClient, RecordingClient
from tests.support.models import ScriptedChat

AI = LdAiClient(RecordingClient())
HANDLER = LdAiHandler(AI.completion_config("support-bot", Context.create("ada")))
JUDGES = Judges(AI, model=lambda config: None)
WAITS: dict[str, Callable[[object, Path], object]] = {
    "handler.flush": lambda timeout, path: HANDLER.flush(timeout),
    "handler.close": lambda timeout, path: HANDLER.close(timeout),
    "client.close": lambda timeout, path: AI.close(timeout),
    "async client.close": lambda timeout, path: asyncio.run(
        AsyncLdAiClient(AsyncRecordingClient()).close(timeout)
    ),
    "judges.flush": lambda timeout, path: JUDGES.flush(timeout),
    "judges.flush_async": lambda timeout, path: asyncio.run(JUDGES.flush_async(timeout)),
    "events.flush": lambda timeout, path: DurableEvents(path).flush(timeout),
    "events.flush_async": lambda timeout, path: asyncio.run(DurableEvents(path).flush_async(timeout)),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_time_limit_that_is_no_number_is_refused(wait: Callable[[object, Path], object], tmp_path: Path) -> None:
    """The error names the value, also where nothing would have to be waited for."""
    for given, shown in (("5", "'5'"), (True, "True"), (float("nan"), "nan")):
        with pytest.raises(TypeError, match=f"timeout is a number of seconds, or None for no limit, not {shown}"):
            wait(given, tmp_path)


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_time_limit_that_is_over_is_none_to_wait(wait: Callable[[object, Path], object], tmp_path: Path) -> None:
    """A caller may compute what is left of its own time; where nothing is left to do, all is done."""
    assert [wait(timeout, tmp_path) for timeout in (0, -1, 2.5, None)] == [True] * 4


@pytest.mark.parametrize("timeout", [float("inf"), 1e12], ids=str)
@pytest.mark.parametrize("wait", ["client.close", "handler.flush", "handler.close"])
def test_a_time_limit_that_no_clock_can_tell_is_none(wait: str, timeout: float) -> None:
    """What waits for a ledger is waited for."""
    answered = threading.Event()

    class Slow:
        def claim(self, run: str, slots: Collection[str], claimant: str) -> set[str]:
            answered.wait(60)
            return set(slots)

    client = RecordingClient()
    ai = LdAiClient(client, ledger=Slow())
    handler = LdAiHandler(ai.completion_config("support-bot", Context.create("ada")))
    with handler.collect_runs() as runs:
        ScriptedChat().invoke("How?", {"callbacks": [handler]})
    threading.Timer(0.05, answered.set).start()

    assert {"client.close": ai.close, "handler.flush": handler.flush, "handler.close": handler.close}[wait](
        timeout
    )
    assert client.metrics(runs[0].run_id)["$ld:ai:generation:success"] == [1]

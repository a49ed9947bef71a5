"""A real LaunchDarkly client whose events are delivered between what is timed, and then dropped."""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Final

from ldclient import Context, LDClient

from langchain_ldai import LdAiClient, LdAiCompletionConfig
from langchain_ldai.testing import LoopbackLaunchDarkly

CONTEXT: Final = Context.builder("user-1").name("Sandy").build()
CONFIG_KEY: Final = "support-bot"
FLAG: Final = {
    "_ldMeta": {"enabled": True, "variationKey": "friendly", "version": 3, "mode": "completion"},
    "model": {"name": "small-1", "parameters": {"temperature": 0.2}},
    "provider": {"name": "acme"},
    "messages": [{"role": "system", "content": "You help {{ldctx.name}} with {{product}}."}],
}

_MARK: Final = "benchmark:delivered"


class Sink(LoopbackLaunchDarkly):
    """Counts the events that arrive and keeps none, so that memory and time do not grow with them."""

    def __init__(self, flags: Mapping[str, object]) -> None:
        super().__init__(flags, heartbeat=3600.0)
        self._arrival = threading.Condition()
        self._delivered = 0.0
        self.events_arrived = 0

    def accept(self, payload_id: str | None, batch: list[dict[str, object]]) -> None:
        """Count a batch of events."""
        custom = [event for event in batch if event.get("kind") == "custom"]
        marks = [event["metricValue"] for event in custom if event["key"] == _MARK]
        with self._arrival:
            self.events_arrived += len(custom) - len(marks)
            self._delivered = max([self._delivered, *marks])  # type: ignore[type-var]
            self._arrival.notify_all()

    def wait_for_mark(self, mark: int) -> None:
        """Wait until the mark has arrived, and with it what was tracked before it.

        Raises:
            TimeoutError: If it has not within half a minute.
        """
        with self._arrival:
            if not self._arrival.wait_for(lambda: self._delivered >= mark, 30.0):
                raise TimeoutError(f"mark {mark} has not arrived, only {self._delivered}")


class Delivery:
    """A client, an AI Config from it, and the means to have all its events delivered; for a `with` block."""

    def __init__(self) -> None:
        self._sink = Sink({CONFIG_KEY: FLAG})
        self._marks = 0

    def __enter__(self) -> "Delivery":
        self._sink.__enter__()
        options = {"flush_interval": 86_400, "events_max_pending": 1_000_000}
        self.client = LDClient(self._sink.config(**options))
        self.ai = LdAiClient(self.client)
        self.config: LdAiCompletionConfig = self.ai.completion_config(CONFIG_KEY, CONTEXT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self._sink.__exit__(kind, error, trace)

    def settle(self) -> None:
        """Deliver everything that was tracked, and wait until it has arrived."""
        self._marks += 1
        self.client.track(_MARK, CONTEXT, metric_value=self._marks)
        self.client.flush()
        self._sink.wait_for_mark(self._marks)

    def recorded(self) -> int:
        """Return how many events have arrived."""
        return self._sink.events_arrived

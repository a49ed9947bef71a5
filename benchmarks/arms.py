"""What is compared, but for other packages: no handler, one that does nothing, the least of events, and ours.

Ours is measured over LaunchDarkly's own event processor, over `DurableEvents`, and with spans, which a provider
records or drops.
"""

import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, Final

from langchain_core.callbacks import BaseCallbackHandler
from ldclient import Context, LDClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracerProvider

from benchmarks.measure import Arm, Callbacks
from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.spans import Spans
from langchain_ldai.testing import LoopbackLaunchDarkly

NONE, NO_OP, FLOOR, EVENTS, OURS, DURABLE = "none", "no-op", "floor", "events", "langchain_ldai", "durable"
SPANS_OFF, SPANS = "spans off", "spans"
OWN: Final = (FLOOR, EVENTS, OURS, SPANS_OFF, DURABLE, SPANS)
"""The arms that add something and are no other package's."""
CONTEXT: Final = Context.builder("user-1").name("Sandy").build()
CONFIG_KEY: Final = "support-bot"
MODEL: Final = "small-1"
FLAG: Final = {
    "_ldMeta": {"enabled": True, "variationKey": "friendly", "version": 3, "mode": "completion"},
    "model": {"name": MODEL, "parameters": {"temperature": 0.2}},
    "provider": {"name": "acme"},
    "messages": [{"role": "system", "content": "You help {{ldctx.name}} with {{product}}."}],
}
_MARK: Final = "benchmark:delivered"


class _Sink(LoopbackLaunchDarkly):
    """Counts the events that arrive and keeps none, so that memory and time do not grow with them."""

    def __init__(self) -> None:
        super().__init__({CONFIG_KEY: FLAG}, heartbeat=3600.0)
        self.arrived, self.mark, self.changed = 0, 0.0, threading.Condition()

    def accept(self, payload_id: str | None, batch: list[dict[str, Any]]) -> None:
        """Count a batch of events."""
        custom = [event for event in batch if event.get("kind") == "custom"]
        marks = [event["metricValue"] for event in custom if event["key"] == _MARK]
        with self.changed:
            self.arrived += len(custom) - len(marks)
            self.mark = max([self.mark, *marks])
            self.changed.notify_all()


class Delivery(ExitStack):
    """A real client of a LaunchDarkly on this machine, which drops its events; for a `with` block.

    Args:
        is_durable: Whether the events go through `DurableEvents`; where not, `durable` is another whose events do.
    """

    def __init__(self, *, is_durable: bool = False) -> None:
        super().__init__()
        self._is_durable = is_durable

    def __enter__(self) -> "Delivery":
        super().__enter__()
        self._sink, self._marks = self.enter_context(_Sink()), 0
        events = DurableEvents(self.enter_context(tempfile.TemporaryDirectory())) if self._is_durable else None
        config = self._sink.config(
            flush_interval=86_400, events_max_pending=1_000_000, event_processor_class=events
        )
        self.client = LDClient(config)
        self.callback(self.client.close)
        self.ai = LdAiClient(self.client, delivery=events)
        self.config = self.ai.completion_config(CONFIG_KEY, CONTEXT)
        self.durable = self if self._is_durable else self.enter_context(Delivery(is_durable=True))
        return self

    def settle(self) -> None:
        """Deliver everything that was tracked, and wait until it has arrived."""
        self._marks += 1
        self.client.track(_MARK, CONTEXT, metric_value=self._marks)
        self.client.flush()
        with self._sink.changed:
            if not self._sink.changed.wait_for(lambda: self._sink.mark >= self._marks, 30.0):
                raise TimeoutError("the events have not arrived within half a minute")

    def recorded(self) -> int:
        """Return how many events have arrived."""
        return self._sink.arrived


class NoOp(BaseCallbackHandler):
    """Does nothing in any callback, as LangChain declares them: what LangChain itself spends on a handler."""

    run_inline = True

    def on_chat_model_start(self, serialized: object, messages: object, **kwargs: Any) -> None:
        """Do nothing; the inherited one raises."""


class Floor(NoOp):
    """Sends the six events of a streamed run when its root ends, and does nothing else."""

    _ending: ClassVar = {
        "$ld:ai:tokens:ttf": 120,
        "$ld:ai:duration:total": 1500,
        "$ld:ai:tokens:total": 13,
        "$ld:ai:tokens:input": 10,
        "$ld:ai:tokens:output": 3,
        "$ld:ai:generation:success": 1,
    }

    def __init__(self, delivery: Delivery) -> None:
        self._track = delivery.client.track
        self._data = {"configKey": CONFIG_KEY, "variationKey": "friendly", "version": 3}
        self._data |= {"modelName": MODEL, "providerName": "acme"}

    def on_chain_end(self, outputs: object, *, run_id: object, parent_run_id: object = None, **_: object) -> None:
        """Send the events if this is the root."""
        if parent_run_id is None:
            data = {"runId": str(run_id), **self._data}
            for name, value in self._ending.items():
                self._track(name, CONTEXT, data, value)

    on_llm_end = on_chain_end


class Events(Floor):
    """Sends what ours sends of a run that does not stream, when ours does: nothing that sends it can cost less."""

    _ending: ClassVar = {name: value for name, value in Floor._ending.items() if name != "$ld:ai:tokens:ttf"}

    def on_tool_start(self, serialized: object, input_str: object, *, run_id: object, **_: object) -> None:
        """Send the event of a tool call."""
        data = {"runId": str(run_id), **self._data, "toolKey": "look_up"}
        self._track("$ld:ai:tool_call", CONTEXT, data, 1)


class DroppingExporter:
    """Takes every OpenTelemetry span, counts it, and sends none."""

    spans = 0

    def export(self, spans: Sequence[object]) -> None:
        """Count the spans."""
        self.spans += len(spans)

    def shutdown(self) -> None:
        """Do nothing."""


def recording_provider(exporter: DroppingExporter) -> TracerProvider:
    """Return a provider that records each span and hands batches of them to an exporter, as applications' do."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def shared(*handlers: BaseCallbackHandler) -> Callbacks:
    """Return what gives the same handlers to every run, in a list of its own, as LangChain may add to it."""
    return lambda: [*handlers]


def sending(name: str, handler: BaseCallbackHandler, delivery: Delivery) -> Arm:
    """Return an arm whose handler sends its events to LaunchDarkly."""
    return Arm(name, shared(handler), delivery.recorded, delivery.settle)


def spans_arm(delivery: Delivery, *, capture_content: bool = False) -> Arm:
    """Return the arm that makes spans which a provider records; what it has recorded are spans."""
    exporter = DroppingExporter()
    provider = recording_provider(exporter)

    def settle() -> None:
        provider.force_flush()
        delivery.settle()

    spans = Spans(tracer_provider=provider, capture_content=capture_content)
    handler = LdAiHandler(delivery.config, spans=spans)
    return Arm(SPANS, shared(handler), lambda: exporter.spans, settle)


def own_arms(delivery: Delivery) -> list[Arm]:
    """Return the arms that need no other package; the one that does nothing is the baseline."""
    sent = {FLOOR: Floor(delivery), EVENTS: Events(delivery), OURS: LdAiHandler(delivery.config)}
    sent[SPANS_OFF] = LdAiHandler(delivery.config, spans=Spans(tracer_provider=NoOpTracerProvider()))
    made = [sending(name, handler, delivery) for name, handler in sent.items()]
    durable = sending(DURABLE, LdAiHandler(delivery.durable.config), delivery.durable)
    return [Arm(NONE, shared()), Arm(NO_OP, shared(NoOp())), *made, durable, spans_arm(delivery)]

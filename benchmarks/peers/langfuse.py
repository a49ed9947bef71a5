"""Langfuse's handler, whose batches of spans are dropped by the exporter."""

from langfuse import Langfuse
from langfuse.langchain import CallbackHandler
from opentelemetry.sdk.trace import TracerProvider

from benchmarks.arms import Arm, shared
from benchmarks.delivery import Delivery
from benchmarks.peers.spans import DroppingExporter

_KEY = "pk-lf-benchmark"


def make(name: str, delivery: Delivery) -> Arm:
    """Return the arm."""
    exporter = DroppingExporter()
    # Without keys it would disable itself.
    client = Langfuse(
        public_key=_KEY,
        secret_key="sk-lf-benchmark",
        base_url="http://127.0.0.1:9",
        tracing_enabled=True,
        sample_rate=1.0,
        tracer_provider=TracerProvider(),
        span_exporter=exporter,
    )
    return Arm(name, shared(CallbackHandler(public_key=_KEY)), exporter.recorded, client.flush)

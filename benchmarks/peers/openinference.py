"""OpenInference's tracer, as its instrumentor makes it, but only for the runs that it is passed to."""

from openinference.instrumentation import OITracer, TraceConfig
from openinference.instrumentation.langchain._tracer import OpenInferenceTracer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks.arms import Arm, shared
from benchmarks.delivery import Delivery
from benchmarks.peers.spans import DroppingExporter


def make(name: str, delivery: Delivery) -> Arm:
    """Return the arm."""
    exporter, provider = DroppingExporter(), TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = OITracer(provider.get_tracer(name), config=TraceConfig())
    handler = OpenInferenceTracer(tracer, separate_trace_from_runtime_context=False)
    return Arm(name, shared(handler), exporter.recorded, provider.force_flush)

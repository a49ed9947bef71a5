"""Other handlers, as their users set them up, but for the last step: what they would send is dropped."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from ldclient import LDClient

from benchmarks.arms import USER, Arm

LANGFUSE: Final = "Langfuse"
POSTHOG: Final = "PostHog"
OPENINFERENCE: Final = "OpenInference"
LANGSMITH: Final = "LangSmith"
OFFICIAL: Final = "LDMetricsCallbackHandler"
MLFLOW: Final = "MLflow"


class Counter:
    """Counts what it drops."""

    def __init__(self) -> None:
        self.count = 0

    def drop(self, item: object) -> None:
        """Drop an item."""
        self.count += 1


def _dropping_exporter(dropped: Counter) -> Any:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class DroppingExporter(SpanExporter):
        def export(self, spans: Sequence[object]) -> SpanExportResult:
            dropped.count += len(spans)
            return SpanExportResult.SUCCESS

    return DroppingExporter()


def langfuse(client: LDClient) -> Arm:
    """Langfuse's handler, with its batching span processor."""
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler

    dropped = Counter()
    service = Langfuse(public_key="pk-bench", secret_key="sk-bench", span_exporter=_dropping_exporter(dropped))

    def recorded() -> int:
        service.flush()
        return dropped.count

    return Arm(LANGFUSE, [CallbackHandler(public_key="pk-bench")], recorded, service.shutdown)


def posthog(client: LDClient) -> Arm:
    """PostHog's handler; an event is dropped when it is ready for its queue."""
    from posthog import Posthog
    from posthog.ai.langchain import CallbackHandler

    dropped = Counter()
    service = Posthog("phc-bench", host="http://127.0.0.1:9", before_send=dropped.drop)
    return Arm(POSTHOG, [CallbackHandler(service, distinct_id="user-1")], lambda: dropped.count, service.shutdown)


def openinference(client: LDClient) -> Arm:
    """OpenInference's tracer, with a batching span processor."""
    from openinference.instrumentation import OITracer, TraceConfig
    from openinference.instrumentation.langchain._tracer import OpenInferenceTracer
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    dropped = Counter()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(_dropping_exporter(dropped)))
    tracer = OITracer(provider.get_tracer("bench"), config=TraceConfig())

    def recorded() -> int:
        provider.force_flush()
        return dropped.count

    return Arm(OPENINFERENCE, [OpenInferenceTracer(tracer, True)], recorded, provider.shutdown)


def langsmith(client: LDClient) -> Arm:
    """LangSmith's tracer, its client batching in the background, over a session that drops."""
    import requests
    from langchain_core.tracers import LangChainTracer
    from langsmith import Client

    dropped = Counter()

    class DroppingSession(requests.Session):
        def request(self, method: str, url: str, **kwargs: Any) -> Any:  # type: ignore[override]
            response = requests.Response()
            response.status_code = 202
            response._content = b"{}"
            dropped.count += method == "POST"
            return response

    service = Client(
        api_url="http://127.0.0.1:9",
        api_key="ls-bench",
        session=DroppingSession(),
        info={"batch_ingest_config": {"use_multipart_endpoint": True, "size_limit": 100, "size_limit_bytes": 1 << 24}},
    )

    def recorded() -> int:
        service.flush()
        return dropped.count

    return Arm(LANGSMITH, [LangChainTracer(project_name="bench", client=service)], recorded, service.close)


def official(client: LDClient) -> Arm:
    """LaunchDarkly's own experimental handler, and the tracker calls with which its runner reports a node."""
    from ldai import LDAIClient
    from ldai_langchain.langgraph_callback_handler import LDMetricsCallbackHandler

    config = LDAIClient(client).completion_config("support-bot", USER)
    reported = Counter()
    roots = {"RunnableSequence", "LangGraph", "InstantChat"}

    class Reporting(LDMetricsCallbackHandler):
        """The handler keeps its figures by node for its life, so that each run takes those of its own."""

        def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
            super().on_chain_end(outputs, run_id=run_id, **kwargs)
            if kwargs.get("parent_run_id") is None:
                self._report()

        def _report(self) -> None:
            for metrics in self.node_metrics.values():
                tracker = config.create_tracker()
                tracker.track_duration(metrics.duration_ms or 0)
                tracker.track_success()
                if metrics.tokens is not None:
                    tracker.track_tokens(metrics.tokens)
                reported.drop(metrics)
            self.__init__(self._node_keys, self._fn_name_to_config_key)  # type: ignore[misc]

    return Arm(OFFICIAL, [Reporting({*roots, "model"}, {"look_up": "look-up"})], lambda: reported.count)


def mlflow(client: LDClient) -> Arm:
    """MLflow's tracer, with its span processor for OpenTelemetry."""
    from mlflow.langchain.langchain_tracer import MlflowLangchainTracer
    from mlflow.tracing import provider

    dropped = Counter()
    os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = "http://127.0.0.1:9"
    provider.get_otlp_exporter = lambda: _dropping_exporter(dropped)
    provider.reset()

    def recorded() -> int:
        provider.provider.get().force_flush()
        return dropped.count

    return Arm(MLFLOW, [MlflowLangchainTracer(run_inline=True)], recorded)


PEERS: Final[Mapping[str, Callable[[LDClient], Arm]]] = {
    "langfuse": langfuse,
    "posthog": posthog,
    "openinference.instrumentation.langchain": openinference,
    "langsmith": langsmith,
    "ldai_langchain": official,
    "mlflow": mlflow,
}

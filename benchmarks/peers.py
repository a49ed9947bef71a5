"""Other packages' handlers, each doing its real work, and dropping what it would send at the last moment."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from typing import Any, Final, NamedTuple

from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter

from benchmarks.arms import CONFIG_KEY, CONTEXT, Delivery, DroppingExporter, recording_provider
from benchmarks.measure import Callbacks

_NOWHERE: Final = "http://127.0.0.1:9"
Made = tuple[Callbacks, Callable[[], int], Callable[[], object]]
"""What gives the handlers, what tells how much they recorded, and what delivers it."""


class _DroppingAdapter(HTTPAdapter):
    """Answers each request at once, without a network, and counts those with a body."""

    bodies = 0

    def send(self, request: PreparedRequest, *args: object, **options: object) -> Response:  # type: ignore[override]
        self.bodies += bool(request.body)
        response = Response()
        response.status_code, response.url, response.request = 200, str(request.url), request
        response.raw = BytesIO(b'{"status": "Ok"}')
        return response


def _langfuse(delivery: Delivery) -> Made:
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler
    from opentelemetry.sdk.trace import TracerProvider

    exporter, key = DroppingExporter(), "pk-lf-benchmark"  # without keys it would disable itself
    options = {"base_url": _NOWHERE, "tracing_enabled": True, "sample_rate": 1.0, "span_exporter": exporter}
    client = Langfuse(public_key=key, secret_key="sk-lf", tracer_provider=TracerProvider(), **options)
    handler = CallbackHandler(public_key=key)
    return lambda: [handler], lambda: exporter.spans, client.flush


def _openinference(delivery: Delivery) -> Made:
    """Return the tracer that its instrumentor makes, but only for the runs that it is passed to."""
    from openinference.instrumentation import OITracer, TraceConfig
    from openinference.instrumentation.langchain._tracer import OpenInferenceTracer

    exporter = DroppingExporter()
    provider = recording_provider(exporter)
    tracer = OITracer(provider.get_tracer("benchmark"), config=TraceConfig())
    handler = OpenInferenceTracer(tracer, separate_trace_from_runtime_context=False)
    return lambda: [handler], lambda: exporter.spans, provider.force_flush


def _openllmetry(delivery: Delivery) -> Made:
    """Return the handler that its instrumentor makes, but only for the runs that it is passed to."""
    from opentelemetry.instrumentation.langchain.callback_handler import TraceloopCallbackHandler
    from opentelemetry.metrics import NoOpMeterProvider

    exporter = DroppingExporter()
    provider, meter = recording_provider(exporter), NoOpMeterProvider().get_meter("benchmark")
    histograms = meter.create_histogram("duration"), meter.create_histogram("tokens")
    handler = TraceloopCallbackHandler(provider.get_tracer("benchmark"), *histograms)
    return lambda: [handler], lambda: exporter.spans, provider.force_flush


def _posthog(delivery: Delivery) -> Made:
    from posthog import Posthog, request
    from posthog.ai.langchain import CallbackHandler

    adapter, host = _DroppingAdapter(), "http://posthog.invalid"
    request._get_session().mount(host, adapter)
    client = Posthog("phc_benchmark", host=host)
    handler = CallbackHandler(client=client, distinct_id="user-1")
    return lambda: [handler], lambda: adapter.bodies, client.flush


def _langsmith(delivery: Delivery) -> Made:
    from langchain_core.tracers import LangChainTracer
    from langsmith import Client

    adapter, session, url = _DroppingAdapter(), Session(), "http://langsmith.invalid"
    session.mount(url, adapter)
    batches = {"use_multipart_endpoint": True, "size_limit": 100, "size_limit_bytes": 20_971_520}
    batches |= {"scale_up_qsize_trigger": 1000, "scale_up_nthreads_limit": 16, "scale_down_nempty_trigger": 4}
    # What the service says of itself when it is asked.
    info = {"batch_ingest_config": batches, "instance_flags": {"zstd_compression_enabled": True}}
    options = {"auto_batch_tracing": True, "tracing_sampling_rate": 1.0}
    client = Client(api_url=url, api_key="benchmark", session=session, info=info, **options)
    handler = LangChainTracer(project_name="benchmark", client=client)
    return lambda: [handler], lambda: adapter.bodies, client.flush


def _mlflow(delivery: Delivery) -> Made:
    """Return MLflow's tracer with its own exporter and queue, whose client of a server drops what it is given."""
    import mlflow
    from mlflow.entities.trace_location import MlflowExperimentLocation
    from mlflow.langchain.langchain_tracer import MlflowLangchainTracer
    from mlflow.tracing.provider import _get_trace_exporter, provider

    class DroppingClient:
        tracking_uri, traces = _NOWHERE, 0

        def log_spans(self, experiment: str, spans: object) -> None: ...

        def _upload_trace_data(self, info: object, data: object) -> None: ...

        def start_trace(self, info: object) -> object:
            self.traces += 1
            return info

    mlflow.set_tracking_uri(_NOWHERE)
    mlflow.tracing.set_destination(MlflowExperimentLocation("0"))
    mlflow.tracing.enable()
    exporter, client, handler = _get_trace_exporter(), DroppingClient(), MlflowLangchainTracer()
    exporter._client = client

    def settle() -> None:
        provider.get().force_flush()
        exporter._async_queue._queue.join()  # its own flush ends its threads, which takes up to a second

    return lambda: [handler], lambda: client.traces, settle


def _launchdarkly(delivery: Delivery) -> Made:
    """Return LaunchDarkly's handler; once a root ends, its metrics are tracked, as the SDK does after a graph."""
    from ldai import LDAIClient
    from ldai_langchain.langgraph_callback_handler import LDMetricsCallbackHandler

    config = LDAIClient(delivery.client).completion_config(CONFIG_KEY, CONTEXT)
    nodes = {"RunnableSequence", "LangGraph", "model", "tools", "node-0"}

    class Tracking(LDMetricsCallbackHandler):
        def on_chain_end(self, outputs: object, *, run_id: object, parent_run_id: object = None, **_: Any) -> None:
            super().on_chain_end(outputs, run_id=run_id)
            for metrics in self.node_metrics.values() if parent_run_id is None else ():
                tracker = config.create_tracker()
                if metrics.tokens is not None:
                    tracker.track_tokens(metrics.tokens)
                if metrics.duration_ms is not None:
                    tracker.track_duration(metrics.duration_ms)
                if metrics.tool_calls:
                    tracker.track_tool_calls(metrics.tool_calls)
                (tracker.track_success if metrics.success else tracker.track_error)()

    return lambda: [Tracking(nodes, {"look_up": "look-up"})], delivery.recorded, delivery.settle


class Peer(NamedTuple):
    """A package to compare with: what it is installed as, and what makes its arm."""

    distribution: str
    make: Callable[[Delivery], Made]


PEERS: Final = {
    "langfuse": Peer("langfuse", _langfuse),
    "openinference": Peer("openinference-instrumentation-langchain", _openinference),
    "openllmetry": Peer("opentelemetry-instrumentation-langchain", _openllmetry),
    "posthog": Peer("posthog", _posthog),
    "langsmith": Peer("langsmith", _langsmith),
    "mlflow": Peer("mlflow-tracing", _mlflow),
    "launchdarkly": Peer("launchdarkly-server-sdk-ai-langchain", _launchdarkly),
}


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of those packages, and of the peers, that are installed."""
    found = {}
    for package in (*packages, *(peer.distribution for peer in PEERS.values())):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


INSTALLED: Final = [name for name, peer in PEERS.items() if peer.distribution in versions()]
ABSENT: Final = [name for name in PEERS if name not in INSTALLED]

"""MLflow's tracer with its own exporter and queue, whose client of a tracking server drops what it is given."""

import mlflow
from mlflow.entities.trace_location import MlflowExperimentLocation
from mlflow.langchain.langchain_tracer import MlflowLangchainTracer
from mlflow.tracing.provider import _get_trace_exporter, provider

from benchmarks.arms import Arm, shared
from benchmarks.delivery import Delivery

_SERVER = "http://127.0.0.1:9"


class _DroppingClient:
    """Stands in for the client of a tracking server."""

    tracking_uri = _SERVER

    def __init__(self) -> None:
        self.traces = 0

    def log_spans(self, experiment: str, spans: object) -> None:
        """Drop the spans."""

    def start_trace(self, info: object) -> object:
        """Count a trace."""
        self.traces += 1
        return info

    def _upload_trace_data(self, info: object, data: object) -> None:
        pass


def make(name: str, delivery: Delivery) -> Arm:
    """Return the arm."""
    mlflow.set_tracking_uri(_SERVER)
    mlflow.tracing.set_destination(MlflowExperimentLocation("0"))
    mlflow.tracing.enable()
    exporter, client = _get_trace_exporter(), _DroppingClient()
    exporter._client = client

    def settle() -> None:
        provider.get().force_flush()
        # The queue's own flush ends its threads, which takes up to a second.
        exporter._async_queue._queue.join()

    return Arm(name, shared(MlflowLangchainTracer()), lambda: client.traces, settle)

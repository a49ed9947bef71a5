"""LangChain's own tracer with a LangSmith client, whose batches go to a transport that drops them."""

from langchain_core.tracers import LangChainTracer
from langsmith import Client
from requests import Session

from benchmarks.arms import Arm, shared
from benchmarks.delivery import Delivery
from benchmarks.peers.http import DroppingAdapter

_URL = "http://langsmith.invalid"
# What the service says of itself when it is asked.
_INFO = {
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "scale_up_qsize_trigger": 1000,
        "scale_up_nthreads_limit": 16,
        "scale_down_nempty_trigger": 4,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
    },
    "instance_flags": {"zstd_compression_enabled": True},
}


def make(name: str, delivery: Delivery) -> Arm:
    """Return the arm."""
    adapter, session = DroppingAdapter(), Session()
    session.mount(_URL, adapter)
    client = Client(
        api_url=_URL,
        api_key="benchmark",
        session=session,
        info=_INFO,
        auto_batch_tracing=True,
        tracing_sampling_rate=1.0,
    )
    handler = LangChainTracer(project_name="benchmark", client=client)
    return Arm(name, shared(handler), adapter.recorded, client.flush)

"""LangChain's own tracer with a LangSmith client, whose batches go to a transport that drops them."""

from langchain_core.tracers import LangChainTracer
from langsmith import Client
from requests import Session

from benchmarks.arms import Arm
from benchmarks.delivery import Delivery
from benchmarks.peers.http import DroppingAdapter

_URL = "http://langsmith.invalid"


def make(name: str, delivery: Delivery) -> Arm:
    """Return the arm."""
    adapter, session = DroppingAdapter(), Session()
    session.mount(_URL, adapter)
    client = Client(
        api_url=_URL, api_key="benchmark", session=session, auto_batch_tracing=True, tracing_sampling_rate=1.0
    )
    handler = LangChainTracer(project_name="benchmark", client=client)
    return Arm(name, [handler], adapter.recorded, client.flush)

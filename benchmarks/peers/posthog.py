"""PostHog's handler, whose events go through its queue and its consumer to a transport that drops them."""

from posthog import Posthog, request
from posthog.ai.langchain import CallbackHandler

from benchmarks.arms import Arm, shared
from benchmarks.delivery import Delivery
from benchmarks.peers.http import DroppingAdapter

_HOST = "http://posthog.invalid"


def make(name: str, delivery: Delivery) -> Arm:
    """Return the arm."""
    adapter = DroppingAdapter()
    request._get_session().mount(_HOST, adapter)
    client = Posthog("phc_benchmark", host=_HOST)
    return Arm(name, shared(CallbackHandler(client=client, distinct_id="user-1")), adapter.recorded, client.flush)

"""LaunchDarkly's own handler, with the events that its SDK tracks of what the handler collected."""

from ldai import LDAIClient
from ldai_langchain.langgraph_callback_handler import LDMetricsCallbackHandler

from benchmarks.arms import Arm, sending
from benchmarks.delivery import CONFIG_KEY, CONTEXT, Delivery

_NODES = {"RunnableSequence", "LangGraph", "model", "tools", "node-0"}


class _Tracking(LDMetricsCallbackHandler):
    """Tracks what was collected once a root has ended, as the SDK does after a graph's run."""

    def __init__(self, delivery: Delivery) -> None:
        super().__init__(_NODES, {"look_up": "look-up"})
        self._config = LDAIClient(delivery.client).completion_config(CONFIG_KEY, CONTEXT)

    def on_chain_end(self, outputs: object, *, run_id: object, parent_run_id: object = None, **options: object) -> None:
        super().on_chain_end(outputs, run_id=run_id, **options)
        if parent_run_id is not None:
            return
        collected, self._node_metrics = self._node_metrics, {}
        self._path_set.clear()
        for metrics in collected.values():
            tracker = self._config.create_tracker()
            tracker.track_success() if metrics.success else tracker.track_error()
            if metrics.tokens:
                tracker.track_tokens(metrics.tokens)
            if metrics.duration_ms is not None:
                tracker.track_duration(metrics.duration_ms)
            tracker.track_tool_calls(metrics.tool_calls or [])


def make(name: str, delivery: Delivery) -> Arm:
    """Return the arm; it records nothing of a model that is called outside of a chain."""
    return sending(name, _Tracking(delivery), delivery)

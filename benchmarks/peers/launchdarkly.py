"""LaunchDarkly's own handler, with the events that its SDK tracks of what the handler collected."""

from ldai import LDAIClient
from ldai.models import AICompletionConfig
from ldai_langchain.langgraph_callback_handler import LDMetricsCallbackHandler

from benchmarks.arms import Arm
from benchmarks.delivery import CONFIG_KEY, CONTEXT, Delivery

_NODES = {"RunnableSequence", "LangGraph", "model", "tools", "node-0"}


class _Tracking(LDMetricsCallbackHandler):
    """Serves one run, and tracks what it collected once the root has ended, as the SDK does after a graph."""

    def __init__(self, config: AICompletionConfig) -> None:
        super().__init__(_NODES, {"look_up": "look-up"})
        self._config = config

    def on_chain_end(
        self, outputs: object, *, run_id: object, parent_run_id: object = None, **options: object
    ) -> None:
        super().on_chain_end(outputs, run_id=run_id, **options)
        if parent_run_id is not None:
            return
        for metrics in self.node_metrics.values():
            tracker = self._config.create_tracker()
            if metrics.tokens is not None:
                tracker.track_tokens(metrics.tokens)
            if metrics.duration_ms is not None:
                tracker.track_duration(metrics.duration_ms)
            if metrics.tool_calls:
                tracker.track_tool_calls(metrics.tool_calls)
            if metrics.success:
                tracker.track_success()
            else:
                tracker.track_error()


def make(name: str, delivery: Delivery) -> Arm:
    """Return the arm; it records nothing of a model that is called outside of a chain."""
    config = LDAIClient(delivery.client).completion_config(CONFIG_KEY, CONTEXT)
    return Arm(name, lambda: [_Tracking(config)], delivery.recorded, delivery.settle)

"""LaunchDarkly AI Configs for LangChain: one correct set of AI metrics per chain run, and a token to add to it."""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from langchain_ldai.client import AsyncLdAiClient, LdAiClient
    from langchain_ldai.config import (
        JudgeAttachment,
        LdAiAgentConfig,
        LdAiCompletionConfig,
        LdAiJudgeConfig,
        Message,
        ModelConfig,
        ProviderConfig,
        ToolConfig,
    )
    from langchain_ldai.defaults import (
        LdAiAgentConfigDefault,
        LdAiAgentConfigRequest,
        LdAiCompletionConfigDefault,
        LdAiJudgeConfigDefault,
    )
    from langchain_ldai.errors import InvalidResumptionTokenError
    from langchain_ldai.graph import GraphEdge, LdAiAgentGraph
    from langchain_ldai.graph_tracker import GraphMetricSummary, LdAiGraphTracker
    from langchain_ldai.handler import LdAiHandler
    from langchain_ldai.metrics import AiMetrics, Feedback, JudgeResult, MetricSummary, TokenUsage
    from langchain_ldai.outcome import Outcome
    from langchain_ldai.report import RunReport
    from langchain_ldai.tracker import LdAiConfigTracker

__all__ = [
    "AiMetrics",
    "AsyncLdAiClient",
    "Feedback",
    "GraphEdge",
    "GraphMetricSummary",
    "InvalidResumptionTokenError",
    "JudgeAttachment",
    "JudgeResult",
    "LdAiAgentConfig",
    "LdAiAgentConfigDefault",
    "LdAiAgentConfigRequest",
    "LdAiAgentGraph",
    "LdAiClient",
    "LdAiCompletionConfig",
    "LdAiCompletionConfigDefault",
    "LdAiConfigTracker",
    "LdAiGraphTracker",
    "LdAiHandler",
    "LdAiJudgeConfig",
    "LdAiJudgeConfigDefault",
    "Message",
    "MetricSummary",
    "ModelConfig",
    "Outcome",
    "ProviderConfig",
    "RunReport",
    "TokenUsage",
    "ToolConfig",
]

_ROOMS: Final = {
    "client": "AsyncLdAiClient LdAiClient",
    "config": "JudgeAttachment LdAiAgentConfig LdAiCompletionConfig LdAiJudgeConfig "
    "Message ModelConfig ProviderConfig ToolConfig",
    "defaults": "LdAiAgentConfigDefault LdAiAgentConfigRequest LdAiCompletionConfigDefault LdAiJudgeConfigDefault",
    "errors": "InvalidResumptionTokenError",
    "graph": "GraphEdge LdAiAgentGraph",
    "graph_tracker": "GraphMetricSummary LdAiGraphTracker",
    "handler": "LdAiHandler",
    "metrics": "AiMetrics Feedback JudgeResult MetricSummary TokenUsage",
    "outcome": "Outcome",
    "report": "RunReport",
    "tracker": "LdAiConfigTracker",
}
_ROOM_OF: Final = {name: room for room, names in _ROOMS.items() for name in names.split()}


if not TYPE_CHECKING:  # for which any name would exist

    def __getattr__(name: str) -> object:
        """Import a name's room once it is used, so that nobody waits for one that is not."""
        if name not in _ROOM_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""LaunchDarkly AI Configs for LangChain: one correct set of AI metrics per chain run, and a token to add to it."""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from langchain_ldai._configs.client import AsyncLdAiClient, LdAiClient
    from langchain_ldai._configs.evaluation import LdAiAgentConfigRequest
    from langchain_ldai._configs.graph import GraphEdge, LdAiAgentGraph
    from langchain_ldai._configs.payload import (
        LdAiAgentConfigDefault,
        LdAiCompletionConfigDefault,
        LdAiJudgeConfigDefault,
    )
    from langchain_ldai._configs.types import (
        JudgeAttachment,
        LdAiAgentConfig,
        LdAiCompletionConfig,
        LdAiJudgeConfig,
        Message,
        ModelConfig,
        ProviderConfig,
        ToolConfig,
    )
    from langchain_ldai._runs.handler import LdAiHandler
    from langchain_ldai._runs.outcome import Outcome
    from langchain_ldai._runs.totals import RunReport
    from langchain_ldai._tracking.graph_tracker import GraphMetricSummary, LdAiGraphTracker
    from langchain_ldai._tracking.tracker import LdAiConfigTracker
    from langchain_ldai._tracking.values import AiMetrics, Feedback, JudgeResult, MetricSummary, TokenUsage
    from langchain_ldai._wire.tokens import resumption_token_of
    from langchain_ldai.errors import InvalidResumptionTokenError

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
    "resumption_token_of",
]

__version__: str

_ROOMS: Final = {
    "_configs.client": "AsyncLdAiClient LdAiClient",
    "_configs.types": "JudgeAttachment LdAiAgentConfig LdAiCompletionConfig LdAiJudgeConfig "
    "Message ModelConfig ProviderConfig ToolConfig",
    "_configs.payload": "LdAiAgentConfigDefault LdAiCompletionConfigDefault LdAiJudgeConfigDefault",
    "_configs.evaluation": "LdAiAgentConfigRequest",
    "errors": "InvalidResumptionTokenError",
    "_configs.graph": "GraphEdge LdAiAgentGraph",
    "_tracking.graph_tracker": "GraphMetricSummary LdAiGraphTracker",
    "_runs.handler": "LdAiHandler",
    "_tracking.values": "AiMetrics Feedback JudgeResult MetricSummary TokenUsage",
    "_runs.outcome": "Outcome",
    "_runs.totals": "RunReport",
    "_tracking.tracker": "LdAiConfigTracker",
    "_wire.tokens": "resumption_token_of",
    "_wire.version": "__version__",
}
_ROOM_OF: Final = {name: room for room, names in _ROOMS.items() for name in names.split()}


if not TYPE_CHECKING:  # for which any name would exist

    def __getattr__(name: str) -> object:
        """Import what a name needs once it is used, so that nobody waits for what is not."""
        if name not in _ROOM_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOM_OF})

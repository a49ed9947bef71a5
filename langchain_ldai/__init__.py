"""LaunchDarkly AI Configs for LangChain: one correct set of AI metrics per chain run, and a token to add to it."""

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

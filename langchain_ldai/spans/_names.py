"""The names of spans, of their attributes and events, as LaunchDarkly and OpenTelemetry have them."""

from __future__ import annotations

from typing import Final

SCOPE: Final = "langchain_ldai"
"""The instrumentation scope of our spans."""

# Names of spans. `chat`, `text_completion` and `execute_tool` are followed by the model's or the tool's name.
# All but `launchdarkly.graph` are also values of `gen_ai.operation.name`.
INVOKE_AGENT: Final = "invoke_agent"
CHAT: Final = "chat"
TEXT_COMPLETION: Final = "text_completion"
EXECUTE_TOOL: Final = "execute_tool"
GRAPH: Final = "launchdarkly.graph"

# What a span of OpenTelemetry's GenAI conventions is about.
OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
SYSTEM: Final = "gen_ai.system"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
ERROR_TYPE: Final = "error.type"

# Tokens. OpenLLMetry's `prompt_tokens` and `completion_tokens` repeat input and output.
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
TOTAL_TOKENS: Final = "gen_ai.usage.total_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
PROMPT_TOKENS: Final = "gen_ai.usage.prompt_tokens"
COMPLETION_TOKENS: Final = "gen_ai.usage.completion_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"

# Content. `gen_ai.prompt` and `gen_ai.completion` are followed by `.<index>.role` and `.<index>.content`.
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"
TOOL_CALL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_CALL_RESULT: Final = "gen_ai.tool.call.result"
PROMPT: Final = "gen_ai.prompt"
COMPLETION: Final = "gen_ai.completion"

# A judge's score: an event and its attributes.
EVALUATION_RESULT: Final = "gen_ai.evaluation.result"
EVALUATION_NAME: Final = "gen_ai.evaluation.name"
EVALUATION_SCORE: Final = "gen_ai.evaluation.score.value"
EVALUATION_EXPLANATION: Final = "gen_ai.evaluation.explanation"

# LaunchDarkly's own attributes. `context.contextKeys` is followed by `.<kind>`.
OPERATION_TYPE: Final = "launchdarkly.operation.type"
CONFIG_KEY: Final = "launchdarkly.config.key"
VARIATION_KEY: Final = "launchdarkly.variation.key"
RUN_ID: Final = "launchdarkly.run.id"
GRAPH_KEY: Final = "launchdarkly.graph.key"
GRAPH_PATH: Final = "launchdarkly.graph.path"
RUN_CANCELLED: Final = "launchdarkly.run.cancelled"
STREAM_ABANDONED: Final = "launchdarkly.stream.abandoned"
CONTEXT_KEYS: Final = "context.contextKeys"

# Which AI Config was served: an event and its attributes.
FEATURE_FLAG: Final = "feature_flag"
FLAG_KEY: Final = "feature_flag.key"
FLAG_PROVIDER_NAME: Final = "feature_flag.provider.name"
FLAG_CONTEXT_ID: Final = "feature_flag.context.id"
FLAG_CONTEXT_KEYS: Final = "feature_flag.contextKeys"
FLAG_SET_ID: Final = "feature_flag.set.id"
FLAG_VARIANT: Final = "feature_flag.result.variant"
FLAG_VERSION: Final = "feature_flag.version"

# What was raised: an event and its attributes.
EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

# Ours.
OUTCOME: Final = "ldai.outcome"
CONFIG_VERSION: Final = "ldai.config.version"

# Values that never differ.
GEN_AI: Final = "gen_ai"
"""The value of `launchdarkly.operation.type`."""

LANGCHAIN: Final = "langchain"
"""The value of `gen_ai.system`."""

FUNCTION: Final = "function"
"""The value of `gen_ai.tool.type`."""

LAUNCHDARKLY: Final = "LaunchDarkly"
"""The value of `feature_flag.provider.name`."""

"""The names of the events that LaunchDarkly counts, and of their fields (spec sections 4 to 7)."""

from collections.abc import Mapping
from typing import Final

Event = tuple[str, Mapping[str, object], float]
"""An event's name, its data, and its metric value."""

DURATION: Final = "$ld:ai:duration:total"
TIME_TO_FIRST_TOKEN: Final = "$ld:ai:tokens:ttf"
TOKENS_TOTAL: Final = "$ld:ai:tokens:total"
TOKENS_INPUT: Final = "$ld:ai:tokens:input"
TOKENS_OUTPUT: Final = "$ld:ai:tokens:output"
SUCCESS: Final = "$ld:ai:generation:success"
ERROR: Final = "$ld:ai:generation:error"
FEEDBACK_POSITIVE: Final = "$ld:ai:feedback:user:positive"
FEEDBACK_NEGATIVE: Final = "$ld:ai:feedback:user:negative"
TOOL_CALL: Final = "$ld:ai:tool_call"

GRAPH_INVOCATION_SUCCESS: Final = "$ld:ai:graph:invocation_success"
GRAPH_INVOCATION_FAILURE: Final = "$ld:ai:graph:invocation_failure"
GRAPH_DURATION: Final = "$ld:ai:graph:duration:total"
GRAPH_TOTAL_TOKENS: Final = "$ld:ai:graph:total_tokens"
GRAPH_PATH: Final = "$ld:ai:graph:path"
GRAPH_NODE: Final = "$ld:ai:graph:node"
GRAPH_REDIRECT: Final = "$ld:ai:graph:redirect"
GRAPH_HANDOFF_SUCCESS: Final = "$ld:ai:graph:handoff_success"
GRAPH_HANDOFF_FAILURE: Final = "$ld:ai:graph:handoff_failure"

SDK_INFO: Final = "$ld:ai:sdk:info"
USAGE_COMPLETION_CONFIG: Final = "$ld:ai:usage:completion-config"
USAGE_COMPLETION_CONFIG_TEMPLATE: Final = "$ld:ai:usage:completion-config-template"
USAGE_AGENT_CONFIG: Final = "$ld:ai:usage:agent-config"
USAGE_AGENT_CONFIG_TEMPLATE: Final = "$ld:ai:usage:agent-config-template"
USAGE_AGENT_CONFIGS: Final = "$ld:ai:usage:agent-configs"
USAGE_JUDGE_CONFIG: Final = "$ld:ai:usage:judge-config"
USAGE_JUDGE_CONFIG_TEMPLATE: Final = "$ld:ai:usage:judge-config-template"
USAGE_AGENT_GRAPH: Final = "$ld:ai:usage:agent-graph"

RUN_ID: Final = "runId"
CONFIG_KEY: Final = "configKey"
VARIATION_KEY: Final = "variationKey"
VERSION: Final = "version"
GRAPH_KEY: Final = "graphKey"
MODEL_NAME: Final = "modelName"
PROVIDER_NAME: Final = "providerName"
MODEL_KEY: Final = "modelKey"
MODEL_VERSION: Final = "modelVersion"
ENVIRONMENT_ID: Final = "environmentId"
TOOL_KEY: Final = "toolKey"
JUDGE_CONFIG_KEY: Final = "judgeConfigKey"
PATH: Final = "path"
NODE_KEY: Final = "nodeKey"
INDEX: Final = "index"
SOURCE_KEY: Final = "sourceKey"
TARGET_KEY: Final = "targetKey"
REDIRECTED_TARGET: Final = "redirectedTarget"


def field_name(attribute: str) -> str:
    """Return what LaunchDarkly calls a field that is an attribute here: `variationKey` for `variation_key`."""
    first, *others = attribute.split("_")
    return first + "".join(map(str.capitalize, others))

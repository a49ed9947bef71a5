"""The names of events and of their fields that several files know (spec sections 4 to 7).

A name that one file alone knows stands there.
"""

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

RUN_ID: Final = "runId"
CONFIG_KEY: Final = "configKey"
VARIATION_KEY: Final = "variationKey"
VERSION: Final = "version"
GRAPH_KEY: Final = "graphKey"
MODEL_NAME: Final = "modelName"
ENVIRONMENT_ID: Final = "environmentId"
TOOL_KEY: Final = "toolKey"
JUDGE_CONFIG_KEY: Final = "judgeConfigKey"


def field_name(attribute: str) -> str:
    """Return what LaunchDarkly calls a field that is an attribute here: `variationKey` for `variation_key`."""
    first, *others = attribute.split("_")
    return first + "".join(map(str.capitalize, others))

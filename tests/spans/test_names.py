"""The names of attributes, events and spans: OpenTelemetry's where it has them, each written once."""

import ast
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from opentelemetry.semconv._incubating.attributes import (
    error_attributes,
    exception_attributes,
    feature_flag_attributes,
    gen_ai_attributes,
)

import langchain_ldai
from langchain_ldai.spans import _names

NAMES = {name: value for name, value in vars(_names).items() if name.isupper()}
VALUES = {"GEN_AI", "LANGCHAIN", "FUNCTION", "LAUNCHDARKLY", "SCOPE"}
"""The constants that name nothing, but are values."""

LAUNCHDARKLYS = {
    "context.contextKeys",
    "feature_flag",
    "feature_flag.contextKeys",
    "launchdarkly.config.key",
    "launchdarkly.graph",
    "launchdarkly.graph.key",
    "launchdarkly.graph.path",
    "launchdarkly.operation.type",
    "launchdarkly.run.cancelled",
    "launchdarkly.run.id",
    "launchdarkly.stream.abandoned",
    "launchdarkly.variation.key",
}
OTHERS = {
    "exception",  # OpenTelemetry's own event, which `Span.record_exception` names
    "gen_ai.evaluation.result",  # an event of the conventions; their package lists no events
    "gen_ai.usage.total_tokens",  # OpenLLMetry's
    "ldai.config.version",
    "ldai.outcome",
}
SINCE_0_51 = {
    "execute_tool",
    "feature_flag.provider.name",
    "feature_flag.result.variant",
    "gen_ai.conversation.id",
    "gen_ai.evaluation.explanation",
    "gen_ai.evaluation.name",
    "gen_ai.evaluation.score.value",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.provider.name",
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.system_instructions",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.id",
    "gen_ai.tool.call.result",
    "gen_ai.tool.definitions",
    "gen_ai.tool.name",
    "gen_ai.tool.type",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
    "invoke_agent",
}
"""What the conventions have gained since the oldest release with which the tests run."""


def known_to(attributes: ModuleType) -> set[str]:
    """Return the attributes of a file of the conventions."""
    return {value for name, value in vars(attributes).items() if name.isupper()}


def test_the_names_are_those_of_the_conventions() -> None:
    """What the conventions do not have is LaunchDarkly's, OpenLLMetry's or ours, and listed here."""
    files = gen_ai_attributes, feature_flag_attributes, error_attributes, exception_attributes
    known = {name for each in files for name in known_to(each)}
    known |= {operation.value for operation in gen_ai_attributes.GenAiOperationNameValues}
    newer = SINCE_0_51 if version("opentelemetry-semantic-conventions") == "0.51b0" else set()

    lacking = {value for name, value in NAMES.items() if name not in VALUES} - known

    assert lacking == LAUNCHDARKLYS | OTHERS | newer


def test_each_name_is_written_once() -> None:
    """No two constants have one value, and no other file of the package writes a name itself."""
    root = Path(langchain_ldai.__file__).parent
    spaces = ("gen_ai.", "launchdarkly.", "feature_flag.", "context.contextKeys", "ldai.")
    written = [
        (str(path.relative_to(root)), node.value)
        for path in root.rglob("*.py")
        if path.name != "_names.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(spaces)
    ]

    assert len(set(NAMES.values())) == len(NAMES)
    assert written == []

"""A run's trace, printed as a tree: no account and no collector are needed.

pip install langchain-ldai[otel] opentelemetry-sdk
python cookbook/trace_in_terminal.py
"""

from collections import defaultdict
from collections.abc import Sequence

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from ldclient import Context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.spans import Spans
from langchain_ldai.testing import RecordingClient
from served_model import model_for

AGENT = {
    "_ldMeta": {"enabled": True, "variationKey": "brief", "mode": "agent"},
    "model": {"name": "local-parrot"},
    "provider": {"name": "local"},
    "instructions": "You help {{ldctx.key}} with the kettle.",
}
SHOWN = (
    "launchdarkly.config.key",
    "launchdarkly.variation.key",
    "ldai.outcome",
    "gen_ai.usage.total_tokens",
    "gen_ai.completion.0.content",
    "gen_ai.tool.call.result",
)


class TerminalExporter(SpanExporter):
    """Prints a trace once the span at its top has ended; in production: an exporter that sends to a collector."""

    def __init__(self) -> None:
        self._below: defaultdict[int, list[ReadableSpan]] = defaultdict(list)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Print the traces that are whole, and keep the other spans."""
        for span in spans:
            if span.parent is None:
                self._print(span)
            else:
                self._below[span.parent.span_id].append(span)
        return SpanExportResult.SUCCESS

    def _print(self, span: ReadableSpan, indent: str = "") -> None:
        attributes = span.attributes or {}
        milliseconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
        said = ", ".join(str(attributes[name]) for name in SHOWN if name in attributes)
        print(f"{indent + span.name:<26}{milliseconds:6.1f} ms  {said}".rstrip())
        below = self._below.pop(span.context.span_id, []) if span.context else []
        for each in sorted(below, key=lambda child: child.start_time or 0):
            self._print(each, f"{indent}  ")


@tool
def look_up() -> str:
    """Look the answer up."""
    return "hold the button"


def agent(model: Runnable[LanguageModelInput, AIMessage]) -> Runnable[str, AIMessage]:
    """Return an agent that calls its tool once, and then answers."""

    def answer(question: str, config: RunnableConfig) -> AIMessage:
        asked = HumanMessage(question)
        called = model.invoke([asked], config)
        found = [look_up.invoke(call, config) for call in called.tool_calls]
        return model.invoke([asked, called, *found], config)

    return RunnableLambda(answer)


def main() -> None:
    """Answer a question within a request of the application, whose span is its own."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(TerminalExporter()))  # in production: BatchSpanProcessor
    trace.set_tracer_provider(provider)

    ai = LdAiClient(RecordingClient({"kettle-agent": AGENT}))  # in production: ldclient.LDClient(...)
    config = ai.agent_config("kettle-agent", Context.create("user-1"))
    if not config.enabled:
        raise SystemExit(f"LaunchDarkly serves no enabled variation of {config.key}: is targeting on?")
    handler = LdAiHandler(config, spans=Spans(capture_content=True))  # the words are in the spans: off by default

    with trace.get_tracer("shop").start_as_current_span("GET /help"):
        agent(model_for(config).bind_tools([look_up])).invoke("How do I switch it off?", {"callbacks": [handler]})


if __name__ == "__main__":
    main()

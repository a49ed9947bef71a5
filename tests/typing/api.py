"""The public API as a type checker sees it: checked by `make lint`, never run.

An ignored error must be one: mypy reports an ignore that is not needed.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, assert_type

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from ldclient import AsyncLDClient, Context, LDClient
from ldclient.async_config import AsyncConfig
from ldclient.config import Config
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from langchain_ldai import (
    AiMetrics,
    AsyncLdAiClient,
    Feedback,
    JudgeResult,
    LdAiAgentConfig,
    LdAiAgentGraph,
    LdAiClient,
    LdAiCompletionConfig,
    LdAiConfigTracker,
    LdAiHandler,
    Message,
    MetricSummary,
    Outcome,
    RunReport,
    TokenUsage,
)
from langchain_ldai.chat_models import create_chat_model
from langchain_ldai.delivery import DeliveryStats, DurableEvents
from langchain_ldai.judges import Judges, JudgeTask
from langchain_ldai.ledgers import MemoryLedger, SqliteLedger
from langchain_ldai.spans import MarkingExporter, Spans
from langchain_ldai.testing import LoopbackLaunchDarkly, RecordingClient


def clients_evaluate(client: LDClient, context: Context) -> None:
    """Each method of a client gives a config of its kind."""
    ai = LdAiClient(client, ledger=MemoryLedger(), on_ledger_error="send")
    config = ai.completion_config("chat", context, variables={"product": "Acme"})

    assert_type(config, LdAiCompletionConfig)
    assert_type(config.messages, tuple[Message, ...])
    assert_type(config.model.parameters, Mapping[str, object])
    assert_type(config.to_messages(), list[BaseMessage])
    assert_type(ai.agent_config("agent", context), LdAiAgentConfig)
    assert_type(ai.agent_configs(["one", "two"], context), dict[str, LdAiAgentConfig])
    assert_type(ai.agent_graph("graph", context), LdAiAgentGraph)
    assert_type(create_chat_model(config), BaseChatModel)
    assert_type(create_chat_model(config, allow=["base_url"], temperature=0.5), BaseChatModel)
    assert_type(config.raw, Mapping[str, Any])
    create_chat_model(config).bind_tools(list(config.raw["tools"].values()))
    assert_type(config.output_format, Mapping[str, object] | None)
    assert_type(config.skills, tuple[tuple[str, int], ...])
    assert_type(config.model.region, str)
    assert_type(config.messages[0].blocks, tuple[Mapping[str, object], ...])
    with client, LdAiClient(client) as within:
        assert_type(within, LdAiClient)

    LdAiClient(client, ledger="ledger.db")  # type: ignore[arg-type]
    LdAiClient(client, on_ledger_error="retry")  # type: ignore[arg-type]
    LdAiClient(client, delivery="ld-events")  # type: ignore[arg-type]
    ai.completion_config("chat", "user-1")  # type: ignore[arg-type]
    config.enabled = True  # type: ignore[misc]
    config.model.parameters["temperature"] = 1  # type: ignore[index]
    SqliteLedger()  # type: ignore[call-arg]


async def asynchronous_clients_are_awaited(client: AsyncLDClient, context: Context) -> None:
    """What the synchronous client returns, the asynchronous one gives once awaited."""
    ai = AsyncLdAiClient(client)

    assert_type(await ai.completion_config("chat", context), LdAiCompletionConfig)
    assert_type(await ai.agent_graph("graph", context), LdAiAgentGraph)
    assert_type(await ai.close(), bool)
    async with client, AsyncLdAiClient(client) as within:
        assert_type(within, AsyncLdAiClient)


def handlers_take_configs(config: LdAiCompletionConfig, graph: LdAiAgentGraph) -> None:
    """A handler takes a config, a graph, or a function from metadata to one."""

    def on_run_end(report: RunReport) -> None:
        assert_type(report.outcome, Outcome)
        assert_type(report.summary, MetricSummary)
        assert_type(report.nodes, Mapping[str, RunReport])

    handler = LdAiHandler(lambda metadata: config if metadata.get("user") else None, on_run_end=on_run_end)
    LdAiHandler(graph, nodes={"writer": config}, run_ids=lambda metadata: None, duration="run", resume=True)
    LdAiHandler(config, run_ids=lambda metadata: metadata.get("run_id"))

    with handler.collect_runs() as runs:
        assert_type(runs, list[RunReport])
    assert_type(LdAiHandler.current_tracker(RunnableConfig()), LdAiConfigTracker | None)
    assert_type(handler.flush(timeout=1.0), bool)
    assert_type(handler.close(timeout=1.0), bool)

    LdAiHandler("chat")  # type: ignore[arg-type]
    LdAiHandler(config, duration="total")  # type: ignore[arg-type]
    LdAiHandler(config, nodes=["writer"])  # type: ignore[arg-type]


def trackers_record(tracker: LdAiConfigTracker) -> None:
    """Operations keep their types, and values are of the types that say what they are."""
    assert_type(tracker.run_id, str)
    assert_type(tracker.resumption_token, str)
    assert_type(tracker.track_duration_of(lambda: 3), int)
    assert_type(tracker.track_metrics_of(lambda text: AiMetrics(success=bool(text)), lambda: "answer"), str)
    assert_type(tracker.record_feedback(Feedback.POSITIVE), Future[bool])
    assert_type(tracker.record_feedback("negative"), Future[bool])
    tracker.track_tokens(TokenUsage(total=3))

    tracker.track_tokens({"total": 3})  # type: ignore[arg-type]
    tracker.track_feedback("good")  # type: ignore[arg-type]
    tracker.resumption_token = "another"  # type: ignore[misc]


def tests_look_at_events(client: RecordingClient, launchdarkly: LoopbackLaunchDarkly) -> None:
    """An event's data is JSON, into which a test looks."""
    assert_type(client.metrics(client.events[-1].data["runId"]), dict[str, list[float]])
    assert_type(launchdarkly.metrics(launchdarkly.custom_events("shown")[0].data["runId"]), dict[str, list[float]])


async def events_are_delivered(events: DurableEvents) -> None:
    """A client of either kind takes what keeps its events, and so does what records on it."""
    client = LDClient(Config("sdk-key", event_processor_class=events))
    async_client = AsyncLDClient(AsyncConfig("sdk-key", event_processor_class=events))
    LdAiClient(client, delivery=events)
    AsyncLdAiClient(async_client, delivery=events)
    assert_type(events.flush(timeout=1.0), bool)
    assert_type(await events.flush_async(timeout=1.0), bool)
    assert_type(events.stats(), DeliveryStats)

    LdAiClient(client, delivery=client)  # type: ignore[arg-type]


def spans_are_made(config: LdAiCompletionConfig, provider: TracerProvider, report: RunReport) -> None:
    """A handler takes spans, and a report tells the ids of its run's."""
    LdAiHandler(config, spans=Spans(tracer_provider=provider, capture_content=True, max_length=1_000))
    Spans(conversation="c-1")
    Spans(conversation=lambda metadata: str(metadata["thread_id"]))
    assert_type(report.trace_id, str | None)
    assert_type(report.span_id, str | None)

    Spans(provider)  # type: ignore[call-arg, arg-type]
    Spans(conversation=lambda metadata: 7)  # type: ignore[arg-type]
    LdAiHandler(config, spans=Spans)  # type: ignore[arg-type]


def spans_are_marked(config: LdAiCompletionConfig, exporter: SpanExporter) -> None:
    """A handler marks runs, and an exporter takes such handlers one by one."""
    handler = LdAiHandler(config, spans="mark")
    marking = MarkingExporter(exporter, handler, handler, keep_token=True)
    assert_type(marking.export([]), SpanExportResult)
    assert_type(marking.force_flush(5), bool)

    LdAiHandler(config, spans="marks")  # type: ignore[arg-type]
    MarkingExporter(exporter, [handler])  # type: ignore[arg-type]
    MarkingExporter(handler)  # type: ignore[arg-type]


def judges_score(ai: LdAiClient, config: LdAiCompletionConfig, context: Context) -> None:
    """A handler takes judges, whose models any function from an AI Config makes."""

    def defer(task: JudgeTask) -> None:
        assert_type(task.to_json(), str)

    judges = Judges(ai, model=create_chat_model, variables={"product": "Acme"}, defer=defer)
    LdAiHandler(config, judges=judges)
    assert_type(judges.evaluate("accuracy", "token", context, question="How?", answer="So"), JudgeResult | None)
    assert_type(judges.evaluate_task(JudgeTask.from_json(""), context), JudgeResult | None)
    assert_type(judges.flush(1.0), bool)

    Judges(ai, model="gpt")  # type: ignore[arg-type]
    LdAiHandler(config, judges=[judges])  # type: ignore[arg-type]

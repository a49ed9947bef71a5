"""`MarkingExporter`: what it exports of whose spans, and what it leaves to the exporter within."""

import inspect
import json
import runpy
import subprocess
import sys
from collections.abc import Sequence
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableLambda
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, StatusCode, set_span_in_context

import langchain_ldai.spans
from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.spans import MarkingExporter
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG
from tests.support.chains import QUESTION, chain
from tests.support.read_log import logged


class OtherPackage(BaseCallbackHandler):
    """Makes a span of each step, with the step's metadata, as a tracing package does."""

    run_inline = True

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("acme.langchain")
        self._spans: dict[UUID, Span] = {}

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, metadata, **kwargs) -> None:
        parent = self._spans.get(parent_run_id)
        above = set_span_in_context(parent) if parent is not None else None
        attributes = {f"acme.{key}": value for key, value in metadata.items()}
        self._spans[run_id] = self._tracer.start_span(kwargs["name"], above, attributes=attributes)

    on_chat_model_start = on_tool_start = on_chain_start

    def on_chain_end(self, outputs, *, run_id, **kwargs) -> None:
        self._spans[run_id].end()

    on_llm_end = on_tool_end = on_chain_end


class Inner(SpanExporter):
    """An exporter that says what it is told."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.result: SpanExportResult | Exception = SpanExportResult.SUCCESS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.calls.append(list(spans))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def force_flush(self, timeout_millis: int = 0) -> bool:
        self.calls.append(timeout_millis)
        return False


def run(handler: LdAiHandler, *exporters: SpanExporter, runnable=None) -> None:
    """Run a chain whose spans another package makes, each exported at its end."""
    provider = TracerProvider()
    for exporter in exporters:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    (runnable or chain()).invoke(QUESTION, {"callbacks": [handler, OtherPackage(provider)]})


def exported(handler: LdAiHandler, *handlers: LdAiHandler, **options: bool) -> Sequence[ReadableSpan]:
    """Return what is exported of a run of a handler; the exporter has the handlers given after it, if any."""
    inner = InMemorySpanExporter()
    run(handler, MarkingExporter(inner, *(handlers or (handler,)), **options))
    return inner.get_finished_spans()


def one_span(**options) -> Span:
    """Return a span of a run that no handler knows."""
    marks = {"acme.ldai_run_id": "run-1", "acme.ldai_config_key": "support-bot", "acme.ldai_run_root": "true"}
    tracer = TracerProvider(**options).get_tracer("acme.langchain")
    span = tracer.start_span("step", attributes={"acme.first": 1, **marks})
    assert isinstance(span, Span)
    return span


@pytest.fixture
def marking(config: LdAiCompletionConfig) -> LdAiHandler:
    """A handler that marks its runs."""
    return LdAiHandler(config, spans="mark")


def test_children_leave_before_their_root_is_known(marking: LdAiHandler) -> None:
    """The root, which ends at last, has the event and the context, and the others have not."""
    *children, root = exported(marking)

    assert root.parent is None
    assert [event.name for event in root.events] == ["feature_flag"]
    assert root.events[0].timestamp == root.start_time
    assert root.attributes["context.contextKeys.user"] == "user-1"
    assert len(children) == 3
    for child in children:
        assert child.events == ()
        assert "context.contextKeys.user" not in child.attributes
        assert child.attributes["launchdarkly.run.id"] == root.attributes["launchdarkly.run.id"]
        assert child.attributes["launchdarkly.config.key"] == "support-bot"


def test_a_run_that_goes_on_has_the_event_in_each_part(config: LdAiCompletionConfig) -> None:
    """Each part is a trace of its own."""
    handler, inner = LdAiHandler(config, spans="mark", resume=True), InMemorySpanExporter()
    exporter, provider = MarkingExporter(inner, handler), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    callbacks, token = [handler, OtherPackage(provider)], config.create_tracker().resumption_token

    for _ in range(2):
        chain().invoke(QUESTION, {"callbacks": callbacks, "metadata": {"ldai_resumption_token": token}})

    spans = inner.get_finished_spans()
    assert len({span.attributes["launchdarkly.run.id"] for span in spans}) == 1
    assert len([span for span in spans if span.events]) == 2


def test_with_a_sealer_the_handler_tells_the_keys(config: LdAiCompletionConfig) -> None:
    """They are in no metadata, and neither is a plain token."""
    handler = LdAiHandler(config, spans="mark", sealer=TokenSealer([TokenSealer.generate_key()]))

    *_, root = exported(handler)

    assert "acme.ldai_config_key" not in root.attributes
    assert root.attributes["launchdarkly.config.key"] == "support-bot"
    assert root.events[0].attributes["feature_flag.context.id"] == "user-1"


@pytest.mark.parametrize("keep_token", [False, True])
def test_the_token_stays_where_it_is_kept(marking: LdAiHandler, keep_token: bool) -> None:
    """By default it leaves every span."""
    spans = exported(marking, keep_token=keep_token)

    assert ["acme.ldai_resumption_token" in span.attributes for span in spans] == [keep_token] * 4


def test_the_token_leaves_spans_without_marks_too(marking: LdAiHandler) -> None:
    """A package may write it elsewhere."""
    inner, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(MarkingExporter(inner, marking)))

    provider.get_tracer("app").start_span(
        "own", attributes={"token": '{"ldai_resumption_token": "eyJ"}', "a": 1}
    ).end()

    assert [dict(span.attributes) for span in inner.get_finished_spans()] == [{"token": "{}", "a": 1}]


@pytest.mark.parametrize("has_marks", [True, False])
@pytest.mark.parametrize("keep_token", [True, False])
def test_the_token_leaves_events_and_the_status(marking: LdAiHandler, has_marks: bool, keep_token: bool) -> None:
    """An exception may tell what a step was called with: its text is the status, and an event."""
    inner, error = InMemorySpanExporter(), ValueError({"metadata": {"ldai_resumption_token": "eyJ", "user": "u"}})
    span = one_span() if has_marks else TracerProvider().get_tracer("acme").start_span("step")
    span.record_exception(error)
    span.add_event("called", {"acme.ldai_resumption_token": "eyJ", "kept": 1})
    span.set_status(StatusCode.ERROR, str(error))
    span.end()

    MarkingExporter(inner, marking, keep_token=keep_token).export([span])

    (sent,) = inner.get_finished_spans()
    assert ("eyJ" in sent.to_json()) == keep_token
    assert sent.status.status_code is StatusCode.ERROR
    assert "'user': 'u'" in (sent.status.description or "")
    assert [event.name for event in sent.events][-2:] == ["exception", "called"]
    assert [event.timestamp for event in sent.events][-2:] == [event.timestamp for event in span.events]


def test_a_span_without_marks_is_exported_as_it_is(marking: LdAiHandler) -> None:
    """It is no copy."""
    inner, provider = Inner(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(MarkingExporter(inner, marking)))
    seen: list[ReadableSpan] = []
    provider.add_span_processor(SimpleSpanProcessor(Recorder(seen)))

    provider.get_tracer("app").start_span("own", attributes={"texts": ["a", "b"]}).end()
    provider.get_tracer("app").start_span("bare").end()

    assert [call[0] is span for call, span in zip(inner.calls, seen, strict=True)] == [True, True]


class Recorder(InMemorySpanExporter):
    """Adds spans to a list."""

    def __init__(self, seen: list[ReadableSpan]) -> None:
        super().__init__()
        self._seen = seen

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._seen += spans
        return SpanExportResult.SUCCESS


def test_the_copy_keeps_all_else(marking: LdAiHandler) -> None:
    """Attributes and one event are added, before the others; the span itself stays as it was (fact 163)."""
    inner, span = Inner(), one_span(span_limits=SpanLimits(max_events=1, max_links=1, max_span_attributes=4))
    for event in ("first", "second"):
        span.add_event(event)
        span.add_link(SpanContext(1, 2, is_remote=False), {"event": event})
    span.set_status(StatusCode.ERROR, "why")
    span.set_attribute("acme.last", 1)
    span.end()
    before = json.loads(span.to_json())

    MarkingExporter(inner, marking).export([span])

    [[copy]] = inner.calls
    after = json.loads(copy.to_json())
    assert json.loads(span.to_json()) == before
    assert before.pop("attributes").items() <= after.pop("attributes").items()
    assert [event["name"] for event in after.pop("events")] == ["feature_flag", "second"]
    assert before.pop("events") != []
    assert after == before
    assert copy.get_span_context() == span.get_span_context()
    assert copy.instrumentation_scope == span.instrumentation_scope
    assert (copy.dropped_attributes, copy.dropped_events, copy.dropped_links) == (1, 1, 1)


def test_a_run_of_another_handler_is_told_once(
    marking: LdAiHandler, config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """Its spans have what the marks say, without the context; the log has no token."""
    *_, child, root = exported(LdAiHandler(config, spans="mark"), marking)

    assert child.attributes["launchdarkly.config.key"] == "support-bot"
    assert dict(root.events[0].attributes) == {
        "feature_flag.key": "support-bot",
        "feature_flag.provider.name": "LaunchDarkly",
        "feature_flag.result.variant": "friendly",
    }
    assert "context.contextKeys.user" not in root.attributes
    run_id = root.attributes["launchdarkly.run.id"]
    assert logged(caplog) == [
        (
            "WARNING",
            "A span has the marks of a run that no handler of MarkingExporter knows, and is exported without the "
            f"run's context [lc_run_id=unknown, run_id={run_id}]: give the exporter every LdAiHandler, each with "
            'spans="mark"',
        )
    ]


def test_a_sealed_run_of_another_handler_has_its_id_alone(
    marking: LdAiHandler, config: LdAiCompletionConfig
) -> None:
    """Nothing else is known of it."""
    sealer = TokenSealer([TokenSealer.generate_key()])

    *_, root = exported(LdAiHandler(config, spans="mark", sealer=sealer), marking)

    assert root.events == ()
    assert [name for name in root.attributes if not name.startswith("acme.")] == ["launchdarkly.run.id"]


def test_each_handler_knows_its_own_runs(context) -> None:
    """Two handlers of one exporter may even give their runs the same ids."""
    served = LdAiClient(RecordingClient({"support-bot": FLAG, "writer": FLAG}))
    handlers = [
        LdAiHandler(served.completion_config(key, context), spans="mark", run_ids=lambda metadata: "run-1")
        for key in ("support-bot", "writer")
    ]

    keys = [exported(handler, *handlers)[-1].events[0].attributes["feature_flag.key"] for handler in handlers]

    assert keys == ["support-bot", "writer"]


def test_each_exporter_has_the_event(marking: LdAiHandler) -> None:
    """A handler's spans may go to several services."""
    one, other = InMemorySpanExporter(), InMemorySpanExporter()

    run(marking, MarkingExporter(one, marking), MarkingExporter(other, marking))

    assert [len(inner.get_finished_spans()[-1].events) for inner in (one, other)] == [1, 1]


def test_one_exporter_may_serve_several_providers(marking: LdAiHandler) -> None:
    """It holds nothing of a run itself."""
    inner = InMemorySpanExporter()
    exporter = MarkingExporter(inner, marking)

    for _ in range(2):
        run(marking, exporter, runnable=RunnableLambda(len))

    assert [len(span.events) for span in inner.get_finished_spans()] == [1, 1]


@pytest.mark.parametrize("result", SpanExportResult)
def test_the_result_is_the_inner_exporters(marking: LdAiHandler, result: SpanExportResult) -> None:
    """A processor learns of a failure."""
    inner = Inner()
    inner.result = result

    assert MarkingExporter(inner, marking).export([]) is result


def test_the_exceptions_are_the_inner_exporters(marking: LdAiHandler) -> None:
    """A processor catches and logs them."""
    inner = Inner()
    inner.result = ConnectionError("no collector")

    with pytest.raises(ConnectionError, match="no collector"):
        MarkingExporter(inner, marking).export([])


def test_shutdown_and_flush_reach_the_inner_exporter(marking: LdAiHandler) -> None:
    """With the time that they may take, and what comes of it."""
    inner = Inner()
    exporter = MarkingExporter(inner, marking)

    flushed = exporter.force_flush(5), exporter.force_flush()
    exporter.shutdown()

    assert (inner.calls, flushed) == ([5, 30_000, "shutdown"], (False, False))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        pytest.param(lambda h: MarkingExporter(h, h), TypeError, "exporter has export", id="exporter"),
        pytest.param(lambda h: MarkingExporter(Inner, h), TypeError, "not the class Inner", id="class"),
        pytest.param(
            lambda h: MarkingExporter(Inner()), TypeError, "give MarkingExporter the handlers", id="none"
        ),
        pytest.param(lambda h: MarkingExporter(Inner(), [h]), TypeError, "takes LdAiHandlers, not \\[", id="list"),
        pytest.param(
            lambda h: MarkingExporter(Inner(), h, keep_token=1), TypeError, "is True or False, not 1", id="token"
        ),
    ],
)
def test_wrong_arguments_are_errors(marking: LdAiHandler, make, error: type[Exception], words: str) -> None:
    """The error names the argument."""
    with pytest.raises(error, match=words):
        make(marking)


def test_a_handler_without_marks_is_an_error(handler: LdAiHandler) -> None:
    """The error names the handler and the remedy."""
    words = r"^LdAiHandler\('support-bot', open_runs=0\) has to mark its runs: make it with spans=\"mark\"$"

    with pytest.raises(ValueError, match=words):
        MarkingExporter(Inner(), handler)


def test_the_exporter_shows_the_one_within(marking: LdAiHandler) -> None:
    """As in a log."""
    inner = Inner()

    assert repr(MarkingExporter(inner, marking)) == f"MarkingExporter({inner!r})"


def test_the_sdk_is_asked_for_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who exports spans has it; without it the error says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with pytest.raises(
        ImportError, match=r"^MarkingExporter needs opentelemetry-sdk: pip install opentelemetry-sdk$"
    ):
        runpy.run_path(inspect.getfile(MarkingExporter))


def test_the_room_needs_no_sdk_before_the_exporter_is_used() -> None:
    """It is imported with the exporter's name; there is no third name."""
    code = "import sys; from langchain_ldai.spans import Spans; print('opentelemetry.sdk' in sys.modules)"

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed == "False\n"
    assert langchain_ldai.spans.__getattr__("MarkingExporter") is MarkingExporter
    with pytest.raises(AttributeError, match="no attribute 'SpanExporter'"):
        langchain_ldai.spans.SpanExporter  # noqa: B018

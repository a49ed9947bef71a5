"""A run's root span: when it is made, what it says of the run, and what is not recorded."""

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from ldclient import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from langchain_ldai import LdAiClient, LdAiHandler, RunReport
from langchain_ldai.spans import Spans, _content
from langchain_ldai.spans._run_spans import MAX_EARLY_TOOLS
from langchain_ldai.testing import RecordingClient
from tests.spans.test_conversations import later
from tests.spans.test_nodes import start_node
from tests.support.chains import AGENT_INPUT, QUESTION, agent, chain
from tests.support.events import ANSWER, start_call, start_chain, start_tool
from tests.support.models import ScriptedLLM
from tests.support.traces import Trace, told


def test_a_run_without_a_model_call_has_no_span(handler: LdAiHandler, trace: Trace) -> None:
    """Not even for its tools: it is no AI run."""
    root = start_chain(handler)
    handler.on_tool_end("", run_id=start_tool(handler, root))
    start_tool(handler, root)
    handler.on_chain_end({}, run_id=root)

    RunnableLambda(lambda asked: asked).invoke(QUESTION, {"callbacks": [handler]})

    assert not trace.started


def test_a_tool_before_the_first_model_call_is_shown(handler: LdAiHandler, trace: Trace) -> None:
    """Its span has the time of the call, though it is made later; and so has the root's."""
    root = start_chain(handler)
    ended, open_still = start_tool(handler, root), start_tool(handler, root)
    handler.on_tool_end("", run_id=ended)
    assert not trace.started

    handler.on_llm_end(ANSWER, run_id=start_call(handler, root))
    handler.on_tool_end("", run_id=open_still)
    handler.on_chain_end({}, run_id=root)

    run, first, second, model = trace.spans
    assert trace.paths() == [
        "invoke_agent",
        *["invoke_agent/execute_tool search"] * 2,
        "invoke_agent/chat small-1",
    ]
    assert run.start_time <= first.start_time <= second.start_time <= first.end_time <= model.start_time
    assert model.end_time <= second.end_time <= run.end_time


def test_a_bounded_number_of_tools_waits_for_a_model_call(handler: LdAiHandler, trace: Trace) -> None:
    """A run that calls a thousand tools first keeps the first hundred of them."""
    root = start_chain(handler)
    for _ in range(MAX_EARLY_TOOLS + 1):
        handler.on_tool_end("", run_id=start_tool(handler, root))

    handler.on_llm_end(ANSWER, run_id=start_call(handler, root))
    handler.on_chain_end({}, run_id=root)

    assert len(trace.named("execute_tool search")) == MAX_EARLY_TOOLS


def test_nothing_is_made_where_the_trace_is_not_sampled(
    make_handler: Callable[..., LdAiHandler], reports: list[RunReport]
) -> None:
    """Then a run's report has no ids, and the run is counted as ever."""
    unsampled = Trace(ALWAYS_OFF)
    handler = make_handler(spans={"tracer_provider": unsampled.provider})

    agent().invoke(AGENT_INPUT, {"callbacks": [handler]})

    assert not unsampled.started
    (report,) = reports
    assert (report.trace_id, report.span_id, report.model_calls) == (None, None, 2)


def test_nothing_is_made_below_a_span_that_is_not_sampled(
    make_handler: Callable[..., LdAiHandler], config: object, trace: Trace
) -> None:
    """The application's decision holds for the run, for its early tools and for its named nodes."""
    handler = make_handler(nodes={"writer": config})
    with Trace(ALWAYS_OFF).app.start_as_current_span("request"):
        root = start_chain(handler)
        handler.on_tool_end("", run_id=start_tool(handler, root))
        handler.on_llm_end(ANSWER, run_id=start_call(handler, root))
        node = start_node(handler, root, "writer", 1)
        handler.on_llm_end(ANSWER, run_id=start_call(handler, node))
        handler.on_chain_end({}, run_id=root)

    assert not trace.started


def test_a_report_names_the_root_span(handler: LdAiHandler, trace: Trace, reports: list[RunReport]) -> None:
    """In hex, as other tools show them."""
    chain().invoke(QUESTION, {"callbacks": [handler]})

    (report,), (root,) = reports, trace.named("invoke_agent")
    assert (report.trace_id, report.span_id) == (
        f"{root.context.trace_id:032x}",
        f"{root.context.span_id:016x}",
    )


def test_the_spans_have_ended_when_a_run_is_reported(
    make_handler: Callable[..., LdAiHandler], trace: Trace
) -> None:
    """So that `on_run_end` may flush them."""
    ended = []
    handler = make_handler(on_run_end=lambda report: ended.append(trace.paths()))

    chain().invoke(QUESTION, {"callbacks": [handler]})

    assert ended == [["invoke_agent", "invoke_agent/chat small-1"]]


def test_a_root_says_what_was_served(make_handler: Callable[..., LdAiHandler], trace: Trace) -> None:
    """The event has the context's key; what is unknown is left out."""
    flag = {"_ldMeta": {"enabled": True}, "provider": {"name": "Bedrock"}}
    ai = LdAiClient(RecordingClient({"plain": flag}))
    handler = make_handler(ai.completion_config("plain", Context.create("user-1")))

    chain().invoke(QUESTION, {"callbacks": [handler]})

    run, model = trace.spans
    assert {key: value for key, value in told(run)[1].items() if "usage" not in key} == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.system": "langchain",
        "gen_ai.provider.name": "aws.bedrock",
        "launchdarkly.operation.type": "gen_ai",
        "launchdarkly.config.key": "plain",
        "launchdarkly.variation.key": "",
        "launchdarkly.run.id": told(run)[1]["launchdarkly.run.id"],
        "context.contextKeys.user": "user-1",
        "ldai.config.version": 1,
        "ldai.outcome": "success",
    }
    assert dict(run.events[0].attributes) == {
        "feature_flag.key": "plain",
        "feature_flag.provider.name": "LaunchDarkly",
        "feature_flag.context.id": "user-1",
        "feature_flag.contextKeys": '{"user":"user-1"}',
        "feature_flag.version": "1",
    }
    assert run.events[0].timestamp == run.start_time
    assert model.name == "chat"
    assert not {key for key in told(model)[1] if key.startswith("launchdarkly")}


def test_a_legacy_model_completes_text(handler: LdAiHandler, trace: Trace) -> None:
    """Its span is no chat; each prompt has one of its own."""
    ScriptedLLM().generate(["How?", "Why?"], callbacks=[handler])

    models = trace.named("text_completion small-1")
    assert len(models) == 2
    assert {told(span)[1]["gen_ai.operation.name"] for span in models} == {"text_completion"}


def test_a_stream_says_when_its_first_token_came(handler: LdAiHandler, trace: Trace) -> None:
    """In seconds, for each model call that streamed; the metric has the same time."""
    list(chain().stream(QUESTION, {"callbacks": [handler]}))

    (model,) = trace.named("chat small-1")
    seconds = told(model)[1]["gen_ai.response.time_to_first_chunk"]
    assert 0 < seconds <= (model.end_time - model.start_time) / 1e9 + 0.001


def test_a_call_starts_when_it_did_however_long_its_prompt_takes_to_read(
    make_handler: Callable[..., LdAiHandler], trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time to the first chunk counts from the call's start, and so does the span."""
    read = _content.prompt_attributes

    def read_slowly(*given: Any) -> Any:
        time.sleep(0.05)
        return read(*given)

    monkeypatch.setattr(_content, "prompt_attributes", read_slowly)
    list(chain().stream(QUESTION, {"callbacks": [make_handler(spans={"capture_content": True})]}))

    (model,) = trace.named("chat small-1")
    seconds = told(model)[1]["gen_ai.response.time_to_first_chunk"]
    assert 0.05 < seconds <= (model.end_time - model.start_time) / 1e9 + 0.001


def test_a_sealed_token_is_not_in_a_span(
    make_handler: Callable[..., LdAiHandler], trace: Trace, reports: list[RunReport]
) -> None:
    """No token is in any span, sealed or plain; the application's own traces may name its AI Config."""

    class Sealer:
        def seal(self, token: str) -> str:
            return f"sealed-{token}"

        def unseal(self, sealed: str) -> str:
            return sealed.removeprefix("sealed-")

    chain().invoke(QUESTION, {"callbacks": [make_handler(sealer=Sealer())]})

    token = reports[0].resumption_token
    assert token.startswith("sealed-")
    for span in trace.spans:
        assert token.removeprefix("sealed-") not in span.to_json()


def test_whoever_hears_of_a_span_may_close_the_run(make_handler: Callable[..., LdAiHandler], trace: Trace) -> None:
    """A span that is being made when its run is closed ends at once."""
    handlers = []

    class Closing(Trace):
        def on_start(self, span: object, parent_context: object = None) -> None:
            handlers[0].close()
            super().on_start(span)

    closing = Closing()
    handlers.append(make_handler(spans={"tracer_provider": closing.provider}))

    chain().invoke(QUESTION, {"callbacks": handlers})

    assert closing.paths() == ["invoke_agent"]
    assert closing.are_all_ended


def test_a_call_that_starts_while_its_run_is_closed_is_no_span_of_it(
    make_handler: Callable[..., LdAiHandler],
) -> None:
    """A run that a call's own span closes has no other spans."""
    handlers = []

    class Closing(Trace):
        def on_start(self, span: object, parent_context: object = None) -> None:
            super().on_start(span)
            if len(self.started) == 2:
                handlers[0].close()

    closing = Closing()
    handlers.append(make_handler(spans={"tracer_provider": closing.provider}))

    agent().invoke(AGENT_INPUT, {"callbacks": handlers})

    assert closing.paths() == ["invoke_agent", "invoke_agent/chat small-1"]
    assert closing.are_all_ended


def test_a_processor_that_fails_costs_spans_alone(
    make_handler: Callable[..., LdAiHandler], reports: list[RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    """The run is counted, and the log says what is lost."""

    class Failing(Trace):
        def on_start(self, span: object, parent_context: object = None) -> None:
            raise ValueError("no span")

    handler = make_handler(spans={"tracer_provider": Failing().provider})

    agent().invoke(AGENT_INPUT, {"callbacks": [handler]})

    assert reports[0].model_calls == 2
    assert reports[0].trace_id is None
    (record,) = caplog.records
    assert "A span could not be made or ended" in record.getMessage()


def test_a_processor_that_fails_at_an_end_keeps_no_other_span_open(
    make_handler: Callable[..., LdAiHandler], caplog: pytest.LogCaptureFixture
) -> None:
    """The others end all the same."""

    class Failing(Trace):
        def on_end(self, span: object) -> None:
            super().on_end(span)
            raise ValueError("no end")

    failing = Failing()
    handler = make_handler(spans={"tracer_provider": failing.provider})
    root = start_chain(handler)
    start_call(handler, root)
    start_tool(handler, root)

    handler.close()

    assert failing.are_all_ended
    assert len(failing.started) == 3
    assert "A span could not be made or ended" in caplog.text


def test_a_call_that_ends_while_its_run_is_closed_ends_once(
    make_handler: Callable[..., LdAiHandler], trace: Trace
) -> None:
    """As when Python collects a stream of the run just then."""

    class ClosingError(Exception):
        def __str__(self) -> str:
            handler.close()
            return "closed"

    handler = make_handler(spans={"capture_content": True})
    root = start_chain(handler)

    handler.on_llm_error(ClosingError(), run_id=start_call(handler, root))

    assert [told(span)[1].get("ldai.outcome") for span in trace.spans] == ["abandoned", None]


def test_what_cannot_be_read_leaves_no_span_open(handler: LdAiHandler, trace: Trace) -> None:
    """The span of a call whose result is odd lacks what that would tell, and ends as the call does."""

    class Odd:
        @property
        def generations(self) -> object:
            raise ValueError("odd")

    root = start_chain(handler)
    handler.on_llm_end(Odd(), run_id=start_call(handler, root))
    handler.on_chain_end({}, run_id=root)
    handler.flush()

    assert [told(span)[0] for span in trace.spans] == ["OK", "OK"]
    run, model = trace.spans
    assert model.end_time <= run.end_time


def test_what_cannot_be_read_of_a_question_keeps_no_span_away(
    make_handler: Callable[..., LdAiHandler], trace: Trace
) -> None:
    """The span of a call that is asked something odd is there, without the question."""

    class Odd(list[object]):
        def __iter__(self) -> Iterator[object]:
            raise ValueError("odd")

    handler, call = make_handler(spans={"capture_content": True}), uuid4()
    handler.on_chat_model_start({}, Odd([[HumanMessage("?")]]), run_id=call, metadata={})
    handler.on_llm_end(ANSWER, run_id=call)

    assert trace.paths() == ["invoke_agent", "invoke_agent/chat small-1"]
    assert [told(span)[0] for span in trace.spans] == ["OK", "OK"]


def test_a_provider_may_be_set_later(
    config: object,
    reports: list[RunReport],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Before that nothing is made, of which the log says once what to do, and from then on spans are."""
    import opentelemetry.trace as api
    from opentelemetry.util._once import Once

    monkeypatch.setattr(api, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(api, "_TRACER_PROVIDER_SET_ONCE", Once())
    handler = LdAiHandler(config, spans=Spans(), on_run_end=reports.append)
    for _ in range(2):
        chain().invoke(QUESTION, {"callbacks": [handler]})
    trace = Trace()

    api.set_tracer_provider(trace.provider)
    chain().invoke(QUESTION, {"callbacks": [handler]})

    assert [report.trace_id is None for report in reports] == [True, True, False]
    assert caplog.text.count("no OpenTelemetry tracer provider is set: call opentelemetry.trace.set_") == 1
    assert trace.paths() == ["invoke_agent", "invoke_agent/chat small-1"]
    assert {span.instrumentation_scope.name for span in trace.spans} == {"langchain_ldai"}


WRONG = {
    "capture_content": ({"capture_content": "yes"}, TypeError, "capture_content is True or False, not 'yes'"),
    "length": ({"max_length": 0}, ValueError, "max_length is at least 1, not 0"),
    "length type": ({"max_length": 1.5}, TypeError, "max_length is a whole number, not 1.5"),
    "empty conversation": ({"conversation": ""}, ValueError, "conversation is the id of a conversation"),
    "conversation": ({"conversation": 7}, TypeError, "conversation is a function, not 7"),
    "async conversation": ({"conversation": later}, TypeError, "conversation is a plain function"),
    "provider": ({"tracer_provider": 7}, TypeError, "tracer_provider is an OpenTelemetry TracerProvider"),
}


@pytest.mark.parametrize(("options", "error", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_option_is_refused(options: dict[str, object], error: type[Exception], message: str) -> None:
    """When it is made, it says what it takes."""
    with pytest.raises(error, match=message):
        Spans(**options)


@pytest.mark.parametrize("spans", [3, Spans, object()], ids=["number", "class", "another object"])
def test_spans_are_spans(spans: object, config: object) -> None:
    """The handler says what it takes."""
    with pytest.raises(TypeError, match=r"langchain_ldai\.spans\.Spans"):
        LdAiHandler(config, spans=spans)


def test_the_log_names_the_trace_of_a_run(
    handler: LdAiHandler, trace: Trace, caplog: pytest.LogCaptureFixture
) -> None:
    """Under `DEBUG`, beside the ids of the run."""
    with caplog.at_level("DEBUG", "langchain_ldai"):
        chain().invoke(QUESTION, {"callbacks": [handler]})

    (root,) = trace.named("invoke_agent")
    ids = f"run_id={told(root)[1]['launchdarkly.run.id']}, trace_id={root.context.trace_id:032x}"
    closes = [record.getMessage() for record in caplog.records if "a run closes" in record.getMessage()]
    assert [ids in message for message in closes] == [True]


def test_a_decision_is_a_chat_without_more(handler: LdAiHandler, trace: Trace) -> None:
    """What is no language model's result tells of its usage alone."""
    root, call = start_chain(handler), uuid4()
    told_of = {"ls_model_type": "decision", "ls_model_name": "small-2"}
    handler.on_chain_start({}, {}, run_id=call, parent_run_id=root, metadata=told_of, run_type="llm")
    handler.on_chain_end({"usage": {"input_tokens": 5}, "model": "small-2"}, run_id=call)
    handler.on_chain_end({}, run_id=root)

    (model,) = trace.named("chat small-2")
    assert told(model)[1]["gen_ai.usage.total_tokens"] == 5


def test_a_step_of_a_decision_is_no_tool(
    handler: LdAiHandler, trace: Trace, caplog: pytest.LogCaptureFixture
) -> None:
    """LangChain hands the decision's metadata down to what it calls, which has no span."""
    root, call, step = start_chain(handler), uuid4(), uuid4()
    told_of = {"ls_model_type": "decision", "ls_model_name": "small-1"}
    handler.on_chain_start({}, {}, run_id=call, parent_run_id=root, metadata={**told_of}, run_type="llm")
    handler.on_chain_start({}, {}, run_id=step, parent_run_id=call, metadata={**told_of})
    for each in (step, call, root):
        handler.on_chain_end({}, run_id=each)

    assert trace.paths() == ["invoke_agent", "invoke_agent/chat small-1"]
    assert caplog.records == []

"""How a run ended, said by the status and the attributes of its spans."""

import asyncio
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from langgraph.errors import GraphInterrupt, ParentCommand
from langgraph.types import Command

from langchain_ldai import LdAiHandler
from tests.support.chains import QUESTION, chain
from tests.support.events import ANSWER, start_call, start_chain, start_tool
from tests.support.models import HELLO, ScriptedChat
from tests.support.traces import Trace, told


class RefusedError(Exception):
    """What a model raises."""


TEXT = "what was asked " * 10
REFUSED = f"{__name__}.RefusedError"


ENDS = {
    "success": (None, "OK", {}),
    "control flow": (ParentCommand(Command(goto="x")), "OK", {}),
    "error": (RefusedError("no"), "ERROR", {"error.type": REFUSED}),
    "built-in error": (ValueError("no"), "ERROR", {"error.type": "ValueError"}),
    "interrupted": (GraphInterrupt(), "UNSET", {}),
    "cancelled": (asyncio.CancelledError(), "UNSET", {"launchdarkly.run.cancelled": True}),
    "interrupt of the program": (KeyboardInterrupt(), "UNSET", {"launchdarkly.run.cancelled": True}),
    "closed stream": (GeneratorExit(), "UNSET", {"launchdarkly.stream.abandoned": True}),
}
OUTCOMES = {
    "control flow": "success",
    "built-in error": "error",
    "interrupt of the program": "cancelled",
    "closed stream": "cancelled",
}


@pytest.mark.parametrize("name", ENDS)
def test_a_roots_status_is_the_runs_outcome(name: str, handler: LdAiHandler, trace: Trace) -> None:
    """A success is OK and a failure ERROR; what neither worked nor failed is unset, and says what it was."""
    error, status, attributes = ENDS[name]
    root = start_chain(handler)
    handler.on_llm_end(ANSWER, run_id=start_call(handler, root))

    handler.on_chain_error(error, run_id=root) if error else handler.on_chain_end({}, run_id=root)

    (span,) = trace.named("invoke_agent")
    ended_as, found = told(span)
    assert ended_as == status
    assert found["ldai.outcome"] == OUTCOMES.get(name, name)
    assert {key: found[key] for key in found if key in MARKS} == attributes
    assert span.status.description is None
    assert [event.name for event in span.events] == ["feature_flag"]


MARKS = {"error.type", "launchdarkly.run.cancelled", "launchdarkly.stream.abandoned"}


@pytest.mark.parametrize("start", [start_call, start_tool])
@pytest.mark.parametrize("name", ENDS)
def test_a_call_has_a_status_of_its_own(
    name: str, start: Callable[..., UUID], handler: LdAiHandler, trace: Trace
) -> None:
    """What happens to a call is said at its span, whatever becomes of the run."""
    error, status, attributes = ENDS[name]
    root = start_chain(handler)
    handler.on_llm_end(ANSWER, run_id=start_call(handler, root))
    call = start(handler, root)

    handler.on_llm_error(error, run_id=call) if error else handler.on_tool_end("", run_id=call)
    handler.on_chain_end({}, run_id=root)

    (*_, span) = trace.spans
    ended_as, found = told(span)
    assert (ended_as, {key: found[key] for key in found if key in MARKS}) == (status, attributes)
    assert not span.events


@pytest.mark.parametrize("start", [start_call, start_tool])
@pytest.mark.parametrize(
    ("error", "status", "attributes"),
    [
        (None, "UNSET", {}),
        (RefusedError("no"), "ERROR", {"error.type": REFUSED}),
        (asyncio.CancelledError(), "UNSET", {"launchdarkly.run.cancelled": True}),
        (GeneratorExit(), "UNSET", {"launchdarkly.stream.abandoned": True}),
        (GraphInterrupt(), "UNSET", {}),
    ],
    ids=["success", "error", "cancelled", "closed stream", "interrupted"],
)
def test_what_is_open_ends_with_the_run(
    error: BaseException | None,
    status: str,
    attributes: dict[str, object],
    start: Callable[..., UUID],
    handler: LdAiHandler,
    trace: Trace,
) -> None:
    """A call that never ends takes over what stopped the run; nobody knows whether one worked."""
    root = start_chain(handler)
    handler.on_llm_end(ANSWER, run_id=start_call(handler, root))
    start(handler, root)

    handler.on_chain_error(error, run_id=root) if error else handler.on_chain_end({}, run_id=root)
    handler.flush()

    (*_, span) = trace.spans
    ended_as, found = told(span)
    assert (ended_as, {key: found[key] for key in found if key in MARKS}) == (status, attributes)


def test_a_streamed_call_that_was_given_up_says_so(handler: LdAiHandler, trace: Trace) -> None:
    """The run itself is a success."""
    root = start_chain(handler)
    call = start_call(handler, root)
    handler.on_llm_new_token("Hi", run_id=call)

    handler.on_chain_end({}, run_id=root)
    handler.flush()

    (run, model) = trace.spans
    assert told(run)[0] == "OK"
    assert told(model)[0] == "UNSET"
    assert told(model)[1]["launchdarkly.stream.abandoned"] is True


def test_a_closed_sync_stream_is_abandoned(handler: LdAiHandler, trace: Trace) -> None:
    """LangChain ends the run like a success, and reads the model to its end."""
    stream = chain().stream(QUESTION, {"callbacks": [handler]})
    next(stream)
    stream.close()
    handler.flush()

    run, model = trace.spans
    assert told(run)[0] == "UNSET"
    assert told(run)[1]["launchdarkly.stream.abandoned"] is True
    assert told(model)[0] == "OK"


def test_an_evicted_run_is_abandoned(make_handler: Callable[..., LdAiHandler], trace: Trace) -> None:
    """Its spans end with its last event, and with what is known."""
    handler = make_handler(max_open_runs=1)
    first = start_chain(handler)
    handler.on_llm_end(ANSWER, run_id=start_call(handler, first))
    start_call(handler, first)

    handler.on_chain_end({}, run_id=start_chain(handler))

    run, ended, silent = trace.spans
    assert told(run)[0] == "UNSET"
    assert told(run)[1]["ldai.outcome"] == "abandoned"
    assert told(run)[1]["gen_ai.usage.total_tokens"] == 13
    assert (told(ended)[0], told(silent)[0]) == ("OK", "UNSET")
    assert not MARKS & {*told(run)[1], *told(silent)[1]}
    assert run.start_time <= silent.start_time
    assert silent.end_time == max(run.end_time, silent.start_time)


def test_a_failed_attempt_has_a_span_of_its_own(handler: LdAiHandler, trace: Trace) -> None:
    """The run's status is how it came out."""
    model = ScriptedChat(script=[RefusedError("no"), HELLO])

    chain(model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)).invoke(
        QUESTION, {"callbacks": [handler]}
    )

    assert [told(span)[0] for span in trace.spans] == ["OK", "ERROR", "OK"]


def test_a_late_end_of_a_call_is_not_lost(handler: LdAiHandler, trace: Trace) -> None:
    """The run waits for it; its own span ends when its root did, and has the tokens."""
    root = start_chain(handler)
    call = start_call(handler, root)
    handler.on_chain_end({}, run_id=root)
    assert not trace.spans

    handler.on_llm_end(ANSWER, run_id=call)

    run, model = trace.spans
    assert (told(run)[0], told(model)[0]) == ("OK", "OK")
    assert run.end_time <= model.end_time
    assert told(run)[1]["gen_ai.usage.total_tokens"] == 13


def test_a_call_whose_events_come_twice_has_one_span(
    handler: LdAiHandler, trace: Trace, caplog: pytest.LogCaptureFixture
) -> None:
    """As they do where a handler stands in a list twice, and nothing is logged of it."""
    root = start_chain(handler)
    call = uuid4()
    for _ in range(2):
        handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=root, metadata={})
    for _ in range(2):
        handler.on_llm_end(ANSWER, run_id=call)
    handler.on_chain_end({}, run_id=root)

    assert [told(span)[0] for span in trace.spans] == ["OK", "OK"]
    assert caplog.records == []


@pytest.mark.parametrize("captures", [True, False])
def test_an_exceptions_text_is_content(
    captures: bool, make_handler: Callable[..., LdAiHandler], trace: Trace
) -> None:
    """It may hold a prompt: only where content is captured is it shown, cut, with where it was raised."""
    handler = make_handler(spans={"capture_content": captures, "max_length": 50})
    model = ScriptedChat(script=[RefusedError(TEXT)])

    with pytest.raises(RefusedError):
        chain(model).invoke(QUESTION, {"callbacks": [handler]})

    for span in trace.spans:
        assert told(span)[1]["error.type"] == REFUSED
        raised = [event for event in span.events if event.name == "exception"]
        assert (span.status.description == TEXT[:50]) is captures
        assert len(raised) == captures
        for event in raised:
            attributes = dict(event.attributes)
            assert attributes.pop("exception.stacktrace").startswith("Traceback (most recent call last):")
            assert attributes == {"exception.type": REFUSED, "exception.message": TEXT[:50]}
        assert captures or "what was asked" not in span.to_json()


def test_an_exception_without_a_text_can_be_shown(make_handler: Callable[..., LdAiHandler], trace: Trace) -> None:
    """An exception whose text cannot be made keeps no span from its end."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    handler = make_handler(spans={"capture_content": True})
    root = start_chain(handler)
    start_call(handler, root)

    handler.on_chain_error(MuteError(), run_id=root)
    handler.flush()

    assert [told(span)[0] for span in trace.spans] == ["ERROR", "ERROR"]


def test_each_span_ends_once_where_events_come_twice(handler: LdAiHandler, trace: Trace) -> None:
    """A handler that is bound and passed gets each event twice."""
    chain(ScriptedChat().with_config(callbacks=[handler])).invoke(QUESTION, {"callbacks": [handler]})

    assert trace.paths() == ["invoke_agent", "invoke_agent/chat small-1"]


def test_a_closed_handler_ends_all_spans(handler: LdAiHandler, trace: Trace) -> None:
    """What is open when a process ends is abandoned."""
    root = start_chain(handler)
    start_call(handler, root)
    start_tool(handler, root)

    handler.close()
    handler.on_chain_end({}, run_id=root)

    assert [told(span)[0] for span in trace.spans] == ["UNSET"] * 3
    assert told(trace.spans[0])[1]["ldai.outcome"] == "abandoned"


def test_two_handlers_of_one_run_make_two_traces(make_handler: Callable[..., LdAiHandler], trace: Trace) -> None:
    """Each handler counts the run for itself."""
    chain().invoke(QUESTION, {"callbacks": [make_handler(), make_handler()]})

    assert len(trace.named("invoke_agent")) == len(trace.named("chat small-1")) == 2

"""`Judges(spans=...)`: the trace of a judge's run, with the score and a link to the run that is judged."""

import asyncio
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from ldclient import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider

from langchain_ldai import AsyncLdAiClient, JudgeResult, LdAiClient, LdAiHandler
from langchain_ldai._runs.observing import NO_TRACE
from langchain_ldai.judges import Judges, JudgeTask
from langchain_ldai.spans import Spans
from langchain_ldai.testing import AsyncRecordingClient, RecordingClient
from tests.judges.judge_models import GOOD, JudgeModel, flags_with, judge_flag, judged_flag
from tests.judges.judged import Judged, graph_of
from tests.support.chains import QUESTION, chain
from tests.support.events import ANSWER, start_call, start_chain
from tests.support.models import ScriptedChat

USER = Context.create("user-1")
SCORE = {"gen_ai.evaluation.name": "accuracy", "gen_ai.evaluation.score.value": 0.8}
EXPLAINED = {**SCORE, "gen_ai.evaluation.explanation": "It says what to do."}


class Recorded:
    """A provider, and the spans that have ended."""

    def __init__(self) -> None:
        self.provider = TracerProvider()
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.app = self.provider.get_tracer("app")

    def spans(self, *, content: bool = False) -> Spans:
        """Return what makes spans that are recorded here."""
        return Spans(tracer_provider=self.provider, capture_content=content)

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of a name that have ended."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def root_of(self, config_key: str) -> ReadableSpan:
        """Return the one root span of an AI Config's runs."""
        (root,) = [
            span for span in self.named("invoke_agent") if span.attributes["launchdarkly.config.key"] == config_key
        ]
        return root


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """A provider, which ends with the test."""
    recorded = Recorded()
    yield recorded
    recorded.provider.shutdown()


def judged_with(recorded: Recorded, *, content: bool = False, **options: object) -> Judged:
    """Return a handler whose runs, and whose judges' runs, are recorded."""
    return Judged(
        options={"spans": recorded.spans()}, spans=recorded.spans(content=content), timeout=5.0, **options
    )


def evaluation(span: ReadableSpan) -> dict[str, object]:
    """Return the attributes of a span that tell a score."""
    return {name: value for name, value in span.attributes.items() if name.startswith("gen_ai.evaluation")}


@pytest.mark.parametrize(("content", "score"), [(False, SCORE), (True, EXPLAINED)], ids=["without", "with"])
def test_a_judges_root_has_the_score(recorded: Recorded, content: bool, score: dict[str, object]) -> None:
    """Its attributes and its event tell name and score, and the reasoning only where content is captured."""
    judged = judged_with(recorded, content=content)

    judged.invoke(chain())

    root = recorded.root_of("accuracy")
    (event,) = [event for event in root.events if event.name == "gen_ai.evaluation.result"]
    assert evaluation(root) == dict(event.attributes) == score
    assert event.timestamp == root.end_time
    assert root.status.status_code.name == "OK"
    assert root.attributes["ldai.outcome"] == "success"
    assert evaluation(recorded.root_of("support-bot")) == {}


def test_a_judges_root_is_beside_the_judged_root(recorded: Recorded) -> None:
    """Both are below the application's span; the judge's has a link to the other, and its model call below it."""
    judged = judged_with(recorded)

    with recorded.app.start_as_current_span("request") as request:
        judged.invoke(chain())

    run, judge = recorded.root_of("support-bot"), recorded.root_of("accuracy")
    assert run.parent == judge.parent == request.get_span_context()
    assert [link.context.span_id for link in judge.links] == [run.context.span_id]
    assert judge.links[0].context.trace_id == run.context.trace_id
    (call,) = recorded.named("chat judge-model")
    assert call.parent.span_id == judge.context.span_id


def test_what_a_judges_model_does_is_in_the_trace(recorded: Recorded) -> None:
    """A span that a provider's package makes hangs below the application's, and nothing else reaches the judge."""
    judged = judged_with(recorded, model=NestingModel(tracer=recorded.app))

    with recorded.app.start_as_current_span("request") as request:
        judged.invoke(chain())

    (post,) = recorded.named("POST")
    assert post.parent.span_id == request.get_span_context().span_id


class NestingModel(JudgeModel):
    """Makes a span for its request, as providers' packages do where they are instrumented."""

    tracer: object

    def _generate(self, *args: object, **kwargs: object) -> object:
        with self.tracer.start_as_current_span("POST"):
            return super()._generate(*args, **kwargs)


def test_without_a_current_span_a_judges_root_is_alone(recorded: Recorded) -> None:
    """It is the root of a trace of its own, with a link to the judged run's."""
    judged = judged_with(recorded)

    judged.invoke(chain())

    run, judge = recorded.root_of("support-bot"), recorded.root_of("accuracy")
    assert judge.parent is None
    assert judge.context.trace_id != run.context.trace_id
    assert [link.context.trace_id for link in judge.links] == [run.context.trace_id]


@pytest.mark.asyncio
async def test_an_asynchronous_judge_has_the_same_trace(recorded: Recorded) -> None:
    """A task of the event loop asks it, below the span that was current where the run ended."""
    ai = AsyncLdAiClient(AsyncRecordingClient(flags_with()))
    judges = Judges(ai, model=lambda config: JudgeModel(), spans=recorded.spans())
    config = await ai.completion_config("support-bot", USER)
    handler = LdAiHandler(config, judges=judges, spans=recorded.spans())

    with recorded.app.start_as_current_span("request") as request:
        await chain().ainvoke(QUESTION, {"callbacks": [handler]})
    assert await judges.flush_async(10)

    judge = recorded.root_of("accuracy")
    assert judge.parent.span_id == request.get_span_context().span_id
    assert [link.context.span_id for link in judge.links] == [recorded.root_of("support-bot").context.span_id]
    assert evaluation(judge) == SCORE


def test_a_nodes_judge_has_a_link_to_the_nodes_root(recorded: Recorded) -> None:
    """A named node has a root of its own, and its judges judge that."""
    ai = LdAiClient(RecordingClient({**flags_with(tone=0.0), "writer": judged_flag(accuracy=1.0)}))
    config, writer = (ai.completion_config(key, USER) for key in ("support-bot", "writer"))
    judges = Judges(ai, model=lambda config: JudgeModel(), spans=recorded.spans())
    handler = LdAiHandler(config, nodes={"writer": writer}, judges=judges, spans=recorded.spans())

    graph_of({"plan": [ScriptedChat()], "writer": [ScriptedChat()]}).invoke({"seen": []}, {"callbacks": [handler]})
    assert handler.flush(10)

    node, judge = recorded.root_of("writer"), recorded.root_of("accuracy")
    assert [link.context.span_id for link in judge.links] == [node.context.span_id]
    assert node.parent.span_id == recorded.root_of("support-bot").context.span_id
    assert judge.parent is None


NO_SCORES = {
    "refused": (JudgeModel(answer="Fine."), "OK", "success"),
    "failed": (JudgeModel(answer=RuntimeError("no")), "ERROR", "error"),
}


@pytest.mark.parametrize(("model", "status", "outcome"), NO_SCORES.values(), ids=NO_SCORES)
def test_a_judge_without_a_score_shows_none(
    recorded: Recorded, model: JudgeModel, status: str, outcome: str
) -> None:
    """Its root ends all the same, with the outcome of its own run."""
    judged = judged_with(recorded, model=model)

    judged.invoke(chain())

    root = recorded.root_of("accuracy")
    assert (root.status.status_code.name, root.attributes["ldai.outcome"]) == (status, outcome)
    assert evaluation(root) == {}


NO_MODEL = RunnableLambda(lambda messages: GOOD)
SILENT = {
    "disabled": (flags_with(judge_flag(_ldMeta={"enabled": False, "mode": "judge"})), JudgeModel(), True, 0),
    "no provider": (flags_with(), JudgeModel(), False, 1),
    "no model": (flags_with(), NO_MODEL, True, 1),
}


@pytest.mark.parametrize(("flags", "model", "records", "scores"), SILENT.values(), ids=SILENT)
def test_a_judge_that_calls_no_model_or_is_not_recorded_has_no_span(
    recorded: Recorded, flags: dict[str, object], model: Runnable, records: bool, scores: int
) -> None:
    """Nothing fails where there is nothing to show."""
    spans = recorded.spans() if records else Spans(tracer_provider=NoOpTracerProvider())
    judged = Judged(flags, model=model, options={"spans": recorded.spans()}, spans=spans)

    judged.invoke(chain())

    (root,) = recorded.named("invoke_agent")
    assert root.attributes["launchdarkly.config.key"] == "support-bot"
    assert len(judged.scores) == scores


def deferred(ai: LdAiClient, spans: Spans | None) -> str:
    """Run a chain whose judges are deferred, and return the task as JSON."""
    tasks: list[str] = []
    judges = Judges(ai, model=lambda config: JudgeModel(), defer=lambda task: tasks.append(task.to_json()))
    config = ai.completion_config("support-bot", USER)

    chain().invoke(QUESTION, {"callbacks": [LdAiHandler(config, judges=judges, spans=spans)]})

    return tasks.pop()


def test_a_task_carries_the_trace_to_another_process(recorded: Recorded) -> None:
    """The worker's judge hangs below the worker's span, with a link to the judged run."""
    ai = LdAiClient(RecordingClient(flags_with()))
    task = deferred(ai, recorded.spans())

    with recorded.app.start_as_current_span("worker") as worker:
        judges = Judges(ai, model=lambda config: JudgeModel(), spans=recorded.spans())
        judges.evaluate_task(JudgeTask.from_json(task), USER)

    judge = recorded.root_of("accuracy")
    assert judge.parent.span_id == worker.get_span_context().span_id
    assert [link.context.span_id for link in judge.links] == [recorded.root_of("support-bot").context.span_id]
    assert evaluation(judge) == SCORE


def test_a_task_of_a_run_without_spans_names_none(recorded: Recorded) -> None:
    """Its JSON is as short as ever, and the judge's root has no link."""
    ai = LdAiClient(RecordingClient(flags_with()))
    task = deferred(ai, None)

    asyncio.run(
        Judges(ai, model=lambda config: JudgeModel(), spans=recorded.spans()).evaluate_task_async(
            JudgeTask.from_json(task), USER
        )
    )

    assert "trace_id" not in task
    assert "span_id" not in task
    assert recorded.root_of("accuracy").links == ()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_evaluate_takes_the_ids_of_a_report(recorded: Recorded, is_async: bool) -> None:
    """Where an application judges an answer itself, the report's ids make the link."""
    judged = judged_with(recorded, flags=flags_with(accuracy=0.0))
    judged.invoke(chain())
    (report,) = judged.reports
    told = {"question": "How?", "answer": "So", "trace_id": report.trace_id, "span_id": report.span_id}
    asked = "accuracy", report.resumption_token, USER

    if is_async:
        result = asyncio.run(judged.judges.evaluate_async(*asked, **told))
    else:
        result = judged.judges.evaluate(*asked, **told)

    (link,) = recorded.root_of("accuracy").links
    assert (format(link.context.trace_id, "032x"), format(link.context.span_id, "016x")) == (
        report.trace_id,
        report.span_id,
    )
    assert result.score == 0.8


TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NO_IDS = {
    "no trace": (None, SPAN_ID, ValueError, "trace_id has 32 hex digits, unlike None"),
    "no span": (TRACE_ID, None, ValueError, "span_id has 16 hex digits, unlike None"),
    "too short": (TRACE_ID[1:], SPAN_ID, ValueError, "trace_id has 32 hex digits"),
    "no hex": (TRACE_ID, "0" * 15 + "g", ValueError, "give both ids of a RunReport, or neither"),
    "no text": (7, SPAN_ID, TypeError, "trace_id is a str, not int"),
}


@pytest.mark.parametrize(("trace_id", "span_id", "error", "message"), NO_IDS.values(), ids=NO_IDS)
def test_ids_that_are_none_are_refused(trace_id: str, span_id: str, error: type[Exception], message: str) -> None:
    """An id that no report has is a mistake of the caller's, and is told before the judge is asked."""
    ai = LdAiClient(RecordingClient(flags_with()))
    token = ai.completion_config("support-bot", USER).create_tracker().resumption_token
    judges = Judges(ai, model=lambda config: JudgeModel())

    with pytest.raises(error, match=message):
        judges.evaluate("accuracy", token, USER, question="How?", answer="So", trace_id=trace_id, span_id=span_id)


def test_what_makes_no_spans_of_judges_is_refused(ai: LdAiClient) -> None:
    """Spans of another kind, or "mark", which is a handler's, are an error at once."""
    with pytest.raises(TypeError, match=r"spans is a langchain_ldai\.spans\.Spans; str is no such object"):
        Judges(ai, model=lambda config: JudgeModel(), spans="mark")


@pytest.mark.asyncio
async def test_a_judge_whose_caller_is_cancelled_has_a_cancelled_root(recorded: Recorded) -> None:
    """As where a request ends that awaits the judge: LangChain tells nobody of it."""
    ai, gate, asked = AsyncLdAiClient(AsyncRecordingClient(flags_with())), asyncio.Event(), asyncio.Event()
    model = GatedModel(gate=gate, asked=asked)
    token = (await ai.completion_config("support-bot", USER)).create_tracker().resumption_token
    judges = Judges(ai, model=lambda config: model, spans=recorded.spans())
    asking = asyncio.create_task(judges.evaluate_async("accuracy", token, USER, question="How?", answer="So"))
    async with asyncio.timeout(10):
        await asked.wait()

    asking.cancel()

    await asyncio.wait([asking])
    assert recorded.root_of("accuracy").attributes["ldai.outcome"] == "cancelled"


class GatedModel(JudgeModel):
    """Tells that it is asked, and waits for its gate."""

    asked: asyncio.Event

    async def _agenerate(self, *args: object, **options: object) -> object:
        self.asked.set()
        return await super()._agenerate(*args, **options)


class Twice(Runnable):
    """Asks a model twice, and hands on the callbacks alone."""

    def invoke(self, messages: object, config: RunnableConfig | None = None, **kwargs: object) -> object:
        """Return the second answer."""
        answers = [JudgeModel().invoke(messages, {"callbacks": config["callbacks"]}) for _ in range(2)]
        return answers[-1]


def test_each_root_of_a_judge_ends(recorded: Recorded) -> None:
    """A model of one's own may begin several runs of the judge: the last one has the score."""
    judged_with(recorded, model=Twice()).invoke(chain())

    roots = [span for span in recorded.named("invoke_agent") if span.links]
    assert [evaluation(root) for root in roots] == [{}, SCORE]


def open_judge(spans: Spans) -> tuple[LdAiHandler, Callable[[JudgeResult | None], None], UUID, UUID]:
    """Open a judge's run with a model call, and return its handler, what takes the score, and the ids of both."""
    config = LdAiClient(RecordingClient(flags_with())).judge_config("accuracy", USER)
    judge = spans.for_judge(NO_TRACE)
    handler = LdAiHandler(config, spans=judge)
    root = start_chain(handler)
    return handler, judge.scored, root, start_call(handler, root)


def test_a_score_may_come_before_the_run_is_closed(recorded: Recorded) -> None:
    """A run that waits for a model call ends with that, and shows the score that came before."""
    handler, scored, root, call = open_judge(recorded.spans())
    handler.on_chain_end({}, run_id=root)

    scored(JudgeResult("m", 0.8, "accuracy"))

    assert recorded.named("invoke_agent") == []
    handler.on_llm_end(ANSWER, run_id=call)
    assert evaluation(recorded.root_of("accuracy")) == SCORE


def test_a_judge_that_was_given_up_has_a_cancelled_root(recorded: Recorded) -> None:
    """Where no score comes in time, its spans end when it is given up."""
    handler, scored, root, _ = open_judge(recorded.spans())
    handler.on_chain_error(asyncio.CancelledError(), run_id=root)
    handler.flush(0)

    scored(None)

    span = recorded.root_of("accuracy")
    assert span.attributes["ldai.outcome"] == "cancelled"
    assert len(recorded.named("chat judge-model")) == 1
    assert evaluation(span) == {}

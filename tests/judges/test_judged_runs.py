"""`LdAiHandler(config, judges=...)`: judges that are drawn score a run's answer in the background."""

import gc
import threading
import weakref
from collections.abc import Callable

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from ldclient import Context
from pydantic import BaseModel

from langchain_ldai import LdAiClient, LdAiHandler, Outcome
from langchain_ldai._runs.trackers import OtherTracker
from langchain_ldai.judges import Judges
from langchain_ldai.judges._gathering import ExchangeGatherer
from langchain_ldai.testing import RecordingClient
from tests.judges.judge_models import GOOD, METRIC, JudgeModel, flags_with, judge_flag, judged_flag
from tests.judges.judged import Judged, exchange
from tests.support.calls import INVOKED, STREAMED, Call, each, run
from tests.support.chains import AGENT_INPUT, DURATION, QUESTION, agent, chain
from tests.support.models import ScriptedChat, ScriptedLLM, Turn
from tests.support.read_log import logged
from tests.support.vectors import Case, cases

USER = Context.create("user-1")


@each(INVOKED | STREAMED)
@pytest.mark.asyncio
async def test_a_drawn_run_gets_one_score(call: Call) -> None:
    """However a chain is called, its judge is shown question and answer and scores the run once."""
    judged = Judged()

    await run(call, chain(), QUESTION, {"callbacks": [judged.handler]})
    assert judged.handler.flush(10)

    (report,) = judged.reports
    assert report.judges == ("accuracy",)
    assert judged.scores == [(report.run_id, 0.8)]
    assert judged.shown == [exchange("How?", "Hello, world")]


def test_the_score_has_the_data_of_the_run() -> None:
    """A judge in the same process scores with the run's own tracker, which knows the model."""
    judged = Judged()

    judged.invoke(chain())

    (score,) = [event for event in judged.client.events if event.name == METRIC]
    assert (score.data["modelName"], score.data["judgeConfigKey"]) == ("small-1", "accuracy")


def test_a_run_that_is_not_drawn_is_not_judged() -> None:
    """At a rate of 0 no judge is drawn, and the report names none."""
    judged = Judged(flags_with(accuracy=0.0))

    judged.invoke(chain())

    assert (judged.scores, judged.model.shown, judged.reports[0].judges) == ([], [], ())


@pytest.mark.parametrize("case", cases("judges", "sampling"))
def test_a_judge_is_drawn_below_its_rate(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate of 0 draws no run, and a rate of 1 each."""
    rate = case["samplingRate"]
    assert isinstance(rate, (int, float))
    monkeypatch.setattr("langchain_ldai.judges.judges.draw_of", lambda run_id, key: case["draw"])
    judged = Judged(flags_with(accuracy=rate))

    judged.invoke(chain())

    assert bool(judged.reports[0].judges) is case["expected"]


def test_a_judge_is_drawn_once() -> None:
    """Of several entries with one key the first counts."""
    entries = [{"key": key, "samplingRate": rate} for key, rate in (("tone", 0), ("accuracy", 1), ("accuracy", 1))]
    flag = {**judged_flag(), "judgeConfiguration": {"judges": [*entries, {"key": "tone", "samplingRate": 1}]}}
    judged = Judged({**flags_with(), "support-bot": flag})

    judged.invoke(chain())

    assert judged.reports[0].judges == ("accuracy",)
    assert len(judged.scores) == 1


def test_a_repeated_run_is_drawn_like_the_first() -> None:
    """Runs of one id are all judged or none, whichever process repeats them."""
    ids = iter([f"run-{number}" for number in range(20)] * 2)
    judged = Judged(flags_with(accuracy=0.5), options={"run_ids": lambda metadata: next(ids)})

    for _ in range(40):
        judged.invoke(chain())

    drawn = [bool(report.judges) for report in judged.reports]
    assert drawn[:20] == drawn[20:]
    assert {True, False} == set(drawn)


FAILED: dict[str, Turn] = {
    "error": ValueError(),
    "cancelled": KeyboardInterrupt(),
}


@pytest.mark.parametrize("turn", FAILED.values(), ids=FAILED)
def test_only_a_success_is_judged(turn: Turn) -> None:
    """A run that failed or was cancelled was drawn, and has no answer to score."""
    judged = Judged()

    with pytest.raises((ValueError, KeyboardInterrupt)):
        judged.invoke(chain(ScriptedChat(script=[turn])))

    assert judged.reports[0].judges == ("accuracy",)
    assert (judged.scores, judged.model.shown) == ([], [])


def test_an_answer_of_a_run_that_failed_later_is_not_judged() -> None:
    """The model answered, and what came after it raised: the user has no answer to score."""
    judged = Judged()

    with pytest.raises(ZeroDivisionError):
        judged.invoke(chain() | RunnableLambda(lambda text: 1 / 0))

    assert (judged.scores, judged.model.shown) == ([], [])


def test_a_run_without_a_model_call_is_not_judged(caplog: pytest.LogCaptureFixture) -> None:
    """What is no AI run has nothing to score, and that is no news."""
    judged = Judged()

    judged.invoke(RunnableLambda(str))

    assert (judged.scores, judged.reports, logged(caplog)) == ([], [], [])


def test_an_answer_without_text_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A run whose last model call gave no text is not judged, and the log says so once."""
    judged = Judged()

    for _ in range(2):
        judged.invoke(chain(ScriptedChat(script=[[AIMessageChunk("")]])))

    assert judged.model.shown == []
    ((level, text),) = logged(caplog)
    assert (level, "'accuracy'" in text, "no answer" in text) == ("WARNING", True, True)


def test_the_question_is_the_first_calls_and_the_answer_the_last_ones() -> None:
    """An agent that calls a tool in between is judged by what it was asked and what it said in the end."""
    judged = Judged()

    judged.invoke(agent(), AGENT_INPUT)

    assert judged.shown == [exchange("How?", "Hello, world")]


CONVERSATION = [
    SystemMessage("You help."),
    HumanMessage("Hi"),
    AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": "1"}]),
    ToolMessage("found", tool_call_id="1"),
    AIMessage([{"type": "text", "text": "Hello"}]),
    HumanMessage("How?"),
]
QUESTIONS = {
    "conversation": (CONVERSATION, "user: Hi\ntool: found\nassistant: Hello\nuser: How?"),
    "one message of the model": ([AIMessage("Hello")], "assistant: Hello"),
    "text": ("How?", "How?"),
}


@pytest.mark.parametrize(("asked", "question"), QUESTIONS.values(), ids=QUESTIONS)
def test_a_question_is_a_text_or_a_conversation(asked: object, question: str) -> None:
    """A user's one message is its text; of several messages each is a line, but those of the system."""
    judged = Judged()

    judged.invoke(ScriptedChat(), asked)

    assert judged.shown == [exchange(question, "Hello, world")]


def test_a_legacy_model_is_judged() -> None:
    """A model that completes prompts has a text as question and as answer."""
    judged = Judged()

    judged.invoke(ScriptedLLM(), "How?")

    assert judged.shown == [exchange("How?", "Hello")]


class Decision(BaseModel):
    """A structured response."""

    verdict: str
    because: str = "é"


EMPTY = ScriptedChat(script=[[AIMessageChunk("")]])
PARSED = '{"because":"é","verdict":"yes"}'
STRUCTURED = {
    "agent's": (
        ScriptedChat(),
        lambda text: {"messages": [], "structured_response": Decision(verdict="yes")},
        PARSED,
    ),
    "object": (EMPTY, lambda text: {"verdict": "yes", "because": "é"}, PARSED),
    "model": (EMPTY, lambda text: Decision(verdict="yes"), PARSED),
    "with the raw message": (
        EMPTY,
        lambda text: {"raw": AIMessage(""), "parsed": Decision(verdict="yes"), "parsing_error": None},
        PARSED,
    ),
    "text beside the raw message": (
        ScriptedChat(),
        lambda text: {"raw": AIMessage(""), "parsed": Decision(verdict="yes"), "parsing_error": None},
        "Hello, world",
    ),
    "text": (ScriptedChat(), lambda text: {"verdict": "yes"}, "Hello, world"),
}


@pytest.mark.parametrize(("model", "parse", "answer"), STRUCTURED.values(), ids=STRUCTURED)
def test_a_structured_response_is_the_answer(model: ScriptedChat, parse: Callable, answer: str) -> None:
    """It is shown as JSON with sorted keys; where the model answered in text, an object made of it is not."""
    judged = Judged()

    judged.invoke(chain(model) | RunnableLambda(parse))

    assert judged.shown == [exchange("How?", answer)]


def test_an_object_on_the_way_is_no_structured_response(caplog: pytest.LogCaptureFixture) -> None:
    """What a step within the run gave back is not what the run gave back."""
    judged = Judged()

    judged.invoke(chain(EMPTY) | RunnableLambda(lambda text: {"verdict": "no"}) | RunnableLambda(str))

    assert judged.model.shown == []
    assert "no answer" in caplog.text


def test_a_call_that_failed_takes_no_answer_away() -> None:
    """A chain that goes on without a model's answer is judged by the last answer that it got."""
    judged = Judged()
    failing = ScriptedChat(script=[ValueError("down")]).with_fallbacks([RunnableLambda(str)])

    judged.invoke(chain() | failing)

    assert judged.shown == [exchange("How?", "Hello, world")]


@pytest.mark.parametrize("output", [{"messages": []}, AIMessage("")], ids=["state", "message"])
def test_messages_are_no_structured_response(output: object, caplog: pytest.LogCaptureFixture) -> None:
    """A graph or chain that gives back messages has no answer where its model gave no text."""
    judged = Judged()

    judged.invoke(chain(EMPTY) | RunnableLambda(lambda text: output))

    assert judged.model.shown == []
    assert "no answer" in caplog.text


def test_several_judges_score_a_run() -> None:
    """Each judge that is drawn scores it under its own metric."""
    flags = {**flags_with(accuracy=1.0, tone=1.0, brevity=0.0), "tone": judge_flag(evaluationMetricKey="tone")}
    judged = Judged(flags)

    judged.invoke(chain())

    metrics = judged.client.metrics(judged.reports[0].run_id)
    assert (metrics[METRIC], metrics["tone"]) == ([0.8], [0.8])
    assert judged.reports[0].judges == ("accuracy", "tone")


def test_judges_of_a_judge_are_not_asked() -> None:
    """A judge is an AI Config, and what is attached to it is ignored."""
    flags = flags_with(judge_flag(judgeConfiguration={"judges": [{"key": "accuracy", "samplingRate": 1}]}))
    judged, configs = Judged(flags), []
    judges = Judges(judged.ai, model=lambda config: configs.append(config) or judged.model)
    judged.handler = LdAiHandler(judged.ai.completion_config("support-bot", USER), judges=judges)

    judged.invoke(chain())

    assert len(judged.scores) == 1
    assert [config.judges for config in configs] == [()]


def test_what_a_judge_is_asked_is_not_judged() -> None:
    """A judge's model that carries the judged handler makes a run of it, and no judge of that run is drawn."""
    judged = Judged()
    judged.model.callbacks = [judged.handler]

    judged.invoke(chain())

    run_ids = {report.judges: report.run_id for report in judged.reports}  # in whichever order they ended
    assert run_ids.keys() == {("accuracy",), ()}
    assert judged.scores == [(run_ids["accuracy",], 0.8)]


def events_of(judged: Judged) -> list[tuple[object, ...]]:
    """Return what LaunchDarkly got of the run so far, but for the run's id and how long it took."""
    ours = [event for event in judged.client.events if judged.reports[0].run_id in str(event.data)]
    return [
        (event.name, None if event.name == DURATION else event.value, {**event.data, "runId": ""})
        for event in ours
    ]


FAULTS = {
    "slow": (GOOD, 1),
    "slow and raises": (ValueError("down"), 0),
    "slow and stops": (SystemExit(), 0),
    "slow and rubbish": ("8 of 10", 0),
}


@pytest.mark.parametrize(("answer", "scores"), FAULTS.values(), ids=FAULTS)
def test_a_judge_changes_nothing_of_its_run(answer: object, scores: int) -> None:
    """However it fails, the chain is through, and its metrics are sent, before; `flush` keeps its time-out."""
    gate = threading.Event()
    judged, unjudged = Judged(model=JudgeModel(answer=answer, gate=gate)), Judged(flags_with(accuracy=0.0))
    unjudged.invoke(chain())

    assert chain().invoke(QUESTION, {"callbacks": [judged.handler]}) == "Hello, world"

    assert events_of(judged) == events_of(unjudged)
    assert not judged.handler.flush(0.05)
    gate.set()
    assert judged.handler.flush(10)
    assert len(events_of(judged)) - len(events_of(unjudged)) == len(judged.scores) == scores


def test_closing_the_handler_waits_for_judges() -> None:
    """At the end of a process `close` does what `flush` does for judges."""
    judged = Judged()
    chain().invoke(QUESTION, {"callbacks": [judged.handler]})

    assert judged.handler.close(10)

    assert len(judged.scores) == 1


@pytest.mark.parametrize("rate", [0.0, 1.0], ids=["not drawn", "drawn"])
def test_nothing_of_an_exchange_stays(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a run is scored, or was not drawn, question and answer are in nobody's memory."""
    gathered: list[weakref.ref[ExchangeGatherer]] = []
    draw = Judges.draw

    def watched(self: Judges, *given: object) -> ExchangeGatherer | None:
        drawn = draw(self, *given)
        gathered.extend([] if drawn is None else [weakref.ref(drawn)])
        return drawn

    monkeypatch.setattr(Judges, "draw", watched)
    judged = Judged(flags_with(accuracy=rate))
    asked = HumanMessage("How?")
    message = weakref.ref(asked)

    judged.invoke(ScriptedChat(), [asked])
    del asked
    judged.model.shown.clear()
    gc.collect()

    assert len(gathered) == rate
    assert [each() for each in (*gathered, message)] == [None] * (len(gathered) + 1)


def test_an_exchange_that_is_not_scored_is_let_go() -> None:
    """A run that failed leaves nothing either."""
    judged = Judged()
    with pytest.raises(ValueError, match="down"):
        judged.invoke(chain(ScriptedChat(script=[ValueError("down")])))
    gc.collect()

    assert [each for each in gc.get_objects() if isinstance(each, ExchangeGatherer)] == []


class OfficialConfig:
    """An AI Config as the official package has it: with judges, and no context that can be read."""

    def __init__(self, tracker: object) -> None:
        self.create_tracker = lambda: Official(tracker)
        judge = type("Judge", (), {"key": "accuracy", "sampling_rate": 1.0})
        self.judge_configuration = type("JudgeConfiguration", (), {"judges": [judge]})


class Official:
    """A tracker that shows what the official one shows."""

    def __init__(self, tracker: object) -> None:
        self.get_summary = lambda: tracker.summary
        for name in ("resumption_token", *OtherTracker.methods.values(), *OtherTracker.needed):
            setattr(self, name, getattr(tracker, name))


def test_a_config_whose_context_cannot_be_read_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Runs of another package's AI Config are not judged, and the log says so."""
    judged = Judged()
    tracker = judged.ai.completion_config("support-bot", USER).create_tracker()
    handler = LdAiHandler(OfficialConfig(tracker), judges=judged.judges, on_run_end=judged.reports.append)

    for _ in range(2):
        chain().invoke(QUESTION, {"callbacks": [handler]})

    assert [report.judges for report in judged.reports] == [(), ()]
    ((level, text),) = [each for each in logged(caplog) if "judges" in each[1]]
    assert (level, "context cannot be read" in text) == ("WARNING", True)


def test_a_tracker_that_wraps_ours_is_judged() -> None:
    """What sends with one of our senders shows the context."""
    judged = Judged()
    tracker = judged.ai.completion_config("support-bot", USER).create_tracker()
    wrapping = OfficialConfig(tracker)
    wrapping.create_tracker = lambda: _with_sender(Official(tracker), tracker._sender)
    handler = LdAiHandler(wrapping, judges=judged.judges)

    chain().invoke(QUESTION, {"callbacks": [handler]})
    assert handler.flush(10)

    assert judged.scores == [(tracker.run_id, 0.8)]


def _with_sender(tracker: Official, sender: object) -> Official:
    tracker._sender = sender
    return tracker


def test_what_cannot_be_read_costs_the_score_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A message that cannot be read is told, and the run is counted as ever."""

    def fail(self: ExchangeGatherer, step: object, output: object, *rest: object) -> None:
        raise ValueError(f"{output}")

    monkeypatch.setattr(ExchangeGatherer, "step_ended", fail)
    judged = Judged()

    assert judged.invoke(chain()) == "Hello, world"

    assert judged.reports[0].outcome is Outcome.SUCCESS
    assert "What a judge is to score could not be read" in caplog.text
    assert "Hello, world" not in caplog.text


@pytest.mark.parametrize("judges", [3, Judges, object()], ids=["number", "class", "another object"])
def test_judges_are_judges(judges: object) -> None:
    """The handler says what it takes."""
    with pytest.raises(TypeError, match=r"judges is a langchain_ldai\.judges\.Judges"):
        LdAiHandler(LdAiClient(RecordingClient()).completion_config("support-bot", USER), judges=judges)


def test_a_run_whose_draw_fails_is_counted_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The judges may be of the caller's own; the log says what is lost."""
    judged = Judged()

    def fail(run_id: str, judge_key: str) -> float:
        raise ValueError("no")

    monkeypatch.setattr("langchain_ldai.judges.judges.draw_of", fail)
    judged.invoke(chain())

    assert [(report.outcome, report.judges) for report in judged.reports] == [(Outcome.SUCCESS, ())]
    assert "The judges of an AI Config could not be drawn, a run is not judged" in caplog.text

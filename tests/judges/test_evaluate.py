"""`Judges.evaluate`: a judge scores an answer of a run that ended long ago, or elsewhere."""

import asyncio
import json
import logging
import threading
from collections.abc import Mapping

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from ldclient import Context

from langchain_ldai import AsyncLdAiClient, InvalidResumptionTokenError, JudgeResult, LdAiClient, LdAiHandler
from langchain_ldai.judges import Judges
from langchain_ldai.ledgers import MemoryLedger
from langchain_ldai.sealing import TokenSealer
from langchain_ldai.testing import AsyncRecordingClient, RecordingClient
from tests.judges.judge_models import (
    GOOD,
    METRIC,
    JudgeModel,
    StructuredModel,
    flags_with,
    judge_flag,
)
from tests.support.chains import DURATION, ERROR, SUCCESS, TOKENS
from tests.support.read_log import logged
from tests.support.threads import join_threads
from tests.support.vectors import Case, cases, with_ids

USER = Context.create("user-1")
RESULT = JudgeResult(METRIC, 0.8, "accuracy", reasoning="It says what to do.")


class Scene:
    """A run of `support-bot`, and what is sent when a judge is asked about it."""

    def __init__(self, flags: Mapping[str, object], *, is_async: bool = False) -> None:
        self.client = AsyncRecordingClient(flags) if is_async else RecordingClient(flags)
        self.token = LdAiClient(RecordingClient(flags)).completion_config("support-bot", USER).create_tracker()
        self.run_id, self.token = self.token.run_id, self.token.resumption_token
        self.is_async = is_async

    def judges(self, model: object, **options: object) -> Judges:
        """Return judges that all have this model."""
        client = AsyncLdAiClient(self.client) if self.is_async else LdAiClient(self.client)
        return Judges(client, model=lambda config: model, **options)

    def evaluate(self, model: object, **options: object) -> JudgeResult | None:
        """Have the judge `accuracy` with this model score an answer of the run."""
        return self.ask(self.judges(model, **options))

    def ask(self, judges: Judges) -> JudgeResult | None:
        """Have the judge `accuracy` score an answer of the run."""
        exchange = {"question": "How?", "answer": "Hold the button"}
        if self.is_async:
            return asyncio.run(judges.evaluate_async("accuracy", self.token, USER, **exchange))
        return judges.evaluate("accuracy", self.token, USER, **exchange)

    def scores(self) -> list[float]:
        """Return the scores that were sent for the run."""
        return self.client.metrics(self.run_id).get(METRIC, [])

    def judging(self) -> dict[str, list[float]]:
        """Return the metrics of the judge's own run, but for how long it took."""
        own = {event.data["runId"] for event in self.client.events if event.data.get("configKey") == "accuracy"}
        (run_id,) = own
        metrics = self.client.metrics(run_id)
        assert len(metrics.pop(DURATION)) == 1
        return metrics


def test_a_score_counts_for_the_judged_run_and_its_costs_for_the_judge(is_async: bool) -> None:
    """The score carries the judged run's data and the judge's key; what the judge used is the judge's."""
    scene = Scene(flags_with(), is_async=is_async)

    assert scene.evaluate(JudgeModel()) == RESULT

    (score,) = [event for event in scene.client.events if event.name == METRIC]
    assert (score.value, score.context) == (0.8, USER)
    assert score.data["judgeConfigKey"] == "accuracy"
    assert (score.data["runId"], score.data["configKey"]) == (scene.run_id, "support-bot")
    assert "modelKey" not in score.data
    assert scene.judging() == {SUCCESS: [1], **TOKENS}
    assert "It says what to do." not in str(scene.client.events)


def test_no_usage_of_a_judge_is_counted() -> None:
    """LaunchDarkly counts no usage for a judge that is attached."""
    scene = Scene(flags_with())

    scene.evaluate(JudgeModel())

    assert [event.name for event in scene.client.events if "usage" in event.name] == []


def test_a_model_with_structured_output_is_asked_for_it(is_async: bool) -> None:
    """It is given a schema with a title, and its parsed answer is read."""
    model = StructuredModel(answer="", parsed={"score": 0.8, "reasoning": "It says what to do."})

    assert Scene(flags_with(), is_async=is_async).evaluate(model) == RESULT

    (schema,) = model.schemas
    assert schema["title"]
    assert schema["required"] == list(schema["properties"]) == ["score", "reasoning"]
    assert schema["additionalProperties"] is False
    assert {"minimum": 0, "maximum": 1}.items() <= schema["properties"]["score"].items()
    assert "JSON" not in str(model.shown)


class ObjectModel(JudgeModel):
    """Gives the parsed object alone, as a model of the caller's own may."""

    def with_structured_output(self, schema, **kwargs):
        """Return what answers with the object."""
        return self | RunnableLambda(lambda message: json.loads(message.content))


def test_a_model_may_give_the_object_alone(is_async: bool) -> None:
    """Whoever ignores `include_raw` is read all the same."""
    assert Scene(flags_with(), is_async=is_async).evaluate(ObjectModel()) == RESULT


def test_the_text_counts_where_structured_output_gave_nothing() -> None:
    """A model that answers in text although it was asked for structured output is read all the same."""
    assert Scene(flags_with()).evaluate(StructuredModel()) == RESULT


def test_structured_output_is_read_as_strictly_as_text() -> None:
    """LangChain does not check the range of a score."""
    assert Scene(flags_with()).evaluate(StructuredModel(parsed={"score": 85, "reasoning": ""})) is None


@pytest.mark.parametrize("answer", [GOOD, 3], ids=["text", "neither"])
def test_a_model_may_be_any_runnable(answer: object) -> None:
    """A text that a runnable returns is read; anything else is no answer."""
    scene = Scene(flags_with())

    assert scene.evaluate(RunnableLambda(lambda messages: answer)) == (RESULT if answer is GOOD else None)


@pytest.mark.parametrize("case", with_ids(cases("judges", "configs")))
def test_a_judge_that_cannot_score_is_not_asked(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    """A judge without a metric, or that is none, costs nothing, and one warning says so."""
    answers = {"judge-model-raises": ValueError("secret"), "answer-not-json": "8 of 10, secret"}
    model = JudgeModel(answer=answers.get(str(case["id"]), GOOD))
    scene = Scene(flags_with(case["judge_config"] or judge_flag()))
    judges = scene.judges(model)

    for _ in range(2):
        scene.ask(judges)

    expected = str(case["expected"])
    warnings = [text for level, text in logged(caplog) if level in ("WARNING", "ERROR")]
    assert bool(model.shown) is not expected.startswith("not asked")
    assert len(warnings) == ("not asked" in expected or "no score" in expected)
    assert all("'accuracy'" in text and "secret" not in text for text in warnings)
    names = [event.name for event in scene.client.events if event.data.get("runId") == scene.run_id]
    key = "$ld:ai:judge:old" if "old" in expected else METRIC
    assert names == ([key] * 2 if expected.startswith("asked") and "no score" not in expected else [])


def test_each_judge_that_cannot_score_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """What was told of one judge is not told of another."""
    scene = Scene({**flags_with(judge_flag(messages=[])), "tone": judge_flag(messages=[])})
    judges = scene.judges(JudgeModel())

    for key in ("accuracy", "tone", "accuracy"):
        judges.evaluate(key, scene.token, USER, question="How?", answer="So")

    assert [text.partition(" gives")[0] for _, text in logged(caplog)] == ["Judge 'accuracy'", "Judge 'tone'"]


def test_a_disabled_judge_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A judge that was switched off meanwhile is not asked, and that is told at debug level."""
    caplog.set_level(logging.DEBUG, logger="langchain_ldai.judges")
    model = JudgeModel()
    flag = judge_flag(_ldMeta={"enabled": False, "mode": "judge"})

    assert Scene(flags_with(flag)).evaluate(model) is None

    assert model.shown == []
    ((level, text),) = [each for each in logged(caplog) if "accuracy" in each[1]]
    assert (level, "it is disabled" in text) == ("DEBUG", True)


def test_a_judge_without_a_prompt_is_not_asked(caplog: pytest.LogCaptureFixture) -> None:
    """No messages and no instructions are nothing to judge by."""
    model = JudgeModel()

    assert Scene(flags_with(judge_flag(messages=[]))).evaluate(model) is None

    assert model.shown == []
    assert "no prompt" in caplog.text


def test_what_fails_costs_the_score_and_is_told_once(is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A model that raises is the judge's error; the log has the type of what it raised, not its words."""
    scene = Scene(flags_with(), is_async=is_async)

    assert scene.evaluate(JudgeModel(answer=ValueError("secret"))) is None

    assert scene.scores() == []
    assert scene.judging() == {ERROR: [1]}
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_a_model_that_stops_itself_stops_nothing_else() -> None:
    """A judge's model that raises what stops a program gives no score, and no more."""
    assert Scene(flags_with()).evaluate(JudgeModel(answer=SystemExit())) is None


class PassesTime(asyncio.Event):
    """Lets the loop's clock jump over a judge's time-out once the judge is asked."""

    async def wait(self) -> bool:
        """Wait for ever."""
        loop = asyncio.get_running_loop()
        clock = loop.time
        loop.time = lambda: clock() + 61
        return await super().wait()


@pytest.mark.parametrize("make", [JudgeModel, StructuredModel])
def test_a_judge_that_takes_too_long_is_cancelled(
    make: type[JudgeModel], is_async: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own run is neither success nor error, the judged run gets no score, and the log says so."""
    gate, is_asked = threading.Event(), threading.Event()
    model = make(gate=PassesTime() if is_async else gate, when_asked=is_asked.set)
    monkeypatch.setattr("langchain_ldai.judges._calls.wait", lambda calls, timeout: is_asked.wait(10))
    scene = Scene(flags_with(), is_async=is_async)

    assert scene.evaluate(model) is None

    gate.set()
    join_threads("judge")
    assert scene.scores() == []
    assert scene.judging() == {}
    assert "within 60.0 seconds" in caplog.text


def test_a_time_out_of_the_models_own_is_its_failure(is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A model that gives up by itself is told as a failure, not as one that was cancelled."""
    assert Scene(flags_with(), is_async=is_async).evaluate(JudgeModel(answer=TimeoutError())) is None

    assert "TimeoutError" in caplog.text


@pytest.mark.parametrize("returned", ["NoneType", "str"])
def test_a_function_that_makes_no_model_is_told(
    returned: str, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It may lack its return, or give a model's name; the judged run gets no score."""
    scene = Scene(flags_with(), is_async=is_async)

    assert scene.evaluate({"NoneType": None, "str": "gpt-4.1-mini"}[returned]) is None

    assert f"the function given for model returned a {returned} and no chat model" in caplog.text


def test_a_judge_is_no_part_of_the_run_it_is_asked_in() -> None:
    """What a judge uses within a chain is not added to the chain's tokens."""
    scene = Scene(flags_with())
    config = LdAiClient(scene.client).completion_config("support-bot", USER)
    outer = LdAiHandler(config)
    with outer.collect_runs() as runs:
        RunnableLambda(lambda text: scene.evaluate(JudgeModel())).invoke("", {"callbacks": [outer]})

    assert runs == []
    assert scene.scores() == [0.8]


def test_a_ledger_lets_a_judge_score_a_run_once() -> None:
    """A worker that repeats its task sends no second score; another judge's score counts beside it."""
    scene = Scene({**flags_with(), "tone": judge_flag()})
    with LdAiClient(scene.client, ledger=MemoryLedger()) as ai:
        judges = Judges(ai, model=lambda config: JudgeModel())
        for key in ("accuracy", "accuracy", "tone"):
            judges.evaluate(key, scene.token, USER, question="How?", answer="So")

    assert scene.scores() == [0.8, 0.8]


def test_a_judge_is_not_judged_in_turn() -> None:
    """The function that makes its model gets an AI Config without judges, in case it counts the model's runs."""
    judge = judge_flag(judgeConfiguration={"judges": [{"key": "tone", "samplingRate": 1.0}]})
    scene, given = Scene(flags_with(judge)), []
    judges = Judges(LdAiClient(scene.client), model=lambda config: given.append(config) or JudgeModel())

    assert scene.ask(judges) == RESULT
    assert [config.judges for config in given] == [()]


def test_a_sealed_token_is_unsealed() -> None:
    """With a sealer, `evaluate` takes what was sealed, and nothing plain."""
    scene, sealer = Scene(flags_with()), TokenSealer([TokenSealer.generate_key()])
    plain, scene.token = scene.token, sealer.seal(scene.token)

    assert scene.evaluate(JudgeModel(), sealer=sealer) == RESULT

    scene.token = plain
    with pytest.raises(InvalidResumptionTokenError, match="plain"):
        scene.evaluate(JudgeModel(), sealer=sealer)


def test_variables_are_filled_into_a_judges_messages() -> None:
    """A judge's messages show the variables that `Judges` was given, and the context."""
    model = JudgeModel()
    flag = judge_flag(messages=[{"role": "system", "content": "Rate {{product}} for {{ldctx.key}}."}])

    Scene(flags_with(flag)).evaluate(model, variables={"product": "the kettle"})

    assert model.shown[0][0].content == "Rate the kettle for user-1."


def test_a_judge_of_a_node_is_counted_in_its_graph() -> None:
    """The judge's own run of an agent in a graph has the graph's key."""
    scene = Scene(flags_with())
    tracker = LdAiClient(scene.client).create_tracker(scene.token, USER)
    identity = tracker.identity._replace(graph_key="desk")
    scene.token = type(tracker)(identity, tracker._sender).resumption_token

    scene.evaluate(JudgeModel())

    assert {event.data["graphKey"] for event in scene.client.events if "graphKey" in event.data} == {"desk"}
    assert [event.name for event in scene.client.events if "graphKey" not in event.data] == ["$ld:ai:sdk:info"] * 2


def test_an_asynchronous_client_is_awaited() -> None:
    """`evaluate` says what to use instead."""
    judges = Judges(AsyncLdAiClient(AsyncRecordingClient()), model=lambda config: JudgeModel())

    with pytest.raises(TypeError, match="await evaluate_async"):
        judges.evaluate("accuracy", "", USER, question="", answer="")


def test_a_synchronous_client_may_be_awaited() -> None:
    """`evaluate_async` works with either client."""
    scene = Scene(flags_with())
    judges = Judges(LdAiClient(scene.client), model=lambda config: JudgeModel())

    found = asyncio.run(judges.evaluate_async("accuracy", scene.token, USER, question="How?", answer="So"))

    assert found == RESULT


WRONG = {
    "client": (
        lambda ai: Judges("ai", model=JudgeModel),
        "client is an LdAiClient or an AsyncLdAiClient, not 'ai'",
    ),
    "no model": (lambda ai: Judges(ai, model=None), "model is a function .* not None"),
    "a model": (lambda ai: Judges(ai, model=3), "such as create_chat_model, not int"),
    "chat model": (
        lambda ai: Judges(ai, model=FakeListChatModel(responses=["5"])),
        "such as create_chat_model, not FakeListChatModel",
    ),
    "async model": (lambda ai: Judges(ai, model=asyncio.sleep), "model is a plain function"),
    "variables": (lambda ai: Judges(ai, model=print, variables=["x"]), "variables is a dictionary"),
    "timeout": (lambda ai: Judges(ai, model=print, timeout="1"), "timeout is a number of seconds"),
    "sealer": (lambda ai: Judges(ai, model=print, sealer="x"), "sealer has seal"),
    "question": (
        lambda ai: Judges(ai, model=print).evaluate(
            "accuracy", Scene(flags_with()).token, USER, question=None, answer=""
        ),
        "question is a str, not NoneType",
    ),
}


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_named(make, message: str) -> None:
    """The error says which argument it is and what it may be."""
    with pytest.raises(TypeError, match=message):
        make(LdAiClient(RecordingClient()))


@pytest.mark.parametrize("key", [None, "a\0b"], ids=["no text", "impossible"])
def test_the_key_of_a_judge_is_checked(key: object) -> None:
    """A key that LaunchDarkly cannot have is the caller's mistake, and raised."""
    scene = Scene(flags_with())

    with pytest.raises((TypeError, ValueError), match="key"):
        scene.judges(JudgeModel()).evaluate(key, scene.token, USER, question="How?", answer="So")


def test_judges_show_no_variable() -> None:
    """The representation names the client alone."""
    judges = Judges(LdAiClient(RecordingClient()), model=print, variables={"product": "secret"})

    assert repr(judges) == "Judges(LdAiClient(RecordingClient))"

"""Decision models, which langchain-core has since 1.8, are model calls (facts 158, 159)."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_ldai import LdAiHandler, Outcome, RunReport, TokenUsage
from langchain_ldai.testing import RecordingClient
from tests.support.calls import BATCHED, INVOKED, STREAMED, Call, each, run
from tests.support.chains import DURATION, FIRST_TOKEN, QUESTION, SUCCESS, chain
from tests.support.events import call_model
from tests.support.models import USAGE, NamedChat, ScriptedChat
from tests.support.observe import summarize

decisions = pytest.importorskip(
    "langchain_core.decisions", reason="langchain-core before 1.8 has no decision models"
)

USED = {"input_tokens": 50, "output_tokens": 1, "total_tokens": 51}
ASKED = {"state": "Hi", "questions": {}}


class Decider(decisions.BaseDecisionModel):
    """A decision model that does something, and uses what it is told to; an exception is raised."""

    model: str = "small-1"
    usage: object = USED
    act: Callable[[], object] = lambda: None

    @property
    def _provider(self) -> str:
        return "acme"

    def _classify(self, state, questions):
        result = self.act()
        if isinstance(self.usage, BaseException):
            raise self.usage
        usage = result.usage_metadata if self.usage == "handed on" else self.usage
        return decisions.ClassifierResponse(model=self.model, answers={}, usage=usage)


@pytest.mark.asyncio
@each({**INVOKED, **STREAMED})
@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: RunnableLambda(lambda asked: asked) | model])
async def test_a_decision_is_a_model_call(
    wrap: Callable[[Runnable], Runnable],
    call: Call,
    handler: LdAiHandler,
    client: RecordingClient,
    reports: list[RunReport],
) -> None:
    """By itself or in a chain it makes an AI run, with tokens, duration and model, and without a first token."""
    await run(call, wrap(Decider()), ASKED, {"callbacks": [handler]})

    (report,) = reports
    assert (report.outcome, report.model_calls, report.models) == (Outcome.SUCCESS, 1, ("small-1",))
    assert report.summary.tokens == TokenUsage(51, 50, 1)
    metrics = client.metrics(report.run_id)
    assert (metrics[SUCCESS], len(metrics[DURATION]), FIRST_TOKEN in metrics) == ([1], 1, False)


@pytest.mark.asyncio
@each(BATCHED)
async def test_each_decision_of_a_batch_is_a_run(
    call: Call, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """As of any runnable, each element is a root."""
    await run(call, Decider(), ASKED, {"callbacks": [handler]})

    assert summarize(reports) == [(Outcome.SUCCESS, 1, 0, 51)] * 3


@pytest.mark.asyncio
@each(INVOKED)
@pytest.mark.parametrize(
    ("error", "outcome", "failed"),
    [(ConnectionError(), Outcome.ERROR, 1), (asyncio.CancelledError(), Outcome.CANCELLED, 0)],
    ids=["error", "cancelled"],
)
async def test_a_decision_that_fails_is_a_failed_call(
    error: BaseException, outcome: Outcome, failed: int, call: Call, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Its error is a model's, and without an answer it used nothing that is known."""
    with pytest.raises(type(error)):
        await run(call, Decider(usage=error), ASKED, {"callbacks": [handler]})

    assert summarize(reports) == [(outcome, 1, failed, 0)]


def test_a_decision_may_be_retried(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """Each attempt is a call."""
    failures = [ConnectionError()]

    def act() -> None:
        if failures:
            raise failures.pop()

    Decider(act=act).with_retry(wait_exponential_jitter=False).invoke(ASKED, {"callbacks": [handler]})

    assert summarize(reports) == [(Outcome.SUCCESS, 2, 1, 51)]
    assert reports[0].retries == 1


def test_a_decision_of_another_model_is_named(handler: LdAiHandler, caplog: pytest.LogCaptureFixture) -> None:
    """Once, as with any model."""
    for _ in range(2):
        Decider(model="large-2").invoke(ASKED, {"callbacks": [handler]})

    assert [record.args[2] for record in caplog.records] == ["large-2"]


def ask_by(runnable: Runnable, value: object) -> Callable[[], object]:
    """Return what asks a runnable within whatever runs."""
    return lambda: runnable.invoke(value)


CHAT = ask_by(ScriptedChat(), "Hi")
PIPE = ask_by(RunnableLambda(lambda asked: asked) | ScriptedChat() | RunnableLambda(lambda said: said), "Hi")
TWICE = lambda: [CHAT(), CHAT()]  # noqa: E731
SUM = {"input_tokens": 20, "output_tokens": 6, "total_tokens": 26}


@pytest.mark.parametrize(
    ("act", "usage", "calls", "tokens"),
    [
        (CHAT, "handed on", 2, 13),
        (CHAT, None, 2, 13),
        (CHAT, USED, 2, 64),
        (PIPE, "handed on", 2, 13),
        (PIPE, USED, 2, 64),
        (TWICE, SUM, 3, 26),
        (ask_by(Decider(), ASKED), USED, 2, 51),
        (lambda: [CHAT(), ask_by(Decider(), ASKED)()], USED, 3, 115),
        (ask_by(Decider(act=CHAT, usage="handed on"), ASKED), USAGE, 3, 13),
        (ask_by(Decider(act=CHAT, usage=None), ASKED), USED, 3, 64),
        (ask_by(ScriptedChat(script=[[AIMessageChunk("Hi")]]), "Hi"), USED, 2, 51),
    ],
    ids=[
        "a model's usage handed on",
        "a model's alone",
        "its own beside a model's",
        "a chain's handed on",
        "its own beside a chain's",
        "the sum of two",
        "another decision's handed on",
        "its own beside a model's and another decision's",
        "handed on twice",
        "its own beside one further in",
        "its own alone",
    ],
)
def test_a_decision_that_asks_a_model_counts_no_token_twice(
    act: Callable[[], object],
    usage: object,
    calls: int,
    tokens: int,
    handler: LdAiHandler,
    reports: list[RunReport],
) -> None:
    """Both are model calls, the steps between them are none; what a decision only hands on is not its own."""
    chain_around = RunnableLambda(lambda asked: Decider(act=act, usage=usage).invoke(asked))

    chain_around.invoke(ASKED, {"callbacks": [handler]})

    assert summarize(reports) == [(Outcome.SUCCESS, calls, 0, tokens)]


def test_a_model_in_a_decision_has_its_own_name_and_first_token(
    handler: LdAiHandler, client: RecordingClient, reports: list[RunReport]
) -> None:
    """LangChain hands a decision's metadata down, its model's name too, which is not that of the model in it."""
    said = AIMessageChunk("Hello", response_metadata={"model_name": "inner-1"})
    inner = ScriptedChat(script=[[said]])

    Decider(act=lambda: list(inner.stream("Hi"))).invoke(ASKED, {"callbacks": [handler]})

    assert reports[0].models == ("small-1", "inner-1")
    assert len(client.metrics(reports[0].run_id)[FIRST_TOKEN]) == 1


def test_a_model_in_a_decision_may_tell_its_name_at_its_start(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """It is another than the decision's, which it would have inherited."""
    Decider(act=ask_by(NamedChat(name_to_tell="inner-1"), "Hi")).invoke(ASKED, {"callbacks": [handler]})

    assert reports[0].models == ("small-1", "inner-1")


def test_a_decision_in_a_node_counts_for_the_node(config, reports: list[RunReport]) -> None:
    """A graph may route by one; within a decision a named node is still a node, and its tokens are handed on."""
    graphs = pytest.importorskip("langgraph.graph")
    builder = graphs.StateGraph(dict)
    builder.add_node("route", lambda state: Decider().invoke(ASKED) and {})
    builder.add_node("rest", lambda state: chain().invoke(QUESTION) and {})
    builder.add_edge(graphs.START, "route")
    builder.add_edge("route", "rest")
    handler = LdAiHandler(config, nodes={"route": config}, on_run_end=reports.append)
    both = {"input_tokens": 60, "output_tokens": 4, "total_tokens": 64}
    around = Decider(act=lambda: builder.compile().invoke({}), usage=both)

    builder.compile().invoke({}, {"callbacks": [handler]})
    around.invoke(ASKED, {"callbacks": [handler]})

    assert [report.nodes["route"].summary.tokens.total for report in reports] == [51, 51]
    assert [(report.model_calls, report.summary.tokens.total) for report in reports] == [(1, 13), (2, 13)]


def test_what_starts_below_a_decision_that_ended_is_in_its_run(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """As with any step, a call in the background may outlive it."""
    root, decision = uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_chain_start(
        None, {}, run_id=decision, parent_run_id=root, metadata={"ls_model_type": "chat"}, run_type="llm"
    )
    handler.on_chain_end({"usage": USED}, run_id=decision)
    call_model(handler, decision)
    handler.on_chain_end({}, run_id=root)

    assert summarize(reports) == [(Outcome.SUCCESS, 2, 0, 64)]


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_an_agents_router_is_counted(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """LangChain's router asks a decision model before the agent's model (fact 159)."""
    middleware = pytest.importorskip("langchain.agents.middleware")
    agents = pytest.importorskip("langchain.agents")
    answer = {"type": "choice", "choice": "big", "confidence": 0.9, "probabilities": {"big": 0.9, "small": 0.1}}

    class Router(Decider):
        def _classify(self, state, questions):
            return decisions.ClassifierResponse(
                model=self.model, answers=dict.fromkeys(questions, answer), usage=USED
            )

    choices = {name: middleware.ModelChoice(ScriptedChat(), name) for name in ("big", "small")}
    router = middleware.ModelRouterMiddleware(choices=choices, instructions="Choose.", classifier=Router())
    agent = agents.create_agent(ScriptedChat(), middleware=[router])

    agent.invoke({"messages": [("user", "Hi")]}, {"callbacks": [handler]})

    assert summarize(reports) == [(Outcome.SUCCESS, 2, 0, 64)]


@pytest.mark.parametrize(
    ("run_type", "calls"),
    [(None, 1), ("llm", 1), ("prompt", 0), ("parser", 0)],
    ids=["untold", "llm", "prompt", "parser"],
)
def test_a_chain_is_a_model_call_by_its_metadata(
    run_type: str | None, calls: int, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """What names a model's type is one, unless LangChain says that it is something else."""
    root, step = uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_chain_start(
        None, {}, run_id=step, parent_run_id=root, metadata={"ls_model_type": "chat"}, run_type=run_type
    )
    handler.on_chain_end({"usage": USED, "model": "small-1"}, run_id=step)
    handler.on_chain_end({}, run_id=root)

    assert [report.model_calls for report in reports] == [1] * calls
    assert [(report.summary.tokens.total, report.models) for report in reports] == [(51, ("small-1",))] * calls


@pytest.mark.parametrize(
    "answer", [None, "no", {}, {"usage": "much"}, {"usage": {"input_tokens": "x"}, "model": 7}]
)
def test_an_answer_that_says_nothing_uses_nothing(
    answer: object, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """Whatever a decision gives back, the call is counted, and unknown tokens are not sent."""
    root = uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata={"ls_model_type": "chat"}, run_type="llm")
    handler.on_chain_end(answer, run_id=root)

    assert summarize(reports) == [(Outcome.SUCCESS, 1, 0, 0)]


def test_a_call_below_steps_that_name_each_other_as_parents_is_in_no_decision(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """A caller may give ids twice; nobody looks for ever for a decision above."""
    root, decision, one, other, call = (uuid4() for _ in range(5))
    start = handler.on_chain_start
    start(None, {}, run_id=root, metadata={})
    start(None, {}, run_id=decision, parent_run_id=root, metadata={"ls_model_type": "chat"}, run_type="llm")
    start(None, {}, run_id=one, parent_run_id=root, metadata={})
    start(None, {}, run_id=other, parent_run_id=one, metadata={})
    handler.on_chain_end({}, run_id=one)
    start(None, {}, run_id=one, parent_run_id=other, metadata={})

    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=one, metadata={})
    for step in (call, one, other, decision, root):
        handler.on_chain_end({}, run_id=step)

    assert [report.model_calls for report in reports] == [2]

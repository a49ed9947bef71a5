"""Decision models within a judged run: they are no part of the exchange that a judge scores (fact 158)."""

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import RunnableLambda

from tests.judges.judged import Judged, exchange
from tests.support.chains import QUESTION, chain
from tests.support.models import ScriptedChat

pytest.importorskip("langchain_core.decisions", reason="langchain-core before 1.8 has no decision models")

from tests.runs.test_decisions import ASKED, Decider


def decide(value: object, config: object) -> object:
    """Have a decision model decide something, and hand the value on."""
    Decider().invoke(ASKED, config)
    return value


def test_a_decision_is_neither_question_nor_answer() -> None:
    """A router before the chain and a check after it change nothing of what a judge is shown."""
    judged = Judged()

    judged.invoke(RunnableLambda(decide) | chain() | RunnableLambda(decide), QUESTION)

    assert judged.shown == [exchange("How?", "Hello, world")]


def test_a_run_of_a_decision_alone_has_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    """There is no text to score, and the log says so."""
    judged = Judged()

    judged.invoke(RunnableLambda(decide) | RunnableLambda(str))

    assert judged.model.shown == []
    assert "no answer" in caplog.text


def test_a_decision_that_fails_is_no_answer_either() -> None:
    """A chain that goes on without it is judged by its own answer."""
    judged = Judged()
    failing = Decider(usage=ConnectionError()).with_fallbacks([RunnableLambda(str)])

    judged.invoke(
        chain(ScriptedChat(script=[[AIMessageChunk("So")]])) | RunnableLambda(lambda text: ASKED) | failing
    )

    assert judged.shown == [exchange("How?", "So")]

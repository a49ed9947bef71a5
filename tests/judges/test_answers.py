"""Reading a judge's answer, and the draw of a run."""

from collections.abc import Mapping

import pytest

from langchain_ldai.judges._answers import Verdict, read_object, read_text
from langchain_ldai.judges._sampling import draw_of
from tests.support.vectors import Case, cases, with_ids

DEEP = '{"score": 0.5, "reasoning": "x", "a": ' + "[" * 100_000 + "]" * 100_000 + "}"


@pytest.mark.parametrize("case", with_ids(cases("judges", "answers")))
def test_an_answer_is_a_score_or_is_refused(case: Case) -> None:
    """A JSON object with a score from 0 to 1 is a score, also in a fence; anything else is refused."""
    answer, expected = case["answer"] or DEEP if case["id"] == "deep-nesting" else case["answer"], case["expected"]
    assert isinstance(answer, str)
    assert isinstance(expected, Mapping)

    verdict = read_text(answer)

    found = {"score": verdict.score} if isinstance(verdict, Verdict) else {"refused": verdict}
    assert found == expected


REASONINGS = {
    '{"score": 1, "reasoning": "so"}': "so",
    '{"score": 1, "reason": "so"}': "so",
    '{"score": 1, "reasoning": ["so"]}': "",
    '{"score": 1}': "",
}


@pytest.mark.parametrize(("answer", "reasoning"), REASONINGS.items())
def test_a_reasoning_is_a_text_or_nothing(answer: str, reasoning: str) -> None:
    """A judge need not say why it scores so."""
    assert read_text(answer) == Verdict(1.0, reasoning)


SCORES = {
    '{"score": -0.0}': "0.0",
    '{"score": 1}': "1.0",
    'Here:\n```json\n{"score": 0.9}\n```\nDone.': "0.9",
    'Here:\r\n```json\r\n{"score": 0.9}\r\n```\r\nDone.': "0.9",
    '```json\n{"score": 0.9, "reasoning": "It shows ```code```."}\n```': "0.9",
}


@pytest.mark.parametrize(("answer", "score"), SCORES.items())
def test_a_score_is_a_number_of_the_usual_form(answer: str, score: str) -> None:
    """What is sent is a float, and no zero below zero."""
    verdict = read_text(answer)

    assert isinstance(verdict, Verdict)
    assert repr(verdict.score) == score


@pytest.mark.parametrize("score", [-0.1, 1.1, 10**400], ids=["below", "above", "more than a float holds"])
def test_a_score_is_within_its_range(score: float) -> None:
    """What is below 0 or above 1 is refused."""
    assert read_object({"score": score}) == "score out of range"


def test_a_draw_is_that_of_its_run_and_judge() -> None:
    """The draw of a run and a judge is the same everywhere, and differs from run to run and judge to judge."""
    assert draw_of("run-1", "accuracy") == 0.5455631689115469
    assert len({draw_of("run-1", "accuracy"), draw_of("run-1", "tone"), draw_of("run-2", "accuracy")}) == 3
    assert 0 <= draw_of("\ud800", "accuracy") < 1


def test_the_share_of_runs_drawn_is_the_rate() -> None:
    """Of 10,000 runs a tenth is drawn at a rate of 0.1, within four standard deviations."""
    drawn = sum(draw_of(f"run-{number}", "accuracy") < 0.1 for number in range(10_000))

    assert abs(drawn - 1000) < 4 * 30

"""A tracker's own rules, beside the vectors (spec section 4)."""

import json
import math
from fractions import Fraction

import pytest

from langchain_ldai import Feedback, JudgeResult, LdAiConfigTracker, TokenUsage
from langchain_ldai._wire.tokens import RunIdentity
from tests.support.sent import USAGE, sender_to


@pytest.mark.parametrize("part", ["total", "input", "output"])
@pytest.mark.parametrize("value", [1.5, "7", True, math.nan], ids=str)
def test_a_part_of_a_usage_is_a_whole_number(part, value):
    """A token count that is no whole number raises where it is made, not where it is sent."""
    with pytest.raises(TypeError, match=rf"TokenUsage\.{part} is a whole number"):
        TokenUsage(**{part: value})


@pytest.mark.parametrize("before", [None, Feedback.POSITIVE], ids=["free-slot", "taken-slot"])
@pytest.mark.parametrize("feedback", ["sideways", None, 1, ["positive"], "x" * 1000, "POSITIVE"])
def test_invalid_feedback_raises(tracker, sent, caplog, before, feedback):
    """Invalid feedback raises `ValueError` whether or not feedback was recorded, and takes no slot."""
    if before:
        tracker.track_feedback(before)
    events = list(sent.events)

    with pytest.raises(ValueError, match=r"Feedback\.POSITIVE or Feedback\.NEGATIVE") as caught:
        tracker.track_feedback(feedback)

    assert len(str(caught.value)) < 120
    assert sent.events == events
    assert tracker.summary.feedback is before
    assert caplog.records == []


@pytest.mark.parametrize("feedback", [*Feedback, "positive", "negative"])
def test_feedback_is_the_enum_or_its_text(tracker, sent, feedback):
    """Feedback is `Feedback` or its text; the summary has the enum."""
    tracker.track_feedback(feedback)

    assert sent.values == {f"$ld:ai:feedback:user:{feedback}": 1}
    assert tracker.summary.feedback is Feedback(feedback)


@pytest.mark.parametrize(
    ("ms", "whole"),
    [(0, 0), (-0.0, 0), (0.999, 0), (100.5, 100), (Fraction(7, 2), 3), (10**400, 10**400)],
    ids=["zero", "minus-zero", "below-one", "float", "fraction", "beyond-float"],
)
def test_milliseconds_are_whole_and_rounded_down(tracker, sent, ms, whole):
    """Milliseconds are sent and summed up as whole numbers, rounded down; 0 is a measurement."""
    tracker.track_duration(ms)
    tracker.track_time_to_first_token(ms)

    assert sent.values == {"$ld:ai:duration:total": whole, "$ld:ai:tokens:ttf": whole}
    assert {type(value) for value in sent.values.values()} == {int}
    assert (tracker.summary.duration_ms, tracker.summary.time_to_first_token_ms) == (whole, whole)


@pytest.mark.parametrize("field", ["sampled", "success"])
def test_a_judge_result_needs_sampling_and_success(tracker, sent, field):
    """A judge's result that was not sampled, or is none, is not sent."""
    tracker.track_judge_result(JudgeResult("m", 0.5, **{field: False}))

    assert sent.events == []


def test_a_judge_result_and_a_tool_call_have_no_limit(tracker, sent, caplog):
    """Judge results and tool calls are sent each time, without a warning."""
    for _ in range(3):
        tracker.track_judge_result(JudgeResult("m", 0))
        tracker.track_tool_calls(iter(["a"]))

    assert [name for name, _, _ in sent.events] == ["m", "$ld:ai:tool_call"] * 3
    assert caplog.records == []


@pytest.mark.parametrize(
    "score",
    [math.nan, math.inf, 10**400, Fraction(10**400)],
    ids=["nan", "infinity", "huge", "huge-fraction"],
)
def test_a_score_that_is_no_number_is_not_sent(tracker, sent, score):
    """NaN is not JSON: one such event would cost the client its whole batch."""
    tracker.track_judge_result(JudgeResult("m", score))

    assert sent.events == []


@pytest.mark.parametrize(
    ("score", "written"),
    [(0.5, "0.5"), (1, "1"), (Fraction(1, 2), "0.5"), (Fraction(1), "1.0")],
    ids=["float", "int", "fraction", "whole-fraction"],
)
def test_a_score_of_any_type_of_number_is_sent_as_json(tracker, sent, score, written):
    """A number that JSON does not know would cost the client its whole batch."""
    tracker.track_judge_result(JudgeResult("m", score))

    assert [json.dumps(value) for _, _, value in sent.events] == [written]


def test_what_a_client_does_to_an_event_stays_with_that_event() -> None:
    """Each event has its own data, which a client or a wrapper around one may add to."""
    seen = []

    def send(event_name, data, metric_value) -> None:
        seen.append("added" in data)
        data["added"] = True

    tracker = LdAiConfigTracker(RunIdentity("run-1", "support-bot"), sender_to(send))

    tracker.track_tokens(USAGE)
    tracker.track_duration(5)
    tracker.track_success()
    tracker.track_tool_call("search")

    assert seen == [False] * 6

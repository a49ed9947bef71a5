"""What the tracker of an AI Config and that of an agent graph have in common (spec sections 4 and 7)."""

import copy
import logging
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

import pytest
from ldclient import Context

from langchain_ldai import (
    Feedback,
    GraphMetricSummary,
    JudgeResult,
    LdAiClient,
    LdAiCompletionConfig,
    LdAiConfigTracker,
    LdAiGraphTracker,
    MetricSummary,
    TokenUsage,
)
from langchain_ldai._wire.tokens import GraphRunIdentity, RunIdentity
from tests.support.sent import USAGE, Sent, record_missing, sender_to

Tracker = LdAiConfigTracker | LdAiGraphTracker
Call = tuple[str, tuple[object, ...]]
"""A method of a tracker and its arguments."""


@dataclass(frozen=True)
class Kind:
    """One of the two kinds of trackers, and what differs between them."""

    make: Callable[[Sent], Tracker]
    module: str
    warning: tuple[str, ...]
    once: Mapping[str, Call]
    outcomes: Mapping[str, str]
    tokens: str
    token_events: Mapping[str, int]
    durations: tuple[str, ...]
    all_calls: tuple[Call, ...]
    summary: type[MetricSummary | GraphMetricSummary]
    all_values: Mapping[str, object]
    data: tuple[tuple[Call, Mapping[str, object]], ...]
    missing: Mapping[str, object]
    missing_events: int
    others: Mapping[str, object]


_CONFIG_DATA: Final = {
    "runId": "run-1",
    "configKey": "chat",
    "version": 3,
    "modelName": "gpt-4",
    "providerName": "openai",
    "variationKey": "var-1",
}
CONFIG: Final = Kind(
    make=lambda sent: LdAiConfigTracker(
        RunIdentity("run-1", "chat", "var-1", 3), sender_to(sent), {"modelName": "gpt-4", "providerName": "openai"}
    ),
    module="langchain_ldai._tracking.tracker",
    warning=("create_tracker()", "run-1", "chat", "var-1", "gpt-4", "openai"),
    once={
        "duration": ("track_duration", (1,)),
        "first-token": ("track_time_to_first_token", (1,)),
        "tokens": ("track_tokens", (USAGE,)),
        "success": ("track_success", ()),
        "error": ("track_error", ()),
        "feedback": ("track_feedback", (Feedback.POSITIVE,)),
    },
    outcomes={"track_success": "$ld:ai:generation:success", "track_error": "$ld:ai:generation:error"},
    tokens="track_tokens",
    token_events={"$ld:ai:tokens:total": 30, "$ld:ai:tokens:input": 10, "$ld:ai:tokens:output": 20},
    durations=("track_duration", "track_time_to_first_token"),
    all_calls=(
        ("track_duration", (1,)),
        ("track_time_to_first_token", (2,)),
        ("track_tokens", (USAGE,)),
        ("track_success", ()),
        ("track_feedback", (Feedback.NEGATIVE,)),
        ("track_tool_call", ("search",)),
    ),
    summary=MetricSummary,
    all_values={
        "duration_ms": 1,
        "time_to_first_token_ms": 2,
        "tokens": USAGE,
        "success": True,
        "feedback": Feedback.NEGATIVE,
        "tool_calls": ("search",),
    },
    data=(
        (("track_success", ()), _CONFIG_DATA),
        (("track_tool_call", ("search",)), {**_CONFIG_DATA, "toolKey": "search"}),
        (
            ("track_judge_result", (JudgeResult("m", 0.5, "judge"),)),
            {**_CONFIG_DATA, "judgeConfigKey": "judge"},
        ),
        (("track_feedback", (Feedback.POSITIVE,)), _CONFIG_DATA),
    ),
    missing={"time_to_first_token_ms": 1, "duration_ms": 0, "tokens": USAGE, "success": False},
    missing_events=6,
    others={"time_to_first_token_ms": 2, "duration_ms": 2, "tokens": TokenUsage(1, 1, 0), "success": True},
)

_GRAPH_DATA: Final = {
    "runId": "run-1",
    "configKey": "travel",
    "graphKey": "travel",
    "variationKey": "gv",
    "version": 2,
}
GRAPH: Final = Kind(
    make=lambda sent: LdAiGraphTracker(GraphRunIdentity("run-1", "travel", "gv", 2), sender_to(sent)),
    module="langchain_ldai._tracking.graph_tracker",
    warning=("create_tracker() on the agent graph", "run-1", "travel", "gv"),
    once={
        "success": ("track_invocation_success", ()),
        "failure": ("track_invocation_failure", ()),
        "duration": ("track_duration", (1,)),
        "tokens": ("track_total_tokens", (USAGE,)),
        "path": ("track_path", (["a"],)),
    },
    outcomes={
        "track_invocation_success": "$ld:ai:graph:invocation_success",
        "track_invocation_failure": "$ld:ai:graph:invocation_failure",
    },
    tokens="track_total_tokens",
    token_events={"$ld:ai:graph:total_tokens": 30},
    durations=("track_duration",),
    all_calls=(
        ("track_duration", (1,)),
        ("track_total_tokens", (USAGE,)),
        ("track_invocation_failure", ()),
        ("track_path", (["a"],)),
    ),
    summary=GraphMetricSummary,
    all_values={"duration_ms": 1, "tokens": USAGE, "success": False, "path": ("a",)},
    data=(
        (("track_invocation_success", ()), _GRAPH_DATA),
        (("track_duration", (0,)), _GRAPH_DATA),
        (("track_redirect", ("a", "c")), {**_GRAPH_DATA, "sourceKey": "a", "redirectedTarget": "c"}),
        (("track_handoff_success", ("a", "b")), {**_GRAPH_DATA, "sourceKey": "a", "targetKey": "b"}),
        (("track_handoff_failure", ("b", "c")), {**_GRAPH_DATA, "sourceKey": "b", "targetKey": "c"}),
    ),
    missing={"success": False, "duration_ms": 0, "tokens": USAGE, "path": ()},
    missing_events=4,
    others={"success": True, "duration_ms": 2, "tokens": TokenUsage(1), "path": ("b",)},
)
KINDS: Final = {"config": CONFIG, "graph": GRAPH}


@pytest.fixture
def sent() -> Sent:
    """Return what the tracker has sent."""
    return Sent()


def each_kind(**cases: Callable[[Kind], Mapping[str, object]]) -> pytest.MarkDecorator:
    """Give a test both kinds, each with every case that a function finds for that kind."""
    [(name, cases_of)] = cases.items()
    return pytest.mark.parametrize(
        ("kind", name),
        [
            pytest.param(kind, case, id=f"{label}-{case_id}")
            for label, kind in KINDS.items()
            for case_id, case in cases_of(kind).items()
        ],
    )


both_kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@each_kind(call=lambda kind: kind.once)
def test_a_duplicate_is_dropped_with_one_warning(kind: Kind, call: Call, sent: Sent, caplog):
    """A second recording sends nothing and warns once, with the run's data and what to do."""
    tracker, (method, args) = kind.make(sent), call
    getattr(tracker, method)(*args)
    first = list(sent.events)
    assert len(first) == (len(kind.token_events) if method == kind.tokens else 1)
    assert caplog.records == []

    getattr(tracker, method)(*args)

    assert sent.events == first
    [warning] = caplog.records
    assert (warning.name, warning.levelname) == (kind.module, "WARNING")
    text = warning.getMessage()
    assert text.startswith(f"{method}: ")
    first_part = (
        "a thumb cannot be changed, and this run has one" if method == "track_feedback" else kind.warning[0]
    )
    assert [part for part in (first_part, *kind.warning[1:]) if part not in text] == []


TIMES: Final = [("config", "track_duration"), ("config", "track_time_to_first_token"), ("graph", "track_duration")]


@pytest.mark.parametrize(("kind", "method"), TIMES)
def test_a_time_below_a_millisecond_is_told_once(
    kind: str, method: str, ai: LdAiClient, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """It is recorded as 0, and is as a rule a number of seconds; whole ones and 0 are told of nowhere."""
    make = {"config": ai.completion_config, "graph": ai.agent_graph}[kind]
    source = make("support-bot", context)
    caplog.clear()

    for milliseconds in (0, 1, 0.35, 0.4):
        getattr(source.create_tracker(), method)(milliseconds)

    assert caplog.messages == [
        f"{method} was given 0.35 and records 0: it takes milliseconds. Is this a number of seconds?"
    ]


def test_a_measured_time_is_no_mistake(config: LdAiCompletionConfig, caplog: pytest.LogCaptureFixture) -> None:
    """An operation that takes less than a millisecond is recorded as 0, and nothing is told."""
    tracker = config.create_tracker()

    tracker.track_duration_of(lambda: None)

    assert tracker.summary.duration_ms is not None
    assert caplog.messages == []


@each_kind(first=lambda kind: {method: method for method in kind.outcomes})
def test_success_and_failure_share_a_slot(kind: Kind, first: str, sent: Sent, caplog):
    """Whichever of success and failure comes first stands; the other is dropped with a warning."""
    tracker, [second] = kind.make(sent), kind.outcomes.keys() - {first}

    getattr(tracker, first)()
    getattr(tracker, second)()

    assert sent.values == {kind.outcomes[first]: 1}
    assert tracker.summary.success is first.endswith("success")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@both_kinds
@pytest.mark.parametrize(
    "usage", [TokenUsage(), TokenUsage(-1, -2, -3), TokenUsage(None, None, None), None], ids=repr
)
def test_empty_usage_leaves_the_slot_free(kind: Kind, usage: TokenUsage | None, sent: Sent, caplog):
    """A usage with no part above 0 is not recorded, and real usage can follow without a warning."""
    tracker = kind.make(sent)
    getattr(tracker, kind.tokens)(usage)
    assert tracker.summary.tokens is None

    getattr(tracker, kind.tokens)(USAGE)

    assert sent.values == kind.token_events
    assert caplog.records == []


@both_kinds
def test_usage_of_another_make_raises_and_leaves_the_slot_free(kind: Kind, sent: Sent):
    """What is no `TokenUsage` of ours raises, and is named."""
    tracker = kind.make(sent)
    with pytest.raises(TypeError, match=r"token usage is a langchain_ldai\.TokenUsage, not dict"):
        getattr(tracker, kind.tokens)({"total": 5})
    assert (sent.events, tracker.summary.tokens) == ([], None)

    getattr(tracker, kind.tokens)(USAGE)

    assert sent.values == kind.token_events


NOT_MILLISECONDS: Final = [
    *(math.nan, math.inf, -math.inf, -1, -0.001, "5", True, None, 1j),
    *(Decimal(5), Fraction(-1, 2)),
]


@pytest.mark.parametrize("ms", NOT_MILLISECONDS, ids=repr)
@each_kind(method=lambda kind: {method: method for method in kind.durations})
def test_what_is_no_duration_raises_and_leaves_the_slot_free(kind: Kind, method: str, ms: object, sent: Sent):
    """A duration is a finite number of at least 0; it is sent whole and rounded down."""
    tracker = kind.make(sent)
    with pytest.raises(ValueError, match="milliseconds are a number of at least 0"):
        getattr(tracker, method)(ms)
    assert sent.events == []

    getattr(tracker, method)(5.9)

    assert list(sent.values.values()) == [5]


@both_kinds
def test_a_summary_is_a_snapshot(kind: Kind, sent: Sent):
    """A summary tells one moment: later recordings do not change it, and it cannot be changed."""
    tracker = kind.make(sent)
    before, token = tracker.summary, tracker.resumption_token
    for method, args in kind.all_calls:
        getattr(tracker, method)(*args)

    assert before == kind.summary(resumption_token=token)
    assert tracker.summary == kind.summary(**kind.all_values, resumption_token=token)
    with pytest.raises(FrozenInstanceError):
        before.success = not kind.all_values["success"]
    assert token not in repr(before)


@both_kinds
def test_no_two_events_share_their_data(kind: Kind, sent: Sent):
    """Each event has data of its own, so that who receives one cannot change the next."""
    tracker, seen = kind.make(sent), []
    for (method, args), _ in kind.data:
        getattr(tracker, method)(*args)
        data = sent.events[-1][1]
        seen.append(dict(data))
        data.clear()

    assert seen == [data for _, data in kind.data]


@both_kinds
def test_a_handler_records_what_nobody_has_recorded(kind: Kind, sent: Sent):
    """It records the metrics that are free, and nothing else."""
    tracker = kind.make(sent)
    record_missing(tracker)
    assert sent.events == []

    record_missing(tracker, **kind.missing)

    assert {name: getattr(tracker.summary, name) for name in kind.missing} == kind.missing
    assert len(sent.values) == kind.missing_events


@both_kinds
@pytest.mark.parametrize("is_success", [False, True], ids=["failure", "success"])
def test_a_handler_gives_way_in_silence(kind: Kind, is_success: bool, sent: Sent, caplog):
    """What was recorded before stands, and nothing is logged, at any level."""
    caplog.set_level(logging.DEBUG)
    tracker = kind.make(sent)
    first, second = (kind.others, kind.missing) if is_success else (kind.missing, kind.others)
    record_missing(tracker, **first)
    events, summary = list(sent.events), tracker.summary

    record_missing(tracker, **second)

    assert (sent.events, tracker.summary) == (events, summary)
    assert caplog.records == []


COMPLETIONS: Final = {
    LdAiConfigTracker: {
        "identity",
        "record_feedback",
        "resumption_token",
        "run_id",
        "summary",
        "track_duration",
        "track_duration_of",
        "track_duration_of_async",
        "track_error",
        "track_feedback",
        "track_judge_result",
        "track_metrics_of",
        "track_metrics_of_async",
        "track_success",
        "track_time_to_first_token",
        "track_tokens",
        "track_tool_call",
        "track_tool_calls",
    },
    LdAiGraphTracker: {
        "identity",
        "resumption_token",
        "run_id",
        "summary",
        "track_duration",
        "track_handoff_failure",
        "track_handoff_success",
        "track_invocation_failure",
        "track_invocation_success",
        "track_path",
        "track_redirect",
        "track_total_tokens",
    },
}


@pytest.mark.parametrize(("tracker", "names"), COMPLETIONS.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_completion_shows_what_is_for_users(tracker: type, names: set[str]) -> None:
    """What a handler and a client do with a tracker begins with an underscore."""
    assert {name for name in dir(tracker) if not name.startswith("_")} == names


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps], ids=["deepcopy", "pickle"])
@both_kinds
def test_a_second_tracker_of_a_run_comes_from_its_token(
    kind: Kind, copied: Callable[[object], object], sent: Sent
) -> None:
    """A deep copy would record once more what its run has recorded, so it is refused, in words; `copy` shares."""
    tracker = kind.make(sent)

    assert copy.copy(tracker) is tracker
    with pytest.raises(TypeError, match=r"Pass on its `resumption_token`, and give that to `resume_tracker\(\)`"):
        copied({"tracker": tracker})

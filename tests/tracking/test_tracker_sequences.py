"""What a tracker sends, of a run or of a graph's run, case by case as the official SDKs do (spec 4 and 7)."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import pytest

from langchain_ldai import (
    AiMetrics,
    JudgeResult,
    LdAiAgentGraph,
    LdAiClient,
    LdAiCompletionConfig,
    LdAiConfigTracker,
    LdAiGraphTracker,
    MetricSummary,
    TokenUsage,
)
from langchain_ldai.testing import RecordingClient
from tests.support.vectors import Case, as_written_down, cases, context_of, flags_of, unused

ALL: Final = cases("tracker_sequences")
TRACKER: Final = [case for case in ALL if case["target"] == "tracker"]
CLIENT: Final = [case for case in ALL if case["target"] == "client"]
GRAPH: Final = [case for case in ALL if case["target"] == "graph"]
WRAPPING: Final = [case for case in TRACKER if any("func" in step for step in case["ops"])]

WHOLE_MILLISECONDS: Final = "milliseconds are sent as whole numbers, rounded down"
OVERRIDDEN: Final = {"duration-fraction": (WHOLE_MILLISECONDS, 100.5, 100)}
"""Cases in which this library differs by design: why, the vector's number, ours."""


class FuncError(Exception):
    """What the function of a case raises."""


@dataclass
class Player:
    """Plays the operations of a case on a tracker, and notes what can be seen."""

    case: Case
    awaited: bool = False
    client: RecordingClient = field(init=False)
    errors: list[dict[str, object]] = field(default_factory=list)
    summaries: list[dict[str, object]] = field(default_factory=list)
    results: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = RecordingClient(flags_of(self.case))
        self.ai = LdAiClient(self.client)
        serve = self.ai.agent_graph if self.case["target"] == "graph" else self.ai.completion_config
        self.config: LdAiCompletionConfig | LdAiAgentGraph = serve(self.case["key"], context_of(self.case))
        self.trackers = [self.config.create_tracker()]
        self.current = self.trackers[0]

    def play(self) -> None:
        """Apply the operations in order; an exception is noted, and the next one follows."""
        for place, step in enumerate(self.case["ops"]):
            try:
                self.apply(step)
            except FuncError:
                self.errors.append({"op": place, "error": "func"})
            except ValueError:
                self.errors.append({"op": place, "error": "<raises>"})

    def apply(self, step: Mapping[str, object]) -> None:
        """Apply one operation."""
        match step:
            case {"op": "new_tracker"}:
                self.add(self.config.create_tracker())
            case {"op": "resume"}:
                context = context_of(step if "context" in step else self.case)
                self.add(self.ai.create_tracker(self.current.resumption_token, context))
            case {"op": "use", "args": [place]}:
                self.current = self.trackers[place]
            case {"op": "summary"}:
                self.summaries.append(summary_as_written(self.current.summary))
            case {"op": "track_duration_of"}:
                self.results.append(self.wrap("track_duration_of", function_of(step)))
            case {"op": "track_metrics_of"}:
                extractor = extractor_of(step["metrics"])
                self.results.append(self.wrap("track_metrics_of", function_of(step), extractor))
            case {"op": "track_tokens", "args": [usage]}:
                self.current.track_tokens(TokenUsage(**usage))
            case {"op": "track_total_tokens", "args": [usage]}:
                self.current.track_total_tokens(TokenUsage(**usage))
            case {"op": "track_judge_result", "args": [result]}:
                self.current.track_judge_result(judge_result_of(result))
            case _:
                getattr(self.current, str(step["op"]))(*step.get("args", ()))

    def wrap(self, name: str, function: Callable[[], object], *extractor: object) -> object:
        """Call the tracker around a function, or await its asynchronous form around a coroutine."""
        if not self.awaited:
            return getattr(self.current, name)(*extractor, function)

        async def coroutine() -> object:
            return function()

        return asyncio.run(getattr(self.current, f"{name}_async")(*extractor, coroutine))

    def add(self, tracker: LdAiConfigTracker | LdAiGraphTracker) -> None:
        """Go on with another tracker."""
        self.trackers.append(tracker)
        self.current = tracker

    def events(self) -> list[dict[str, object]]:
        """Return the run's events, with the run ids numbered by first appearance."""
        events = [as_written_down(event) for event in self.client.events]
        events = [event for event in events if isinstance(event["data"], dict) and "runId" in event["data"]]
        runs = list(dict.fromkeys(event["data"]["runId"] for event in events))
        for event in events:
            event["data"] = {**event["data"], "runId": f"<run:{runs.index(event['data']['runId'])}>"}
        return events


def function_of(step: Mapping[str, object]) -> Callable[[], object]:
    """Return the function that an operation wraps."""

    def function() -> object:
        match step["func"]:
            case {"raises": message}:
                raise FuncError(message)
            case {"returns": result}:
                return result

    return function


def extractor_of(metrics: object) -> Callable[[object], AiMetrics | None]:
    """Return an extractor that finds these metrics, or raises."""

    def extractor(result: object) -> AiMetrics | None:
        match metrics:
            case None:
                return None
            case "raises":
                raise LookupError("no metrics")
        usage = metrics.get("tokens")
        return AiMetrics(
            success=metrics["success"],
            tokens=TokenUsage(**usage) if usage else None,
            duration_ms=metrics.get("durationMs"),
            tool_calls=metrics.get("toolCalls"),
        )

    return extractor


def judge_result_of(result: Mapping[str, object]) -> JudgeResult:
    """Return a judge's result from the vectors' form."""
    return JudgeResult(
        metric_key=result.get("metricKey", ""),
        score=result.get("score"),
        judge_config_key=result.get("judgeConfigKey"),
        sampled=result.get("sampled", True),
        success=result.get("success", True),
    )


def summary_as_written(summary: MetricSummary) -> dict[str, object]:
    """Return a summary in the vectors' form."""
    tokens = summary.tokens
    return {
        "durationMs": summary.duration_ms,
        "success": summary.success,
        "feedback": summary.feedback,
        "tokens": tokens and {"total": tokens.total, "input": tokens.input, "output": tokens.output},
        "timeToFirstTokenMs": summary.time_to_first_token_ms,
        "toolCalls": list(summary.tool_calls) or None,
    }


def replace_number(value: object, theirs: float, ours: int) -> object:
    """Return an expectation with the vector's number, wherever it stands, replaced by ours."""
    match value:
        case dict():
            return {key: replace_number(item, theirs, ours) for key, item in value.items()}
        case list():
            return [replace_number(item, theirs, ours) for item in value]
        case float() if value == theirs:
            return ours
    return value


def without_measured(events: list[dict[str, object]], expected: list[dict[str, object]]) -> list[object]:
    """Return events with `<measured>` for whole milliseconds where the expectation says so."""
    measured = {event["event"] for event in expected if event["metricValue"] == "<measured>"}
    for event in events:
        if event["event"] in measured:
            assert type(event["metricValue"]) is int
            assert event["metricValue"] >= 0
            event["metricValue"] = "<measured>"
    return events


def in_order(events: list[dict[str, object]], case: Case) -> list[str]:
    """Return events as they are to be compared: sorted where one operation sends several, by design."""
    texts = [repr(sorted(event.items(), key=str)) for event in map(with_sorted_data, events)]
    return sorted(texts) if any(step["op"] == "track_metrics_of" for step in case["ops"]) else texts


def with_sorted_data(event: dict[str, object]) -> dict[str, object]:
    """Return an event whose data has its keys in order."""
    return {**event, "data": sorted(event["data"].items())}


def test_every_case_of_the_vectors_is_used():
    """Each case of either tracker is played, each client case is used beside the client, and none is left."""
    assert unused(ALL, TRACKER, CLIENT, GRAPH) == []
    assert (len(TRACKER), len(CLIENT), len(GRAPH)) == (49, 5, 7)
    assert OVERRIDDEN.keys() <= {case["id"] for case in TRACKER}


@pytest.mark.parametrize(
    ("case", "awaited"),
    [
        *(pytest.param(case, False, id=case["id"]) for case in [*TRACKER, *GRAPH]),
        *(pytest.param(case, True, id=f"{case['id']}-async") for case in WRAPPING),
    ],
)
def test_a_tracker_sends_what_the_spec_says(case, awaited):
    """The operations send exactly the expected events, raise as expected and sum up as expected."""
    expected = case["expected"]
    if case["id"] in OVERRIDDEN:
        _, theirs, ours = OVERRIDDEN[case["id"]]
        expected = replace_number(expected, theirs, ours)
    player = Player(case, awaited)

    player.play()

    events = without_measured(player.events(), expected["events"])
    assert in_order(events, case) == in_order(expected["events"], case)
    assert player.errors == expected["errors"]
    assert player.summaries == expected["summaries"]
    assert player.results == expected["results"]

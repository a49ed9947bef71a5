"""A graph tracker's own rules, beside the vectors (spec section 7)."""

import logging
import math
import threading
from collections import Counter
from dataclasses import FrozenInstanceError
from typing import Final

import pytest

from langchain_ldai import GraphMetricSummary, LdAiGraphTracker, TokenUsage
from langchain_ldai._wire.tokens import GraphRunIdentity
from tests.support.races import race_for_each
from tests.support.sent import Sent, record_missing

USAGE: Final = TokenUsage(total=30, input=10, output=20)
DATA: Final = {
    "runId": "run-1",
    "configKey": "travel",
    "graphKey": "travel",
    "variationKey": "gv",
    "version": 2,
}


@pytest.fixture
def sent() -> Sent:
    """Return what the tracker has sent."""
    return Sent()


@pytest.fixture
def tracker(sent: Sent) -> LdAiGraphTracker:
    """Return a tracker of a new run of a graph."""
    return LdAiGraphTracker(GraphRunIdentity("run-1", "travel", "gv", 2), sent)


ONCE: Final = {
    "success": ("track_invocation_success", ()),
    "failure": ("track_invocation_failure", ()),
    "duration": ("track_duration", (1,)),
    "tokens": ("track_total_tokens", (USAGE,)),
    "path": ("track_path", (["a"],)),
}


@pytest.mark.parametrize(("method", "args"), ONCE.values(), ids=ONCE)
def test_a_duplicate_is_dropped_with_one_warning(tracker, sent, caplog, method, args):
    """A second recording sends nothing and warns once, with the run's data and what to do."""
    getattr(tracker, method)(*args)
    first = list(sent.events)
    assert len(first) == 1
    assert caplog.records == []

    getattr(tracker, method)(*args)

    assert sent.events == first
    [warning] = caplog.records
    assert (warning.name, warning.levelname) == ("langchain_ldai._tracking.graph_tracker", "WARNING")
    text = warning.getMessage()
    assert text.startswith(f"{method}: ")
    for part in ("create_tracker() on the agent graph", "run-1", "travel", "gv"):
        assert part in text


@pytest.mark.parametrize("first", ["success", "failure"])
def test_success_and_failure_share_a_slot(tracker, sent, caplog, first):
    """Whichever of success and failure comes first stands; the other is dropped with a warning."""
    second = {"success": "failure", "failure": "success"}[first]

    getattr(tracker, f"track_invocation_{first}")()
    getattr(tracker, f"track_invocation_{second}")()

    assert sent.values == {f"$ld:ai:graph:invocation_{first}": 1}
    assert tracker.summary.success is (first == "success")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("usage", [TokenUsage(), TokenUsage(-1, -2, -3), None], ids=repr)
def test_empty_usage_leaves_the_slot_free(tracker, sent, caplog, usage):
    """A usage with no part above 0 is not recorded, and real usage can follow without a warning."""
    tracker.track_total_tokens(usage)
    assert tracker.summary.tokens is None

    tracker.track_total_tokens(USAGE)

    assert sent.values == {"$ld:ai:graph:total_tokens": 30}
    assert caplog.records == []


@pytest.mark.parametrize(
    ("usage", "total"),
    [
        (TokenUsage(1, 10, 20), 1),
        (TokenUsage(0, 10, 20), 30),
        (TokenUsage(-1, 10, 0), 10),
        (TokenUsage(0, -5, 20), 20),
        (TokenUsage(0, 10, -5), 10),
    ],
    ids=repr,
)
def test_a_missing_total_is_the_sum_of_the_parts(tracker, sent, usage, total):
    """The total is sent, else the sum of what is known; the summary has the usage as it was given."""
    tracker.track_total_tokens(usage)

    assert sent.values == {"$ld:ai:graph:total_tokens": total}
    assert tracker.summary.tokens == usage


def test_usage_of_another_make_raises(tracker, sent):
    """What is no `TokenUsage` raises and takes no slot."""
    with pytest.raises(TypeError, match=r"token usage is a langchain_ldai\.TokenUsage, not dict"):
        tracker.track_total_tokens({"total": 5})

    assert (sent.events, tracker.summary.tokens) == ([], None)


@pytest.mark.parametrize("ms", [-1, math.nan, math.inf, "5", None, True], ids=repr)
def test_what_is_no_duration_raises_and_leaves_the_slot_free(tracker, sent, ms):
    """A duration is a number of at least 0; it is sent whole and rounded down."""
    with pytest.raises(ValueError, match="milliseconds are a number of at least 0"):
        tracker.track_duration(ms)

    tracker.track_duration(1.9)

    assert sent.values == {"$ld:ai:graph:duration:total": 1}


def test_a_path_is_copied(tracker, sent):
    """A path is read once and kept: neither who gave it nor who receives the event can change it."""
    keys = ["a", "b"]
    tracker.track_path(keys)
    keys.append("c")
    sent.events[0][1]["path"].append("d")

    assert tracker.summary.path == ("a", "b")


@pytest.mark.parametrize("keys", [(), ("a",), ("a", "b", "a")], ids=str)
def test_a_path_may_be_any_iterable(tracker, sent, keys):
    """A path has the visited nodes in order, as often as they were visited; none is a path too."""
    tracker.track_path(iter(keys))

    assert sent.events == [("$ld:ai:graph:path", {**DATA, "path": list(keys)}, 1)]
    assert tracker.summary.path == keys


def test_a_summary_is_a_snapshot(tracker):
    """A summary tells one moment: later recordings do not change it, and it cannot be changed."""
    before = tracker.summary
    tracker.track_duration(1)
    tracker.track_total_tokens(USAGE)
    tracker.track_invocation_failure()
    tracker.track_path(["a"])

    token = tracker.resumption_token
    assert before == GraphMetricSummary(resumption_token=token)
    assert tracker.summary == GraphMetricSummary(
        duration_ms=1, tokens=USAGE, success=False, path=("a",), resumption_token=token
    )
    with pytest.raises(FrozenInstanceError):
        before.success = True
    assert token not in repr(before)


def test_no_two_events_share_their_data(tracker, sent):
    """Each event has data of its own, so that who receives one cannot change the next."""
    tracker.track_invocation_success()
    sent.events[0][1].clear()
    tracker.track_duration(0)
    sent.events[1][1].clear()
    tracker.track_redirect("a", "c")
    tracker.track_handoff_success("a", "b")
    tracker.track_handoff_failure("b", "c")

    assert [data for _, data, _ in sent.events[2:]] == [
        {**DATA, "sourceKey": "a", "redirectedTarget": "c"},
        {**DATA, "sourceKey": "a", "targetKey": "b"},
        {**DATA, "sourceKey": "b", "targetKey": "c"},
    ]


def test_record_missing_fills_what_is_free(tracker, sent):
    """Instrumentation records what nobody has, and nothing else."""
    record_missing(tracker)
    assert sent.events == []

    record_missing(tracker, success=False, duration_ms=0, tokens=USAGE, path=())

    summary = tracker.summary
    assert (summary.success, summary.duration_ms, summary.tokens, summary.path) == (False, 0, USAGE, ())
    assert len(sent.values) == 4


def test_visits_are_recorded_with_their_path(tracker, sent, caplog):
    """The path and each visit in its place are recorded once, and give way to a path that was recorded."""
    for _ in range(2):
        tracker.track_visits(iter(["a", "b", "a"]))

    visits = [{**DATA, "nodeKey": key, "index": place} for place, key in enumerate(["a", "b", "a"])]
    assert sent.events == [
        ("$ld:ai:graph:path", {**DATA, "path": ["a", "b", "a"]}, 1),
        *(("$ld:ai:graph:node", data, 1) for data in visits),
    ]
    assert tracker.summary.path == ("a", "b", "a")
    assert caplog.records == []


def test_record_missing_gives_way_in_silence(tracker, sent, caplog):
    """What user code recorded stands, and nothing is logged, at any level."""
    caplog.set_level(logging.DEBUG)
    record_missing(tracker, success=True, duration_ms=1, tokens=USAGE, path=("a",))
    events, summary = list(sent.events), tracker.summary

    record_missing(tracker, success=False, duration_ms=2, tokens=TokenUsage(1), path=("b",))

    assert (sent.events, tracker.summary) == (events, summary)
    assert caplog.records == []


def test_delivery_holds_nobody():
    """Events are sent outside the lock: during a delivery, other threads use the tracker (spec section 4)."""
    free: list[bool] = []

    def deliver(name: str, data: object, value: float) -> None:
        other = threading.Thread(target=lambda: run.summary, daemon=True)
        other.start()
        other.join(2)
        free.append(not other.is_alive())

    run = LdAiGraphTracker(GraphRunIdentity("run-1", "travel"), deliver)
    run.track_duration(1)
    run.track_redirect("a", "b")

    assert free == [True, True]


def record_everything(run: LdAiGraphTracker, thread: int) -> None:
    """Record one value for every slot, another one in every other thread, every third time quietly."""
    path = (str(thread),)
    if thread % 3 == 0:
        record_missing(run, success=True, duration_ms=thread, tokens=TokenUsage(thread + 1), path=path)
        return
    run.track_duration(thread)
    run.track_total_tokens(TokenUsage(thread + 1))
    run.track_path(path)
    (run.track_invocation_failure if thread % 2 else run.track_invocation_success)()


def test_no_slot_is_ever_recorded_twice(caplog):
    """Of eight threads that race, one fills each slot; success and failure never both go out (spec section 7)."""
    caplog.set_level("CRITICAL", logger="langchain_ldai._tracking.graph_tracker")
    sent: list[list[tuple[str, dict[str, object], float]]] = [[] for _ in range(300)]
    runs = [
        LdAiGraphTracker(GraphRunIdentity("run", "travel"), lambda *event, to=events: to.append(event))
        for events in sent
    ]

    race_for_each(runs, record_everything)

    for run, events in zip(runs, sent, strict=True):
        counts = Counter("invocation" if "invocation" in name else name.split(":")[3] for name, _, _ in events)
        assert counts == Counter(["invocation", "duration", "total_tokens", "path"])
        values = {name: (data, value) for name, data, value in events}
        assert run.summary.duration_ms == values["$ld:ai:graph:duration:total"][1]
        assert run.summary.tokens == TokenUsage(values["$ld:ai:graph:total_tokens"][1])
        assert list(run.summary.path) == values["$ld:ai:graph:path"][0]["path"]
        assert run.summary.success is ("$ld:ai:graph:invocation_success" in values)

"""A graph tracker's own rules, beside the vectors (spec section 7)."""

import threading
from collections import Counter
from typing import Final

import pytest

from langchain_ldai import LdAiGraphTracker, TokenUsage
from langchain_ldai._wire.tokens import GraphRunIdentity
from tests.support.races import race_for_each
from tests.support.sent import Sent, record_missing, sender_to

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
    return LdAiGraphTracker(GraphRunIdentity("run-1", "travel", "gv", 2), sender_to(sent))


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


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (lambda tracker: tracker.track_path("triage"), r"a list of the nodes' keys, not one text: \['triage'\]"),
        (lambda tracker: tracker.track_path(["a", None]), "a node's key is a str, not NoneType"),
        (lambda tracker: tracker.track_redirect(object(), "b"), "a node's key is a str, not object"),
        (lambda tracker: tracker.track_handoff_success("a", object()), "a node's key is a str, not object"),
        (lambda tracker: tracker.track_handoff_failure("a", object()), "a node's key is a str, not object"),
    ],
    ids=["text", "path", "redirect", "success", "failure"],
)
def test_a_nodes_key_is_a_text(tracker, sent, record, message):
    """What is no JSON would cost the client its whole batch, so it is refused where it is given."""
    with pytest.raises(TypeError, match=message):
        record(tracker)

    assert sent.events == []


def test_visits_are_recorded_with_their_path(tracker, sent, caplog):
    """The path and each visit in its place are recorded once, and give way to a path that was recorded."""
    for _ in range(2):
        tracker._track_visits(iter(["a", "b", "a"]))

    visits = [{**DATA, "nodeKey": key, "index": place} for place, key in enumerate(["a", "b", "a"])]
    assert sent.events == [
        ("$ld:ai:graph:path", {**DATA, "path": ["a", "b", "a"]}, 1),
        *(("$ld:ai:graph:node", data, 1) for data in visits),
    ]
    assert tracker.summary.path == ("a", "b", "a")
    assert caplog.records == []


def test_delivery_holds_nobody():
    """Events are sent outside the lock: during a delivery, other threads use the tracker (spec section 4)."""
    free: list[bool] = []

    def deliver(name: str, data: object, value: float) -> None:
        other = threading.Thread(target=lambda: run.summary, daemon=True)
        other.start()
        other.join(10)
        free.append(not other.is_alive())

    run = LdAiGraphTracker(GraphRunIdentity("run-1", "travel"), sender_to(deliver))
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
        LdAiGraphTracker(GraphRunIdentity("run", "travel"), sender_to(lambda *event, to=events: to.append(event)))
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

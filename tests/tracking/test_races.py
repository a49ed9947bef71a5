"""Eight threads race for every slot, with a thread switch offered before every line of the tracker."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from langchain_ldai import Feedback, LdAiConfigTracker, TokenUsage
from langchain_ldai._tracking import tracker
from langchain_ldai._wire.tokens import RunIdentity
from tests.conftest import NIGHTLY
from tests.support.races import THREADS, race_for_each, switching_before_every_line
from tests.support.sent import record_missing, sender_to

SLOTS: Final[dict[str, set[str]]] = {
    "duration": {"$ld:ai:duration:total"},
    "first-token": {"$ld:ai:tokens:ttf"},
    "tokens": {"$ld:ai:tokens:total"},
    "outcome": {"$ld:ai:generation:success", "$ld:ai:generation:error"},
    "feedback": {"$ld:ai:feedback:user:positive", "$ld:ai:feedback:user:negative"},
}
"""The events of each slot, of which one is to be sent."""


def record_everything(run: LdAiConfigTracker, thread: int) -> None:
    """Record one value for every slot, another one in every other thread."""
    other = thread % 2
    run.track_duration(thread)
    run.track_time_to_first_token(thread)
    run.track_tokens(TokenUsage(total=thread + 1))
    (run.track_error if other else run.track_success)()
    run.track_feedback(Feedback.NEGATIVE if other else Feedback.POSITIVE)


def fill_everything(run: LdAiConfigTracker, thread: int) -> None:
    """Record as the handler does, against user code in every other thread that records by itself."""
    if thread % 2:
        record_everything(run, thread)
        return
    record_missing(
        run, duration_ms=thread, time_to_first_token_ms=thread, tokens=TokenUsage(total=thread + 1), success=True
    )
    run.track_feedback(Feedback.POSITIVE)


@pytest.mark.parametrize(
    ("record", "rounds"),
    [(record_everything, 1_000 if NIGHTLY else 200), (fill_everything, 1_000 if NIGHTLY else 200)],
    ids=["user-code", "user-code-and-handler"],
)
def test_no_slot_is_ever_recorded_twice(record, rounds, caplog):
    """Of eight threads that race, one fills each slot; success and error never both go out (spec section 4).

    They race 200 times, in the nightly profile 1,000 times.
    """
    caplog.set_level("CRITICAL", logger=tracker.__name__)
    sent: list[list[tuple[str, float]]] = [[] for _ in range(rounds)]
    runs = [
        LdAiConfigTracker(
            RunIdentity("run", "chat"), sender_to(lambda name, _, value, to=events: to.append((name, value)))
        )
        for events in sent
    ]

    race_for_each(runs, record)

    for run, events in zip(runs, sent, strict=True):
        counts = Counter(name for name, _ in events)
        assert {slot: sum(counts[name] for name in names) for slot, names in SLOTS.items()} == dict.fromkeys(
            SLOTS, 1
        )
        values = dict(events)
        assert run.summary.duration_ms == values["$ld:ai:duration:total"]
        assert run.summary.time_to_first_token_ms == values["$ld:ai:tokens:ttf"]
        assert run.summary.tokens == TokenUsage(total=values["$ld:ai:tokens:total"])
        assert run.summary.success is ("$ld:ai:generation:success" in values)
        assert f"$ld:ai:feedback:user:{run.summary.feedback}" in values


def test_tool_calls_of_many_threads_all_count():
    """Tool calls have no limit, and none is lost (spec section 4)."""
    sent: list[str] = []
    run = LdAiConfigTracker(
        RunIdentity("run", "chat"), sender_to(lambda name, data, value: sent.append(data["toolKey"]))
    )
    expected = [f"{thread}-{call}" for thread in range(THREADS) for call in range(50)]

    def call_tools(thread: int) -> None:
        with switching_before_every_line(every_opcode=True):
            run.track_tool_calls(key for key in expected if key.startswith(f"{thread}-"))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(call_tools, range(THREADS)))

    assert sorted(sent) == sorted(run.summary.tool_calls) == sorted(expected)

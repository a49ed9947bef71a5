"""What counts as a retry."""

from uuid import uuid4

import pytest

from langchain_ldai import LdAiHandler, RunReport
from tests.conftest import Track
from tests.support.events import NO_ANSWER, call_model, start_call, start_chain


def test_retries_within_a_call_are_counted(handler: LdAiHandler, reports: list[RunReport]) -> None:
    """`on_retry` reports an attempt within one model run (fact 47)."""
    call = start_call(handler)
    for _ in range(2):
        handler.on_retry(None, run_id=call)
    handler.on_llm_end(NO_ANSWER, run_id=call)

    assert [report.retries for report in reports] == [2]


def test_a_retry_that_comes_after_the_end_of_its_call_counts_nothing(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """As async it may, from a task of its own."""
    root = start_chain(handler)
    call = start_call(handler, root)
    handler.on_llm_end(NO_ANSWER, run_id=call)
    handler.on_retry(None, run_id=call)
    handler.on_chain_end({}, run_id=root)

    assert [report.retries for report in reports] == [0]


@pytest.mark.parametrize(("task", "retries"), [("work:1", 0), ("", 1)], ids=["its task", "none"])
def test_a_step_below_an_ended_root_is_a_retry_only_in_another_task(
    handler: LdAiHandler, reports: list[RunReport], task: str, retries: int
) -> None:
    """Which task the root was in is known after its end: its own task does not begin anew below it."""
    inside = {"langgraph_node": "work", "langgraph_checkpoint_ns": "work:1"}
    root = start_chain(handler, **(inside if task else {}))
    call = start_call(handler, start_chain(handler, root, **inside), **inside)
    handler.on_chain_end({}, run_id=root)

    start_chain(handler, root, **inside)
    handler.on_llm_end(NO_ANSWER, run_id=call)

    assert [report.retries for report in reports] == [retries]


def test_a_task_that_succeeded_is_no_retry_when_it_starts_again(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """As the tasks of a subgraph do whose own node is retried: only the node's attempt is repeated."""
    task = {"langgraph_checkpoint_ns": "outer:1|inner:2"}
    root = start_chain(handler)
    handler.on_chain_end({}, run_id=start_chain(handler, root, **task))

    handler.on_llm_end(NO_ANSWER, run_id=start_call(handler, root, **task))
    handler.on_chain_end({}, run_id=root)

    assert [report.retries for report in reports] == [0]


def test_an_attempt_that_several_steps_tell_of_is_one_retry(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """`with_fallbacks` hands the tag of the attempt on to each runnable that it tries (facts 44, 48)."""
    root = start_chain(handler)
    for _ in range(2):
        step = uuid4()
        handler.on_chain_start(None, {}, run_id=step, parent_run_id=root, metadata={}, tags=["retry:attempt:2"])
        call_model(handler, step)
        handler.on_chain_end({}, run_id=step)
    handler.on_chain_end({}, run_id=root)

    assert [report.retries for report in reports] == [1]


def test_only_a_tag_that_says_so_and_a_model_call_that_is_tried_again_are_retries(
    track: Track, reports: list[RunReport]
) -> None:
    """A step that is no call tells of none, and whatever else its caller tagged it with is left alone."""
    handler = track()
    root = start_chain(handler)
    step = uuid4()
    tags = [None, 2, "retry:attempt:2"]
    handler.on_chain_start(None, {}, run_id=step, parent_run_id=root, metadata={}, tags=tags)
    handler.on_retry(None, run_id=step)
    call_model(handler, step)
    for each in (step, root):
        handler.on_chain_end({}, run_id=each)

    assert [report.retries for report in reports] == [1]

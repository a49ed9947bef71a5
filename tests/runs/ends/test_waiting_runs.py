"""Runs whose root has ended, and which wait for a model call, while others start."""

import gc
from uuid import UUID
from weakref import ref

from langchain_ldai import LdAiCompletionConfig, LdAiHandler, RunReport
from tests.support.events import ANSWER, start_call, start_chain


def waiting_run(handler: LdAiHandler) -> tuple[UUID, UUID]:
    """Start a run, a model call in it, and end its root; return both ids."""
    root = start_chain(handler)
    call = start_call(handler, root)
    handler.on_chain_end({}, run_id=root)
    return root, call


def test_a_run_that_waits_is_one_open_run_and_goes_on_waiting_while_others_start(
    handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """What its call used is counted, whenever that ends within the time."""
    root, call = waiting_run(handler)
    other = start_chain(handler)
    before = handler.open_runs

    handler.on_llm_end(ANSWER, run_id=call)

    assert (before, handler.open_runs) == (2, 1)
    assert [(report.root_run_id, report.summary.tokens is None) for report in reports] == [(root, False)]
    handler.on_chain_end({}, run_id=other)


def test_of_too_many_runs_that_wait_the_oldest_is_closed(
    config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """As many may wait as may be open: the start of a run closes one more, without what it waits for."""
    handler = LdAiHandler(config, on_run_end=reports.append, max_open_runs=1)
    oldest, _ = waiting_run(handler)
    waiting_run(handler)
    assert reports == []

    start_chain(handler)

    assert [(report.root_run_id, report.summary.tokens) for report in reports] == [(oldest, None)]
    assert handler.open_runs == 2
    assert handler.close()


def test_a_run_that_has_waited_in_vain_is_told_as_its_root_ended(
    config: LdAiCompletionConfig, reports: list[RunReport]
) -> None:
    """Also where only its nodes are counted."""
    handler = LdAiHandler(None, nodes={"writer": config}, on_run_end=reports.append)
    root = start_chain(handler)
    start_call(handler, start_chain(handler, root, langgraph_node="writer"))
    handler.on_chain_end({}, run_id=root)

    handler.flush()

    assert [(report.outcome, report.nodes["writer"].outcome) for report in reports] == [("success", "success")]


def test_a_handler_whose_run_has_waited_is_let_go_of(config: LdAiCompletionConfig) -> None:
    """Nothing is left to do for it at the end of the process."""
    handler = LdAiHandler(config)
    _, call = waiting_run(handler)
    handler.on_llm_end(ANSWER, run_id=call)
    left = ref(handler._recorder.table)

    del handler
    gc.collect()

    assert left() is None

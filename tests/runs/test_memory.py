"""Memory does not grow with completed runs, and is capped for those that never end."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from langchain_core.outputs import LLMResult
from langgraph.errors import GraphInterrupt

from langchain_ldai import LdAiCompletionConfig, LdAiHandler
from langchain_ldai._runs import lifetime, recently_ended
from langchain_ldai.testing import RecordingClient
from tests.conftest import NIGHTLY

RUNS, STARTS, CAP = (100_000, 1_000_000, 10_000) if NIGHTLY else (400, 3_000, 2_000)
EMPTY = LLMResult(generations=[])
ELSEWHERE = 4_096
"""Bytes; the smallest object that each run could leave takes more than twice as many in 400 runs."""

pytestmark = pytest.mark.no_cover  # other tests cover these lines: a trace of so many runs takes as long again


@pytest.fixture
def traced() -> Iterator[None]:
    """Trace allocations."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def allocated_bytes() -> int:
    """Return the bytes that are allocated after a collection."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def play_run(handler: LdAiHandler, *, fails: bool) -> None:
    """Play a chain with a tool and a model call, from start to end or error."""
    root, tool, call = uuid4(), uuid4(), uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_tool_start({"name": "search"}, "", run_id=tool, parent_run_id=root, metadata={})
    handler.on_tool_end("", run_id=tool)
    handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=root, metadata={})
    handler.on_llm_new_token("x", run_id=call)
    handler.on_llm_end(EMPTY, run_id=call)
    if fails:
        handler.on_chain_error(ValueError(), run_id=root)
    else:
        handler.on_chain_end({}, run_id=root)


@pytest.mark.parametrize("fails", [False, True], ids=["successes", "errors"])
def test_completed_runs_leave_nothing(
    fails: bool,
    config: LdAiCompletionConfig,
    client: RecordingClient,
    monkeypatch: pytest.MonkeyPatch,
    traced: None,
) -> None:
    """After as many for a warm-up, 400 runs leave no object each, and 100,000 (nightly) about a byte at most."""
    monkeypatch.setattr(recently_ended, "ROOTS", RUNS)  # the handler remembers so many, and no more
    monkeypatch.setattr(recently_ended, "STEPS", RUNS)
    handler = LdAiHandler(config)

    def play(count: int) -> int:
        for position in range(count):
            play_run(handler, fails=fails)
            if position % 100 == 0:
                client.clear()
        handler.flush()
        client.clear()
        return allocated_bytes()

    rounds = [play(RUNS) for _ in range(6)]

    growth = [later - earlier for earlier, later in pairwise(rounds)]
    # A leak grows in every round, a table's spare room in some. A thread of an earlier test may allocate a little.
    assert min(growth) < RUNS + ELSEWHERE
    assert handler.open_runs == 0


def test_what_is_remembered_of_ended_runs_is_small(config: LdAiCompletionConfig, traced: None) -> None:
    """Of each ended run the ids of its root and its steps, in about a hundred bytes each; at first hardly any."""
    before = allocated_bytes()
    handler = LdAiHandler(config)

    def play(count: int) -> int:
        for _ in range(count):
            root, step = uuid4(), uuid4()
            handler.on_chain_start(None, {}, run_id=root, metadata={})
            handler.on_chain_start(None, {}, run_id=step, parent_run_id=root, metadata={})
            handler.on_chain_end({}, run_id=step)
            handler.on_chain_end({}, run_id=root)
        return allocated_bytes() - before

    assert play(1) < 16_384
    assert play(5_000) < 16_384 + 5_000 * 2 * 128


def play_step(handler: LdAiHandler, parent: UUID) -> UUID:
    """Play a step and return its id."""
    handler.on_chain_start(None, {}, run_id=(step := uuid4()), parent_run_id=parent, metadata={})
    handler.on_chain_end({}, run_id=step)
    return step


def play_task(handler: LdAiHandler, parent: UUID) -> UUID:
    """Play a task of LangGraph's; return its parent's id."""
    handler.on_chain_start(None, {}, run_id=(step := uuid4()), parent_run_id=parent, metadata=in_a_task())
    handler.on_chain_end({}, run_id=step)
    return parent


def play_retry(handler: LdAiHandler, parent: UUID) -> UUID:
    """Play a step that is attempted again; return its parent's id."""
    retrying, tags = uuid4(), ["retry:attempt:2"]
    handler.on_chain_start(None, {}, run_id=retrying, parent_run_id=parent, metadata={})
    handler.on_chain_start(None, {}, run_id=(step := uuid4()), parent_run_id=retrying, metadata={}, tags=tags)
    for each in (step, retrying):
        handler.on_chain_end({}, run_id=each)
    return parent


def play_interrupt(handler: LdAiHandler, parent: UUID) -> UUID:
    """Play a task that is interrupted, below a step that goes on; return its parent's id."""
    handler.on_chain_start(None, {}, run_id=(step := uuid4()), parent_run_id=parent, metadata=in_a_task())
    handler.on_chain_error(GraphInterrupt(), run_id=step)
    return parent


def in_a_task() -> dict[str, object]:
    """Return what LangGraph says of the step that begins a task (fact 56)."""
    return {"langgraph_node": "writer", "langgraph_checkpoint_ns": f"writer:{uuid4()}", "langgraph_step": 1}


@pytest.mark.parametrize("play", [play_step, play_task, play_retry, play_interrupt])
def test_an_endless_run_keeps_what_is_known_of_its_latest_steps(
    play: Callable[[LdAiHandler, UUID], UUID],
    config: LdAiCompletionConfig,
    monkeypatch: pytest.MonkeyPatch,
    traced: None,
) -> None:
    """What is forgotten stays in memory for nothing below it, however long the run becomes."""
    monkeypatch.setattr(lifetime, "STEPS_OF_RUN", 100)
    handler, parents = LdAiHandler(config), [uuid4()]
    handler.on_chain_start(None, {}, run_id=parents[0], metadata={})

    def play_all(count: int) -> int:
        for _ in range(count):
            parents.append(play(handler, parents.pop()))
        return allocated_bytes()

    before = play_all(1_000)

    assert play_all(2_000) - before < 2_000 * 16


def test_an_open_run_keeps_little_of_each_model_call_that_has_ended(
    config: LdAiCompletionConfig, traced: None
) -> None:
    """Its step, so that what starts below it is of the run, in less than half a kilobyte."""
    handler, root = LdAiHandler(config), uuid4()
    handler.on_chain_start(None, {}, run_id=root, metadata={})

    def play(count: int) -> int:
        for _ in range(count):
            call = uuid4()
            handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=root, metadata={})
            handler.on_llm_end(EMPTY, run_id=call)
        return allocated_bytes()

    before = play(1_000)

    assert play(4_000) - before < 4_000 * 450


def test_what_never_ends_below_ended_runs_stays_under_the_cap(
    config: LdAiCompletionConfig, monkeypatch: pytest.MonkeyPatch, traced: None
) -> None:
    """Of as many runs as may be open it is known what goes on below them, in a kilobyte each, and of no more."""
    monkeypatch.setattr(recently_ended, "ROOTS", CAP // 4)
    monkeypatch.setattr(recently_ended, "STEPS", CAP // 4)
    handler = LdAiHandler(config, max_open_runs=CAP)

    def play(count: int) -> int:
        for _ in range(count):
            root = uuid4()
            handler.on_chain_start(None, {}, run_id=root, metadata={})
            handler.on_chain_start(None, {}, run_id=uuid4(), parent_run_id=root, metadata={})
            handler.on_chain_end({}, run_id=root)
        return allocated_bytes()

    before, full = allocated_bytes(), play(2 * CAP)

    assert handler.open_runs == 0
    assert full - before < CAP * 2**10
    assert play(2 * CAP) - full < CAP * 2**6


def test_runs_that_never_end_stay_under_the_cap(
    config: LdAiCompletionConfig, client: RecordingClient, traced: None
) -> None:
    """However many runs are begun and left (1,000,000 in the nightly profile), those kept are at most the cap."""
    handler = LdAiHandler(config, max_open_runs=CAP)
    before = allocated_bytes()

    for position in range(STARTS):
        root = uuid4()
        handler.on_chain_start(None, {}, run_id=root, metadata={})
        handler.on_chat_model_start({}, [[]], run_id=uuid4(), parent_run_id=root, metadata={})
        if position % 100 == 0:
            client.clear()

    client.clear()
    assert handler.open_runs == CAP
    assert allocated_bytes() - before < 50 * 2**20

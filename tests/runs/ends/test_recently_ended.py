"""What a handler remembers of closed runs: ids of any kind, how many, and whatever Python collects meanwhile."""

from collections.abc import Iterator

import pytest

from langchain_ldai import LdAiHandler, RunReport
from langchain_ldai._runs import lifetime
from langchain_ldai._runs.recently_ended import RecentKeys
from langchain_ldai._runs.steps import Step
from tests.support.events import call_model, start_chain


@pytest.mark.parametrize("root", ["a root", 2**127, (-5,)], ids=["a text", "a number", "a tuple"])
def test_below_a_root_with_an_id_of_any_kind_no_late_run_opens(
    root: object, handler: LdAiHandler, reports: list[RunReport]
) -> None:
    """LangChain's ids are UUIDs; a program that plays events may use others."""
    handler.on_chain_start(None, {}, run_id=root, metadata={})
    handler.on_chain_start(None, {}, run_id=(step := f"a step of {root}"), parent_run_id=root, metadata={})
    handler.on_chain_end({}, run_id=root)
    handler.on_chain_end({}, run_id=step)

    call_model(handler, root)
    call_model(handler, step)

    assert reports == []
    assert handler.open_runs == 0


class Interrupted(list[int]):
    """Ids; while they are added, Python collects, and so ends, another run."""

    def __init__(self, ids: list[int], known: RecentKeys, others: list[int]) -> None:
        super().__init__(ids)
        self._known = known
        self._others = others

    def __iter__(self) -> Iterator[int]:
        for position, each in enumerate(super().__iter__()):
            if position == 1:
                self._known.add(self._others, 2)
            yield each


@pytest.mark.parametrize("count", [1, 3, 4, 1_000])
def test_the_latest_keys_are_known_and_at_most_a_quarter_more(count: int) -> None:
    """Whatever their number is, and however they come."""
    known = RecentKeys(count)

    for key in range(10 * count):
        known.add([key], -1)

    latest = [key for key in range(10 * count) if known.root_of(key) is not None]
    assert latest == list(range(10 * count - len(latest), 10 * count))
    assert count <= len(latest) <= count + -(-count // 4) + 3  # each of the four parts is rounded up


@pytest.mark.parametrize("before", [0, 246, 247, 248, 249, 250, 499])
@pytest.mark.parametrize("others", [1, 2, 3, 300])
def test_a_run_that_ends_while_another_is_remembered_is_remembered_too(before: int, others: int) -> None:
    """However much room there is for both."""
    known = RecentKeys(1_000)
    known.add(list(range(10_000, 10_000 + before)), 3)
    ids, late = [1, 2, 3], list(range(100, 100 + others))

    known.add(Interrupted(ids, known, late), 1)

    assert [known.root_of(each) for each in ids] == [1] * 3
    assert [known.root_of(each) for each in late] == [2] * others


def test_a_long_run_may_end_while_its_oldest_steps_are_forgotten(
    handler: LdAiHandler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Python may collect the run's stream at any line, and nothing is logged of it."""
    monkeypatch.setattr(lifetime, "STEPS_OF_RUN", 10)
    root, lineage = start_chain(handler), Step.lineage

    def end_root(step: Step) -> list[Step]:
        handler.on_chain_end({}, run_id=root)
        return lineage(step)

    monkeypatch.setattr(Step, "lineage", end_root)
    for _ in range(20):
        handler.on_chain_end({}, run_id=start_chain(handler, root))

    assert handler.open_runs == 0
    assert caplog.records == []

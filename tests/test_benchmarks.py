"""The benchmark works: every case yields a figure for each arm, and what is absent is named."""

import asyncio
import gc
import json
from collections.abc import Generator

import pytest

from tests.support.observe import HAS_V3

if not HAS_V3:
    pytest.skip("the benchmark is of LangChain 1", allow_module_level=True)

from benchmarks.arms import EVENTS, FLOOR, NO_OP, NONE, OURS, OWN, SPANS, SPANS_OFF, Delivery, shared
from benchmarks.bytecodes import WITH_CONTENT, added
from benchmarks.cases import Size, all_cases
from benchmarks.measure import Arm, Case, Sample, figure, measure, recorded, rotated, summary
from benchmarks.peers import ABSENT, PEERS, Peer
from benchmarks.report import MAKE_SPANS, Results, details, markdown, show_on_page, targets, times, write
from benchmarks.suite import make_arms, run

TINY = Size(rounds=1, blocks=0, chunks=5, nodes=3, parallel=3, calls=2, most=10, held=3, imports=1)
CASES = ["invoke", "ainvoke", "stream", "astream", "v3", "agent", "graph-3", "batch-3", "concurrent-3"]

pytestmark = pytest.mark.filterwarnings("ignore:.*(is in beta|is experimental)")


@pytest.fixture(scope="module")
def results() -> Results:
    """Those of everything, in one round of next to nothing."""
    return run(TINY, lambda name: None, arms=[NONE])


@pytest.fixture(autouse=True)
def thaw() -> Generator[None]:
    """Let the garbage collector see again what a measurement has set aside."""
    yield
    gc.unfreeze()


@pytest.fixture
def delivery() -> Generator[Delivery]:
    """A client with a LaunchDarkly on this machine."""
    with Delivery() as delivery:
        yield delivery


@pytest.fixture
def cases(delivery: Delivery) -> Generator[list[Case]]:
    """Every case, of next to nothing."""
    with asyncio.Runner() as runner:
        yield all_cases(TINY, runner, delivery)


def one(block: object, blocks: int = 1, units: int = 1, base: object = None) -> Case:
    """Return a case of this block."""
    return Case("x", "run", units, blocks, block, base)


def case_of(floor: float, ours: float, peer: float, unit: str = "run", sent: int = 1) -> Results:
    """Return a case's results, in which a peer records so many things."""
    arms = {NO_OP: (0.0, 0), FLOOR: (floor, 6), OURS: (ours, 6), "langfuse": (peer, sent)}
    figures = {
        name: {"added_cpu_us": {"median": cpu, "low": cpu - 1, "high": cpu + 1}, "recorded": count}
        for name, (cpu, count) in arms.items()
    }
    return {"unit": unit, "blocks": 3, "arms": figures}


def test_arms_are_compared_block_by_block():
    """A machine that slows down between two blocks does not count."""
    taken = summary(
        [(Sample(ours, 10 * ours), Sample(base, 10 * base)) for ours, base in [(110, 100), (1010, 1000)]]
    )

    assert taken["cpu_us"] == {"median": 560, "low": 110, "high": 1010}
    assert taken["added_cpu_us"] == {"median": 10, "low": 10, "high": 10}
    assert taken["added_wall_us"] == {"median": 100, "low": 100, "high": 100}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7], (7, 7, 7)),
        ([1, 3], (2, 1, 3)),
        ([5, 1, 1000, 2, 3], (3, 1, 1000)),
        (range(1, 101), (50.5, 40, 61)),  # as in tables of the sign test
        ([*range(1, 100), 10**6], (50.5, 40, 61)),
    ],
)
def test_a_figure_is_the_median_and_the_interval_it_lies_in(values, expected):
    """An outlier moves neither; of a few values the interval takes in all."""
    assert tuple(figure(values).values()) == expected


def test_rounds_begin_with_each_arm_in_turn():
    """No arm is always the first, or always after the same."""
    assert ["".join(rotated("abc", number)) for number in range(6)] == ["abc", "acb", "cab", "cba", "bca", "bac"]


def test_each_arms_blocks_alternate_with_the_baselines():
    """A block is compared with one that ran right before it, or right after it, in turn; nothing else is timed."""
    log = []
    arms = [
        Arm(name, lambda name=name: log.append(name), settle=lambda name=name: log.append(name.upper()))
        for name in "nab"
    ]

    taken = measure(one(lambda callbacks: callbacks(), blocks=2), arms, arms[0], 2)

    assert "".join(log) == "nnNannaANbnnbBN" + "nnNnbbnBNnaanAN"
    assert {name: len(pairs) for name, pairs in taken.items()} == {"n": 4, "a": 4, "b": 4}


def test_each_block_is_a_sample(monkeypatch):
    """A block that was interrupted is one of many, and not a part of a mean."""
    takes = [Sample(100, 1), Sample(200, 2), Sample(600, 6)]
    each = iter(takes)
    monkeypatch.setattr("benchmarks.measure.timed", lambda block, callbacks: next(each))
    arm = Arm("a", shared())

    taken = measure(one("block", blocks=3), [arm], arm, 1)

    assert taken == {"a": [(sample, sample) for sample in takes]}


def test_no_garbage_is_collected_within_a_block():
    """What one block leaves is collected before the next, and the collector is on again afterwards."""
    seen, arm = [], Arm("a", shared())

    def block(callbacks: object) -> None:
        circle: list[object] = []
        circle.append(circle)
        seen.append((gc.isenabled(), gc.get_count()[0] < 50))

    measure(one(block, blocks=3), [arm], arm, 1)

    assert seen == [(False, True)] * 3
    assert gc.isenabled()


def test_a_cost_is_per_unit_and_beyond_the_base(monkeypatch):
    """A shorter stream is subtracted, and the rest is shared by the tokens."""
    takes, arm = {"many": Sample(1100, 2100), "one": Sample(100, 100)}, Arm("a", shared())
    monkeypatch.setattr("benchmarks.measure.timed", lambda block, callbacks: takes[block])

    taken = measure(one("many", units=10, base="one"), [arm], arm, 1)

    assert taken == {"a": [(Sample(100, 200), Sample(100, 200))]}


def test_what_is_measured_is_warmed_up():
    """The first run of a block, and of what is subtracted from it, takes longer; it is counted, and not timed."""
    log = []
    arm = Arm("a", lambda: log.append, recorded=lambda: log.count("block"))
    case = one(lambda callbacks: callbacks()("block"), base=lambda callbacks: callbacks()("base"))

    assert recorded(case, arm) == 1
    assert sorted(log) == ["base", "block"]


def test_every_case_has_a_figure_for_each_arm(results):
    """None is left out."""
    assert list(results["cases"]) == CASES
    for case in results["cases"].values():
        assert list(case["arms"]) == [arm for arm in (NONE, NO_OP, *OWN) if arm != EVENTS or case["unit"] == "run"]
        for taken in case["arms"].values():
            assert all(set(taken[clock]) == {"median", "low", "high"} for clock in ("cpu_us", "added_wall_us"))
        assert case["arms"][NO_OP]["added_cpu_us"] == {"median": 0, "low": 0, "high": 0}
        assert case["arms"][OURS]["recorded"] == case["arms"][SPANS_OFF]["recorded"] > 0
        assert case["arms"][SPANS]["recorded"] > 0
        assert case["arms"][FLOOR]["recorded"] % 6 == 0
        assert case["arms"].get(EVENTS, case["arms"][OURS])["recorded"] == case["arms"][OURS]["recorded"]


def test_the_other_sections_have_a_figure_for_each_row(results):
    """Tokens, calls, growth, memory and imports."""
    assert {section: list(figures) for section, figures in results["ours"].items()} == {
        "tokens": ["stream", "astream", "v3"],
        "calls": ["completion_config", "token encode", "token decode"],
        "open": ["1", "10"],
        "depth": ["1", "10"],
        "chunks": ["10"],
    }
    assert set(results["memory"]) == set(OWN)
    assert results["imports"]["ms"]["langchain_ldai"]["median"] > 0
    assert results["imports"]["unwanted_modules"] == []


def test_peers_that_are_not_installed_are_named(results, tmp_path):
    """In the results, and in the table."""
    write(results, tmp_path)

    assert "langfuse" in ABSENT
    assert results["absent"] == json.loads((tmp_path / "results.json").read_text("utf-8"))["absent"] == ABSENT
    assert f"not installed: {', '.join(ABSENT)}" in (tmp_path / "results.md").read_text("utf-8")
    assert markdown(results).count("| ") > len(CASES)


def test_every_section_is_printed(results):
    """Each has a table, and so have the targets."""
    assert details(results).count("|---|") == len(results["ours"]) + 3


def test_a_peer_records_in_every_case(delivery, cases):
    """LangSmith's, which LangChain always installs; no handler that is switched off is measured."""
    *_, peer = make_arms(delivery, cases[0], ["langsmith"])

    assert all(recorded(case, peer) for case in cases if case.section == "cases")


def test_a_peer_that_records_nothing_is_an_error(delivery, cases, monkeypatch):
    """It is not measured as if it cost nothing."""
    off = Peer("langsmith", lambda delivery: (shared(), lambda: 0, lambda: None))
    monkeypatch.setitem(PEERS, "langsmith", off)

    with pytest.raises(RuntimeError, match="langsmith records nothing"):
        make_arms(delivery, cases[0], ["langsmith"])


def test_an_unknown_name_is_an_error(delivery, cases):
    """Of an arm as of a case; it is not left out in silence."""
    with pytest.raises(ValueError, match="unknown: phoenix"):
        make_arms(delivery, cases[0], ["phoenix"])
    with pytest.raises(ValueError, match="unknown: walk"):
        run(TINY, lambda name: None, ["walk"])


@pytest.mark.parametrize(
    ("case", "met"),
    [
        (case_of(100, 125, 700), [True, True, True]),
        (case_of(100, 126, 600), [False, True, False]),
        (case_of(100, 120, 110), [True, False, False]),
        (case_of(100, 120, 0, sent=0), [True]),
    ],
)
def test_targets_are_met_or_missed(case, met):
    """Beside the floor, below the peers, and far below some; a peer that records nothing is none."""
    found = targets({"cases": {"invoke": case}, "ours": {}})

    assert [reached for *_, reached in found] == met


def test_spans_are_compared_with_packages_that_make_spans():
    """Ours with spans costs less than theirs, or nothing."""
    case = case_of(100, 120, 700)
    figures = case["arms"]
    figures[SPANS], figures["openllmetry"], figures["openinference"] = (
        figures[name] for name in (OURS, FLOOR, "langfuse")
    )

    found = {text: met for text, _, met in targets({"cases": {"agent": case}, "ours": {}})}

    assert found["agent, µs: with spans= below openllmetry"] is False
    assert found["agent, µs: with spans= below openinference"] is True


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # OpenInference's
def test_spans_take_fewer_bytecodes_than_those_of_other_packages():
    """In each case ours costs less, also with content, than OpenInference and OpenLLMetry, which capture it."""
    counts = added(TINY, MAKE_SPANS)

    assert list(counts) == ["invoke", "ainvoke", "agent", "graph-3"]
    for case in counts.values():
        theirs = min(case[name] for name in MAKE_SPANS)
        assert case[OURS] < case[SPANS] < case[WITH_CONTENT] < theirs


def test_there_is_no_ratio_to_nothing():
    """Neither to a cost that may be 0, nor of tokens, which cost next to nothing."""
    assert times(case_of(0.5, 5, 9), OURS, FLOOR) is None
    assert times(case_of(1, 5, 9, unit="token"), OURS, FLOOR) is None
    assert times(case_of(2, 5, 9), OURS, FLOOR) == 2.5


def test_the_table_gives_no_median_of_noise():
    """Where there may be no cost it says so, and nothing is divided by it."""
    names = {"cases": {"invoke": case_of(0.5, 5, 9)}, "arms": [NO_OP, FLOOR, OURS, "langfuse"], "absent": []}
    results = {**names, "ours": {}, "rounds": 1, "versions": {}, "machine": {"cpu": "one", "cores": 1}}

    assert "| invoke, per run | n/s | 5.00 | 9.00 (1.80 x) |" in markdown(results)


def test_the_figures_replace_those_between_the_marks(results, tmp_path):
    """The page shows the last figures, once, and keeps what is around them."""
    page = tmp_path / "costs.md"
    page.write_text("before\n<!-- make bench writes what follows -->\nold\n<!-- to here -->\nafter\n", "utf-8")

    show_on_page(results, page)
    show_on_page(results, page)

    text = page.read_text("utf-8")
    assert text.count(markdown(results)) == 1
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")


def test_a_page_without_a_place_is_left_as_it_is(results, tmp_path):
    """Figures that have no place are an error, and nothing is written."""
    page = tmp_path / "costs.md"
    page.write_text("before\n", "utf-8")

    with pytest.raises(ValueError, match="no place"):
        show_on_page(results, page)

    assert page.read_text("utf-8") == "before\n"

"""The benchmark works: every case yields a figure for each arm, and what is absent is named."""

import gc
import json
from collections.abc import Generator

import pytest
from rich.console import Console

from tests.facts.watching import HAS_V3

if not HAS_V3:
    pytest.skip("the benchmark is of LangChain 1", allow_module_level=True)

from benchmarks import peers
from benchmarks.arms import EVENTS, FLOOR, NO_OP, NONE, OURS, Arm, shared
from benchmarks.cases import Loop, Size, all_cases
from benchmarks.delivery import Delivery
from benchmarks.growth import Extent
from benchmarks.measure import Case, Figure, Sample, added, beside, measure, recorded, rotated
from benchmarks.report import markdown, show, show_in_readme, write
from benchmarks.suite import ALWAYS, Options, Results, make_arms, run
from benchmarks.targets import targets, times

TINY = Size(chains=1, chunks=5, nodes=3, parallel=3, blocks=1, graphs=1, streams=1, crowds=1)
NEAR = Extent(open_runs=(1, 10), depths=(1, 5), chunks=(2, 5), runs=1, blocks=1)
CASES = ["invoke", "ainvoke", "stream", "astream", "v3", "agent", "graph-3", "batch-3", "concurrent-3"]

pytestmark = pytest.mark.filterwarnings("ignore:.*(is in beta|is experimental)")


@pytest.fixture(scope="module")
def results() -> Results:
    """Those of everything, in one round of next to nothing."""
    options = Options(1, arms=(NONE,), size=TINY, extent=NEAR, calls=2, open_runs=3, imports=1)
    return run(options, lambda name: None)


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


def samples(**cpu: list[float]) -> dict[str, list[Sample]]:
    """Return samples of so much CPU, and of ten times as much wall."""
    return {arm: [Sample(each, 10 * each) for each in taken] for arm, taken in cpu.items()}


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
    taken = samples(ours=[110, 220, 1010], base=[100, 200, 1000])

    assert added(taken, "ours", "base", "cpu") == [10, 20, 10]
    assert added(taken, "ours", "base", "wall") == [100, 200, 100]


def test_arms_with_unlike_blocks_are_not_compared():
    """A block that is lacking is no difference of 0."""
    with pytest.raises(ValueError, match="zip"):
        added(samples(ours=[1, 2], base=[1]), "ours", "base", "cpu")


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
    figure = Figure.of(values)

    assert (figure.median, figure.low, figure.high) == expected


def test_rounds_begin_with_each_arm_in_turn():
    """No arm is always the first, or always after the same."""
    assert ["".join(rotated("abc", number)) for number in range(6)] == ["abc", "acb", "cab", "cba", "bca", "bac"]


def test_rounds_are_interleaved_and_delivered_after_an_arms_blocks():
    """Each round has every arm once, and what is delivered is not timed."""
    log = []
    arms = [Arm(name, lambda name=name: log.append(name), settle=lambda: log.append(".")) for name in "ab"]

    taken = measure(Case("x", "run", 1, lambda callbacks: callbacks(), blocks=3), arms, 2)

    assert "".join(log) == "aaa.bbb.aaa.bbb."
    assert {name: len(each) for name, each in taken.items()} == {"a": 6, "b": 6}


def test_each_arms_blocks_alternate_with_the_no_ops():
    """What a block is compared with ran right before it, or right after it, in turn."""
    log = []
    arms = [Arm(name, lambda name=name: log.append(name[0])) for name in (NO_OP, "a", "b")]

    taken = measure(Case("x", "run", 1, lambda callbacks: callbacks(), blocks=2), arms, 2)

    assert "".join(log) == "nnnaannbbnnnbnnbanna"
    assert {name: len(each) for name, each in taken.items()} == dict.fromkeys(
        (NO_OP, "a", "b", beside("a"), beside("b")), 4
    )


def test_each_block_is_a_sample(monkeypatch):
    """A block that was interrupted is one of many, and not a part of a mean."""
    takes = [Sample(100, 1), Sample(200, 2), Sample(600, 6)]
    each = iter(takes)
    monkeypatch.setattr("benchmarks.measure.timed", lambda block, callbacks: next(each))

    taken = measure(Case("x", "run", 1, "block", blocks=3), [Arm("a", shared())], 1)

    assert taken == {"a": takes}


def test_no_garbage_is_collected_within_a_block():
    """What one block leaves is collected before the next, and the collector is on again afterwards."""
    seen = []

    def block(callbacks: object) -> None:
        circle: list[object] = []
        circle.append(circle)
        seen.append((gc.isenabled(), gc.get_count()[0] < 50))

    measure(Case("x", "run", 1, block, blocks=3), [Arm("a", shared())], 1)

    assert seen == [(False, True)] * 3
    assert gc.isenabled()


def test_a_cost_is_per_unit_and_beyond_the_base(monkeypatch):
    """A shorter stream is subtracted, and the rest is shared by the tokens."""
    takes = {"many": Sample(1100, 2100), "one": Sample(100, 100)}
    monkeypatch.setattr("benchmarks.measure.timed", lambda block, callbacks: takes[block])

    taken = measure(Case("x", "token", 10, "many", "one"), [Arm("a", shared())], 1)

    assert taken == {"a": [Sample(100, 200)]}


def test_every_case_has_a_figure_for_each_arm(results):
    """None is left out."""
    assert list(results["cases"]) == CASES
    for case in results["cases"].values():
        assert list(case["arms"]) == [arm for arm in (NONE, *ALWAYS) if arm != EVENTS or case["unit"] == "run"]
        for taken in case["arms"].values():
            assert all(set(taken[clock]) == {"median", "low", "high"} for clock in ("cpu_us", "added_wall_us"))
        assert case["arms"][NO_OP]["added_cpu_us"] == {"median": 0, "low": 0, "high": 0}
        assert case["arms"][OURS]["recorded"] > 0
        assert case["arms"][FLOOR]["recorded"] % 6 == 0
        assert case["arms"].get(EVENTS, case["arms"][OURS])["recorded"] == case["arms"][OURS]["recorded"]


def test_the_other_sections_have_a_figure_for_each_row(results):
    """Calls, memory, imports and growth."""
    assert list(results["calls"]) == ["completion_config", "token encode", "token decode"]
    assert set(results["memory"]) == {FLOOR, EVENTS, OURS}
    assert [list(rows) for rows in results["growth"].values()] == [["1", "10"], ["1", "5"], ["2", "5"]]
    assert results["imports"]["ours_ms"]["median"] > 0
    assert results["imports"]["unwanted_modules"] == []


def test_peers_that_are_not_installed_are_named(results, tmp_path):
    """In the results, and in both tables."""
    absent = [peer.name for peer in peers.PEERS if peer.version is None]
    console = Console(record=True, quiet=True)
    show(results, console)
    write(results, tmp_path)

    assert "langfuse" in absent
    assert results["absent"] == json.loads((tmp_path / "results.json").read_text())["absent"] == absent
    assert f"not installed: {', '.join(absent)}" in (tmp_path / "results.md").read_text()
    assert markdown(results).count("| ") > len(CASES)


def test_a_peer_records_in_every_case(delivery):
    """LangSmith's, which LangChain always installs; no handler that is switched off is measured."""
    with Loop() as loop:
        *_, peer = make_arms(delivery, ["langsmith"])
        assert all(recorded(case, peer) for case in all_cases(loop, TINY))


def test_a_peer_that_records_nothing_is_an_error(delivery, monkeypatch):
    """It is not measured as if it cost nothing."""
    off = Arm("langsmith", shared(), lambda: 0)
    monkeypatch.setattr(peers.Peer, "make", lambda peer, delivery: off)

    with pytest.raises(RuntimeError, match="langsmith records nothing"):
        make_arms(delivery, ["langsmith"])


def test_an_unknown_name_is_an_error(delivery):
    """Of an arm as of a case; it is not left out in silence."""
    with pytest.raises(ValueError, match="unknown: phoenix"):
        make_arms(delivery, ["phoenix"])


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
    found = targets({"cases": {"invoke": case}})

    assert [target.met for target in found] == met


def test_there_is_no_ratio_to_nothing():
    """Neither to a cost of less than 0, nor of tokens, which cost next to nothing."""
    assert times(case_of(-1, 5, 9), OURS, FLOOR) is None
    assert times(case_of(1, 5, 9, unit="token"), OURS, FLOOR) is None
    assert times(case_of(2, 5, 9), OURS, FLOOR) == 2.5


def test_the_table_gives_no_median_of_noise():
    """Where there may be no cost the interval's upper end stands for it, and nothing is divided by it."""
    names = {"cases": {"invoke": case_of(0.5, 5, 9)}, "arms": [NO_OP, FLOOR, OURS, "langfuse"], "absent": []}
    results = {**names, "rounds": 1, "versions": {}, "machine": {"cpu": "one", "cores": 1}}

    assert "| invoke, per run | < 1.50 | 5.00 | 9.00 (1.80 x) |" in markdown(results)


def test_the_figures_replace_those_between_the_marks(results, tmp_path):
    """README shows the last figures, once, and keeps what is around them."""
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- make bench writes what follows -->\nold\n<!-- to here -->\nafter\n", "utf-8")

    show_in_readme(results, readme)
    show_in_readme(results, readme)

    text = readme.read_text("utf-8")
    assert text.count(markdown(results)) == 1
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")


def test_a_readme_without_a_place_is_left_as_it_is(results, tmp_path):
    """Figures that have no place are an error, and nothing is written."""
    readme = tmp_path / "README.md"
    readme.write_text("before\n", "utf-8")

    with pytest.raises(ValueError, match="no place"):
        show_in_readme(results, readme)

    assert readme.read_text("utf-8") == "before\n"

"""Whether the cost of a run grows with other open runs, of a step with the depth, of a token with the stream."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.arms import OURS, Arm, Callbacks, no_op, sending, shared
from benchmarks.callbacks import in_turn, nested, opened
from benchmarks.cases import read_stream, stream_case
from benchmarks.delivery import Delivery
from benchmarks.measure import Case, Figure, added, beside, measure
from langchain_ldai import LdAiHandler

Growth = dict[str, dict[str, float]]
_STEPS = 200
_TOKENS = 1000


@dataclass(frozen=True, slots=True)
class Extent:
    """How far each grows.

    Args:
        open_runs: How many other runs are open.
        depths: How many chains are nested.
        chunks: How many chunks are streamed.
        runs: How many runs are in a block.
        blocks: How many blocks are in a round.
    """

    open_runs: Sequence[int] = (1, 10, 100, 1_000, 10_000)
    depths: Sequence[int] = (1, 10, 50, 100, 200)
    chunks: Sequence[int] = (10, 100, 1_000, 10_000)
    runs: int = 20
    blocks: int = 20


def _with_open(delivery: Delivery, extent: Extent, rounds: int) -> Growth:
    most = max(extent.open_runs)
    handlers = {count: LdAiHandler(delivery.config, max_open_runs=2 * most) for count in extent.open_runs}
    runs = {count: opened(shared(handler), count) for count, handler in handlers.items()}
    arms = [sending(str(count), handler, delivery) for count, handler in handlers.items()]
    count = extent.runs  # made of callbacks alone: what a chain does beside them only blurs the difference
    case = Case("run", "run", count, lambda callbacks: in_turn(callbacks, count), None, extent.blocks)
    samples = measure(case, [no_op(), *arms], rounds)
    assert all(handlers[count].open_runs >= len(runs[count]) for count in handlers)
    return {arm.name: Figure.of(added(samples, arm.name, beside(arm.name), "cpu")).to_json() for arm in arms}


def ours_alone(delivery: Delivery) -> list[Arm]:
    """Return the arms of our own handler and of the one that does nothing."""
    return [no_op(), sending(OURS, LdAiHandler(delivery.config), delivery)]


def added_by_case(cases: Iterable[Case], arms: Sequence[Arm], rounds: int) -> dict[str, dict[str, float]]:
    """Return by the name of each case how many microseconds of CPU ours adds in it."""
    figures = {
        case.name: Figure.of(added(measure(case, arms, rounds), OURS, beside(OURS), "cpu")) for case in cases
    }
    return {name: figure.to_json() for name, figure in figures.items()}


def _nested_case(depth: int, blocks: int) -> Case:
    times = max(1, _STEPS // depth)

    def block(callbacks: Callbacks) -> None:
        for _ in range(times):
            nested(callbacks, depth)

    return Case(str(depth), "step", depth * times, block, None, blocks)


def measure_growth(delivery: Delivery, extent: Extent, rounds: int) -> dict[str, Growth]:
    """Return the added microseconds per run, step and token, each by how many there are."""
    arms, blocks = ours_alone(delivery), extent.blocks
    depths = [_nested_case(depth, blocks) for depth in extent.depths]
    chunks = [
        stream_case(str(count), read_stream, count, max(1, _TOKENS // count), blocks) for count in extent.chunks
    ]
    return {
        "run, by other runs open": _with_open(delivery, extent, rounds),
        "step, by depth": added_by_case(depths, arms, rounds),
        "token, by chunks": added_by_case(chunks, arms, rounds),
    }

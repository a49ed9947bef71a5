"""What single calls take: an AI Config's evaluation, and a resumption token's way there and back."""

from collections.abc import Callable

from benchmarks.arms import OURS, Arm, Callbacks, shared
from benchmarks.delivery import CONFIG_KEY, CONTEXT, Delivery
from benchmarks.measure import Block, Case, Figure, measure
from langchain_ldai.resumption import decode, encode


def _repeated(call: Callable[[], object], times: int) -> Block:
    def block(callbacks: Callbacks) -> None:
        for _ in range(times):
            call()

    return block


def measure_calls(delivery: Delivery, times: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return the microseconds of CPU of each call, by its name; a block makes it so many times."""
    tracker = delivery.config.create_tracker()
    identity, token, variables = tracker.identity, tracker.resumption_token, {"product": "the kettle"}
    calls = {
        "completion_config": lambda: delivery.ai.completion_config(CONFIG_KEY, CONTEXT, variables=variables),
        "token encode": lambda: encode(identity),
        "token decode": lambda: decode(token),
    }
    arm, figures = Arm(OURS, shared(), settle=delivery.settle), {}
    for name, call in calls.items():
        samples = measure(Case(name, "call", times, _repeated(call, times)), [arm], rounds)
        figures[name] = Figure.of(sample.cpu for sample in samples[OURS]).to_json()
    return figures

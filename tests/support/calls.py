"""The ways to call a runnable, sync and async, so that one test states a rule for them all."""

import inspect
from collections.abc import Callable
from typing import Final

import pytest
from langchain_core.runnables import Runnable, RunnableConfig

Call = Callable[[Runnable, object, RunnableConfig], object]


async def _astream(runnable: Runnable, value: object, config: RunnableConfig) -> list[object]:
    return [chunk async for chunk in runnable.astream(value, config)]


INVOKED: Final[dict[str, Call]] = {
    "invoke": lambda runnable, value, config: runnable.invoke(value, config),
    "ainvoke": lambda runnable, value, config: runnable.ainvoke(value, config),
}
STREAMED: Final[dict[str, Call]] = {
    "stream": lambda runnable, value, config: list(runnable.stream(value, config)),
    "astream": _astream,
}
BATCHED: Final[dict[str, Call]] = {
    "batch": lambda runnable, value, config: runnable.batch([value] * 3, config),
    "abatch": lambda runnable, value, config: runnable.abatch([value] * 3, config),
}


def each(calls: dict[str, Call]) -> pytest.MarkDecorator:
    """Run a test once for each of the calls."""
    return pytest.mark.parametrize("call", calls.values(), ids=calls)


async def run(call: Call, runnable: Runnable, value: object, config: RunnableConfig) -> object:
    """Call a runnable and wait for its result."""
    result = call(runnable, value, config)
    return await result if inspect.isawaitable(result) else result

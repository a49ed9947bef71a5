"""What is run with every arm: chains, streams, an agent, a graph, and many runs at once."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph

from benchmarks.arms import Callbacks
from benchmarks.measure import Block, Case
from benchmarks.model import InstantChat, calling, streaming

QUESTION: Final = {"question": "How do I switch it off?"}
AGENT_INPUT: Final = {"messages": [("user", "How do I switch it off?")]}
TOOL_CALLS: Final = 2

Use = Callable[[RunnableConfig], object]
AsyncUse = Callable[[RunnableConfig], Coroutine[Any, Any, object]]


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is in a block, and how many blocks in a round.

    Args:
        chains: Runs of a chain, one after the other, in each of `blocks` blocks.
        chunks: Chunks of a stream whose cost is told from that of one twice as long.
        nodes: Nodes of a graph.
        parallel: Runs at once.
        blocks: Blocks of chains, or of one agent's run.
        graphs: Blocks of one graph's run.
        streams: Blocks of one stream of each length.
        crowds: Blocks of `parallel` runs.
    """

    chains: int = 5
    chunks: int = 1000
    nodes: int = 50
    parallel: int = 100
    blocks: int = 30
    graphs: int = 15
    streams: int = 4
    crowds: int = 4


@tool
def look_up() -> str:
    """Look the answer up."""
    return "found"


class State(TypedDict):
    """What the graph's nodes pass on."""

    steps: int


def chain() -> Runnable:
    """Return a prompt, a model and a parser."""
    return ChatPromptTemplate.from_messages([("user", "{question}")]) | InstantChat() | StrOutputParser()


def graph(nodes: int) -> Runnable:
    """Return a graph of so many nodes, one after the other, the first of which calls a model."""
    model = InstantChat()

    def ask(state: State, config: RunnableConfig) -> State:
        model.invoke("How?", config)
        return {"steps": 0}

    def step(state: State) -> State:
        return {"steps": state["steps"] + 1}

    builder = StateGraph(State)
    for number in range(nodes):
        builder.add_node(f"node-{number}", step if number else ask)
    builder.add_edge(START, "node-0")
    for number in range(1, nodes):
        builder.add_edge(f"node-{number - 1}", f"node-{number}")
    return builder.compile()


def _config(callbacks: Callbacks) -> RunnableConfig:
    return {"callbacks": callbacks(), "recursion_limit": 1000}


def repeated(use: Use, times: int) -> Block:
    """Return a block that does something so many times, one after the other."""

    def block(callbacks: Callbacks) -> None:
        for _ in range(times):
            use(_config(callbacks))

    return block


class Loop:
    """An event loop that stays, so that none is made in what is timed; for a `with` block."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def __enter__(self) -> "Loop":
        self._runner.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._runner.__exit__(*error)

    def repeated(self, use: AsyncUse, times: int) -> Block:
        """Return a block that awaits something so many times, one after the other."""

        async def await_each(callbacks: Callbacks) -> None:
            for _ in range(times):
                await use(_config(callbacks))

        return self.once(await_each)

    def gathered(self, use: AsyncUse, times: int) -> Block:
        """Return a block that awaits something so many times at once."""

        async def await_all(callbacks: Callbacks) -> None:
            await asyncio.gather(*(use(_config(callbacks)) for _ in range(times)))

        return self.once(await_all)

    def once(self, run: Callable[[Callbacks], Coroutine[Any, Any, None]]) -> Block:
        """Return a block that awaits what a function of the handlers returns."""
        return lambda callbacks: self._runner.run(run(callbacks), context=copy_context())


def read_stream(model: Runnable, config: RunnableConfig) -> None:
    """Read a stream to its end."""
    for _ in model.stream("How?", config):
        pass


async def read_astream(model: Runnable, config: RunnableConfig) -> None:
    """Read an asynchronous stream to its end."""
    async for _ in model.astream("How?", config):
        pass


def read_v3(model: Runnable, config: RunnableConfig) -> None:
    """Read the events of the v3 protocol to their end."""
    for _ in model.stream_events("How?", config, version="v3"):
        pass


def stream_case(
    name: str,
    read: Callable[[Runnable, RunnableConfig], object],
    chunks: int,
    times: int = 1,
    blocks: int = 1,
) -> Case:
    """Return a case of a stream's tokens after so many, read synchronously, so many times in a block.

    A stream of twice as many chunks is compared with one of so many: what a stream costs but for its tokens
    depends on what ran before it, and is the same in both.
    """
    models = streaming(2 * chunks), streaming(chunks)
    block, base = (repeated(lambda config, model=model: read(model, config), times) for model in models)
    return Case(name, "token", chunks * times, block, base, blocks)


def invoke_case(times: int, blocks: int = 1) -> Case:
    """Return the case of a chain that is invoked so many times in a block."""
    steps = chain()
    return Case(
        "invoke", "run", times, repeated(lambda config: steps.invoke(QUESTION, config), times), None, blocks
    )


def _astream_case(loop: Loop, chunks: int, blocks: int) -> Case:
    models = streaming(2 * chunks), streaming(chunks)
    block, base = (loop.repeated(lambda config, model=model: read_astream(model, config), 1) for model in models)
    return Case("astream", "token", chunks, block, base, blocks)


def token_cases(loop: Loop, chunks: int, blocks: int) -> list[Case]:
    """Return the cases of a stream's tokens after so many, see `stream_case`."""
    return [
        stream_case("stream", read_stream, chunks, blocks=blocks),
        _astream_case(loop, chunks, blocks),
        stream_case("v3", read_v3, chunks, blocks=blocks),
    ]


def _agent_case(blocks: int) -> Case:
    agent = create_agent(calling("look_up", TOOL_CALLS), [look_up])
    return Case("agent", "run", 1, repeated(lambda config: agent.invoke(AGENT_INPUT, config), 1), None, blocks)


def _graph_case(nodes: int, blocks: int) -> Case:
    steps = graph(nodes)
    block = repeated(lambda config: steps.invoke({"steps": 0}, config), 1)
    return Case(f"graph-{nodes}", "run", 1, block, None, blocks)


def _batch_case(parallel: int, blocks: int) -> Case:
    steps, inputs = chain(), [QUESTION] * parallel

    def block(callbacks: Callbacks) -> None:
        steps.batch(inputs, [_config(callbacks) for _ in inputs])

    return Case(f"batch-{parallel}", "run", parallel, block, None, blocks)


def all_cases(loop: Loop, size: Size) -> list[Case]:
    """Return every case."""
    steps, parallel = chain(), size.parallel

    def ainvoke(config: RunnableConfig) -> Coroutine[Any, Any, object]:
        return steps.ainvoke(QUESTION, config)

    return [
        invoke_case(size.chains, size.blocks),
        Case("ainvoke", "run", size.chains, loop.repeated(ainvoke, size.chains), None, size.blocks),
        *token_cases(loop, size.chunks, size.streams),
        _agent_case(size.blocks),
        _graph_case(size.nodes, size.graphs),
        _batch_case(parallel, size.crowds),
        Case(f"concurrent-{parallel}", "run", parallel, loop.gathered(ainvoke, parallel), None, size.crowds),
    ]

"""The table of what is timed: chains, streams, an agent, a graph, many runs at once, and single calls."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypedDict

from langchain.agents import create_agent
from langchain_core.callbacks import CallbackManager, CallbackManagerForChainRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph

from benchmarks.arms import CONFIG_KEY, CONTEXT, MODEL, Delivery
from benchmarks.measure import Block, Callbacks, Case
from langchain_ldai._wire.tokens import _identity_in, encode

QUESTION: Final = {"question": "How do I switch it off?"}
SEQUENCE: Final = {"name": "RunnableSequence"}
MESSAGES: Final = [HumanMessage(QUESTION["question"])]
USAGE: Final[UsageMetadata] = {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}
ANSWER: Final = AIMessage("Hold the button", usage_metadata=USAGE)
ASKING: Final = [
    AIMessage("", tool_calls=[ToolCall(name="look_up", args={}, id=id_)], usage_metadata=USAGE) for id_ in "ab"
]

OpenRun = tuple[CallbackManagerForChainRun, CallbackManagerForLLMRun]
Use = Callable[..., Any]
"""Does something, given the config last; it may be a coroutine function."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run."""

    rounds: int = 12
    blocks: float = 1  # by how much the blocks of a round are multiplied; each case keeps at least one
    chunks: int = 1000  # of a stream whose cost is told from that of one twice as long
    nodes: int = 50  # of the graph
    parallel: int = 100  # runs at once
    calls: int = 500  # single calls in a block
    most: int = 10_000  # how far growth is followed: runs open, depth, chunks
    held: int = 200  # runs that are opened to weigh them
    imports: int = 15  # processes that import the package


class InstantChat(BaseChatModel):
    """Answers at once, so that what is measured is what surrounds it; each tool's answer leads to the next."""

    answers: Sequence[AIMessage] = (ANSWER,)
    chunks: Sequence[ChatGenerationChunk] = ()
    model_name: str = MODEL

    @property
    def _llm_type(self) -> str:
        return "instant"

    def bind_tools(self, tools: Sequence[object], **kwargs: object) -> Runnable:
        """Accept tools; the answers say when they are called."""
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        tools = sum(isinstance(message, ToolMessage) for message in messages)
        answer = self.answers[min(tools, len(self.answers) - 1)].model_copy()
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate(messages)

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield from self.chunks

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self.chunks:
            yield chunk


@tool
def look_up() -> str:
    """Look the answer up."""
    return "found"


class State(TypedDict):
    """What the graph's nodes pass on."""

    steps: int


def graph(nodes: int) -> Runnable:
    """Return a graph of so many nodes, one after the other, the first of which calls a model."""
    model, builder = InstantChat(), StateGraph(State)

    def ask(state: State, config: RunnableConfig) -> State:
        model.invoke("How?", config)
        return {"steps": 0}

    def step(state: State) -> State:
        return {"steps": state["steps"] + 1}

    for number in range(nodes):
        builder.add_node(f"node-{number}", step if number else ask)
        builder.add_edge(f"node-{number - 1}" if number else START, f"node-{number}")
    return builder.compile()


def opened(callbacks: Callbacks, count: int) -> list[OpenRun]:
    """Begin so many runs of a chain, of their callbacks alone, each with a model call in flight."""
    managers = [CallbackManager.configure(inheritable_callbacks=callbacks()) for _ in range(count)]
    roots = [manager.on_chain_start(SEQUENCE, QUESTION) for manager in managers]
    return [
        (root, root.get_child().on_chat_model_start({}, [MESSAGES], invocation_params={})[0]) for root in roots
    ]


def close(runs: list[OpenRun]) -> None:
    """End the runs."""
    for root, call in runs:
        call.on_llm_end(LLMResult(generations=[[ChatGeneration(message=ANSWER.model_copy())]]))
        root.on_chain_end({"output": "Hold the button"})


def in_turn(count: int, callbacks: Callbacks) -> None:
    """Begin and end so many runs, one after the other, of callbacks alone: a chain would only blur the figure."""
    for _ in range(count):
        close(opened(callbacks, 1))


def nested(times: int, depth: int, callbacks: Callbacks) -> None:
    """Begin so many chains, each within the one before, end them, and do so again, so many times."""
    for _ in range(times):
        manager, steps = CallbackManager.configure(inheritable_callbacks=callbacks()), []
        for _ in range(depth):
            steps.append(manager.on_chain_start(SEQUENCE, QUESTION))
            manager = steps[-1].get_child()
        for step in reversed(steps):
            step.on_chain_end({"output": "Hold the button"})


def config(callbacks: Callbacks) -> RunnableConfig:
    """Return the config of one run."""
    return {"callbacks": callbacks(), "recursion_limit": 1000}


def repeated(times: int, use: Use, runner: asyncio.Runner | None = None, *, at_once: bool = False) -> Block:
    """Return a block that does something so many times, with a runner awaiting it: in turn, or all at once."""

    async def awaited(callbacks: Callbacks) -> None:
        if at_once:
            await asyncio.gather(*(use(config(callbacks)) for _ in range(times)))
            return
        for _ in range(times):
            await use(config(callbacks))

    def block(callbacks: Callbacks) -> None:
        if runner is not None:  # its loop stays, so that none is made in what is timed
            runner.run(awaited(callbacks), context=copy_context())
            return
        for _ in range(times):
            use(config(callbacks))

    return block


def read(stream: str, model: Runnable, config: RunnableConfig, **options: object) -> None:
    """Read a stream of a model to its end."""
    for _ in getattr(model, stream)("How?", config, **options):
        pass


async def aread(model: Runnable, config: RunnableConfig) -> None:
    """Read an asynchronous stream of a model to its end."""
    async for _ in model.astream("How?", config):
        pass


def tokens(
    name: str, use: Use, chunks: int, blocks: int, section: str, runner: asyncio.Runner | None = None
) -> Case:
    """Return a case of what each token costs: a stream of twice as many chunks less one of so many.

    What a stream costs but for its tokens depends on what ran before it, and is the same in both. The chunks are
    made beforehand, since making one takes longer than what is measured; the last one has the usage.
    """
    last = ChatGenerationChunk(message=AIMessageChunk("", id="lc_run--0", usage_metadata=USAGE))
    texts = [ChatGenerationChunk(message=AIMessageChunk("token ", id="lc_run--0")) for _ in range(2 * chunks)]
    models = InstantChat(chunks=[*texts, last]), InstantChat(chunks=[*texts[:chunks], last])
    times = max(1, 1000 // chunks) if section == "chunks" else 1
    block, base = (repeated(times, partial(use, model), runner) for model in models)
    return Case(name, "token", chunks * times, blocks, block, base, section)


def all_cases(size: Size, runner: asyncio.Runner, delivery: Delivery) -> list[Case]:
    """Return the table."""
    chain = ChatPromptTemplate.from_messages([("user", "{question}")]) | InstantChat() | StrOutputParser()
    invoke, ainvoke = partial(chain.invoke, QUESTION), partial(chain.ainvoke, QUESTION)
    agent = partial(create_agent(InstantChat(answers=[*ASKING, ANSWER]), [look_up]).invoke, {"messages": MESSAGES})
    nodes, many, chunks = size.nodes, size.parallel, size.chunks
    tracker, variables = delivery.config.create_tracker(), {"product": "the kettle"}
    identity, token = tracker.identity, tracker.resumption_token
    stream, v3 = partial(read, "stream"), partial(read, "stream_events", version="v3")
    calls = {
        "completion_config": lambda _: delivery.ai.completion_config(CONFIG_KEY, CONTEXT, variables=variables),
        "token encode": lambda _: encode(identity),
        "token decode": lambda _: _identity_in.__wrapped__(token),
    }

    def batch(callbacks: Callbacks) -> None:
        chain.batch([QUESTION] * many, [config(callbacks) for _ in range(many)])

    def up_to(*counts: int) -> list[int]:
        return [count for count in counts if count <= size.most]

    table = [
        Case("invoke", "run", 5, 30, repeated(5, invoke)),
        Case("ainvoke", "run", 5, 30, repeated(5, ainvoke, runner)),
        tokens("stream", stream, chunks, 4, "cases"),
        tokens("astream", aread, chunks, 4, "cases", runner),
        tokens("v3", v3, chunks, 4, "cases"),
        Case("agent", "run", 1, 30, repeated(1, agent)),
        Case(f"graph-{nodes}", "run", 1, 15, repeated(1, partial(graph(nodes).invoke, {"steps": 0}))),
        Case(f"batch-{many}", "run", many, 4, batch),
        Case(f"concurrent-{many}", "run", many, 4, repeated(many, ainvoke, runner, at_once=True)),
        tokens("stream", stream, chunks, 16, "tokens"),
        tokens("astream", aread, chunks, 16, "tokens", runner),
        tokens("v3", v3, chunks, 16, "tokens"),
        *(
            Case(name, "call", size.calls, 1, repeated(size.calls, use), None, "calls")
            for name, use in calls.items()
        ),
        Case("run", "run", 20, 20, partial(in_turn, 20), None, "open", up_to(1, 10, 100, 1_000, 10_000)),
        *(
            Case(str(depth), "step", 200, 20, partial(nested, 200 // depth, depth), None, "depth")
            for depth in up_to(1, 10, 50, 100, 200)
        ),
        *(tokens(str(count), stream, count, 20, "chunks") for count in up_to(10, 100, 1_000, 10_000)),
    ]
    return [replace(case, blocks=max(1, round(case.blocks * size.blocks))) for case in table]

"""A program that runs chains, whose spans other packages make, and exports the spans to a collector.

It is a process of its own, as instrumentation is the whole process's. It prints what the handlers report.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from itertools import product
from typing import Any, Final

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tracers.langchain import LangChainTracer
from langsmith import Client
from ldclient import Context
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.langchain import LangchainInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.spans import MarkingExporter
from langchain_ldai.testing import RecordingClient
from tests.support.chains import AGENT_INPUT, QUESTION, agent, chain
from tests.support.models import ScriptedChat
from tests.support.nodes import graph

FLAG: Final = {"_ldMeta": {"enabled": True, "variationKey": "friendly", "version": 3, "mode": "completion"}}


class Steps(BaseCallbackHandler):
    """Counts the steps that start, and those of them that are tools."""

    run_inline = True

    def __init__(self) -> None:
        self.count = self.tools = 0

    def on_chain_start(self, *args: object, **kwargs: object) -> None:
        """Count a step."""
        self.count += 1

    on_chat_model_start = on_chain_start

    def on_tool_start(self, *args: object, **kwargs: object) -> None:
        """Count a tool."""
        self.count += 1
        self.tools += 1


def nested() -> Runnable:
    """Return an agent within a chain, where LangChain merges the handlers of both."""
    return RunnableLambda(lambda value: value) | agent()


def two_nodes() -> Runnable:
    """Return a graph whose second node has an AI Config of its own."""
    return graph(*[lambda state: ScriptedChat().invoke("How?") and {"done": True}] * 2)


RUNNABLES: Final[Mapping[str, tuple[Callable[[], Runnable], object]]] = {
    "chain": (chain, QUESTION),
    "model": (ScriptedChat, "How?"),
    "agent": (agent, AGENT_INPUT),
    "nested": (nested, AGENT_INPUT),
    "nodes": (two_nodes, {"done": False}),
}


def invoke(runnable: Runnable, value: object, config: RunnableConfig) -> None:
    """Run it."""
    runnable.invoke(value, config)


def ainvoke(runnable: Runnable, value: object, config: RunnableConfig) -> None:
    """Run it on an event loop."""
    asyncio.run(runnable.ainvoke(value, config))


def stream(runnable: Runnable, value: object, config: RunnableConfig) -> None:
    """Read its stream."""
    for _ in runnable.stream(value, config):
        pass


def astream(runnable: Runnable, value: object, config: RunnableConfig) -> None:
    """Read its stream on an event loop."""

    async def read() -> None:
        async for _ in runnable.astream(value, config):
            pass

    asyncio.run(read())


WAYS: Final = (invoke, ainvoke, stream, astream)


@contextmanager
def openinference(provider: TracerProvider) -> Generator[list[Any]]:
    """Have OpenInference make the spans."""
    instrumentor = LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield []
    instrumentor.uninstrument()


@contextmanager
def openllmetry(provider: TracerProvider) -> Generator[list[Any]]:
    """Have OpenLLMetry make the spans."""
    instrumentor = LangchainInstrumentor(disable_trace_context_propagation=True)  # it would import OpenAI's client
    instrumentor.instrument(tracer_provider=provider)
    yield []
    instrumentor.uninstrument()


@contextmanager
def langsmith(provider: TracerProvider) -> Generator[list[Any]]:
    """Have LangSmith make the spans, and nothing else."""
    address = "http://127.0.0.1:9"
    client = Client(api_key="none", api_url=address, tracing_mode="otel", otel_tracer_provider=provider)
    yield [LangChainTracer(client=client)]


MAKERS: Final = (openinference, openllmetry, langsmith)


def main(address: str) -> dict[str, dict[str, object]]:
    """Run every runnable in every way, its spans made by each package, and return what is to be seen of them."""
    ai = LdAiClient(RecordingClient({"support-bot": FLAG, "writer": FLAG}), environment_id="env-1")
    context = Context.create("user-1")
    config, writer = ai.completion_config("support-bot", context), ai.completion_config("writer", context)
    plain = LdAiHandler(config, spans="mark")
    with_nodes = LdAiHandler(config, spans="mark", nodes={"node-1": writer})
    told: dict[str, dict[str, object]] = {}
    for make in MAKERS:
        provider = TracerProvider()
        exporter = MarkingExporter(OTLPSpanExporter(f"{address}/{make.__name__}"), plain, with_nodes)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        with make(provider) as tracers:
            for (name, (runnable, value)), way in product(RUNNABLES.items(), WAYS):
                steps, handler = Steps(), with_nodes if name == "nodes" else plain
                with handler.collect_runs() as runs:
                    way(runnable(), value, {"callbacks": [handler, steps, *tracers]})
                for tracer in tracers:
                    tracer.client.flush()  # where much waits, several threads make the spans, and may lose some
                told[f"{make.__name__}-{name}-{way.__name__}"] = {
                    "run_id": runs[0].run_id,
                    "nodes": [report.run_id for report in runs[0].nodes.values()],
                    "steps": steps.count,
                    "tools": steps.tools,
                }
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])))

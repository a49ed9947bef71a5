"""What a log or a debugger shows of an object: what it is for, and nothing that is secret."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from ldclient import Context

from langchain_ldai import AsyncLdAiClient, LdAiClient, LdAiCompletionConfig, LdAiHandler
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.ledgers import MemoryLedger, SqliteLedger
from langchain_ldai.ledgers.redis import RedisLedger
from langchain_ldai.spans import Spans
from langchain_ldai.testing import AsyncRecordingClient, RecordingClient
from tests.support.agent_graphs import graph_of, serve_graph


def config_for(metadata: Mapping[str, object]) -> None:
    """Stand for a function that an application gives."""


SHOWN: dict[str, tuple[Callable[[LdAiCompletionConfig], object], str]] = {
    "config": (
        lambda config: config,
        "LdAiCompletionConfig(key='support-bot', enabled=True, variation_key='friendly', version=3, "
        "model='small-1', provider='acme')",
    ),
    "tracker": (
        lambda config: config.create_tracker(run_id="run-1"),
        "LdAiConfigTracker(run_id='run-1', key='support-bot')",
    ),
    "handler": (LdAiHandler, "LdAiHandler('support-bot', open_runs=0)"),
    "handler with a function": (
        lambda config: LdAiHandler(config_for, nodes={"writer": config}),
        "LdAiHandler(config_for, 'writer': 'support-bot', open_runs=0)",
    ),
    "handler of nodes": (
        lambda config: LdAiHandler(None, nodes={"writer": config}),
        "LdAiHandler('writer': 'support-bot', open_runs=0)",
    ),
    "client": (lambda config: LdAiClient(RecordingClient()), "LdAiClient(RecordingClient)"),
    "client with a ledger": (
        lambda config: AsyncLdAiClient(AsyncRecordingClient(), ledger=MemoryLedger()),
        "AsyncLdAiClient(AsyncRecordingClient, ledger=MemoryLedger)",
    ),
    "recording client": (
        lambda config: RecordingClient({"support-bot": {"messages": ["You help."]}}),
        "RecordingClient(flags=['support-bot'], events=0)",
    ),
    "memory": (lambda config: MemoryLedger(10), "MemoryLedger(10)"),
    "redis": (
        lambda config: RedisLedger.from_url("redis://:secret@localhost:6379/0"),
        "RedisLedger(prefix='ldai')",
    ),
    "events": (lambda config: DurableEvents("/events"), "DurableEvents('/events')"),
    "spans": (lambda config: Spans(capture_content=True), "Spans(capture_content=True)"),
    "graph": (
        lambda config: serve_graph(graph_of("a", {"a": "b"}, variationKey="short")),
        "LdAiAgentGraph(key='travel', enabled=True, variation_key='short', version=1, nodes=['a', 'b'])",
    ),
}


@pytest.mark.parametrize(("make", "shown"), SHOWN.values(), ids=SHOWN)
def test_an_object_shows_what_it_is_for(
    make: Callable[[LdAiCompletionConfig], object], shown: str, config: LdAiCompletionConfig
) -> None:
    """Its representation has keys, ids and names; it has no prompt and no token."""
    assert repr(make(config)) == shown


def test_a_ledger_in_a_file_shows_the_file(tmp_path: Path) -> None:
    """So a log tells which one is locked or full."""
    assert repr(SqliteLedger(tmp_path / "ledger.db")) == f"SqliteLedger({str(tmp_path / 'ledger.db')!r})"


def test_the_tracker_of_a_graph_shows_the_graph(context: Context) -> None:
    """Its key is that of the agent graph."""
    graph = LdAiClient(RecordingClient()).agent_graph("desk", context)

    assert repr(graph.create_tracker(run_id="run-1")) == "LdAiGraphTracker(run_id='run-1', key='desk')"

"""Whatever the tree of runs and the order of its events, the figures are those of a simple oracle."""

import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG

TOTAL, SUCCESS, ERROR = "$ld:ai:tokens:total", "$ld:ai:generation:success", "$ld:ai:generation:error"
TOOL_CALL, FIRST_TOKEN = "$ld:ai:tool_call", "$ld:ai:tokens:ttf"


@pytest.fixture(autouse=True, scope="module")
def frozen() -> Iterator[None]:
    """What was there before is no garbage, so that `flush`, which collects, takes no time for it."""
    gc.freeze()
    yield
    gc.unfreeze()


@dataclass
class Node:
    """One LangChain run of the tree, and when things happen to it."""

    kind: str
    parent: "Node | None"
    start: int
    end: int | None
    fails: bool
    repeats: bool
    streams: bool
    tokens: int
    run_id: UUID = field(default_factory=uuid4)

    @property
    def root(self) -> "Node":
        """The tree's root."""
        return self.parent.root if self.parent else self

    def is_open_at(self, now: int) -> bool:
        """Whether it, and all between it and the root, are open when the root ends, which is now."""
        return self.parent is None or ((self.end is None or self.end > now) and self.parent.is_open_at(now))


@st.composite
def forests(draw: st.DrawFn) -> list[Node]:
    """Draw interleaved trees: a child may outlive its parent, never end, or start only after its parent's end."""
    nodes: list[Node] = []
    for _ in range(draw(st.integers(1, 12))):
        parent = draw(st.sampled_from([None, *nodes]))
        after = parent.start if parent else 0
        before = parent.end - 1 if parent and parent.end else after + 20
        if parent and parent.end and draw(st.booleans()):  # left behind by the parent, as a task may be
            after, before = parent.end, parent.end + 20
        if before <= after:
            continue
        start = draw(st.integers(after + 1, before))
        end = draw(st.none() | st.integers(start + 1, start + 30))
        flags = [draw(st.booleans()) for _ in range(3)]
        kind = draw(st.sampled_from(["chain", "model", "tool"] if parent else ["chain", "model"]))
        nodes.append(Node(kind, parent, start, end, *flags, tokens=draw(st.integers(0, 50))))
    return nodes


def play(handler: LdAiHandler, nodes: list[Node]) -> None:
    """Send a forest's events in the order of their times, inner ends first; a repeating node sends each twice."""
    starts = [(node.start, 1, index, node) for index, node in enumerate(nodes)]
    ends = [(node.end, 0, -index, node) for index, node in enumerate(nodes) if node.end]
    for _, is_start, _, node in sorted(starts + ends, key=lambda event: event[:3]):
        for _ in range(1 + node.repeats):
            (_start if is_start else _end)(handler, node)


def _start(handler: LdAiHandler, node: Node) -> None:
    ids = {"run_id": node.run_id, "parent_run_id": node.parent.run_id if node.parent else None, "metadata": {}}
    if node.kind == "chain":
        handler.on_chain_start(None, {}, **ids)
    elif node.kind == "tool":
        handler.on_tool_start({"name": "search"}, "", **ids)
    else:
        handler.on_chat_model_start({}, [[]], **ids)
        if node.streams:
            handler.on_llm_new_token("x", run_id=node.run_id)


def _end(handler: LdAiHandler, node: Node) -> None:
    error = ValueError() if node.fails else None
    if node.kind == "model":
        usage = {"input_tokens": 0, "output_tokens": node.tokens, "total_tokens": node.tokens}
        result = LLMResult(generations=[[ChatGeneration(message=AIMessage("", usage_metadata=usage))]])
        if error:
            handler.on_llm_error(error, run_id=node.run_id, response=result)
        else:
            handler.on_llm_end(result, run_id=node.run_id)
    elif error:
        handler.on_chain_error(error, run_id=node.run_id)
    else:
        handler.on_chain_end({}, run_id=node.run_id)


def expected(root: Node, nodes: list[Node]) -> Counter[str]:
    """Return what a closed root's run is to record: a model call counts if it starts before the run is closed."""
    tree = [node for node in nodes if node.root is root]
    models = [node for node in tree if node.kind == "model"]
    last = max(max(node.start, node.end or 0, root.end) for node in tree) + 1
    open_at = {now: any(m.start < now and (m.end is None or m.end > now) for m in models) for now in range(last)}
    closed = next((now for now in range(root.end, last) if not open_at[now]), last)
    counted = [node for node in tree if node.start < closed]
    calls = [node for node in counted if node.kind == "model"]
    if not calls:
        return Counter()
    events = Counter({TOTAL: sum(node.tokens for node in calls if node.end)})
    events[TOOL_CALL] = sum(node.kind == "tool" for node in counted)
    events[FIRST_TOKEN] = int(any(node.streams for node in calls))
    cut_short = not root.fails and any(
        node.streams and node is not root and node.start < root.end and node.is_open_at(root.end) for node in calls
    )
    if not cut_short:
        events[ERROR if root.fails else SUCCESS] = 1
    return +events


def recorded(client: RecordingClient, report: RunReport) -> Counter[str]:
    """Return what a run did record: tokens by value, everything else by how often."""
    metrics = client.metrics(report.run_id)
    assert all(len(values) == 1 for name, values in metrics.items() if name != TOOL_CALL)
    events = Counter({name: len(metrics.get(name, ())) for name in (SUCCESS, ERROR, TOOL_CALL, FIRST_TOKEN)})
    events[TOTAL] = int(sum(metrics.get(TOTAL, ())))
    return +events


@given(forests())
def test_any_forest_of_runs_is_told_truly(nodes: list[Node]) -> None:
    """Every slot at most once, tokens equal the sum, one report a run, and nothing held once all have closed."""
    client, reports = RecordingClient({"support-bot": FLAG}), []
    config = LdAiClient(client).completion_config("support-bot", Context.create("user-1"))
    handler = LdAiHandler(config, on_run_end=reports.append)
    roots = [node for node in nodes if node.parent is None]

    play(handler, nodes)
    handler.flush()

    by_root = {report.root_run_id: recorded(client, report) for report in reports}
    assert len(by_root) == len(reports)
    wanted = {root.run_id: expected(root, nodes) for root in roots if root.end}
    assert by_root == {run_id: events for run_id, events in wanted.items() if events or run_id in by_root}
    assert handler.open_runs == sum(root.end is None for root in roots)

"""Whatever the tree of runs and the order of its events, their spans are those of a simple oracle."""

import gc
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given, note
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler, RunReport
from langchain_ldai.spans import Spans
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG
from tests.support.forests import NAMED, Node, Oracle, forests, play
from tests.support.traces import Trace, told

pytestmark = pytest.mark.usefixtures("unfrozen")
STATUS = {"success": "OK", "error": "ERROR"}


def calls(oracle: Oracle, *, named: bool) -> list[Node]:
    """Return the model calls and tool calls of which spans are to be below a root."""
    return [node for node in oracle.counted() if node.kind in ("model", "tool") and bool(node.visit) is named]


def name_of(node: Node) -> str:
    """Return the name of a call's span."""
    return "execute_tool search" if node.kind == "tool" else f"chat {'large-1' if node.visit else 'small-1'}"


def ends_in_time(node: Node, closed_at: int) -> bool:
    """Whether a call has certainly ended before its run is closed, so that its span has a status of its own."""
    return node.end is not None and (node.end < closed_at or (node.end == closed_at and node.kind == "model"))


@given(forests())
def test_any_forest_of_runs_is_shown_truly(nodes: list[Node]) -> None:
    """One root a run, the right calls below it, each ended once; and no span of a run that calls no model."""
    trace, reports = Trace(), []
    user = Context.create("user-1")
    ai = LdAiClient(RecordingClient({"support-bot": FLAG, NAMED: {**FLAG, "model": {"name": "large-1"}}}))
    handler = LdAiHandler(
        ai.completion_config("support-bot", user),
        nodes={NAMED: ai.completion_config(NAMED, user)},
        spans=Spans(tracer_provider=trace.provider),
        on_run_end=reports.append,
    )
    note("\n".join(map(str, nodes)))

    play(handler, nodes)
    gc.freeze()  # nothing of it is garbage, so that `flush`, which collects, takes no time for it
    handler.flush()

    by_root: dict[UUID, RunReport] = {report.root_run_id: report for report in reports}
    for root in (node for node in nodes if node.parent is None and node.run_id in by_root):
        report, oracle = by_root[root.run_id], Oracle(root, nodes)
        _check(trace, report, oracle, named=False)
        for node_report in report.nodes.values():
            _check(trace, node_report, oracle, named=True)
    handler.close()
    assert trace.are_all_ended
    assert {span.context.span_id for span in trace.spans if span.parent is None} == {
        int(report.span_id or "", 16) for report in reports
    }


def _check(trace: Trace, report: RunReport, oracle: Oracle, *, named: bool) -> None:
    """Check the root span of a report, and what is below it."""
    (root,) = [span for span in trace.spans if span.context.span_id == int(report.span_id or "", 16)]
    status, attributes = told(root)
    assert (root.name, attributes["launchdarkly.run.id"]) == ("invoke_agent", report.run_id)
    assert status == STATUS.get(report.outcome, "UNSET")
    assert attributes["ldai.outcome"] == report.outcome
    assert [event.name for event in root.events] == ["feature_flag"]
    below = [span for span in trace.spans if span.parent == root.context and span.name != "invoke_agent"]
    expected = calls(oracle, named=named)
    assert Counter(span.name for span in below) == Counter(map(name_of, expected))
    closed_at = oracle.closed_at()
    in_time = Counter(
        (name_of(node), STATUS.get(node.way, "UNSET")) for node in expected if ends_in_time(node, closed_at)
    )
    assert in_time <= Counter((span.name, told(span)[0]) for span in below)

"""Whatever the tree of runs and the order of its events, the figures are those of a simple oracle."""

import gc
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given, note
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from tests.conftest import FLAG
from tests.support.chains import ERROR, FIRST_TOKEN, SUCCESS, TOOL_CALL
from tests.support.forests import NAMED, TOTAL, Node, Oracle, forests, play

pytestmark = pytest.mark.usefixtures("unfrozen")


def recorded(client: RecordingClient, run_id: str) -> Counter[str]:
    """Return what a run did record: tokens by value, everything else by how often."""
    metrics = client.metrics(run_id)
    assert all(len(values) == 1 for name, values in metrics.items() if name != TOOL_CALL)
    events = Counter({name: len(metrics.get(name, ())) for name in (SUCCESS, ERROR, TOOL_CALL, FIRST_TOKEN)})
    events[TOTAL] = int(sum(metrics.get(TOTAL, ())))
    return +events


@given(forests())
def test_any_forest_of_runs_is_told_truly(nodes: list[Node]) -> None:
    """Every slot at most once, tokens equal the sum, one report a run, and nothing held once all have closed."""
    client, reports = RecordingClient({"support-bot": FLAG, NAMED: FLAG}), []
    user, ai = Context.create("user-1"), LdAiClient(client)
    handler = LdAiHandler(
        ai.completion_config("support-bot", user),
        nodes={NAMED: ai.completion_config(NAMED, user)},
        on_run_end=reports.append,
    )
    roots = [node for node in nodes if node.parent is None]
    note("\n".join(map(str, nodes)))

    play(handler, nodes)
    gc.freeze()  # nothing of it is garbage, so that `flush`, which collects, takes no time for it
    handler.flush()

    by_root: dict[UUID, RunReport] = {report.root_run_id: report for report in reports}
    assert len(by_root) == len(reports)
    oracles = [Oracle(root, nodes) for root in roots if root.end]
    for oracle in oracles:
        report = by_root.pop(oracle.root.run_id, None)
        own, nodes_own = oracle.events(named=False), oracle.events(named=True)
        if report is None:
            assert not own
            assert not nodes_own
            continue
        assert (report.outcome, recorded(client, report.run_id)) == (oracle.outcome(), own)
        assert report.retries == oracle.retries(named=False)
        for node in report.nodes.values():
            assert (node.outcome, recorded(client, node.run_id)) == (oracle.node_outcome(), nodes_own)
            assert node.retries == oracle.retries(named=True)
    assert not by_root
    assert handler.open_runs == sum(root.end is None for root in roots)

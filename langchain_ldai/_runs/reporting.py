"""Hands on what runs have put out: sends metrics, tells observers of a run's end, and reports closed runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from langchain_ldai._base.guard import NOT_SENT, Guard
from langchain_ldai._base.options import result_of
from langchain_ldai._runs.named_nodes import NodeNames
from langchain_ldai._runs.outcome import Outcome
from langchain_ldai._runs.run import Outbox, Run
from langchain_ldai._runs.totals import MetricTotals, Recording, RunReport

_log = logging.getLogger(__name__)

_ON_RUN_END_FAILED: Final = "The function given for on_run_end failed; the run's metrics are recorded all the same"
_NO_REPORT: Final = "The report of a run could not be made"


@dataclass(slots=True, eq=False)
class RunReporter:
    """Hands on what the runs of one handler have put out, outside the table's lock.

    Args:
        guard: Catches what the client, the observers and `on_run_end` raise.
        node_names: Warns of named nodes that no run has come to.
        on_run_end: Called with each report.
    """

    guard: Guard
    node_names: NodeNames
    on_run_end: Callable[[RunReport], object] | None

    def deliver(self, outbox: Outbox) -> None:
        """Send what is final, and report the runs that are closed.

        An exception that the guard does not catch, such as `KeyboardInterrupt`, goes on once all is delivered.
        """
        try:
            while outbox:
                item = outbox.popleft()
                if isinstance(item, Recording):
                    tracker = item.totals.tracker
                    self.guard.call(NOT_SENT, item.totals.ids, tracker._record_run, item.values, item.tool_calls)
                else:
                    self._close(item)
        except BaseException:
            self.deliver(outbox)
            raise

    def tell_of_end(self, run: Run, totals: MetricTotals) -> None:
        """Tell those who observe a run, or a node of it, that the run is closed."""
        for observer in totals.observers:
            end = totals.end(run.outcome, run.last_event)
            self.guard.call(observer.lost, totals.ids, observer.run_closed, end)

    def _close(self, run: Run) -> None:
        _log.debug("a run closes: %s", run)
        if run.nodes is not None:
            graph = run.totals if run.journey is not None else None
            graph_key = None if graph is None else graph.tracker.identity.config_key
            self.node_names.tell_of_unseen(run.nodes, graph_key, ended_early=run.outcome is not Outcome.SUCCESS)
        try:
            for totals in run.all_totals:
                if totals.observers:
                    self.tell_of_end(run, totals)
        finally:
            is_wanted = run.reports or self.on_run_end is not None
            report = self.guard.call(_NO_REPORT, run.ids, run.report) if is_wanted else None
            if report is not None:
                for reports in run.reports:
                    reports.append(report)
                if self.on_run_end is not None:
                    self.guard.call(_ON_RUN_END_FAILED, run.ids, result_of, self.on_run_end, report)
